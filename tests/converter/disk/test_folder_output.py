"""A folder appears whole or not at all, and only one that is as it was written is replaced."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import failing
from folders import CHOICES, FILES, OTHERS, content, refused, unfinished, whole, write

from converter import ConversionError
from converter.disk.folder_output import FolderOutput
from ggcp_schema import Source, Span

FORCE = {"force": True, "files": OTHERS}


@pytest.fixture
def out(folder: Path) -> Path:
    return folder / "out"


def test_what_is_in_it(out: Path, folder: Path) -> None:
    write(out)
    assert content(out) == whole()
    assert [path.name for path in folder.iterdir()] == ["out"]


@pytest.mark.parametrize("end", ["", "/", "//"])
def test_a_name_that_ends_like_a_folder_s(end: str, out: Path) -> None:
    write(f"{out}{end}")
    assert content(out) == whole()


def test_in_the_working_folder(out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    write("out")
    assert content(out) == whole()


def test_no_more_files_than_a_reader_takes(
    out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("converter.disk.folder_output.MOST_FILES", 2)
    write(out, {"a": b"", "b": b""})
    files = {"a": b"", "b": b"", "c": b""}
    with pytest.raises(ValueError, match=r"^no name for another file: 'c'$"):
        write(folder / "more", files)
    assert [path.name for path in folder.iterdir()] == ["out"]


def test_a_new_folder_that_cannot_be_opened(
    out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, not as often as where somebody else takes the name each time."""
    good, count = os.open, 0

    def opened(path: str, flags: int, *arguments: int, **named: int) -> int:
        nonlocal count
        if flags & os.O_DIRECTORY and flags & os.O_NOFOLLOW:
            count += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return good(path, flags, *arguments, **named)

    monkeypatch.setattr(os, "open", opened)
    found = refused(out)
    monkeypatch.undo()
    assert (found, count) == ("too many files are open; allow more, with ulimit -n", 1)
    assert list(folder.iterdir()) == []


def test_spans_are_copied_into_it(out: Path, tmp_path: Path) -> None:
    data = bytes(range(251)) * 10_000
    (tmp_path / "in").write_bytes(data)
    seen: list[int] = []
    with (
        Source.open(tmp_path / "in") as source,
        FolderOutput(out, inputs=(source,)) as output,
    ):
        file = output.file("copy.bin", len(data) - 3)
        file.write(Span(source, 3, len(data) - 3, ()).blocks(), seen.append)
        output.commit(CHOICES)
    assert content(out) == whole({"copy.bin": data[3:]})
    assert sum(seen) == len(data) - 3


