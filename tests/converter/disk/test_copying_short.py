"""One call that does half of what it was asked, or a disk that has no room to reserve."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from faults import failing, said
from gguf_bytes import expected
from reference.checkpoint import read

from converter import ConversionError, Writing, __version__
from converter.use_cases.convert import convert
from ggcp_schema.synthetic import Synthetic

LARGE = Synthetic(
    vocabulary_size=2_100, embedding_length=128, block_count=1, optimizer_version=1, head_count=2
)
"""Its first tensor has 1,075,200 bytes, from byte 96 on: more than 1 MiB, otherwise aligned."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.bin"
    with path.open("wb") as file:
        LARGE.write(file)
    return path


@pytest.fixture(scope="module")
def right(source: Path) -> bytes:
    return expected(read(source), __version__).to_bytes()


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("name", ["preadv", "pwrite"])
def test_half_once(
    name: str, at: int, source: Path, right: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, numbers, halved = getattr(os, name), count(), []

    def call(file: int, given: Any, place: int) -> int:
        (buffer,) = given if name == "preadv" else (memoryview(given),)
        if len(buffer) >= 1 << 18 and next(numbers) == at:  # a piece of a large run
            halved.append(len(buffer))
            buffer = buffer[: len(buffer) // 2]
        done: int = good(file, [buffer] if name == "preadv" else buffer, place)
        return done

    monkeypatch.setattr(os, name, call)
    convert(source, folder / "out.gguf", writing=Writing(sync=False))
    assert len(halved) == 1
    assert (folder / "out.gguf").read_bytes() == right


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO], ids=errno.errorcode.__getitem__
)
def test_no_room_is_noticed_before_anything_is_copied(
    number: int, source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []

    def noted(name: str) -> Callable[..., int]:
        def call(*arguments: object) -> int:
            copied.append(name)
            raise AssertionError(arguments)

        return call

    for name in ("copy_file_range", "sendfile", "preadv", "pwrite"):
        monkeypatch.setattr(os, name, noted(name))
    monkeypatch.setattr(os, "posix_fallocate", failing(number))
    with pytest.raises(ConversionError) as caught:
        convert(source, folder / "out.gguf", writing=Writing(sync=False))
    assert f"{said(number)}; " in str(caught.value)
    assert copied == []
    assert list(folder.iterdir()) == []


def test_short_writes_where_there_is_no_pwrite(
    source: Path, right: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows: the place in the file is set before each write."""
    write = os.write
    for name in ("copy_file_range", "sendfile", "pwrite"):
        monkeypatch.delattr(os, name)
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:300_001]))
    convert(source, folder / "out.gguf", writing=Writing(sync=False))
    assert (folder / "out.gguf").read_bytes() == right
