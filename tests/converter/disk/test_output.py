"""A file appears whole or not at all, whatever fails, and nothing else is touched."""

from __future__ import annotations

import errno
import os
import resource
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults import acting_first, failing, said
from gguf_bytes import expected
from reference.checkpoint import read

from converter import ConversionError, Writing, __version__
from converter.disk.leftovers import UNFINISHED
from converter.disk.output import Output, write_whole
from converter.use_cases.convert import convert
from ggcp_schema import FormatError
from ggcp_schema.synthetic import Synthetic

TAKEN = "expected a name that is free, found a file of that name; give another name, or --force"


@pytest.fixture
def source(fixtures: Path) -> Path:
    return fixtures / "v0_adam_one.bin"


@pytest.fixture(scope="module")
def right(fixtures: Path) -> bytes:
    return expected(read(fixtures / "v0_adam_one.bin"), __version__).to_bytes()


def unfinished(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(UNFINISHED)]


# Every way in which the system can refuse: function of os, what it says, how often it works first.
FAILURES = [
    ("open", errno.EACCES, 1),
    ("posix_fallocate", errno.ENOSPC, 0),
    ("copy_file_range", errno.ENOSPC, 0),
    ("copy_file_range", errno.ENOSPC, 5),
    ("copy_file_range", errno.EDQUOT, 20),
    ("fsync", errno.EIO, 0),
    ("fsync", errno.EIO, 1),
]


@pytest.mark.parametrize(("name", "number", "after"), FAILURES)
def test_failure_leaves_nothing(
    name: str,
    number: int,
    after: int,
    source: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, name, failing(number, after, getattr(os, name)))
    with pytest.raises(ConversionError) as caught:
        convert(source, folder / "out.gguf")
    message = str(caught.value)
    assert message.startswith(f"{folder / 'out.gguf'}: ")
    assert f"{said(number)}; " in message
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("force", [True, False])
def test_failure_to_rename_leaves_what_was_there(
    force: bool, source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = folder / "out.gguf"
    if force:
        output.write_text("old")
    for name in ("link", "replace", "rename"):
        monkeypatch.setattr(os, name, failing(errno.EPERM))
    with pytest.raises(ConversionError):
        convert(source, output, writing=Writing(force=force))
    assert {path.name: path.read_text() for path in folder.iterdir()} == (
        {"out.gguf": "old"} if force else {}
    )


def test_replaced_file_stays_when_the_folder_cannot_be_synchronised(
    source: Path, folder: Path, right: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = folder / "out.gguf"
    output.write_text("old")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO, 1, os.fsync))
    with pytest.raises(ConversionError) as caught:
        convert(source, output, writing=Writing(force=True))
    assert str(caught.value) == (
        f"{output}: expected a disk that keeps the name of the file, found 'Input/output error'; "
        "the new file is there, whole, but a power cut may lose it; write to another disk"
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"out.gguf": right}


def test_full_disk_is_explained(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.ENOSPC))
    with pytest.raises(ConversionError) as caught:
        convert(source, folder / "out.gguf")
    assert str(caught.value) == (
        f"{folder / 'out.gguf'}: the disk is full; make room on it, or write to another one"
    )


def test_disk_without_hard_links(
    source: Path, folder: Path, right: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    convert(source, folder / "out.gguf")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"out.gguf": right}


@pytest.mark.parametrize("links", [True, False])
def test_name_taken_in_the_meantime(
    links: bool, source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = folder / "out.gguf"
    sync = os.fsync

    def sync_and_take(descriptor: int) -> None:
        sync(descriptor)
        output.write_text("somebody else's")

    monkeypatch.setattr(os, "fsync", sync_and_take)
    if not links:
        monkeypatch.setattr(os, "link", failing(errno.EPERM))
    with pytest.raises(ConversionError, match=TAKEN):
        convert(source, output)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "out.gguf": "somebody else's"
    }


