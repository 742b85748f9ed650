"""What cannot be built or read is refused at once: nothing is looped over that need not end."""

from __future__ import annotations

import io
import itertools
import math
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from layouts import ONE_LAYER
from members import changed
from packed import checkpoint

from ggcp_schema import FormatError, Source, build, parse

NORM = "model.norm"


def refused(container: Any) -> str:
    with pytest.raises(FormatError) as caught:
        build(container, io.BytesIO())
    return str(caught.value)


def test_padding_is_no_text() -> None:
    record = {"data": struct.pack("<2f", 5, 6), "padding": "x" * 21}
    assert refused(changed(ONE_LAYER.container, NORM, record)) == (
        "model.norm.padding at offset 0x8b: expected bytes, found str; give a bytes object"
    )


@pytest.mark.parametrize("number", [math.nan, math.inf, 1.0, "1", None, b"1", [1]])
@pytest.mark.parametrize(
    "path", ["hyperparameters.vocabulary_size", "optimizer.iteration_count", "training.token_count"]
)
def test_a_whole_number_is_one(path: str, number: Any) -> None:
    assert refused(changed(ONE_LAYER.container, path, number)).startswith(f"{path} at offset 0x")


def endless(block: Any) -> Iterable[Any]:
    """As `itertools.repeat`, but not for so long that a test does not end."""
    for count in itertools.count():
        assert count < 10_000
        yield block


@pytest.mark.parametrize(
    ("path", "block", "words"),
    [
        (NORM, b"\0", "expected 8 bytes for the shape [2], found 9 bytes or more; "),
        (NORM, bytes(100), "expected 8 bytes for the shape [2], found 100 bytes or more; "),
        ("model.layers", {}, "expected 1 entries, found 2 or more; "),
    ],
    ids=["bytes", "blocks", "layers"],
)
def test_what_is_endless(path: str, block: Any, words: str) -> None:
    layer = ONE_LAYER.container["model"]["layers"][0]
    container = changed(ONE_LAYER.container, path, endless(layer if block == {} else block))
    assert words in refused(container)


def test_a_folder_given_as_input_leaves_no_descriptor(tmp_path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a Path would hold it open

    if not Path("/proc/self/fd").exists():
        pytest.skip("descriptors are counted in /proc")
    before = count()
    for _ in range(3):
        with pytest.raises(FormatError, match="this is a folder"):
            Source.open(tmp_path)
    assert count() == before


@pytest.mark.parametrize("step", [1, -1])
def test_a_change_within_the_same_second(step: int, tmp_path: Path) -> None:
    path = tmp_path / "in.bin"
    path.write_bytes(checkpoint().data)
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    with parse(path) as parsed:
        parsed.source.check_unchanged()
        os.utime(path, ns=(0, 1_700_000_000_123_456_789 + step))
        with pytest.raises(FormatError) as caught:
            parsed.source.check_unchanged()
    assert caught.value.found == "the same size, written to since"


@pytest.mark.parametrize(
    ("n_rot", "fits"), [(2, True), (3, False), (4, True), (1, False), (6, False)]
)
def test_pairs_of_dimensions_are_rotated(n_rot: int, fits: bool) -> None:
    """Rope turns two dimensions together, of a head that has four here."""
    data = bytes(checkpoint(n_embd=8, n_head=2, n_rot=n_rot).data)
    if fits:
        parse(io.BytesIO(data)).close()
        return
    with pytest.raises(FormatError) as caught:
        parse(io.BytesIO(data))
    assert str(caught.value).partition(";")[0] == (
        "hyperparameters.rope_dimension_count at offset 0x28: expected an even number from 2 to "
        f"8 / 2 (the head dimension), found {n_rot}"
    )
