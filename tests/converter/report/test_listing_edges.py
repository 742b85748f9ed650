"""A line of a list where it is just as wide as it may be."""

from __future__ import annotations

from pathlib import Path

import pytest
from packed import checkpoint

from converter import inspect
from converter.report.listing import Listing, short_size


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1 << 20, "1.0 MiB"),
        ((1 << 20) - 1, "1024.0 KiB"),
        (1 << 30, "1.0 GiB"),
        (3 << 40, "3072.0 GiB"),
    ],
)
def test_a_size_in_the_largest_unit(length: int, words: str) -> None:
    assert short_size(length) == words


@pytest.mark.parametrize("width", [0, 40, 75, 80, 100, 132])
def test_names_have_the_room_that_is_left(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other columns take 53, and a name has 20 at the least."""
    monkeypatch.chdir(tmp_path)
    room = max(20, width - 53)
    for name in ("a.bin", "b" * (room - 4) + ".bin", "c" * (room - 3) + ".bin"):
        (tmp_path / name).write_bytes(checkpoint(1, n_layer=1).data)
        line = Listing(width).report(inspect(name))
        shown = name if len(name) <= room else "..." + name[-(room - 3) :]
        assert line.startswith(f"{shown.ljust(room)}  training  ")
        assert line.endswith("  yes")


def test_what_is_no_checkpoint_is_cut_at_the_width() -> None:
    listing = Listing(80)
    assert listing.other("a", "x" * 51) == "a" + " " * 28 + "x" * 51
    assert listing.other("a", "x" * 52) == "a" + " " * 28 + "x" * 48 + "..."
    assert listing.other("\x1b", "x") == r"\x1b" + " " * 25 + "x"
    assert Listing(10).other("a", "x" * 30) == "a" + " " * 21 + "..."


def test_iterations_of_whichever_counter_is_ahead(tmp_path: Path) -> None:
    for trained, optimized, shown in ((3, 5, "5"), (5, 3, "5"), (0, 0, "0")):
        made = checkpoint(1)
        made.data[:] = made.with_number("training.iteration_count", trained)
        path = tmp_path / "a.bin"
        path.write_bytes(made.with_number("optimizer.iteration_count", optimized))
        assert Listing().report(inspect(path)).split()[-3] == shown


def test_no_mark_without_a_loss(tmp_path: Path) -> None:
    """Files of version 0 have sums; of one that computed nothing there is none."""
    listing = Listing()
    made = checkpoint()
    path = tmp_path / "a.bin"
    path.write_bytes(made.with_number("optimizer.iteration_count", 0))
    assert listing.report(inspect(path)).split()[-2] == "-"
    assert listing.footnotes() == ()
    path.write_bytes(made.with_number("optimizer.iteration_count", 3))
    assert listing.report(inspect(path)).split()[-2] == "5.75*"
    assert listing.footnotes() == (
        "* no mean loss: compare it with those of the same trainer only",
    )
