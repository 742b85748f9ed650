"""What systems and disks say of folders, and what is let go of when one was written or refused."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults import acting_first, failing
from folders import FILES, OTHERS, content, refused, tree, unfinished, whole, write

from converter.disk.checking import check_folder
from converter.disk.folder_output import FolderOutput
from converter.disk.leftovers import ASIDE, UNFINISHED
from converter.disk.stopping import PLACED
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


def _given_up(out: Path) -> None:
    with FolderOutput(out) as output:
        output.file("a", 3)


def _put_back(out: Path) -> None:
    write(out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", _failing_once(os.rename, lambda: None))
        refused(out, force=True)
    assert content(out) == whole()


def _failing_once(good: Callable[..., None], action: Callable[[], object]) -> Callable[..., None]:
    """A rename that fails where the new folder is to get its name, the second time."""
    calls = 0

    def rename(name: str, new: str, **named: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            action()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        good(name, new, **named)

    return rename


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="counts descriptors as Linux lists them")
@pytest.mark.parametrize(
    "act",
    [
        _given_up,
        _put_back,
        _written,
        _replaced,
        _not_replaced,
        _checked,
        _found_changed,
        _no_manifest,
    ],
)
def test_everything_is_let_go_of(act: Callable[[Path], None], out: Path) -> None:
    before = sorted(os.listdir(DESCRIPTORS))  # noqa: PTH208 - names alone
    act(out)
    assert sorted(os.listdir(DESCRIPTORS)) == before  # noqa: PTH208


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="counts descriptors as Linux lists them")
def test_all_is_let_go_of_that_a_neighbour_spoiled(out: Path, folder: Path) -> None:
    before = sorted(os.listdir(DESCRIPTORS))  # noqa: PTH208 - names alone
    with _planting(lambda path: (path / "his").touch(), times=1):
        write(out)
    assert sorted(os.listdir(DESCRIPTORS)) == before  # noqa: PTH208
    assert content(out) == whole()
    assert len(list(folder.iterdir())) == 2


@contextmanager
def _planting(plant: Callable[[Path], object], times: int) -> Iterator[None]:
    """Somebody finds the temporary folder as soon as it is there."""
    good, left = os.mkdir, times

    def mkdir(name: str, mode: int, *, dir_fd: int | None) -> None:
        nonlocal left
        good(name, mode, dir_fd=dir_fd)
        left -= 1
        if left >= 0:
            plant((DESCRIPTORS / str(dir_fd)).readlink() / name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "mkdir", mkdir)
        yield


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="finds the folder as Linux lists it")
class TestSpoiled:
    """The temporary folder is somebody's at once: another is made, and his is left as it is."""

    @pytest.mark.parametrize("number", [errno.ELOOP, errno.EMLINK])
    def test_systems_that_say_it_is_a_link(
        self, number: int, out: Path, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Linux says that it is no folder, macOS ELOOP, FreeBSD EMLINK."""
        (tmp_path / "his").mkdir()
        good = os.open

        def opened(path: Any, flags: int, *mode: int, dir_fd: int | None = None) -> int:
            try:
                return good(path, flags, *mode, dir_fd=dir_fd)
            except NotADirectoryError:
                raise OSError(number, os.strerror(number)) from None

        def plant(path: Path) -> None:
            path.rmdir()
            path.symlink_to(tmp_path / "his")

        with _planting(plant, times=1), pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "open", opened)
            write(out)
        assert content(out) == whole()
        assert content(tmp_path / "his") == {}
        assert caplog.messages == []

    def test_each_time(self, out: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        with _planting(lambda path: (path / "his").touch(), times=1000):
            said = refused(out)
        assert said == ("another program locks every new file there; write to a folder of your own")
        assert all(content(path) == {"his": b""} for path in folder.iterdir())
        assert all(path.name.startswith(UNFINISHED) for path in folder.iterdir())
        assert caplog.messages == []  # nothing of ours is left to be removed

    def test_one_that_somebody_locks_is_removed(self, out: Path, folder: Path) -> None:
        fcntl = pytest.importorskip("fcntl")
        held: list[int] = []

        def lock(path: Path) -> None:
            held.append(os.open(path, os.O_RDONLY))
            fcntl.flock(held[0], fcntl.LOCK_SH)

        try:
            with _planting(lock, times=1):
                write(out)
        finally:
            os.close(held[0])
        assert [path.name for path in folder.iterdir()] == ["out"]


@pytest.mark.parametrize("number", [errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR])
def test_what_systems_say_of_a_name_that_was_taken(
    number: int, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """POSIX lets them say EEXIST or ENOTEMPTY of a folder; of a file all say ENOTDIR."""

    def rename(_name: str, new: str, **_named: Any) -> None:
        (folder / new).mkdir()
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "rename", rename)
    assert refused(out).startswith("expected a name that is free, found a folder of that name; ")
    assert content(out) == {}
    assert [path.name for path in folder.iterdir()] == ["out"]


def test_a_new_folder_that_went_when_it_could_not_be_opened(
    out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What went need not be removed."""
    good = os.open

    def opened(path: Any, flags: int, *mode: int, dir_fd: int | None = None) -> int:
        if flags & os.O_DIRECTORY and flags & os.O_NOFOLLOW:
            os.rmdir(path, dir_fd=dir_fd)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return good(path, flags, *mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", opened)
    assert refused(out) == "too many files are open; allow more, with ulimit -n"
    assert list(folder.iterdir()) == []
    assert caplog.messages == []


@pytest.mark.parametrize("attribute", ["contents", "time"])
def test_a_file_of_the_old_one_is_changed_and_its_time_or_size_is_not(
    attribute: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes to it may set its time of writing back, or touch it without writing."""
    write(out)
    path = out / "model.bin"
    before = path.stat()

    def change() -> None:
        if attribute == "contents":
            with path.open("r+b") as file:
                file.write(b"his")
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        else:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))

    monkeypatch.setattr(os, "fsync", acting_first(change, os.fsync))
    assert "found model.bin, which was changed meanwhile; " in refused(
        out, force=True, files=OTHERS
    )
    assert set(content(out)) == set(whole())


@pytest.mark.parametrize("mode", [0o700, 0o711, 0o755])
def test_the_mode_of_the_replaced_folder_is_kept(mode: int, out: Path) -> None:
    before = os.umask(0)
    try:
        write(out)
        out.chmod(mode)
        write(out, OTHERS, force=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE(out.stat().st_mode) == mode


def test_files_are_their_owner_s_alone_while_they_are_written(out: Path, folder: Path) -> None:
    before = os.umask(0)
    try:
        with FolderOutput(out) as output:
            output.file("a", 0)
            assert stat.S_IMODE((unfinished(folder) / "a").stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_an_input_in_it_whose_name_a_terminal_would_obey(out: Path) -> None:
    write(out)
    given = out / "\x1b[1m"
    given.touch()
    assert refused(out, force=True, inputs=(given,)) == (
        "expected an output that does not hold the input, found the input itself in it, "
        r"'\x1b[1m'; give another name; the input is never removed"
    )


@pytest.mark.parametrize("again", [False, True], ids=["renamed", "exchanged"])
def test_the_old_one_is_taken_away_before_it_is_removed(
    again: bool,
    out: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Who takes it keeps it, and what has its temporary name then is not ours."""
    write(out)
    good = os.rename

    def rename(name: str, new: str, **named: Any) -> None:
        good(name, new, **named)
        if new == "out":
            (aside,) = (path for path in folder.iterdir() if path.name.startswith(ASIDE))
            aside.rename(folder / "his")
            if again:
                aside.mkdir()

    monkeypatch.setattr(os, "rename", rename)
    write(out, OTHERS, force=True)
    assert content(out) == whole(OTHERS)
    assert content(folder / "his") == whole()
    assert len(list(folder.iterdir())) == 2 + again
    (message,) = caplog.messages
    assert message.startswith("the folder that was replaced could not be removed; remove it: ")


def test_something_gets_the_name_before_the_old_one_has_it_again(
    out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that replaces empty folders must not replace that one."""
    write(out)
    monkeypatch.setattr(os, "rename", _failing_once(os.rename, out.mkdir))
    said = refused(out, force=True, files=OTHERS)
    (aside,) = (path for path in folder.iterdir() if path.name.startswith(ASIDE))
    assert said == (
        "expected the folder to get its name back, after the new one could not get it, found "
        f"'something else has its name'; it is whole: {aside}; give it its name back"
    )
    assert content(out) == {}
    assert content(aside) == whole()


@pytest.mark.parametrize("name", ["-", "-a", "--force"])
def test_no_name_is_an_option(name: str, out: Path, folder: Path) -> None:
    with FolderOutput(out) as output, pytest.raises(ValueError, match="no name for another file"):
        output.file(name, 0)
    out.mkdir()
    listed = {name: {"size": 0, "sha256": hashlib.sha256().hexdigest()}}
    (out / "ggcp.json").write_text(json.dumps({"files": listed}))
    with pytest.raises(FormatError, match=f"files: expected names of files, found '{name}'"):
        check_folder(out)


def test_one_new_file_is_seen_wherever_it_is_listed(out: Path) -> None:
    """Systems list names in any order: that of creation, of a hash, or the newest first."""
    out.mkdir()
    for count in range(24):
        new = out / f"new{count}"
        new.touch()
        (out / "ggcp.json").write_text('{"files": {}}')
        with pytest.raises(FormatError) as caught:
            check_folder(out)
        assert caught.value.found == "a new file"
        assert caught.value.file == str(new)
        new.unlink()
        check_folder(out)
        (out / "ggcp.json").unlink()


def test_a_long_name_of_a_member_is_cut(out: Path) -> None:
    out.mkdir()
    member = f'"{"x" * 10_000}": 1'
    (out / "ggcp.json").write_text(f'{{"files": {{}}, {member}, {member}}}')
    with pytest.raises(FormatError) as caught:
        check_folder(out)
    assert caught.value.found == f"''{'x' * 200}' is there twice'"


def test_a_file_that_becomes_a_link_while_the_folder_is_checked(
    out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(out)
    good = os.open

    def opened(path: Any, flags: int, *mode: int, dir_fd: int | None = None) -> int:
        if path == "config.json":
            (out / "config.json").rename(folder / "his")
            (out / "config.json").symlink_to("../his")
        return good(path, flags, *mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", opened)
    with pytest.raises(FormatError) as caught:
        check_folder(out)
    assert caught.value.expected == "a folder to read"
    assert caught.value.found == f"'{os.strerror(errno.ELOOP)}'"


@pytest.mark.parametrize("kept", [True, False], ids=["placed", "neither kept nor moved back"])
def test_who_stops_is_told_of_the_folder_that_is_there(
    kept: bool, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PLACED.clear()
    if kept:
        write(out)
    else:
        good = len(FILES) + 2  # with ggcp.json, and the new folder itself
        monkeypatch.setattr(os, "fsync", failing(errno.EIO, good, os.fsync))
        monkeypatch.setattr(os, "rename", failing(errno.EACCES, 1, os.rename))
        assert "the new folder is there, whole" in refused(out)
    assert content(out) == whole()
    assert [str(out)] == PLACED
