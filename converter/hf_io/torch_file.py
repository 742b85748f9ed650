"""Files that ``torch.load`` reads, streamed: torch's zip of a pickle and the tensors' data.

Entries are stored, not compressed, and their data begin at multiples of 64 bytes, so that torch can
map them into memory (PyTorch, caffe2/serialize/inline_container.cc, file format version 3). Check
sums are known only when the data went by, and stand behind them (APPNOTE.TXT, 4.3.9).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from converter.hf_io.pickled import pickled
from converter.parts import Computed, Part
from converter.plan import PlannedFile

_ALIGNMENT = 64
_FORMAT_VERSION = b"3\n"
_CHECK_SUM_BEHIND = 1 << 3
_OLD_ZIP, _ZIP64 = 20, 45  # versions of the format that a reader needs to know
_DATE = 1 << 5 | 1  # the first of January 1980: the same input gives the same bytes
_MOST_32 = 2**32 - 1
_MOST_16 = 2**16 - 1


def torch_file(name: str, value: Any) -> PlannedFile:
    """Return the file of a value, as ``torch.save`` would write it.

    Args:
        name: its name, such as ``optimizer.pt``; its stem is the folder inside the zip.
        value: what ``pickled`` takes.
    """
    data, tensors = pickled(value)
    stem = name.rpartition(".")[0]
    small = {"data.pkl": data, "byteorder": b"little", "version": _FORMAT_VERSION}
    contents: dict[str, tuple[Part, ...]] = {
        name: PlannedFile.of(name, content).parts for name, content in small.items()
    }
    contents |= {f"data/{key}": tensor.parts for key, tensor in enumerate(tensors)}
    archive = _Archive(
        tuple(_Entry(f"{stem}/{name}".encode(), parts) for name, parts in contents.items())
    )
    return PlannedFile(name, (Computed(archive.length, archive),))


class _Entry(NamedTuple):
    """A file in the zip."""

    name: bytes
    parts: tuple[Part, ...]

    @property
    def length(self) -> int:
        return sum(part.length for part in self.parts)

    @property
    def is_large(self) -> bool:
        return self.length >= _MOST_32

    def padding(self, start: int) -> bytes:
        """Return the extra field that brings the data to their place; readers skip it."""
        sizes = struct.pack("<HHQQ", 1, 16, self.length, self.length) if self.is_large else b""
        before = start + 30 + len(self.name) + len(sizes) + 4
        count = -before % _ALIGNMENT
        return sizes + b"FB" + struct.pack("<H", count) + b"Z" * count

    def head(self, start: int) -> bytes:
        """Return what stands in front of its data, if it starts at ``start``."""
        extra = self.padding(start)
        size = _MOST_32 if self.is_large else self.length
        return (
            struct.pack(
                "<4sHHHHHIIIHH",
                b"PK\x03\x04",
                _ZIP64 if self.is_large else _OLD_ZIP,
                _CHECK_SUM_BEHIND,
                0,
                0,
                _DATE,
                0,
                size,
                size,
                len(self.name),
                len(extra),
            )
            + self.name
            + extra
        )

    def tail(self, check_sum: int) -> bytes:
        """Return what stands behind its data."""
        sizes = "QQ" if self.is_large else "II"
        return struct.pack(f"<4sI{sizes}", b"PK\x07\x08", check_sum, self.length, self.length)

    def listed(self, start: int, check_sum: int) -> bytes:
        """Return its line in the directory at the end."""
        far = start >= _MOST_32
        large = (self.length, self.length) if self.is_large else ()
        numbers = (*large, *((start,) if far else ()))
        extra = struct.pack(f"<HH{len(numbers)}Q", 1, 8 * len(numbers), *numbers)
        if not numbers:
            extra = b""
        version = _ZIP64 if numbers else _OLD_ZIP
        size = _MOST_32 if self.is_large else self.length
        return (
            struct.pack(
                "<4sHHHHHHIIIHHHHHII",
                b"PK\x01\x02",
                version,
                version,
                _CHECK_SUM_BEHIND,
                0,
                0,
                _DATE,
                check_sum,
                size,
                size,
                len(self.name),
                len(extra),
                0,
                0,
                0,
                0,
                _MOST_32 if far else start,
            )
            + self.name
            + extra
        )


@dataclass(frozen=True)
class _Archive:
    """The bytes of a zip, made anew each time they are asked for."""

    entries: tuple[_Entry, ...]

    @cached_property
    def _starts(self) -> list[int]:
        """Return where each entry starts, and where the directory does."""
        starts = [0]
        for entry in self.entries:
            head, tail = entry.head(starts[-1]), entry.tail(0)
            starts.append(starts[-1] + len(head) + entry.length + len(tail))
        return starts

    @cached_property
    def length(self) -> int:
        """Bytes of the whole file."""
        return self._starts[-1] + len(self._directory([0] * len(self.entries)))

    def __call__(self) -> Iterator[bytes]:
        """Yield the bytes in order."""
        check_sums = []
        for entry, start in zip(self.entries, self._starts, strict=False):
            yield entry.head(start)
            check_sum = 0
            for part in entry.parts:
                for block in part.blocks():
                    check_sum = zlib.crc32(block, check_sum)
                    yield block
            check_sums.append(check_sum)
            yield entry.tail(check_sum)
        yield self._directory(check_sums)

    def _directory(self, check_sums: list[int]) -> bytes:
        start, count = self._starts[-1], len(self.entries)
        lines = b"".join(
            entry.listed(at, check_sum)
            for entry, at, check_sum in zip(self.entries, self._starts, check_sums, strict=False)
        )
        end = b""
        if start >= _MOST_32 or count >= _MOST_16:
            there = start + len(lines)
            numbers = (44, _ZIP64, _ZIP64, 0, 0, count, count, len(lines), start)
            end = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", *numbers)
            end += struct.pack("<4sIQI", b"PK\x06\x07", 0, there, 1)
        counts = (min(count, _MOST_16), min(count, _MOST_16))
        places = (min(len(lines), _MOST_32), min(start, _MOST_32))
        return lines + end + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, *counts, *places, 0)
