"""When a file was last written to."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

from ggcp_schema import Source

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def modified(source: Source) -> datetime | None:
    """Return when an open file was last written to, in UTC, to the second.

    None if it is no file of a disk, or that is no date of the calendar.
    """
    try:
        seconds = int(os.fstat(source.fileno()).st_mtime)
        return _EPOCH + timedelta(seconds=seconds)
    except (OSError, ValueError, OverflowError):  # some systems hold years of more than four digits
        return None
