"""Functions of `os` that fail, as disks and kernels do."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import converter.disk.new_file

CALLS = (
    "mkdir",
    "rmdir",
    "pwrite",
    "sendfile",
    "copy_file_range",
    "posix_fallocate",
    "ftruncate",
    "fsync",
    "link",
    "rename",
    "replace",
    "fchmod",
    "unlink",
)
FAULTS = (errno.ENOSPC, errno.EIO, errno.EINTR, "short")
COUNT_AT = {"copy_file_range": 2, "sendfile": 3}
"""Which argument is the number of bytes."""

_SAID = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your share of the disk is used up",
    errno.EFBIG: "this disk or shell allows no file of this size",
    errno.EACCES: "no permission to write there",
}


def said(number: int) -> str:
    """What the user is told where the system says `number` against writing."""
    return _SAID.get(number, f"'{os.strerror(number)}'")


def failing(number: int, after: int = 0, good: Callable[..., Any] | None = None) -> Any:
    """A function that works `after` times, as `good` does, and says `number` from then on."""
    calls = 0

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if good is not None and calls <= after:
            return good(*arguments, **named)
        raise OSError(number, os.strerror(number))

    return call


def acting_first(action: Callable[[], object], good: Callable[..., Any]) -> Any:
    """A function that does `action` before its first call, and else what `good` does."""
    done = False

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal done
        if not done:
            done = True
            action()
        return good(*arguments, **named)

    return call


class Calls:
    """Stands in for functions of the system; the one with number ``at`` goes wrong.

    Attributes:
        seen: the functions that were called.
    """

    def __init__(self, at: int | None = None, fault: int | str = 0) -> None:
        self.seen: list[str] = []
        self._at = at
        self._fault = fault

    def goes_wrong(self, name: str) -> bool:
        """Count a call; raise if it fails, and tell whether it does only a part."""
        self.seen.append(name)
        if len(self.seen) - 1 != self._at:
            return False
        if isinstance(self._fault, int):
            raise OSError(self._fault, os.strerror(self._fault))
        return True

    def standing_in(self, name: str, good: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if not self.goes_wrong(name):
                return None if name == "fsync" else good(*arguments, **named)  # that takes time
            if name == "pwrite":
                target, data, offset = arguments
                return good(target, data[: max(1, len(data) // 2)], offset)
            if name in COUNT_AT:
                place = COUNT_AT[name]
                count = max(1, arguments[place] // 2)
                return good(*arguments[:place], count, *arguments[place + 1 :])
            return good(*arguments, **named)

        return call

    def opened(self, file: int, mode: str = "rb", **options: Any) -> io.FileIO:
        """As ``io.FileIO``."""
        if mode != "wb":
            return io.FileIO(file, mode, **options)
        return _Raw(self, file, **options)

    def made(self, good: Callable[..., int]) -> Callable[..., int]:
        """As ``os.open``; only those that make a file count."""

        def call(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
            if flags & os.O_CREAT:
                self.goes_wrong("open")
            return good(path, flags, *arguments, **named)

        return call


class _Raw(io.FileIO):
    def __init__(self, calls: Calls, file: Any, **options: Any) -> None:
        super().__init__(file, "wb", **options)
        self._calls = calls

    def write(self, data: Any) -> int | None:
        part = self._calls.goes_wrong("write")
        return super().write(bytes(data)[: max(1, len(data) // 2)] if part else data)


@contextmanager
def calls_replaced(calls: Calls, missing: tuple[str, ...] = ()) -> Iterator[None]:
    """Let the functions of the system be those of ``calls``; some are missing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", calls.made(os.open))
        for name in CALLS:
            patch.setattr(os, name, calls.standing_in(name, getattr(os, name)))
        for name in missing:
            patch.delattr(os, name)
        if "posix_fallocate" in missing:

            def refuse(*_arguments: Any, **_named: Any) -> None:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

            patch.setattr(os, "link", refuse)
        patch.setattr(converter.disk.new_file, "FileIO", calls.opened)
        yield
