"""What tells a file from others of its kind: its checksum, and when it was last written to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from ggcp_schema import Source, Span

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def sha256_of(source: Source, progress: Callable[[int], object]) -> str:
    """Read a whole file, in blocks of a megabyte, and return its SHA-256 (FIPS 180-4).

    Args:
        source: the file.
        progress: called with the number of bytes after each block.

    Returns:
        64 hexadecimal digits, as ``sha256sum`` prints them.

    Raises:
        FormatError: the file cannot be read.
    """
    digest = hashlib.sha256(usedforsecurity=False)
    for block in Span(source, 0, source.size, ()).blocks():
        digest.update(block)
        progress(len(block))
    return digest.hexdigest()


def modified(source: Source) -> datetime | None:
    """Return when an open file was last written to, in UTC, to the second.

    None if it is no file of a disk, or that is no date of the calendar.
    """
    try:
        seconds = int(os.fstat(source.fileno()).st_mtime)
        return _EPOCH + timedelta(seconds=seconds)
    except (OSError, ValueError, OverflowError):  # some systems hold years of more than four digits
        return None
