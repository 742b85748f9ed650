"""A folder that stays the same one while it is held, whatever becomes of its name."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
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

MOST_FILES = 500
"""Files in a folder that is written: no layout writes more than some ten."""

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
        descriptor: the folder itself while it is held; None where its name stands for it.
    """

    def __init__(self, path: str) -> None:
        self.path = path or os.curdir
        self.descriptor: int | None = None

    def hold(self) -> None:
        """From now on mean this folder, also when another gets its name.

        Raises:
            OSError: there is no such folder.
        """
        if _BY_DESCRIPTOR:
            flags = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY
            # Without O_PATH, one that may be written but not read does not open: by its name then.
            with contextlib.suppress(PermissionError):
                self.descriptor = retried(os.open, self.path, flags)

    def release(self) -> None:
        """Let go of it."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def has_its_name(self) -> bool:
        """Tell whether the folder still is where it was when it was held."""
        if self.descriptor is None:
            return True
        try:
            now = os.stat(self.path)  # noqa: PTH116 - names stay as given
        except OSError:
            return False
        return os.path.samestat(now, os.fstat(self.descriptor))

    def path_of(self, name: str) -> str:
        """Return the path of a name in it, as it is shown."""
        return os.path.join(self.path, name)  # noqa: PTH118 - names stay as given

    def _path(self, name: str) -> str:
        return self.path_of(name) if self.descriptor is None else name

    def names(self) -> Iterator[str]:
        """Yield the names in it, in no order.

        Raises:
            OSError: it may not be read.
        """
        if self.descriptor is None:
            with os.scandir(self.path) as entries:
                yield from (entry.name for entry in entries)
            return
        descriptor = self.open(os.curdir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(descriptor) as entries:
                yield from (entry.name for entry in entries)
        finally:
            os.close(descriptor)

    def status(self, name: str) -> os.stat_result | None:
        """Return what has a name, a symbolic link itself; None if nothing has it."""
        try:
            return os.stat(self._path(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def target(self, name: str) -> str | None:
        """Return what a symbolic link leads to; None if the name is not one's."""
        try:
            return os.readlink(self._path(name), dir_fd=self.descriptor)
        except OSError:
            return None

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        """Open or create a file in it and return the descriptor."""
        return retried(os.open, self._path(name), flags, mode, dir_fd=self.descriptor)

    def unlink(self, name: str) -> None:
        """Remove a name."""
        retried(os.unlink, self._path(name), dir_fd=self.descriptor)

    def child(self, name: str) -> Folder:
        """Return a folder in it, held, of which the names can be read; a symbolic link is none.

        Raises:
            OSError: there is no folder of that name, or it may not be read.
        """
        child = Folder(self.path_of(name))
        if _BY_DESCRIPTOR:
            child.descriptor = self.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        else:
            status = self.status(name)
            if status is None or not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return child

    def itself(self) -> os.stat_result:
        """Return the status of the folder."""
        if self.descriptor is None:
            return os.stat(self.path, follow_symlinks=False)  # noqa: PTH116 - names stay as given
        return os.fstat(self.descriptor)

    def mkdir(self, name: str) -> None:
        """Make a folder in it, for its owner alone."""
        retried(os.mkdir, self._path(name), 0o700, dir_fd=self.descriptor)

    def rmdir(self, name: str) -> None:
        """Remove a folder in it, which is empty."""
        retried(os.rmdir, self._path(name), dir_fd=self.descriptor)

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
        there = self.descriptor
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
