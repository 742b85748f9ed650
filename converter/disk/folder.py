"""A folder that stays the same one while it is held, whatever becomes of its name."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

_BY_DESCRIPTOR = os.open in os.supports_dir_fd
"""Whether names can be looked up in an open folder. On Windows a folder cannot be opened."""

_FOLLOWS = os.link not in os.supports_follow_symlinks
"""False where ``os.link`` can be told not to link to what a symbolic link leads to."""

_NO_REASON = {
    getattr(errno, name)
    for name in ("EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EBADF", "EACCES", "EPERM", "EISDIR")
}
"""What systems and disks say that do not synchronise folders, or not for everybody."""

T = TypeVar("T")


def retried(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Call a function of ``os`` again when a signal interrupted it."""
    while True:
        try:
            return function(*arguments, **named)
        except InterruptedError:
            continue


class Folder:
    """The names in a folder.

    Attributes:
        path: its name when it was held.
    """

    def __init__(self, path: str) -> None:
        self.path = path or os.curdir
        self._descriptor: int | None = None

    def hold(self) -> None:
        """From now on mean this folder, also when another gets its name.

        Raises:
            OSError: there is no such folder.
        """
        if _BY_DESCRIPTOR:
            flags = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY
            # Without O_PATH, one that may be written but not read does not open: by its name then.
            with contextlib.suppress(PermissionError):
                self._descriptor = retried(os.open, self.path, flags)

    def release(self) -> None:
        """Let go of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def has_its_name(self) -> bool:
        """Tell whether the folder still is where it was when it was held."""
        if self._descriptor is None:
            return True
        try:
            now = os.stat(self.path)  # noqa: PTH116 - names stay as given
        except OSError:
            return False
        return os.path.samestat(now, os.fstat(self._descriptor))

    def path_of(self, name: str) -> str:
        """Return the path of a name in it, as it is shown."""
        return os.path.join(self.path, name)  # noqa: PTH118 - names stay as given

    def _path(self, name: str) -> str:
        return self.path_of(name) if self._descriptor is None else name

    def names(self) -> list[str]:
        """Return the names in it; none if it may not be read."""
        try:
            return [path.name for path in Path(self.path).iterdir()]
        except OSError:
            return []

    def status(self, name: str) -> os.stat_result | None:
        """Return what has a name, a symbolic link itself; None if nothing has it."""
        try:
            return os.stat(self._path(name), dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def target(self, name: str) -> str | None:
        """Return what a symbolic link leads to; None if the name is not one's."""
        try:
            return os.readlink(self._path(name), dir_fd=self._descriptor)
        except OSError:
            return None

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        """Open or create a file in it and return the descriptor."""
        return retried(os.open, self._path(name), flags, mode, dir_fd=self._descriptor)

    def unlink(self, name: str) -> None:
        """Remove a name."""
        os.unlink(self._path(name), dir_fd=self._descriptor)

    def link(self, name: str, new: str) -> None:
        """Give a file a second name, unless that is taken."""
        self._both(os.link, name, new, follow_symlinks=_FOLLOWS)

    def rename(self, name: str, new: str) -> None:
        """Give a file another name; whether one that is taken is refused depends on the system."""
        self._both(os.rename, name, new)

    def replace(self, name: str, new: str) -> None:
        """Give a file another name, also one that is taken."""
        self._both(os.replace, name, new)

    def _both(self, function: Callable[..., None], name: str, new: str, **named: bool) -> None:
        paths = self._path(name), self._path(new)
        there = self._descriptor
        retried(function, *paths, src_dir_fd=there, dst_dir_fd=there, **named)

    def sync(self) -> None:
        """Bring the names to the disk, where the system and the disk do that.

        Raises:
            OSError: the disk fails.
        """
        try:
            descriptor = self.open(os.curdir, os.O_RDONLY)
        except OSError:  # some systems do not open folders
            return
        try:
            retried(os.fsync, descriptor)
        except OSError as error:
            if error.errno not in _NO_REASON:
                raise
        finally:
            os.close(descriptor)