def test_existing_file_is_refused(source: Path, folder: Path) -> None:
    output = folder / "out.gguf"
    output.write_text("old")
    with pytest.raises(ConversionError) as caught:
        convert(source, output)
    assert str(caught.value) == f"{output}: {TAKEN} to replace it"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"out.gguf": "old"}


def test_existing_file_is_replaced_by_force(source: Path, folder: Path, right: bytes) -> None:
    output = folder / "out.gguf"
    output.write_text("old")
    convert(source, output, writing=Writing(force=True))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"out.gguf": right}


def test_symbolic_link_is_replaced_itself(source: Path, folder: Path, right: bytes) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.write_text("old")
    (folder / "out.gguf").symlink_to(elsewhere)
    with pytest.raises(ConversionError, match=TAKEN):
        convert(source, folder / "out.gguf")
    convert(source, folder / "out.gguf", writing=Writing(force=True))
    assert not (folder / "out.gguf").is_symlink()
    assert (folder / "out.gguf").read_bytes() == right
    assert elsewhere.read_text() == "old"


def test_dangling_symbolic_link_is_refused(source: Path, folder: Path) -> None:
    (folder / "out.gguf").symlink_to(folder / "nowhere")
    with pytest.raises(ConversionError, match=TAKEN):
        convert(source, folder / "out.gguf")
    assert [path.name for path in folder.iterdir()] == ["out.gguf"]


def itself(source: Path, folder: Path) -> str:
    return str(source)


def relative(source: Path, folder: Path) -> str:
    return os.path.relpath(source)


def with_dots(source: Path, folder: Path) -> str:
    return f"{source.parent}/./../{source.parent.name}/{source.name}"


def symbolic(source: Path, folder: Path) -> str:
    (folder / "link").symlink_to(source)
    return str(folder / "link")


def hard(source: Path, folder: Path) -> str:
    (folder / "link").hardlink_to(source)
    return str(folder / "link")


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("name", [itself, relative, with_dots, symbolic, hard])
def test_input_is_never_the_output(
    name: Callable[[Path, Path], str], force: bool, source: Path, folder: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "in.bin"
    checkpoint.write_bytes(source.read_bytes())
    output = name(checkpoint, folder)
    with pytest.raises(ConversionError) as caught:
        convert(checkpoint, output, writing=Writing(force=force))
    assert str(caught.value) == (
        f"{output}: expected an output that is not the input, found the input itself; "
        "give another name; the input is never written to"
    )
    assert checkpoint.read_bytes() == source.read_bytes()


REFUSED = {
    "none/out.gguf": "no such folder; make it first, or check its name",
    "": "this is a folder; give the name of a file in it",
    "file/out.gguf": "a part of the name is a file, not a folder; check the name",
    "x" * 300: "the name is too long; give a shorter one",
    "nul\0": "cannot be written: 'embedded null byte'; write to another folder or disk",
    "circle/out.gguf": "the symbolic links lead in a circle; give another name",
}


@pytest.mark.parametrize("name", REFUSED)
def test_place_that_cannot_be_written(name: str, source: Path, folder: Path) -> None:
    (folder / "file").write_text("")
    (folder / "circle").symlink_to(folder / "circle")
    with pytest.raises(ConversionError) as caught:
        convert(source, f"{folder}/{name}")
    shown = f"{folder}/{name}".replace("\0", "\\x00")
    assert str(caught.value) == f"{shown}: {REFUSED[name]}"
    assert {path.name for path in folder.iterdir()} == {"file", "circle"}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_a_new_file(umask: int, source: Path, folder: Path) -> None:
    before = os.umask(umask)
    try:
        (folder / "new").touch()
        convert(source, folder / "out.gguf")
        (folder / "out.gguf").chmod(0o640)
        convert(source, folder / "forced.gguf", writing=Writing(force=True))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"new": 0o666 & ~umask, "out.gguf": 0o640, "forced.gguf": 0o666 & ~umask}


@pytest.mark.parametrize("sync", [True, False])
def test_waits_for_the_disk_unless_told_not_to(
    sync: bool, source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(stat.S_IFMT(os.fstat(descriptor).st_mode))
    )
    convert(source, folder / "out.gguf", writing=Writing(sync=sync))
    assert synced == ([stat.S_IFREG, stat.S_IFDIR] if sync else [])


