"""A file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from converter.errors import ConversionError

try:
    import fcntl
except ImportError:  # pragma: no cover - only where there are no POSIX locks
    fcntl = None  # type: ignore[assignment]

UNFINISHED = ".ggcp-unfinished-"
"""How the names of temporary files begin. One is left behind only by a killed process."""

_STOPPING = {
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
}
_HINTS = {
    errno.ENOSPC: "make room on the disk, or write to another one",
    errno.EDQUOT: "your share of the disk is used up; make room, or write to another disk",
    errno.EFBIG: "this disk or shell allows no file of this size; write to another disk",
    errno.EIO: "the disk cannot write; write to another one",
    errno.ENOENT: "make the folder first, or check its name",
    errno.ENOTDIR: "a part of the name is a file, not a folder; check the name",
    errno.EACCES: "ask for permission to write there, or write to a folder of your own",
    errno.EPERM: "ask for permission to write there, or write to a folder of your own",
    errno.EROFS: "the disk is read-only; write to another one",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EISDIR: "give the name of a file in that folder",
    errno.ELOOP: "the symbolic links lead in a circle; give another name",
}

T = TypeVar("T")


def retried(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function of ``os`` again when a signal interrupted it."""
    while True:
        try:
            return function(*arguments)
        except InterruptedError:
            continue


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off the signals that end a program, so that none falls between two steps.

    A signal mask would not do it: NumPy has threads, which take a signal that the main thread
    blocks, and Python then handles it in the main thread all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals nowhere but in the main thread
        return
    came: list[int] = []
    before: dict[int, Any] = {}
    try:
        for number in _STOPPING:
            handler = signal.getsignal(number)
            if handler not in (None, signal.SIG_IGN):
                before[number] = handler
                signal.signal(number, lambda number, _frame: came.append(number))
        yield
    finally:
        while before:
            signal.signal(*before.popitem())
        for number in came:
            signal.raise_signal(number)


