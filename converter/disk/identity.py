"""What tells a file from others of its kind: its checksum, and when it was last written to."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone

from converter.threads import Behind, read_ahead
from ggcp_schema import Source, Span

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Digest(Behind):
    """The SHA-256 (FIPS 180-4) of blocks, computed while who gives them goes on."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256(usedforsecurity=False)
        super().__init__(self._sha256.update)

    def hexdigest(self) -> str:
        """Return 64 hexadecimal digits, as ``sha256sum`` prints them."""
        self.wait()
        return self._sha256.hexdigest()


class Reading:
    """A file that is read once: spans of it for who wants them, and all of it for its SHA-256.

    In a ``with`` statement.

    Args:
        source: the file.
        progress: called with the number of bytes after each block.
        hashed: whether the SHA-256 is wanted, and so what is between the spans read, too.
    """

    def __init__(
        self, source: Source, progress: Callable[[int], object], *, hashed: bool = True
    ) -> None:
        self._source = source
        self._progress = progress
        self._digest = Digest() if hashed else None
        self._place = 0

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._digest is not None:
            self._digest.stop()

    def blocks(self, span: Span) -> Iterator[bytes]:
        """Yield the bytes of a span, in blocks; that comes behind the last, or is read again.

        Raises:
            FormatError: the file cannot be read.
        """
        if span.offset < self._place:
            yield from span.blocks()
            return
        if self._digest is not None:
            self._skim(span.offset)
        self._place = span.offset
        yield from self._up_to(span.offset + span.length)

    def sha256(self) -> str | None:
        """Read what is left, and return 64 hexadecimal digits; None if they are not wanted.

        Raises:
            FormatError: the file cannot be read.
        """
        if self._digest is None:
            return None
        self._skim(self._source.size)
        return self._digest.hexdigest()

    def _skim(self, end: int) -> None:
        for _ in self._up_to(end):
            pass

    def _up_to(self, end: int) -> Iterator[bytes]:
        for block in read_ahead(Span(self._source, self._place, end - self._place, ())):
            if self._digest is not None:
                self._digest.give(block)
            self._place += len(block)
            self._progress(len(block))
            yield block


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
            digest.give(block)
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
