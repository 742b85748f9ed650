"""Takes from Python what another system does not have, and adds its rules for open files.

Python imports this module by itself if its folder is on PYTHONPATH; SIM says which system: win or
mac. Files behave there as follows (MoveFileEx, DeleteFile, _wopen; sendfile(2) of macOS).
"""

# It stands in for functions of os.
# ruff: noqa: PTH110, PTH112, PTH116, PTH118, PTH208

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
import tempfile
from typing import Any

NOT_ON_WINDOWS = {
    os: "pread pwrite preadv pwritev posix_fallocate posix_fadvise sendfile copy_file_range fchmod"
    " fchown O_NONBLOCK O_NOFOLLOW O_DIRECTORY O_CLOEXEC O_SYNC O_PATH memfd_create geteuid getuid"
    " statvfs mkfifo lchown splice eventfd sched_getaffinity fdatasync fork posix_spawn fpathconf",
    signal: "SIGHUP SIGKILL SIGUSR1 SIGQUIT SIGPIPE SIGALRM SIGXFSZ SIG_BLOCK pthread_sigmask"
    " sigwait alarm setitimer",
}
NOT_ON_MACOS = {
    os: "posix_fallocate posix_fadvise copy_file_range memfd_create splice eventfd O_PATH"
    " sched_getaffinity",
}


def take(names: dict[Any, str]) -> None:
    for module, some in names.items():
        for name in some.split():
            if hasattr(module, name):
                delattr(module, name)


def as_windows() -> None:
    """An open file cannot be deleted, renamed or replaced, nor its folder; no folder is opened."""
    take(NOT_ON_WINDOWS)
    for name in ("fcntl", "resource", "pwd", "grp"):
        sys.modules[name] = None  # type: ignore[assignment]
    scratch = tempfile.gettempdir() + "/tmp"  # those of tempfile are closed as they are deleted
    good = {name: getattr(os, name) for name in ("unlink", "rename", "replace", "open")}

    def require_closed(path: Any) -> None:
        if os.fspath(path).startswith(scratch) or not os.path.exists(path):
            return
        if os.path.isdir(path):
            for name in os.listdir(path):
                require_closed(os.path.join(path, name))
            return
        status = os.stat(path)
        for descriptor in os.listdir("/proc/self/fd"):
            try:
                opened = os.path.samestat(os.fstat(int(descriptor)), status)
            except OSError:  # that of the folder itself
                continue
            if opened:
                raise PermissionError(errno.EACCES, "The process cannot access the file", path)

    def unlink(path: Any, **named: Any) -> None:
        require_closed(path)
        good["unlink"](path, **named)

    def replace(path: Any, new: Any, **named: Any) -> None:
        require_closed(path)
        require_closed(new)
        good["replace"](path, new, **named)

    def rename(path: Any, new: Any, **named: Any) -> None:
        if os.path.exists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
        require_closed(path)
        good["rename"](path, new, **named)

    def open_(path: Any, flags: int, mode: int = 0o777, **named: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        descriptor: int = good["open"](path, flags, mode, **named)
        return descriptor

    os.unlink = os.remove = unlink
    os.replace, os.rename, os.open = replace, rename, open_


def as_macos() -> None:
    """Only to a socket can sendfile send."""
    take(NOT_ON_MACOS)
    good = os.sendfile

    def sendfile(out: int, source: int, offset: int, count: int) -> int:
        if not stat.S_ISSOCK(os.fstat(out).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
        return good(out, source, offset, count)

    os.sendfile = sendfile  # type: ignore[assignment]


if os.environ.get("SIM") == "win":
    as_windows()
elif os.environ.get("SIM") == "mac":
    as_macos()