class Output:
    """A new file beside its final place, which takes that place when everything went well.

    In a ``with`` statement: the block writes to ``descriptor`` (or to ``temporary``, by name), then
    calls ``commit``. Left without that, or by an exception, nothing remains.

    Args:
        path: the final name.
        force: whether a file of that name may be replaced. A symbolic link is replaced itself, not
            the file it leads to.
        inputs: files that must never be written to, by whatever name.
        sync: whether the data are on the disk before the name is.

    Raises:
        ConversionError: the name is taken, is one of the inputs, or cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        inputs: tuple[str | os.PathLike[str], ...] = (),
        sync: bool = True,
    ) -> None:
        self.path = os.fspath(path)
        self.descriptor = -1
        self.temporary = ""
        self._force = force
        self._sync = sync
        self._folder = os.path.dirname(self.path) or os.curdir  # noqa: PTH120 - names stay as given
        self._inputs: list[os.stat_result] = []
        for name in inputs:
            with contextlib.suppress(OSError):
                self._inputs.append(os.stat(name))  # noqa: PTH116 - likewise
        self._refuse()

    def _refuse(self) -> None:
        if self.path == "-":
            raise ConversionError(
                self.path,
                expected="the name of a file",
                found="«-», which stands for standard output elsewhere",
                hint="standard output is not supported; for a file of this name give ./-",
            )
        with self._explained():
            try:
                status = os.stat(self.path)  # noqa: PTH116 - likewise
            except FileNotFoundError:
                status = None
            except ValueError as error:  # a NUL in the name
                raise OSError(errno.EINVAL, str(error)) from error
            if status is not None:
                self._refuse_what_stands_there(status)
            if os.path.lexists(self.path) and not self._force:
                raise self._taken()

    def _refuse_what_stands_there(self, status: os.stat_result) -> None:
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if any(os.path.samestat(status, other) for other in self._inputs):
            raise ConversionError(
                self.path,
                expected="an output that is not the input",
                found="the input itself",
                hint="give another name; the input is never written to",
            )
        if not stat.S_ISREG(status.st_mode):  # --force would replace /dev/null by a file
            raise ConversionError(
                self.path,
                expected="the name of a file",
                found="a device, a pipe or a socket",
                hint="give the name of a file; standard output is not supported",
            )

    def _taken(self) -> ConversionError:
        return ConversionError(
            self.path,
            expected="a name that is free",
            found="a file of that name",
            hint="give another name, or --force to replace it",
        )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the system says into the project's error."""
        try:
            yield
        except OSError as error:
            raise ConversionError(
                self.path,
                expected="a file that can be written",
                found=f"«{error.strerror or error}»",
                hint=_HINTS.get(error.errno or 0, "write to another folder or disk"),
            ) from error

    def __enter__(self) -> Output:
        try:
            with self._explained():
                self._remove_leftovers()
                with _uninterrupted():
                    self._create()
        except BaseException:
            self._discard()
            raise
        return self

    def _create(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        while self.descriptor < 0:
            name = UNFINISHED + secrets.token_hex(8)
            temporary = os.path.join(self._folder, name)  # noqa: PTH118 - names stay as given
            descriptor = retried(os.open, temporary, flags, 0o666)
            self.descriptor, self.temporary = descriptor, temporary
            if _lock(descriptor) and not os.fstat(descriptor).st_nlink:
                # Another run took it for a leftover before it was locked.
                os.close(descriptor)
                self.descriptor = -1

    def _remove_leftovers(self) -> None:
        """Remove what killed runs left in the folder: nobody holds the lock on it any more."""
        if fcntl is None:  # pragma: no cover - only where there are no POSIX locks
            return
        for path in Path(self._folder).glob(f"{UNFINISHED}*"):
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    status = os.fstat(descriptor)
                    if any(os.path.samestat(status, other) for other in self._inputs):
                        continue  # what a killed run left can be given as the input
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(descriptor)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Explain whatever the system says against writing; also full disks."""
        with self._explained():
            yield

    def commit(self) -> None:
        """Bring the data to the disk and give the file its name.

        Raises:
            ConversionError: the disk refuses, or somebody took the name in the meantime.
        """
        with self._explained():
            if self._sync:
                retried(os.fsync, self.descriptor)
            with _uninterrupted():
                if self._force:
                    retried(os.replace, self.temporary, self.path)
                    self.temporary = ""
                else:
                    self._rename_to_free_name()
            if self._sync:
                try:
                    self._sync_folder()
                except OSError:
                    if not self._force:  # what was replaced cannot be had back: keep the new file
                        os.unlink(self.path)  # noqa: PTH108 - names stay as given
                    raise

    def _rename_to_free_name(self) -> None:
        try:
            retried(os.link, self.temporary, self.path)  # refuses a taken name, unlike a rename
        except FileExistsError:
            raise self._taken() from None
        except OSError:  # a disk without hard links
            if os.path.lexists(self.path):
                raise self._taken() from None
            retried(os.rename, self.temporary, self.path)
            self.temporary = ""

    def _sync_folder(self) -> None:
        try:
            folder = os.open(self._folder, os.O_RDONLY)
        except OSError:  # the file is there; some systems do not open folders
            return
        try:
            retried(os.fsync, folder)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(folder)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._discard()

    def _discard(self) -> None:
        with _uninterrupted():
            if self.temporary:
                with contextlib.suppress(OSError):
                    os.unlink(self.temporary)  # noqa: PTH108 - names stay as given
                self.temporary = ""
            if self.descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.close(self.descriptor)
                self.descriptor = -1


def write_whole(
    path: str | os.PathLike[str],
    fill: Callable[[BinaryIO], object],
    *,
    force: bool = False,
    inputs: tuple[str | os.PathLike[str], ...] = (),
    sync: bool = True,
) -> int:
    """Write a file that appears whole or not at all, and return its length in bytes.

    Args:
        path: name of the file.
        fill: writes the content.
        force: whether a file of that name may be replaced.
        inputs: files that must never be written to.
        sync: whether the data are on the disk before the name is.

    Raises:
        ConversionError: the name is taken, is one of the inputs, or cannot be written.
    """
    with Output(path, force=force, inputs=inputs, sync=sync) as output:
        with output.writing(), open(output.descriptor, "wb", closefd=False) as file:
            fill(file)
            length = file.tell()
        output.commit()
    return length


def _lock(descriptor: int) -> bool:
    """Hold a lock for as long as the file is open; whether this system has such locks."""
    if fcntl is None:  # pragma: no cover - only where there are no POSIX locks
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a disk without locks
        return False
    return True
