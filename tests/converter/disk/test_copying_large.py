"""Large runs that lie otherwise in their pages go through buffers, on several cores."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults import failing
from gguf_bytes import expected
from reference.checkpoint import read

from converter import ConversionError, Writing, __version__
from converter.use_cases.convert import convert
from ggcp_schema import FormatError
from ggcp_schema.synthetic import Synthetic

SIZES = Synthetic(
    vocabulary_size=20_000, embedding_length=128, block_count=1, optimizer_version=1, head_count=2
)
EMBEDDINGS = 4 * 20_000 * 128  # bytes of the first tensor, and of the third
FIRST_DATA = 96  # where they start: a header of 44 bytes, one of 41, and 11 to a multiple of 32


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.bin"
    with path.open("wb") as file:
        SIZES.write(file)
    return path


@pytest.fixture(scope="module")
def right(source: Path) -> bytes:
    return expected(read(source), __version__).to_bytes()


def test_the_bytes_arrive(source: Path, right: bytes, folder: Path) -> None:
    convert(source, folder / "out.gguf", writing=Writing(sync=False))
    assert (folder / "out.gguf").read_bytes() == right


def test_two_threads_write(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, threads = os.pwrite, set()

    def noted(*arguments: object) -> int:
        threads.add(threading.current_thread())
        return good(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "pwrite", noted)
    convert(source, folder / "out.gguf", writing=Writing(sync=False))
    assert len(threads) > 1
    assert threading.main_thread() not in threads


def test_short_reads_and_writes(
    source: Path, right: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pread, preadv, pwrite = os.pread, os.preadv, os.pwrite
    monkeypatch.setattr(os, "pread", lambda file, count, at: pread(file, min(count, 99_999), at))
    monkeypatch.setattr(os, "preadv", lambda file, into, at: preadv(file, [into[0][:98_765]], at))
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[:100_001], at))
    convert(source, folder / "out.gguf", writing=Writing(sync=False))
    assert (folder / "out.gguf").read_bytes() == right


@pytest.mark.parametrize("after", [0, 1])
def test_a_limit_on_threads(
    after: int, source: Path, right: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that cannot be started is done without, and what it would have done is done."""
    start, started = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        if len(started) == after:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    counted: list[int] = []

    @contextmanager
    def bar(_description: str, _total: int) -> Iterator[object]:
        yield counted.append

    convert(source, folder / "out.gguf", writing=Writing(sync=False, progress=bar))  # type: ignore[arg-type]
    assert len(started) == after
    assert (folder / "out.gguf").read_bytes() == right
    assert sum(counted) == 3 * sum(tensor.nbytes for tensor in read(source).tensors.values())


@pytest.mark.parametrize("after", [0, 1, 40, 100])
def test_a_disk_that_is_full(
    after: int, source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", failing(errno.ENOSPC, after, os.pwrite))
    with pytest.raises(ConversionError) as caught:
        convert(source, folder / "out.gguf", writing=Writing(sync=False))
    assert str(caught.value) == (
        f"{folder / 'out.gguf'}: the disk is full; make room on it, or write to another one"
    )
    assert list(folder.iterdir()) == []


def test_a_source_that_is_cut(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pread, preadv, cut = os.pread, os.preadv, FIRST_DATA + EMBEDDINGS // 2

    def reading(file: int, count: int, at: int) -> bytes:
        return pread(file, max(min(count, cut - at), 0), at)

    def reading_into(file: int, buffers: list[memoryview], at: int) -> int:
        return preadv(file, [buffers[0][: max(cut - at, 0)]], at)

    monkeypatch.setattr(os, "pread", reading)
    monkeypatch.setattr(os, "preadv", reading_into)
    with pytest.raises(FormatError) as caught:
        convert(source, folder / "out.gguf", writing=Writing(sync=False))
    assert caught.value.file == str(source)
    assert caught.value.hint == (
        "the file was cut while it was read; get it back whole and try again"
    )
    assert list(folder.iterdir()) == []


def test_a_source_that_cannot_be_read(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pread", "preadv"):
        monkeypatch.setattr(os, name, failing(errno.EIO))
    with pytest.raises(FormatError) as caught:
        convert(source, folder / "out.gguf", writing=Writing(sync=False))
    assert caught.value.found == "'Input/output error'"
    assert caught.value.hint == (
        "the disk cannot read the file; copy it to another disk and try again"
    )
    assert list(folder.iterdir()) == []


def test_progress_counts_every_byte_and_may_stop_it(source: Path, folder: Path) -> None:
    counted: list[int] = []

    @contextmanager
    def bar(_description: str, _total: int) -> Iterator[object]:
        yield counted.append

    convert(source, folder / "out.gguf", writing=Writing(sync=False, progress=bar))  # type: ignore[arg-type]
    tensors = read(source).tensors.values()
    assert sum(counted) == 3 * sum(tensor.nbytes for tensor in tensors)  # and two moments

    @contextmanager
    def stopping(_description: str, _total: int) -> Iterator[object]:
        def stop(_count: int) -> None:
            raise KeyboardInterrupt

        yield stop

    with pytest.raises(KeyboardInterrupt):
        convert(source, folder / "2.gguf", writing=Writing(sync=False, progress=stopping))  # type: ignore[arg-type]
    assert [path.name for path in folder.iterdir()] == ["out.gguf"]
    assert threading.active_count() == 1
