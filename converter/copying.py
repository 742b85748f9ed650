"""Copying a run of bytes from one file to another inside the kernel, where it can do that."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from converter.output import retried
from ggcp_schema import FormatError, Source
from ggcp_schema.source import BLOCK_BYTES

_STEP_BYTES = 64 << 20
"""How much is asked of the kernel at once: signals and the progress bar wait for it."""

_NOT_HERE = {
    getattr(errno, name)
    for name in ("ENOSYS", "EXDEV", "EINVAL", "EOPNOTSUPP", "ENOTSUP", "EBADF", "ETXTBSY", "EPERM")
    if hasattr(errno, name)
}
"""What a system says that cannot copy between these two files in this way."""


def _copy_file_range(source: int, target: int, count: int, start: int, offset: int) -> int:
    return os.copy_file_range(source, target, count, start, offset)


def _sendfile(source: int, target: int, count: int, start: int, offset: int) -> int:
    os.lseek(target, offset, os.SEEK_SET)
    return os.sendfile(target, source, start, count)


def _read_and_write(source: int, target: int, count: int, start: int, offset: int) -> int:
    data = os.pread(source, min(count, BLOCK_BYTES), start)
    return write_at(target, data, offset)


def write_at(target: int, data: bytes | memoryview, offset: int) -> int:
    """Write all of ``data`` at ``offset`` of a file, however many calls that takes."""
    view = memoryview(data)
    written = 0
    while written < len(view):
        written += retried(os.pwrite, target, view[written:], offset + written)
    return written


Way = Callable[[int, int, int, int, int], int]


class Copier:
    """Copies runs of bytes from an open file, by the best way that works here.

    Args:
        source: the file to copy from.
        target: descriptor of the file to copy to.
    """

    def __init__(self, source: Source, target: int) -> None:
        self._source = source
        self._target = target
        self._ways: list[Way] = []
        if hasattr(os, "copy_file_range"):
            self._ways.append(_copy_file_range)
        if hasattr(os, "sendfile"):
            self._ways.append(_sendfile)
        self._ways.append(_read_and_write)

    def copy(self, start: int, length: int, offset: int, progress: Callable[[int], object]) -> None:
        """Copy ``length`` bytes from byte ``start`` of the source to ``offset`` of the target.

        Raises:
            FormatError: the source ends before.
            OSError: the disk cannot read or write.
        """
        descriptor = self._source.fileno()
        done = 0
        while done < length:
            count = min(length - done, _STEP_BYTES)
            try:
                copied = retried(
                    self._ways[0], descriptor, self._target, count, start + done, offset + done
                )
            except OSError as error:
                if error.errno not in _NOT_HERE or len(self._ways) == 1:
                    raise
                del self._ways[0]
                continue
            if not copied:
                raise FormatError(
                    file=self._source.label,
                    offset=start + done,
                    expected=f"{length - done} bytes more",
                    found="the end of the file",
                    hint="the file was cut while it was read; get it back whole and try again",
                )
            done += copied
            progress(copied)