@pytest.mark.parametrize("threads", [True, False])
def test_blocks_of_all_sizes_are_written_and_hashed_in_order(
    threads: bool, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    if not threads:
        monkeypatch.setattr(threading.Thread, "start", start)
    sizes = [5, 1 << 20, 3, 1 << 16, 0, 1 << 19, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1, 2]
    blocks = [bytes([number]) * size for number, size in enumerate(sizes)]
    with FolderOutput(out, sync=False) as output:
        output.file("blocks.bin", sum(sizes)).write(blocks)
        output.commit(CHOICES)
    assert content(out) == whole({"blocks.bin": b"".join(blocks)})


def test_what_was_not_written_is_not_listed(out: Path, folder: Path) -> None:
    with FolderOutput(out) as output:
        output.file("a", 3)
        with pytest.raises(RuntimeError) as caught:
            output.commit({})
    assert str(caught.value) == f"{out}/a: not written"
    assert list(folder.iterdir()) == []


def test_what_was_written_can_be_read_before_it_has_its_name(out: Path) -> None:
    with FolderOutput(out) as output:
        file = output.file("a.bin", 3)
        file.write((b"abc",))
        with file.source() as source:
            assert source.read_at(0, 3) == b"abc"
            assert source.label == str(out / "a.bin")
        output.commit({})
    assert (out / "a.bin").read_bytes() == b"abc"


@pytest.mark.parametrize("force", [False, True])
def test_without_commit_nothing_remains(force: bool, out: Path, folder: Path) -> None:
    if force:
        write(out)
    with FolderOutput(out, force=force) as output:
        output.file("a", 3)
    assert [path.name for path in folder.iterdir()] == ["out"] * force
    output = FolderOutput(out, force=force)
    with pytest.raises(ValueError), output:
        output.file("a/b", 3)
    assert [path.name for path in folder.iterdir()] == ["out"] * force


BAD_NAMES = ["", ".", "..", "a/b", "../a", "ggcp.json", "a b", ".hidden", "config.json", "x" * 101]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_no_file_may_have(name: str, out: Path, folder: Path) -> None:
    with FolderOutput(out) as output:
        output.file("config.json", 1)
        with pytest.raises(ValueError) as caught:
            output.file(name, 1)
    assert str(caught.value) == f"no name for another file: {name!r}"
    assert list(folder.iterdir()) == []


def test_a_size_that_was_not_kept(out: Path, folder: Path) -> None:
    with FolderOutput(out) as output:
        file = output.file("a", 3)
        with pytest.raises(RuntimeError) as caught:
            file.write((b"ab", b"cd"))
    assert str(caught.value) == f"{out}/a: 4 bytes, not 3"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "choices",
    [
        {"files": 1},
        {"x": float("nan")},
        {"x": [[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]},
        {"x": "x" * 300_000},
    ],
    ids=["files", "nan", "deep", "long"],
)
def test_choices_that_could_not_be_read_again(
    choices: dict[str, object], out: Path, folder: Path
) -> None:
    with pytest.raises(ValueError), FolderOutput(out) as output:
        output.commit(choices)
    assert list(folder.iterdir()) == []


class TestKinds:
    """What has the name already, and is never replaced by a folder."""

    @pytest.mark.parametrize("force", [False, True])
    def test_a_file(self, force: bool, out: Path) -> None:
        out.write_text("old")
        assert refused(out, force=force) == (
            "expected a name that is free, found a file of that name; give another name; no folder "
            "replaces a file"
        )
        assert out.read_text() == "old"

    @pytest.mark.parametrize("force", [False, True])
    @pytest.mark.parametrize("target", ["real", "nowhere"])
    def test_a_link(self, target: str, force: bool, out: Path, folder: Path) -> None:
        write(folder / "real")
        out.symlink_to(target)
        assert refused(out, force=force) == (
            "expected a name that is free, found a symbolic link of that name; give another name; "
            "links are neither followed nor replaced by a folder"
        )
        assert refused(Path(f"{out}/"), force=force)
        assert out.readlink() == Path(target)
        assert content(folder / "real") == whole()

    @pytest.mark.parametrize("force", [False, True])
    @pytest.mark.parametrize("kind", ["pipe", "socket"])
    def test_a_device(
        self, kind: str, force: bool, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if kind == "pipe":
            os.mkfifo(out)
        else:
            monkeypatch.chdir(out.parent)  # a socket's name is short
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind("out")
        assert refused(out, force=force) == (
            "expected a name that is free, found a device, a pipe or a socket of that name; give "
            "another name"
        )

    @pytest.mark.parametrize("files", [{}, FILES])
    def test_a_folder(self, files: dict[str, bytes], out: Path) -> None:
        out.mkdir()
        for name, data in files.items():
            (out / name).write_bytes(data)
        assert refused(out) == (
            "expected a name that is free, found a folder of that name; give another name, or "
            "--force to replace it if it holds what ggcp wrote, unchanged"
        )
        assert content(out) == files

    @pytest.mark.parametrize("force", [False, True])
    @pytest.mark.parametrize("name", [".", "..", "/", "x/.."])
    def test_a_name_of_every_folder(
        self, name: str, force: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder)
        with pytest.raises(ConversionError) as caught:
            write(name, force=force)
        assert str(caught.value) == (
            f"{name}: expected the name of a new folder, found one that always stands for a folder "
            "that is there; give the name that the folder shall have"
        )

    def test_standard_output(self) -> None:
        with pytest.raises(ConversionError) as caught:
            write("-")
        assert str(caught.value) == (
            "-: expected the name of a folder, found '-', which stands for standard output "
            "elsewhere; standard output is not supported; for a folder of this name give ./-"
        )

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("no/out", "no such folder; make it first, or check its name"),
            ("file/out", "a part of the name is a file, not a folder; check the name"),
            ("x" * 300, "the name is too long; give a shorter one"),
            (
                "nul\0",
                "cannot be written: 'embedded null byte'; write to another folder or disk",
            ),
        ],
    )
    def test_a_place_that_cannot_be_written(self, name: str, said: str, folder: Path) -> None:
        (folder / "file").write_text("")
        with pytest.raises(ConversionError) as caught:
            write(f"{folder}/{name}")
        shown = f"{folder}/{name}".replace("\0", "\\x00")
        assert str(caught.value) == f"{shown}: {said}"
        assert [path.name for path in folder.iterdir()] == ["file"]


