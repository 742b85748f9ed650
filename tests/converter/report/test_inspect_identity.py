"""Which file a report is of: its SHA-256 and when it was modified, where that is asked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import run
from packed import checkpoint

from converter import inspect
from converter.report.json import as_json
from converter.report.text import as_text
from ggcp_schema import Source
from ggcp_schema.synthetic import Synthetic

AUGUST_7 = 1_691_399_105  # date -u -d @1691399105: Mon Aug  7 09:05:05 UTC 2023


def test_with_a_page_the_json_has_them(tmp_path: Path) -> None:
    path = tmp_path / "in.bin"
    path.write_bytes(checkpoint(1).data)
    os.utime(path, (0, AUGUST_7 + 0.75))
    done = run("inspect", path, "--json", "--html", tmp_path / "page.html")
    found = json.loads(done.stdout)
    assert list(found)[:5] == ["format", "file", "sha256", "modified", "kind"]
    assert found["sha256"] == hashlib.sha256(checkpoint(1).data).hexdigest()
    assert found["modified"] == "2023-08-07T09:05:05Z"


def test_without_it_nothing_is_read_for_them(tmp_path: Path) -> None:
    path = tmp_path / "in.bin"
    path.write_bytes(checkpoint(1).data)
    report = inspect(path, stats=True)
    assert (report.sha256, report.modified) == (None, None)
    assert not {"sha256", "modified"} & set(as_json(report))
    assert "SHA-256" not in as_text(report)


def test_the_text_names_them(tmp_path: Path) -> None:
    path = tmp_path / "in.bin"
    path.write_bytes(checkpoint(1).data)
    os.utime(path, (0, AUGUST_7))
    text = as_text(inspect(path, identify=True))
    assert "  modified    7 August 2023, 09:05 UTC\n" in text
    assert f"  SHA-256     {hashlib.sha256(checkpoint(1).data).hexdigest()}\n" in text


@pytest.mark.parametrize("length", [-1, 0])
def test_of_a_damaged_file(length: int, tmp_path: Path) -> None:
    """The checksum is of the bytes that are there, whatever they are worth."""
    path = tmp_path / "in.bin"
    data = checkpoint(1).data
    data = data[:length] if length else data + b"more"
    path.write_bytes(data)
    report = inspect(path, identify=True)
    assert report.error is not None
    assert report.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(("more", "there"), [(0, True), (1, False)])
def test_what_belongs_to_nothing_is_read_up_to_a_bound(
    more: int, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hole of a terabyte behind a checkpoint takes no room, and half an hour to read."""
    monkeypatch.setattr("converter.use_cases.inspect.MOST_UNREAD", 5000)
    whole = checkpoint(1)
    numbers = len(whole.data) - sum(whole.fields["optimizer.state.second_moments.data"])
    path = tmp_path / "in.bin"
    path.write_bytes(whole.data + bytes(5000 + more - numbers))
    report = inspect(path, identify=True)
    assert report.error is not None
    assert (report.sha256 is not None) is there
    assert report.modified is not None


def test_a_date_before_1970(tmp_path: Path) -> None:
    path = tmp_path / "in.bin"
    path.write_bytes(checkpoint(1).data)
    os.utime(path, (0, -86_399))
    assert as_json(inspect(path, identify=True))["modified"] == "1969-12-31T00:00:01Z"


def test_a_date_that_no_calendar_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.bin"
    path.write_bytes(checkpoint(1).data)
    fstat = os.fstat

    def far(descriptor: int) -> os.stat_result:
        status = list(fstat(descriptor))
        status[8] = 1 << 42  # st_mtime; year 141,338
        return os.stat_result(status)

    monkeypatch.setattr(os, "fstat", far)
    report = inspect(path, identify=True)
    assert report.sha256 == hashlib.sha256(checkpoint(1).data).hexdigest()
    assert report.modified is None


def test_what_is_not_asked_for_shows_no_progress(tmp_path: Path) -> None:
    path = tmp_path / "in.bin"
    path.write_bytes(checkpoint(1).data)

    def progress(description: str, _total: int) -> Any:
        raise AssertionError(description)

    assert inspect(path, progress=progress).error is None


@pytest.mark.parametrize(
    ("stats", "named"), [(False, "Computing the SHA-256"), (True, "Measuring")]
)
def test_it_is_read_once_in_blocks_with_progress(
    stats: bool, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        Synthetic(vocabulary_size=4000, embedding_length=128, block_count=1).write(file)
    size = path.stat().st_size
    assert size > 10 << 20
    asked: list[tuple[int, int]] = []
    shown: list[int] = []
    read_at = Source.read_at

    def counting(self: Source, offset: int, length: int) -> bytes:
        asked.append((offset, length))
        return read_at(self, offset, length)

    @contextlib.contextmanager
    def progress(description: str, total: int) -> Iterator[Any]:
        assert (description, total) == (named, size)
        asked.clear()
        yield shown.append
        end = 0
        for offset, length in asked:
            assert offset == end
            assert length <= 2 << 20
            end += length
        assert end == size

    monkeypatch.setattr(Source, "read_at", counting)
    report = inspect(path, stats=stats, identify=True, progress=progress)
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sum(shown) == size
