"""What systems and disks say of folders, and what is let go of when one was written or refused."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults import acting_first
from folders import FILES, OTHERS, content, refused, tree, whole, write

from converter.disk.checking import check_folder
from ggcp_schema import FormatError

DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def out(folder: Path) -> Path:
    return folder / "out"


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(getattr(errno, name), id=name)
        for name in ("EINVAL", "ENOTSUP", "ENOSYS", "EBADF", "EACCES", "EPERM", "EISDIR")
    ],
)
def test_a_disk_that_does_not_synchronise_folders(
    number: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are: those are waited for."""
    synced = []

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    write(out)
    assert content(out) == whole()
    assert synced == [(out / name).stat().st_ino for name in (*FILES, "ggcp.json")]


class TestUnreadable:
    """A folder that may be written to and not read (mode 0300), as its owner finds it."""

    @pytest.fixture(autouse=True)
    def _unreadable(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        good, inode = os.open, folder.stat().st_ino

        def opened(path: Any, flags: int, *mode: int, dir_fd: int | None = None) -> int:
            descriptor = good(path, flags, *mode, dir_fd=dir_fd)
            if os.fstat(descriptor).st_ino == inode and not flags & self.allowed:
                os.close(descriptor)
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return descriptor

        self.allowed = getattr(os, "O_PATH", 0)
        monkeypatch.setattr(os, "open", opened)

    def test_it_is_written_to(self, out: Path) -> None:
        write(out)
        assert content(out) == whole()
        write(out, OTHERS, force=True)
        assert content(out) == whole(OTHERS)

    def test_also_on_systems_that_open_only_what_can_be_read(self, out: Path) -> None:
        self.allowed = 0
        write(out)
        assert content(out) == whole()

    @pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="Linux opens what it may not read")
    def test_it_is_held(self, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def exchange() -> None:
            folder.rename(folder.with_name("renamed"))
            folder.mkdir()

        monkeypatch.setattr(os, "fsync", acting_first(exchange, os.fsync))
        assert refused(out).startswith(
            "expected the folder that was there when writing began, found another folder of that "
            "name, or none; "
        )
        assert list(folder.iterdir()) == []
        assert list(folder.with_name("renamed").iterdir()) == []


@pytest.mark.parametrize("force", [False, True])
def test_a_disk_that_does_not_say_what_has_a_name(
    force: bool, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is not a name that is free."""
    write(out)
    before = tree(folder)
    good = os.stat

    def status(path: Any, **named: Any) -> os.stat_result:
        if path == "out":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return good(path, **named)

    def act() -> None:
        monkeypatch.setattr(os, "stat", status)

    out.rename(folder / "aside")
    monkeypatch.setattr(os, "fsync", acting_first(act, os.fsync))
    said = refused(out, force=force, files=OTHERS)
    monkeypatch.setattr(os, "stat", good)
    assert said == "cannot be written: 'Input/output error'; write to another folder or disk"
    (folder / "aside").rename(out)
    assert tree(folder) == before


def _written(out: Path) -> None:
    write(out)


def _replaced(out: Path) -> None:
    write(out)
    write(out, OTHERS, force=True)


def _not_replaced(out: Path) -> None:
    write(out)
    (out / "new").touch()
    refused(out, force=True)


def _checked(out: Path) -> None:
    write(out)
    check_folder(out)


def _found_changed(out: Path) -> None:
    write(out)
    (out / "config.json").unlink()
    (out / "config.json").mkdir()
    with pytest.raises(FormatError):
        check_folder(out)


def _no_manifest(out: Path) -> None:
    (out / "ggcp.json").mkdir(parents=True)
    with pytest.raises(FormatError):
        check_folder(out)


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="counts descriptors as Linux lists them")
@pytest.mark.parametrize(
    "act", [_written, _replaced, _not_replaced, _checked, _found_changed, _no_manifest]
)
def test_everything_is_let_go_of(act: Callable[[Path], None], out: Path) -> None:
    before = sorted(os.listdir(DESCRIPTORS))  # noqa: PTH208 - names alone
    act(out)
    assert sorted(os.listdir(DESCRIPTORS)) == before  # noqa: PTH208