class TestModes:
    """Nobody else looks into the folder before it has its name."""

    @pytest.fixture(autouse=True)
    def _no_umask(self) -> Iterator[None]:
        before = os.umask(0)
        yield
        os.umask(before)

    def test_while_it_is_written(
        self, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        modes = set()
        good = os.fsync

        def noted(descriptor: int) -> None:
            modes.add(stat.S_IMODE(unfinished(folder).stat().st_mode))
            monkeypatch.setattr(os, "fsync", good)

        monkeypatch.setattr(os, "fsync", noted)
        write(out)
        assert modes == {0o700}

    @pytest.mark.parametrize("umask", [0, 0o022, 0o077])
    def test_afterwards(self, umask: int, out: Path) -> None:
        os.umask(umask)
        write(out)
        assert stat.S_IMODE(out.stat().st_mode) == 0o777 & ~umask
        modes = {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()}
        assert modes == {0o666 & ~umask}

    def test_those_of_the_replaced_one_are_kept(self, out: Path) -> None:
        write(out)
        out.chmod(0o2750)
        (out / "config.json").chmod(0o600)
        os.umask(0o027)
        write(out, **FORCE)
        assert stat.S_IMODE(out.stat().st_mode) == 0o750
        assert stat.S_IMODE((out / "config.json").stat().st_mode) == 0o600
        assert stat.S_IMODE((out / "other.bin").stat().st_mode) == 0o640

    def test_a_folder_for_a_group(self, out: Path, folder: Path) -> None:
        """What is made in it is the group's."""
        folder.chmod(0o2777)
        write(out)
        assert stat.S_IMODE(out.stat().st_mode) == 0o2777


class TestSync:
    """Files, then the folder with their names, then the one with its name."""

    @pytest.mark.parametrize("sync", [True, False])
    def test_waits_for_the_disk_unless_told_not_to(
        self, sync: bool, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced = []

        def noted(descriptor: int) -> None:
            synced.append(os.fstat(descriptor).st_ino)

        monkeypatch.setattr(os, "fsync", noted)
        write(out, sync=sync)
        order = [*(out / name for name in (*FILES, "ggcp.json")), out, folder]
        assert synced == ([path.stat().st_ino for path in order] if sync else [])

    @pytest.mark.parametrize("at", range(len(FILES) + 3))
    def test_a_disk_that_fails(
        self, at: int, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fsync", failing(errno.EIO, at, os.fsync))
        with pytest.raises(ConversionError, match="cannot be written: 'Input/output error'"):
            write(out)
        assert list(folder.iterdir()) == []

    def test_a_disk_that_cannot_be_waited_for(
        self, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fsync", failing(errno.ENOTSUP))
        with pytest.raises(ConversionError, match="give --no-fsync, or write to another one"):
            write(out)
        assert list(folder.iterdir()) == []
        write(out, sync=False)
        assert content(out) == whole()


def test_in_another_thread(out: Path) -> None:
    thread = threading.Thread(target=write, args=(out,))
    thread.start()
    thread.join()
    assert content(out) == whole()