NO_FOLDERS = [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM]


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("number", NO_FOLDERS, ids=errno.errorcode.__getitem__)
def test_folder_that_cannot_be_synchronised(
    number: int,
    force: bool,
    source: Path,
    folder: Path,
    right: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file is on the disk; some systems do not do that for folders, or not for everybody."""
    monkeypatch.setattr(os, "fsync", failing(number, 1, os.fsync))
    convert(source, folder / "out.gguf", writing=Writing(force=force))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"out.gguf": right}


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_disk_that_cannot_be_waited_for(
    number: int, source: Path, folder: Path, right: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    with pytest.raises(ConversionError) as caught:
        convert(source, folder / "out.gguf")
    assert str(caught.value) == (
        f"{folder / 'out.gguf'}: cannot be written: '{os.strerror(number)}'; this disk cannot be "
        "waited for; give --no-fsync, or write to another one"
    )
    assert list(folder.iterdir()) == []
    convert(source, folder / "out.gguf", writing=Writing(sync=False))
    assert (folder / "out.gguf").read_bytes() == right


@pytest.mark.parametrize("knows", [True, False])
def test_macos_waits_for_the_disk_itself(
    knows: bool, source: Path, folder: Path, right: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There F_FULLFSYNC does what fsync does elsewhere; some disks do not know it."""
    fcntl = pytest.importorskip("fcntl")
    asked: list[object] = []

    def full(descriptor: int, command: int) -> int:
        asked.append((stat.S_IFMT(os.fstat(descriptor).st_mode), command))
        if not knows:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        return 0

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", full)
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: asked.append(stat.S_IFMT(os.fstat(descriptor).st_mode))
    )
    convert(source, folder / "out.gguf")
    data = [] if knows else [stat.S_IFREG]
    assert asked == [(stat.S_IFREG, 51), *data, stat.S_IFDIR]
    assert (folder / "out.gguf").read_bytes() == right


def renamed(folder: Path) -> None:
    folder.rename(folder.with_name("renamed"))


def exchanged(folder: Path) -> None:
    folder.rename(folder.with_name("renamed"))
    folder.mkdir()


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("change", [renamed, exchanged])
def test_folder_that_is_renamed_meanwhile(
    change: Callable[[Path], None],
    force: bool,
    source: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if force:
        (folder / "out.gguf").write_text("old")
    monkeypatch.setattr(os, "fsync", acting_first(lambda: change(folder), os.fsync))
    with pytest.raises(ConversionError) as caught:
        convert(source, folder / "out.gguf", writing=Writing(force=force))
    assert str(caught.value) == (
        f"{folder / 'out.gguf'}: expected the folder that was there when writing began, found "
        "another folder of that name, or none; the folder was renamed or removed meanwhile; "
        "nothing was kept, try again"
    )
    left = folder.with_name("renamed")
    assert {path.name: path.read_text() for path in left.iterdir()} == (
        {"out.gguf": "old"} if force else {}
    )
    assert change is renamed or list(folder.iterdir()) == []


def test_folder_that_may_be_written_but_not_read(
    source: Path, folder: Path, right: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has no O_PATH, such a folder is not opened."""
    good = os.open

    def opened(path: object, flags: int, *arguments: int, **named: int) -> int:
        if flags & os.O_DIRECTORY:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return good(path, flags, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", opened)
    convert(source, folder / "out.gguf")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"out.gguf": right}


def test_progress_that_cannot_be_shown_is_not_the_output_s_fault(
    source: Path, folder: Path
) -> None:
    """A full disk behind standard error, say."""

    @contextmanager
    def progress(_what: str, _total: int) -> Iterator[Callable[[int], object]]:
        yield failing(errno.ENOSPC)

    with pytest.raises(OSError, match="No space left on device"):
        convert(source, folder / "out.gguf", writing=Writing(progress=progress))
    assert list(folder.iterdir()) == []


def test_what_was_written_can_be_read_before_it_has_its_name(folder: Path) -> None:
    with Output(folder / "out") as output:
        with output.file() as file:
            file.write(b"data")
        with output.source() as source:
            assert (source.label, source.size) == (str(folder / "out"), 4)
            assert source.read_at(1, 3) == b"ata"
        output.commit()
    assert (folder / "out").read_bytes() == b"data"


def test_an_error_of_a_builder_names_the_output(folder: Path) -> None:
    """It knows nothing but the file that it is given."""
    made = Synthetic(vocabulary_size=3, embedding_length=4, head_count=1, block_count=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises((FormatError, ConversionError)) as caught:
            write_whole(folder / "out", made.write)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value).startswith(f"{folder / 'out'}: ")
    assert list(folder.iterdir()) == []


def test_folder_that_cannot_be_opened(
    source: Path, folder: Path, right: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source, the folder (twice) and the output open; the folder to synchronise does not."""
    monkeypatch.setattr(os, "open", failing(errno.EACCES, 4, os.open))
    convert(source, folder / "out.gguf")
    assert (folder / "out.gguf").read_bytes() == right


@pytest.mark.parametrize("step", ["posix_fallocate", "copy_file_range", "fsync", "link"])
def test_interrupted_call_is_made_again(
    step: str, source: Path, folder: Path, right: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        monkeypatch.setattr(os, step, good)
        raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))

    good = getattr(os, step)
    monkeypatch.setattr(os, step, acting_first(interrupt, good))
    convert(source, folder / "out.gguf")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"out.gguf": right}


