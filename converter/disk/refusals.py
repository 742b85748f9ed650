"""What stands against writing to a name, and how the user is told."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from converter.errors import ConversionError
from ggcp_schema.language.errors import reason

_DESCRIPTORS = re.compile("/proc/.*/fd|/dev/fd")
"""Folders in which the system shows what a process has open."""

_MOST_LINKS = 40  # as many as Linux follows
_WORDS = {
    errno.ENOSPC: ("the disk is full", "make room on it, or write to another one"),
    errno.EDQUOT: ("your share of the disk is used up", "make room, or write to another disk"),
    errno.EFBIG: ("this disk or shell allows no file of this size", "write to another disk"),
    errno.ENOENT: ("no such folder", "make it first, or check its name"),
    errno.ENOTDIR: ("a part of the name is a file, not a folder", "check the name"),
    errno.EACCES: ("no permission to write there", "ask for it, or write to a folder of your own"),
    errno.EPERM: ("no permission to write there", "ask for it, or write to a folder of your own"),
    errno.EROFS: ("the disk is read-only", "write to another one"),
    errno.ENAMETOOLONG: ("the name is too long", "give a shorter one"),
    errno.EISDIR: ("this is a folder", "give the name of a file in it"),
    errno.ELOOP: ("the symbolic links lead in a circle", "give another name"),
    errno.EMFILE: ("too many files are open", "allow more, with ulimit -n"),
    errno.ENFILE: ("the system has no room for more open files", "close other programs"),
    errno.EAGAIN: ("another program locks every new file there", "write to a folder of your own"),
}
"""What some of the system's errors mean where a file is written, and what to do."""

NO_FSYNC = dict.fromkeys(
    (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS),
    "this disk cannot be waited for; give --no-fsync, or write to another one",
)
"""Hints for a disk that does not bring a file's data to itself when it is asked."""


@contextlib.contextmanager
def explained(path: str, hints: Mapping[int, str] = MappingProxyType({})) -> Iterator[None]:
    """Turn what the system says against writing into the project's error.

    Args:
        path: the name of the output.
        hints: what to do about some of the system's errors, where it is not the usual.
    """
    try:
        yield
    except OSError as error:
        number = error.errno or 0
        found, hint = f"cannot be written: {reason(error)}", "write to another folder or disk"
        if number in hints:
            hint = hints[number]
        else:
            found, hint = _WORDS.get(number, (found, hint))
        raise ConversionError(path, expected="", found=found, hint=hint) from error


def taken(path: str) -> ConversionError:
    """Return the error for a name that a file has already."""
    return ConversionError(
        path,
        expected="a name that is free",
        found="a file of that name",
        hint="give another name, or --force to replace it",
    )


def refuse(path: str, *, force: bool, is_input: Callable[[os.stat_result], bool]) -> None:
    """Refuse a name to which nothing may be written.

    Args:
        path: the name.
        force: whether a file of that name may be replaced.
        is_input: tells a file that must never be written to.

    Raises:
        ConversionError: it is that of a folder, an input, a device, a descriptor, or is taken.
    """
    _refuse_standard_output(path, "a file")
    with explained(path):
        status = _status(path, follow_symlinks=True)
        if _leads_to_a_descriptor(path):
            raise _no_file(path, "an open file of a program, such as standard output")
        if status is not None:
            _refuse_what_stands_there(path, status, is_input)
        if os.path.lexists(path) and not force:
            raise taken(path)


def refuse_folder(path: str, *, force: bool) -> None:
    """Refuse a name that no new folder can get.

    Args:
        path: the name.
        force: whether a folder of that name may be replaced.

    Raises:
        ConversionError: it is no name of a folder's own, or is taken.
    """
    _refuse_standard_output(path, "a folder")
    if os.path.basename(path) in ("", os.curdir, os.pardir):  # noqa: PTH119 - names stay as given
        raise ConversionError(
            path,
            expected="the name of a new folder",
            found="one that always stands for a folder that is there",
            hint="give the name that the folder shall have",
        )
    with explained(path):
        status = _status(path, follow_symlinks=False)
    if status is None:
        return
    hint = "give another name"
    if stat.S_ISDIR(status.st_mode):
        found = "a folder of that name"
        hint += ", or --force to replace it if it holds what ggcp wrote, unchanged"
        if force:
            return
    elif stat.S_ISLNK(status.st_mode):
        found = "a symbolic link of that name"
        hint += "; links are neither followed nor replaced by a folder"
    elif stat.S_ISREG(status.st_mode):
        found = "a file of that name"
        hint += "; no folder replaces a file"
    else:
        found = "a device, a pipe or a socket of that name"
    raise ConversionError(path, expected="a name that is free", found=found, hint=hint)


def _refuse_standard_output(path: str, kind: str) -> None:
    if path == "-":
        raise ConversionError(
            path,
            expected=f"the name of {kind}",
            found="'-', which stands for standard output elsewhere",
            hint=f"standard output is not supported; for {kind} of this name give ./-",
        )


def _status(path: str, *, follow_symlinks: bool) -> os.stat_result | None:
    """Return what a name stands for; None if nothing."""
    try:
        return os.stat(path, follow_symlinks=follow_symlinks)  # noqa: PTH116 - names stay as given
    except FileNotFoundError:
        return None
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error)) from error


def _refuse_what_stands_there(
    path: str, status: os.stat_result, is_input: Callable[[os.stat_result], bool]
) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if is_input(status):
        raise ConversionError(
            path,
            expected="an output that is not the input",
            found="the input itself",
            hint="give another name; the input is never written to",
        )
    if not stat.S_ISREG(status.st_mode):  # --force would replace /dev/null by a file
        raise _no_file(path, "a device, a pipe or a socket")


def _no_file(path: str, found: str) -> ConversionError:
    return ConversionError(
        path,
        expected="the name of a file",
        found=found,
        hint="give the name of a file; standard output is not supported",
    )


def _leads_to_a_descriptor(path: str) -> bool:
    """Tell whether a name, or a symbolic link that it leads to, is an open file of a process.

    Links there are no names: they lead to pipes, to terminals and to files that others write.
    """
    for _ in range(_MOST_LINKS):
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder)
        if _DESCRIPTORS.fullmatch(folder):
            return True
        try:
            path = os.path.join(folder, os.readlink(os.path.join(folder, name)))  # noqa: PTH115, PTH118
        except OSError:  # no link
            return False
    return False
