"""A file is read once, for all that want something of it; hashes are hashlib's own."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from pathlib import Path

import pytest

from converter.disk.identity import Reading
from ggcp_schema import FormatError, Source, Span

CONTENT = random.Random(1).randbytes((9 << 20) + 12345)
SPANS = [(7, 100), (107, 5 << 20), ((5 << 20) + 200, 0), (6 << 20, 3 << 20)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What is read, and how much of it."""
    found: list[tuple[int, int]] = []
    read_at = Source.read_at

    def counting(self: Source, offset: int, length: int) -> bytes:
        found.append((offset, length))
        return read_at(self, offset, length)

    monkeypatch.setattr(Source, "read_at", counting)
    return found


@pytest.mark.parametrize("hashed", [True, False])
def test_spans_on_the_way(hashed: bool, path: Path, asked: list[tuple[int, int]]) -> None:
    seen: list[int] = []
    with Source.open(path) as source, Reading(source, seen.append, hashed=hashed) as reading:
        for offset, length in SPANS:
            blocks = list(reading.blocks(Span(source, offset, length, ())))
            assert b"".join(blocks) == CONTENT[offset : offset + length]
            assert all(len(block) == 2 << 20 for block in blocks[:-1])
        found = reading.sha256()
    assert found == (hashlib.sha256(CONTENT).hexdigest() if hashed else None)
    expected = len(CONTENT) if hashed else sum(length for _, length in SPANS)
    assert sum(seen) == sum(length for _, length in asked) == expected
    assert max(length for _, length in asked) == 2 << 20


def test_its_threads_end_with_it(path: Path) -> None:
    before = threading.active_count()
    with Source.open(path) as source, Reading(source, lambda _count: None) as reading:
        blocks = reading.blocks(Span(source, 0, len(CONTENT), ()))
        next(blocks)
        assert threading.active_count() > before
        del blocks
    assert threading.active_count() == before


def test_one_place_is_read_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sources have one place that they read from, such as any on Windows."""
    read_at, reading_now, most = Source.read_at, 0, 0

    def slowly(self: Source, offset: int, length: int) -> bytes:
        nonlocal reading_now, most
        reading_now += 1
        most = max(most, reading_now)
        time.sleep(0.01)
        reading_now -= 1
        return read_at(self, offset, length)

    monkeypatch.setattr(Source, "read_at", slowly)
    with Source.open(path) as source, Reading(source, lambda _count: None) as reading:
        assert reading.sha256() == hashlib.sha256(CONTENT).hexdigest()
    assert most == 1


def test_a_span_that_begins_before_the_last_ended(path: Path) -> None:
    """As in a hostile file, whose tensors may share their data."""
    with Source.open(path) as source, Reading(source, lambda _count: None) as reading:
        for offset in (5, 3, 3_000_000, 4):
            found = b"".join(reading.blocks(Span(source, offset, 2_000_000, ())))
            assert found == CONTENT[offset : offset + 2_000_000]
        assert reading.sha256() == hashlib.sha256(CONTENT).hexdigest()


def test_nothing_but_the_whole(path: Path) -> None:
    with Source.open(path) as source, Reading(source, lambda _count: None) as reading:
        assert reading.sha256() == hashlib.sha256(CONTENT).hexdigest()


def test_a_file_that_was_cut_while_it_was_read(path: Path) -> None:
    with Source.open(path) as source, Reading(source, lambda _count: None) as reading:
        blocks = reading.blocks(Span(source, 0, 9 << 20, ()))
        next(blocks)
        with path.open("r+b") as file:
            file.truncate(6 << 20)
        with pytest.raises(FormatError) as caught:
            list(blocks)
    assert caught.value.offset == 6 << 20
    assert caught.value.found == "0 bytes and the end of the file"
