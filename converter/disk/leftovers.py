"""Temporary files, and how those of running processes are told from those of killed ones.

Who writes a temporary file, or reads one that a killed process left, holds a lock on it: whoever
gets the lock at once may remove the file. Nobody ever waits for a lock, which another user could
hold for good.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Callable

from converter.disk.folder import Folder
from converter.progress import LOGGER
from ggcp_schema import Source, printable

try:
    import fcntl
except ImportError:  # only where there are no POSIX locks
    fcntl = None  # type: ignore[assignment]

UNFINISHED = ".ggcp-unfinished-"
"""How the names of temporary files begin. One is left behind only by a killed process."""

_NAME = re.compile(re.escape(UNFINISHED) + "[0-9a-f]{16}")


def temporary_name() -> str:
    """Return a name that no file has."""
    return UNFINISHED + secrets.token_hex(8)


def lock_to_write(descriptor: int) -> bool:
    """Hold a lock for as long as a new temporary file is open.

    Returns:
        Whether the file is the caller's: another may have locked or removed it before.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a disk without locks
        return True
    return os.fstat(descriptor).st_nlink > 0


def lock_to_read(source: Source) -> None:
    """Hold a lock for as long as an input is open, if it is what a killed process left."""
    name = os.path.basename(source.label or "")  # noqa: PTH119 - names stay as given
    if fcntl is not None and _NAME.fullmatch(name):
        with contextlib.suppress(OSError):
            fcntl.flock(source.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)


def remove_leftovers(folder: Folder, is_input: Callable[[os.stat_result], bool]) -> None:
    """Remove what killed processes left in a folder, and say so.

    Args:
        folder: where to look; regular files with names of our own pattern are removed.
        is_input: tells an input, which is not.
    """
    if fcntl is None:
        return
    for name in filter(_NAME.fullmatch, folder.names()):
        with contextlib.suppress(OSError):
            _remove(folder, name, is_input)


def _remove(folder: Folder, name: str, is_input: Callable[[os.stat_result], bool]) -> None:
    status = folder.status(name)
    if status is None or not stat.S_ISREG(status.st_mode) or is_input(status):
        return
    descriptor = folder.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.unlink(name)
    finally:
        os.close(descriptor)
    LOGGER.info("removed %s, which a run that was killed had left", printable(folder.path_of(name)))