class TestLeftovers:
    """What a killed process left is removed by the next run, what a running one writes is not."""

    def test_of_a_killed_process(self, source: Path, folder: Path) -> None:
        (folder / f"{UNFINISHED}0123456789abcdef").write_bytes(b"half")
        convert(source, folder / "out.gguf")
        assert [path.name for path in folder.iterdir()] == ["out.gguf"]

    def test_of_a_running_process(self, source: Path, folder: Path) -> None:
        with Output(folder / "other.gguf") as running:
            os.write(running.descriptor, b"whole")
            convert(source, folder / "out.gguf")
            assert len(unfinished(folder)) == 1
            running.commit()
        assert (folder / "other.gguf").read_bytes() == b"whole"
        assert {path.name for path in folder.iterdir()} == {"other.gguf", "out.gguf"}

    def test_given_as_the_input(self, source: Path, folder: Path, right: bytes) -> None:
        leftover = folder / f"{UNFINISHED}0123456789abcdef"
        leftover.write_bytes(source.read_bytes())
        convert(leftover, folder / "out.gguf")
        assert leftover.read_bytes() == source.read_bytes()
        assert (folder / "out.gguf").read_bytes() == right

    def test_taken_for_one_before_it_was_locked(
        self, source: Path, folder: Path, right: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another run removes the file between its creation and its lock."""
        fcntl = pytest.importorskip("fcntl")
        lock = fcntl.flock
        removed = []

        def remove_and_lock(descriptor: int, operation: int) -> None:
            if not removed:
                removed.extend(folder.iterdir())
                removed[0].unlink()
            lock(descriptor, operation)

        monkeypatch.setattr(fcntl, "flock", remove_and_lock)
        convert(source, folder / "out.gguf")
        assert removed[0].name.startswith(UNFINISHED)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"out.gguf": right}

    def test_disk_without_locks(
        self, source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        leftover = folder / f"{UNFINISHED}0123456789abcdef"
        leftover.write_bytes(b"who knows whose")
        monkeypatch.setattr("fcntl.flock", failing(errno.ENOLCK))
        convert(source, folder / "out.gguf")
        assert {path.name for path in folder.iterdir()} == {leftover.name, "out.gguf"}


def test_in_another_thread(source: Path, folder: Path, right: bytes) -> None:
    thread = threading.Thread(target=convert, args=(source, folder / "out.gguf"))
    thread.start()
    thread.join()
    assert (folder / "out.gguf").read_bytes() == right
