"""Temporary files and folders, and how those of running processes are told from leftovers.

Who writes one, or reads one that a killed process left, holds a lock on it: whoever gets the lock
at once may remove it. Nobody ever waits for a lock, which another user could
hold for good.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import stat
from collections.abc import Callable

from converter.disk.folder import MOST_FILES, Folder
from converter.progress import LOGGER
from ggcp_schema import Source, printable

try:
    import fcntl
except ImportError:  # only where there are no POSIX locks
    fcntl = None  # type: ignore[assignment]

UNFINISHED = ".ggcp-unfinished-"
"""How temporary names begin. What has one is left behind only by a killed process."""

ASIDE = ".ggcp-replaced-"
"""How the name of a folder begins while another takes its place."""

_NAME = re.compile(re.escape(UNFINISHED) + "[0-9a-f]{16}")
_TEMPORARY = re.compile(f"({re.escape(UNFINISHED)}|{re.escape(ASIDE)})[0-9a-f]{{16}}")


def temporary_name() -> str:
    """Return a name that nothing has."""
    return UNFINISHED + secrets.token_hex(8)


def name_aside() -> str:
    """Return a name that nothing has, for a folder that is being replaced."""
    return ASIDE + secrets.token_hex(8)


def lock_to_write(descriptor: int) -> bool:
    """Hold a lock for as long as a new temporary file or folder is open.

    Returns:
        Whether it is the caller's: another may have locked or removed it before.
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
    folder, name = os.path.split(os.path.abspath(source.label or ""))  # noqa: PTH100 - as given
    if fcntl is not None and (_NAME.fullmatch(name) or _NAME.fullmatch(os.path.basename(folder))):  # noqa: PTH119
        with contextlib.suppress(OSError):
            fcntl.flock(source.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)


def remove_leftovers(folder: Folder, is_input: Callable[[os.stat_result], bool]) -> None:
    """Remove what killed processes left in a folder, and say so.

    A folder that was moved aside may be the only one of its kind, so it is only named.

    Args:
        folder: where to look; what is removed are regular files with names of our own pattern, and
            such folders of this user's in which nothing is but regular files.
        is_input: tells an input, which is not.
    """
    names: list[str] = []
    with contextlib.suppress(OSError):
        names += filter(_TEMPORARY.fullmatch, folder.names())
    for name in names:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if name.startswith(ASIDE):
                _name_what_was_moved_aside(folder, name, stack)
            elif fcntl is not None and _remove(folder, name, is_input, stack):
                left = printable(folder.path_of(name))
                LOGGER.info("removed %s, which a run that was killed had left", left)


def _lock(descriptor: int) -> None:
    """Hold the lock of what nobody writes or reads; fail where somebody does."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_file(folder: Folder, name: str, stack: contextlib.ExitStack) -> None:
    descriptor = folder.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    stack.callback(os.close, descriptor)
    _lock(descriptor)


def _lock_folder(folder: Folder, name: str, stack: contextlib.ExitStack) -> Folder:
    child = folder.child(name)
    stack.callback(child.release)
    if child.descriptor is not None and fcntl is not None:
        _lock(child.descriptor)
    return child


def _remove(
    folder: Folder,
    name: str,
    is_input: Callable[[os.stat_result], bool],
    stack: contextlib.ExitStack,
) -> bool:
    """Remove a file or folder, and tell whether that was done."""
    status = folder.status(name)
    if status is None:
        return False
    if stat.S_ISREG(status.st_mode) and not is_input(status):
        _lock_file(folder, name, stack)
        folder.unlink(name)
        return True
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return False
    child = _lock_folder(folder, name, stack)
    names = list(itertools.islice(child.names(), MOST_FILES + 2))
    for each in names:
        inside = child.status(each)
        if inside is None or not stat.S_ISREG(inside.st_mode) or is_input(inside):
            return False
        _lock_file(child, each, stack)
    for each in names:
        child.unlink(each)
    folder.rmdir(name)
    return True


def _name_what_was_moved_aside(folder: Folder, name: str, stack: contextlib.ExitStack) -> None:
    _lock_folder(folder, name, stack)
    LOGGER.warning(
        "%s is a folder that a run that was killed had moved aside to replace it; give it its name "
        "back if the new one is not there, else remove it",
        printable(folder.path_of(name)),
    )
