"""What tells a file from others of its kind: its checksum, and when it was last written to."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from ggcp_schema import Source, Span

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_LARGE_BYTES = 1 << 16
"""From here on a block is worth giving it to a thread."""

_MOST_WAITING = 3
"""Blocks that are held because they are not hashed yet, beside the one that is being hashed."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Digest:
    """The SHA-256 (FIPS 180-4) of blocks, computed while who gives them goes on with his work.

    In a ``with`` statement. Large blocks are hashed in a thread; where the system gives none, and
    where nothing would be gained, by the caller's.
    """

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256(usedforsecurity=False)
        self._waiting: deque[Future[None]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._threads = True

    def __enter__(self) -> Digest:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def update(self, block: bytes) -> None:
        """Add a block, which must not change any more."""
        if self._threads and (self._waiting or len(block) >= _LARGE_BYTES):
            try:
                self._waiting.append(self._submitted(block))
            except RuntimeError:  # can't start new thread
                self._threads = False
            else:
                self._wait(_MOST_WAITING)
                return
        self._wait(0)
        self._sha256.update(block)

    def hexdigest(self) -> str:
        """Return 64 hexadecimal digits, as ``sha256sum`` prints them."""
        self._wait(0)
        return self._sha256.hexdigest()

    def _submitted(self, block: bytes) -> Future[None]:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # not where all is small

            self._pool = ThreadPoolExecutor(1)
        return self._pool.submit(self._sha256.update, block)

    def _wait(self, most: int) -> None:
        """Wait until at most so many blocks are not hashed."""
        while self._waiting and (len(self._waiting) > most or self._waiting[0].done()):
            self._waiting.popleft().result()


def sha256_of(source: Source, progress: Callable[[int], object]) -> str:
    """Read a whole file, in blocks of a megabyte, and return its SHA-256.

    Args:
        source: the file.
        progress: called with the number of bytes after each block.

    Returns:
        64 hexadecimal digits, as ``sha256sum`` prints them.

    Raises:
        FormatError: the file cannot be read.
    """
    with Digest() as digest:
        for block in Span(source, 0, source.size, ()).blocks():
            digest.update(block)
            progress(len(block))
        return digest.hexdigest()


def status_of(file: str | os.PathLike[str] | Source) -> os.stat_result | None:
    """Return what tells a file from others; None if it is not there, or in memory."""
    with contextlib.suppress(OSError, ValueError):
        if isinstance(file, Source):
            return os.fstat(file.fileno())
        return os.stat(file)  # noqa: PTH116 - names stay as given
    return None


def modified(source: Source) -> datetime | None:
    """Return when an open file was last written to, in UTC, to the second.

    None if it is no file of a disk, or that is no date of the calendar.
    """
    try:
        seconds = int(os.fstat(source.fileno()).st_mtime)
        return _EPOCH + timedelta(seconds=seconds)
    except (OSError, ValueError, OverflowError):  # some systems hold years of more than four digits
        return None
