"""The data arrive whole by whichever way this system can copy, or an error says why not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults import acting_first, failing
from gguf_bytes import expected
from reference.checkpoint import read

from converter import ConversionError, Writing, __version__
from converter.use_cases.convert import convert
from ggcp_schema import FormatError

NOT_HERE = [errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSOCK]
KERNEL = ["copy_file_range", "sendfile"]


@pytest.fixture
def source(fixtures: Path) -> Path:
    return fixtures / "v0_adam_one.bin"


@pytest.fixture(scope="module")
def right(fixtures: Path) -> bytes:
    return expected(read(fixtures / "v0_adam_one.bin"), __version__).to_bytes()


def counting(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> list[str]:
    """Note which functions of `os` are called."""
    called: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        good = getattr(os, name)

        def call(*arguments: Any) -> Any:
            called.append(name)
            return good(*arguments)

        return call

    for name in names:
        monkeypatch.setattr(os, name, noted(name))
    return called


@pytest.mark.parametrize("missing", [[], KERNEL[:1], KERNEL])
def test_the_best_way_there_is(
    missing: list[str], source: Path, folder: Path, right: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = counting(monkeypatch, [*KERNEL, "pwrite"])
    for name in missing:
        monkeypatch.delattr(os, name)
    convert(source, folder / "out.gguf")
    assert (folder / "out.gguf").read_bytes() == right
    assert set(called) == {[*KERNEL, "pwrite"][len(missing)]}


@pytest.mark.parametrize("number", NOT_HERE, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("refusing", [KERNEL[:1], KERNEL[1:], KERNEL])
def test_a_way_that_this_disk_refuses(
    number: int,
    refusing: list[str],
    source: Path,
    folder: Path,
    right: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in refusing:
        monkeypatch.setattr(os, name, failing(number))
    convert(source, folder / "out.gguf")
    assert (folder / "out.gguf").read_bytes() == right


@pytest.mark.parametrize("after", [1, 10])
def test_a_way_that_stops_working(
    after: int, source: Path, folder: Path, right: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KERNEL:
        monkeypatch.setattr(os, name, failing(errno.EINVAL, after, getattr(os, name)))
    convert(source, folder / "out.gguf")
    assert (folder / "out.gguf").read_bytes() == right


def test_a_kernel_that_sees_the_end_too_early(
    source: Path, folder: Path, right: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KERNEL:
        monkeypatch.setattr(os, name, lambda *_arguments: 0)
    convert(source, folder / "out.gguf")
    assert (folder / "out.gguf").read_bytes() == right


@pytest.mark.parametrize("count_at", [("copy_file_range", 2), ("sendfile", 3)])
def test_short_copies(
    count_at: tuple[str, int],
    source: Path,
    folder: Path,
    right: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, place = count_at
    good = getattr(os, name)

    def at_most_1000(*arguments: int) -> int:
        count = min(arguments[place], 1000)
        copied: int = good(*arguments[:place], count, *arguments[place + 1 :])
        return copied

    if name == "sendfile":
        monkeypatch.delattr(os, "copy_file_range")
    monkeypatch.setattr(os, name, at_most_1000)
    convert(source, folder / "out.gguf")
    assert (folder / "out.gguf").read_bytes() == right


def test_short_reads_and_writes(
    source: Path, folder: Path, right: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KERNEL:
        monkeypatch.delattr(os, name)
    pread, pwrite = os.pread, os.pwrite
    monkeypatch.setattr(os, "pread", lambda file, count, at: pread(file, min(count, 999), at))
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[:1001], at))
    convert(source, folder / "out.gguf")
    assert (folder / "out.gguf").read_bytes() == right


@pytest.mark.parametrize("missing", [True, False])
def test_disk_that_cannot_reserve(
    missing: bool, source: Path, folder: Path, right: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing:
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", failing(errno.EOPNOTSUPP))
    convert(source, folder / "out.gguf")
    assert (folder / "out.gguf").read_bytes() == right


def test_progress_counts_every_byte(source: Path, folder: Path) -> None:
    from contextlib import contextmanager

    shown: list[tuple[str, int]] = []
    counted: list[int] = []

    @contextmanager
    def progress(what: str, total: int) -> Any:
        shown.append((what, total))
        yield counted.append

    convert(source, folder / "out.gguf", writing=Writing(verify=True, progress=progress))
    length = 3 * 4 * 16336  # the weights and two moments
    assert shown == [("Writing", length), ("Verifying", length), ("Waiting for the disk", 0)]
    assert sum(counted) == 2 * length


def test_source_that_cannot_be_read(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*KERNEL, "pread"):
        monkeypatch.setattr(os, name, failing(errno.EIO))
    with pytest.raises(FormatError) as caught:
        convert(source, folder / "out.gguf")
    assert str(caught.value) == (
        f"{source}: file at offset 0x60: expected 19200 bytes, found 'Input/output error'; "
        "the disk cannot read the file; copy it to another disk and try again"
    )
    assert list(folder.iterdir()) == []


def test_target_that_cannot_be_written(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*KERNEL, "pwrite"):
        monkeypatch.setattr(os, name, failing(errno.EIO))
    with pytest.raises(ConversionError) as caught:
        convert(source, folder / "out.gguf")
    assert str(caught.value) == (
        f"{folder / 'out.gguf'}: cannot be written: 'Input/output error'; "
        "write to another folder or disk"
    )
    assert list(folder.iterdir()) == []


def write_to(checkpoint: Path) -> None:
    with checkpoint.open("r+b") as file:
        file.seek(1000)
        file.write(b"\1")
    os.utime(checkpoint, (1, 1))


def append_to(checkpoint: Path) -> None:
    with checkpoint.open("ab") as file:
        file.write(b"\1")


CHANGES = {write_to: "the same size, written to since", append_to: "524493 bytes"}


@pytest.fixture
def checkpoint(source: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    copy = tmp_path / "in.bin"
    copy.write_bytes(source.read_bytes())
    return copy


@pytest.mark.parametrize("change", CHANGES)
def test_input_changed_while_reading(
    change: Callable[[Path], None],
    checkpoint: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = acting_first(lambda: change(checkpoint), os.copy_file_range)
    monkeypatch.setattr(os, "copy_file_range", copy)
    with pytest.raises(FormatError) as caught:
        convert(checkpoint, folder / "out.gguf")
    assert str(caught.value) == (
        f"{checkpoint}: file: expected the 524492 bytes that were there when reading began, found "
        f"{CHANGES[change]}; another program is writing to the file; wait until it is done and "
        "try again"
    )
    assert list(folder.iterdir()) == []


def test_input_cut_while_reading(
    checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = acting_first(lambda: os.truncate(checkpoint, 10000), os.copy_file_range)
    monkeypatch.setattr(os, "copy_file_range", copy)
    with pytest.raises(FormatError) as caught:
        convert(checkpoint, folder / "out.gguf")
    assert str(caught.value) == (
        f"{checkpoint}: file at offset 0x2710: expected 9296 bytes, found 0 bytes and the end of "
        "the file; the file was cut while it was read; get it back whole and try again"
    )
    assert list(folder.iterdir()) == []
