"""A file that this program created, written through nothing but its descriptor."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from io import BufferedWriter, FileIO
from typing import Any

from converter.disk.folder import Folder, retried
from converter.disk.identity import Digest
from converter.disk.refusals import NO_FSYNC, explained
from converter.errors import ConversionError
from converter.threads import Behind
from ggcp_schema import Source

try:
    import fcntl
except ImportError:  # only where there are no POSIX locks
    fcntl = None  # type: ignore[assignment]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
"""How a file is opened: it is new, and no link is followed."""


def write_at(target: int, data: bytes | memoryview, offset: int) -> int:
    """Write all of ``data`` at ``offset`` of a file, however many calls that takes."""
    view = memoryview(data)
    written = 0
    while written < len(view):
        if hasattr(os, "pwrite"):
            written += retried(os.pwrite, target, view[written:], offset + written)
        else:  # Windows
            os.lseek(target, offset + written, os.SEEK_SET)
            written += retried(os.write, target, view[written:])
    return written


class _Counted(BufferedWriter):
    """A buffered file that tells how much was written."""

    def __init__(self, raw: FileIO, count: Callable[[int], object]) -> None:
        super().__init__(raw)
        self._count = count

    def write(self, data: Any) -> int:
        written = super().write(data)
        self._count(written)
        return written


class NewFile:
    """A file that was created and is open.

    It is never opened again by its name, which somebody else may give to another file.

    Attributes:
        path: its name, or the one that it will have, for messages.
        descriptor: the open file; -1 before and after.

    Args:
        path: its name.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor = -1
        self._created: os.stat_result | None = None

    def create(self, folder: Folder, name: str) -> None:
        """Create it in a folder, for its owner alone to open.

        Raises:
            OSError: the system refuses, also because the name is taken.
        """
        self.descriptor = folder.open(name, CREATE, 0o600)
        self._created = os.fstat(self.descriptor)

    def writing(self) -> AbstractContextManager[None]:
        """Explain whatever the system says against writing; also full disks."""
        return explained(self.path)

    def file(self, count: Callable[[int], object] = lambda _: None) -> BufferedWriter:
        """Return a buffered file over the descriptor, which stays open when that is closed.

        Args:
            count: called with the number of bytes after each write.
        """
        raw = FileIO(self.descriptor, "wb", closefd=False)
        raw.name = self.path  # which errors then name
        return _Counted(raw, count)

    def source(self) -> Source:
        """Return what has been written, to read it back through a descriptor of the same file.

        It must be closed before the file gets its name: Windows gives no other to one that is open.
        """
        length = os.fstat(self.descriptor).st_size
        os.lseek(self.descriptor, 0, os.SEEK_SET)  # a duplicate is where this one is
        return Source(FileIO(os.dup(self.descriptor)), self.path, length)

    def reserve(self, size: int) -> None:
        """Reserve all of its bytes, so that a full disk is noticed before anything is copied.

        Raises:
            OSError: there is no room.
        """
        try:
            retried(os.posix_fallocate, self.descriptor, 0, size)
        except (OSError, AttributeError) as error:
            if getattr(error, "errno", None) in _FULL:
                raise
            retried(os.ftruncate, self.descriptor, size)  # a disk or system that cannot reserve

    def sync(self) -> None:
        """Wait until the data are on the disk.

        Raises:
            ConversionError: the disk fails, or does not do that.
        """
        with explained(self.path, NO_FSYNC):
            if hasattr(fcntl, "F_FULLFSYNC"):  # macOS, whose fsync does not wait for the disk
                try:
                    retried(fcntl.fcntl, self.descriptor, fcntl.F_FULLFSYNC)
                except OSError:  # a disk that does not know it
                    pass
                else:
                    return
            retried(os.fsync, self.descriptor)

    def require_own(self, folder: Folder, name: str) -> None:
        """Make sure that a name is that of this file, not of one put in its place.

        Raises:
            ConversionError: it is another's, or nobody's.
        """
        status = folder.status(name)
        if self._created is None or status is None or not os.path.samestat(status, self._created):
            raise ConversionError(
                self.path,
                expected="the file that was written",
                found="another file in its place, or none",
                hint="somebody else changes files in that folder; write to a folder of your own",
            )

    def set_mode(self, replaced: os.stat_result | None) -> None:
        """Give it the mode of the file that it replaces, or else that of any new file."""
        if replaced is not None and not stat.S_ISREG(replaced.st_mode):
            replaced = None
        set_mode(self.descriptor, 0o666, replaced)

    def close(self) -> None:
        """Close it, if it is open."""
        if self.descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self.descriptor)
            self.descriptor = -1


class HashedFile(NewFile):
    """A new file that is written in one go, from its first byte to its last, and hashed meanwhile.

    Who makes the blocks, the hash and the disk each work in a thread of their own.

    Attributes:
        size: bytes of it.

    Args:
        path: its name.
        size: bytes of it.
    """

    def __init__(self, path: str, size: int) -> None:
        super().__init__(path)
        self.size = size
        self._sha256: str | None = None
        self._written = 0
        self._using = threading.Lock()

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was written, in hexadecimal digits.

        Raises:
            RuntimeError: it was not written; that is a defect.
        """
        if self._sha256 is None:
            raise RuntimeError(f"{self.path}: not written")
        return self._sha256

    def write(
        self, blocks: Iterable[bytes], progress: Callable[[int], object] = lambda _: None
    ) -> None:
        """Write all of it.

        Args:
            blocks: its bytes, in order.
            progress: called with the number of bytes after each block.

        Raises:
            ConversionError: it cannot be written.
            RuntimeError: the blocks are not as many bytes as was said; that is a defect.
        """
        with Digest() as digest, Behind(self._append) as writing:
            for block in blocks:
                digest.give(block)
                with self.writing():
                    writing.give(block)
                progress(len(block))
            with self.writing():
                writing.wait()
            if self._written != self.size:
                raise RuntimeError(f"{self.path}: {self._written} bytes, not {self.size}")
            self._sha256 = digest.hexdigest()

    def _append(self, block: bytes) -> None:
        with self._using:
            if self.descriptor >= 0:
                self._written += write_at(self.descriptor, block, self._written)

    def close(self) -> None:
        """Close it, once no thread is writing to it: its number may be another file's by then."""
        with self._using:
            super().close()


def set_mode(descriptor: int, new: int, replaced: os.stat_result | None) -> None:
    """Give what is open the mode of what it replaces, or else that of anything new.

    Args:
        descriptor: a file or folder.
        new: what the umask is taken from.
        replaced: what it replaces; None for nothing.
    """
    if not hasattr(os, "fchmod"):  # Windows
        return
    umask = os.umask(0o077)  # there is no other way to read it
    os.umask(umask)
    mode = new & ~umask
    own = os.fstat(descriptor)
    if replaced is not None:
        # No more than something new if another user owned it, and never set-user-id.
        mode = replaced.st_mode & (0o777 if replaced.st_uid == own.st_uid else mode)
    with contextlib.suppress(OSError):  # a disk without modes
        os.fchmod(descriptor, mode | (own.st_mode & stat.S_ISGID))
