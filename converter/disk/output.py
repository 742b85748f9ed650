"""A file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import BufferedWriter, FileIO
from types import TracebackType
from typing import Any, BinaryIO

from converter.disk.folder import Folder, retried
from converter.disk.leftovers import (
    lock_to_read,
    lock_to_write,
    remove_leftovers,
    temporary_name,
)
from converter.disk.refusals import NO_FSYNC, explained, refuse, taken
from converter.disk.stopping import PLACED, UNDISCARDED, uninterrupted
from converter.errors import ConversionError
from converter.progress import LOGGER, Progress, silent
from ggcp_schema import FormatError, Source, printable
from ggcp_schema.language.errors import reason

try:
    import fcntl
except ImportError:  # only where there are no POSIX locks
    fcntl = None  # type: ignore[assignment]

_MOST_TRIES = 16  # how many new files somebody may lock or remove at once


class _Counted(FileIO):
    """An unbuffered file that tells how much was written."""

    count: Callable[[int], object]

    def write(self, data: Any) -> int:
        written = super().write(data)
        self.count(written)
        return written


class Output:
    """A new file beside its final place, which takes that place when everything went well.

    In a ``with`` statement: the block writes to ``descriptor`` or ``file()``, then calls
    ``commit``. Left without that, or by an exception, nothing remains. The file is created once
    and never opened again by its name, which somebody else may give to another file.

    Args:
        path: the final name.
        force: whether a file of that name may be replaced. A symbolic link is replaced itself, not
            the file it leads to.
        inputs: files that must never be written to, by whatever name: their names, or them, open.
        sync: whether the data are on the disk before the name is.

    Raises:
        ConversionError: the name is taken, is one of the inputs, or cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        inputs: tuple[str | os.PathLike[str] | Source, ...] = (),
        sync: bool = True,
    ) -> None:
        self.path = os.fspath(path)
        self.descriptor = -1
        self._force = force
        self._sync = sync
        folder, self._name = os.path.split(self.path)
        self._folder = Folder(folder)
        self._temporary = ""
        self._inputs: list[os.stat_result] = []
        for each in inputs:
            with contextlib.suppress(OSError, ValueError):  # one that is not there, or in memory
                if isinstance(each, Source):
                    self._inputs.append(os.fstat(each.fileno()))
                    lock_to_read(each)
                else:
                    self._inputs.append(os.stat(each))  # noqa: PTH116 - names stay as given
        self._refuse()

    def _refuse(self) -> None:
        refuse(self.path, force=self._force, is_input=self._is_input)

    def _is_input(self, status: os.stat_result) -> bool:
        return any(os.path.samestat(status, other) for other in self._inputs)

    def writing(self) -> AbstractContextManager[None]:
        """Explain whatever the system says against writing; also full disks."""
        return explained(self.path)

    def __enter__(self) -> Output:
        try:
            with explained(self.path):
                self._folder.hold()
                remove_leftovers(self._folder, self._is_input)
                with uninterrupted():
                    self._create()
        except BaseException:
            self._discard()
            raise
        return self

    def _create(self) -> None:
        """Create the file, for nobody else to open before it has its name."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        UNDISCARDED.append(self._discard)
        for _ in range(_MOST_TRIES):
            name = temporary_name()
            self.descriptor = self._folder.open(name, flags, 0o600)
            self._temporary = name
            if lock_to_write(self.descriptor):
                return
            self._close()
            self._unlink()
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def file(self, count: Callable[[int], object] = lambda _: None) -> BufferedWriter:
        """Return a buffered file over the descriptor, which stays open when that is closed.

        Args:
            count: called with the number of bytes after each write.
        """
        raw = _Counted(self.descriptor, "wb", closefd=False)
        raw.name = self.path  # which errors then name
        raw.count = count
        return BufferedWriter(raw)

    def source(self) -> Source:
        """Return what has been written, to read it back through a descriptor of the same file.

        It must be closed before ``commit``: Windows gives no other name to a file that is open.
        """
        length = os.fstat(self.descriptor).st_size
        os.lseek(self.descriptor, 0, os.SEEK_SET)  # a duplicate is where this one is
        return Source(FileIO(os.dup(self.descriptor)), self.path, length)

    def commit(self, progress: Progress = silent) -> None:
        """Bring the data to the disk and give the file its name.

        Args:
            progress: shows that the disk is waited for.

        Raises:
            ConversionError: the disk refuses, or somebody took or changed the name, the temporary
                file or the folder in the meantime.
        """
        if self._sync:
            with explained(self.path, NO_FSYNC), progress("Waiting for the disk", 0):
                _sync(self.descriptor)
        if not self._folder.has_its_name():
            raise ConversionError(
                self.path,
                expected="the folder that was there when writing began",
                found="another folder of that name, or none",
                hint="the folder was renamed or removed meanwhile; nothing was kept, try again",
            )
        self._refuse()  # what stands there now may be the input, which somebody moved
        with explained(self.path):
            replaced = self._folder.status(self._name)
            link = self._folder.target(self._name)
            with uninterrupted():
                self._require_own(self._temporary)
                self._set_mode(replaced)
                if self._force:
                    self._move(self._folder.replace)
                else:
                    self._move_to_free_name()
                PLACED.append(self.path)
        if link is not None:
            LOGGER.warning(
                "%s was a symbolic link to %s; the link was replaced, not what it led to",
                printable(self.path),
                printable(link),
            )
        if self._sync:
            self._sync_folder()

    def _require_own(self, name: str) -> None:
        """Make sure that a name is that of the file which was written, not one put in its place."""
        if self.descriptor < 0:  # closed to be moved
            return
        status = self._folder.status(name)
        if status is None or not os.path.samestat(status, os.fstat(self.descriptor)):
            raise ConversionError(
                self.path,
                expected="the file that was written",
                found="another file in its place, or none",
                hint="somebody else changes files in that folder; write to a folder of your own",
            )

    def _set_mode(self, replaced: os.stat_result | None) -> None:
        """Give the file the mode of the one that it replaces, or else that of any new file."""
        if not hasattr(os, "fchmod"):  # Windows
            return
        umask = os.umask(0o077)  # there is no other way to read it
        os.umask(umask)
        mode = 0o666 & ~umask
        if replaced is not None and stat.S_ISREG(replaced.st_mode):
            # No more than a new file if another user owned it, and never set-user-id.
            own = replaced.st_uid == os.fstat(self.descriptor).st_uid
            mode = replaced.st_mode & (0o777 if own else mode)
        with contextlib.suppress(OSError):  # a disk without modes
            os.fchmod(self.descriptor, mode)

    def _move(self, move: Callable[[str, str], None]) -> None:
        try:
            move(self._temporary, self._name)
        except PermissionError:  # as Windows says of a file that is open
            self._close()
            move(self._temporary, self._name)
        self._temporary = ""

    def _move_to_free_name(self) -> None:
        try:
            try:
                self._folder.link(self._temporary, self._name)  # refuses a name that is taken
            except FileExistsError:
                raise
            except OSError:  # a disk without hard links; on Windows a rename refuses as well
                if self._folder.status(self._name) is not None:
                    raise FileExistsError from None
                self._move(self._folder.rename)
            else:
                self._unlink()
        except FileExistsError:
            raise taken(self.path) from None

    def _sync_folder(self) -> None:
        try:
            self._folder.sync()
        except OSError as error:
            if self._force:  # what was replaced cannot be had back
                raise ConversionError(
                    self.path,
                    expected="a disk that keeps the name of the file",
                    found=reason(error),
                    hint="the new file is there, whole, but a power cut may lose it; write to "
                    "another disk",
                ) from error
            with explained(self.path):
                with uninterrupted():
                    self._require_own(self._name)
                    self._folder.unlink(self._name)
                    PLACED.remove(self.path)
                raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._discard()

    def _discard(self) -> None:
        with uninterrupted():
            self._close()
            self._unlink()
            self._folder.release()
            if self._temporary:
                left = printable(self._folder.path_of(self._temporary))
                LOGGER.warning("%s could not be removed; remove it", left)
            elif self._discard in UNDISCARDED:
                UNDISCARDED.remove(self._discard)

    def _close(self) -> None:
        if self.descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self.descriptor)
            self.descriptor = -1

    def _unlink(self) -> None:
        """Remove the temporary name; it stays if that fails, as on Windows while it is open."""
        if self._temporary:
            with contextlib.suppress(OSError):
                with contextlib.suppress(FileNotFoundError):
                    self._folder.unlink(self._temporary)
                self._temporary = ""


def write_whole(
    path: str | os.PathLike[str],
    fill: Callable[[BinaryIO], object],
    *,
    force: bool = False,
    inputs: tuple[str | os.PathLike[str] | Source, ...] = (),
    sync: bool = True,
    progress: Progress = silent,
) -> int:
    """Write a file that appears whole or not at all, and return its length in bytes.

    Args:
        path: name of the file.
        fill: writes the content.
        force: whether a file of that name may be replaced.
        inputs: files that must never be written to.
        sync: whether the data are on the disk before the name is.
        progress: shows how much was written, and that the disk is waited for.

    Raises:
        ConversionError: the name is taken, is one of the inputs, or cannot be written.
    """
    with Output(path, force=force, inputs=inputs, sync=sync) as output:
        with (
            output.writing(),
            progress("Writing", 0) as count,
            output.file(count) as file,
        ):
            try:
                fill(file)
            except FormatError as error:
                if isinstance(error.__cause__, OSError):  # the disk's, who builds knows no files
                    raise error.__cause__ from error
                raise
            length = file.tell()
        output.commit(progress)
    return length


def _sync(descriptor: int) -> None:
    """Wait until the data are on the disk."""
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS, whose fsync does not wait for the disk itself
        try:
            retried(fcntl.fcntl, descriptor, fcntl.F_FULLFSYNC)
        except OSError:  # a disk that does not know it
            pass
        else:
            return
    retried(os.fsync, descriptor)
