"""Writes the planned files of a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from converter.disk.copying import write_at
from converter.disk.new_file import NewFile
from converter.numeric.in_order import in_order
from converter.plan import PlannedFile


def write_file(planned: PlannedFile, file: NewFile, progress: Callable[[int], object]) -> None:
    """Write a file, its blocks while the next ones are made.

    Args:
        planned: what to write.
        file: an open file.
        progress: called with the number of bytes after each block.

    Raises:
        FormatError: a source was cut in the meantime, or cannot be read.
        ConversionError: the file cannot be written.
    """

    def write(placed: tuple[int, bytes]) -> int:
        offset, block = placed
        with file.writing():
            return write_at(file.descriptor, block, offset)

    # Without pwrite, on Windows, threads would share the place in the file.
    each = in_order if hasattr(os, "pwrite") else map
    total = 0
    for written in each(write, _placed(planned.blocks())):
        total += written
        progress(written)
    if total != planned.length:  # a plan that contradicts itself is a defect here
        raise RuntimeError(f"{planned.name}: {total} bytes, not {planned.length}")


def _placed(blocks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield blocks with their offsets."""
    offset = 0
    for block in blocks:
        yield offset, block
        offset += len(block)
