"""Somebody else who may write to the output's folder: no other file is ever written or revealed."""

from __future__ import annotations

import errno
import functools
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import acting_first, failing
from tiny_files import WRITING, perform, write_inputs

from converter import ConversionError
from converter.disk.leftovers import UNFINISHED
from converter.disk.output import Output
from converter.disk.stopping import discard_unfinished
from ggcp_schema import Source

fcntl = pytest.importorskip("fcntl")

every_writer = pytest.mark.parametrize("line", WRITING.values(), ids=WRITING.keys())
forced = pytest.mark.parametrize("force", [[], ["--force"]], ids=["new", "forced"])
ANOTHER = (
    "expected the file that was written, found another file in its place, or none; "
    "somebody else changes files in that folder; write to a folder of your own"
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


def unfinished(folder: Path) -> Path:
    (path,) = (path for path in folder.iterdir() if path.name.startswith(UNFINISHED))
    return path


def removed(path: Path, _victim: Path) -> None:
    path.unlink()


def symbolic_link(path: Path, victim: Path) -> None:
    path.unlink()
    path.symlink_to(victim)


def hard_link(path: Path, victim: Path) -> None:
    path.unlink()
    path.hardlink_to(victim)


def another_file(path: Path, _victim: Path) -> None:
    path.unlink()
    path.write_text("not what was written")


def after_creation(action: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something between the moment in which a file is created and anything else."""
    good = os.open

    def opened(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        descriptor = good(path, flags, *arguments, **named)
        if flags & os.O_CREAT:
            monkeypatch.setattr(os, "open", good)
            action()
        return descriptor

    monkeypatch.setattr(os, "open", opened)


@forced
@pytest.mark.parametrize("change", [symbolic_link, hard_link, another_file, removed])
@every_writer
def test_the_temporary_file_is_changed_at_once(
    line: str,
    change: Callable[[Path, Path], None],
    force: list[str],
    inputs: Path,
    folder: Path,
    victim: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That it is no longer ours is seen when it is locked, and another one is made."""
    perform(line, folder=inputs, out=folder / "out")
    whole = (folder / "out").read_bytes()
    if not force:
        (folder / "out").unlink()
    after_creation(lambda: change(unfinished(folder), victim), monkeypatch)
    perform(line, *force, folder=inputs, out=folder / "out")
    assert victim.read_text() == "precious"
    assert (folder / "out").read_bytes() == whole
    assert not (folder / "out").is_symlink()


@forced
@pytest.mark.parametrize("change", [symbolic_link, hard_link, another_file, removed])
@every_writer
def test_the_temporary_file_is_changed_while_it_is_written(
    line: str,
    change: Callable[[Path, Path], None],
    force: list[str],
    inputs: Path,
    folder: Path,
    victim: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = folder / "out"
    if force:
        output.write_text("old")
    sync = acting_first(lambda: change(unfinished(folder), victim), os.fsync)
    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(ConversionError) as caught:
        perform(line, *force, folder=inputs, out=output)
    assert str(caught.value) == f"{output}: {ANOTHER}"
    assert victim.read_text() == "precious"
    assert {path.name: path.read_text() for path in folder.iterdir()} == (
        {"out": "old"} if force else {}
    )


@functools.cache  # a hook stays
def all_opened() -> list[str]:
    """The names that Python opens from now on, by whatever function."""
    names: list[str] = []

    def noted(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            names.append(str(arguments[0]))

    sys.addaudithook(noted)
    return names


@every_writer
def test_no_name_is_opened_twice(line: str, inputs: Path, folder: Path) -> None:
    """What a name means may have changed in between."""
    opened = all_opened()
    opened.clear()
    perform(line, folder=inputs, out=folder / "out")
    assert len([name for name in opened if UNFINISHED in name]) == 1


class TestLocks:
    """Nobody waits for a lock, which another user can hold as long as he likes."""

    def test_none_is_waited_for(
        self, inputs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        good, operations = fcntl.flock, []

        def noted(descriptor: int, operation: int) -> None:
            operations.append(operation)
            good(descriptor, operation)

        monkeypatch.setattr(fcntl, "flock", noted)
        (folder / f"{UNFINISHED}0123456789abcdef").write_text("half")
        perform(WRITING["convert"], folder=inputs, out=folder / "out")
        assert len(operations) == 2
        assert all(operation & fcntl.LOCK_NB for operation in operations)

    def test_somebody_holds_that_of_the_new_file(
        self, inputs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held: list[int] = []

        def hold() -> None:
            held.append(os.open(unfinished(folder), os.O_RDONLY))
            fcntl.flock(held[0], fcntl.LOCK_EX)

        after_creation(hold, monkeypatch)
        perform(WRITING["convert"], folder=inputs, out=folder / "out")
        assert [path.name for path in folder.iterdir()] == ["out"]
        os.close(held[0])

    def test_somebody_holds_that_of_every_new_file(
        self, inputs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fcntl, "flock", failing(errno.EWOULDBLOCK))
        with pytest.raises(ConversionError) as caught:
            perform(WRITING["convert"], folder=inputs, out=folder / "out")
        assert str(caught.value) == (
            f"{folder}/out: another program locks every new file there; "
            "write to a folder of your own"
        )
        assert list(folder.iterdir()) == []


class TestModes:
    """Nobody else opens the file before it has its name; then it has the mode of a new one."""

    @pytest.fixture(autouse=True)
    def _no_umask(self) -> Iterator[None]:
        before = os.umask(0)
        yield
        os.umask(before)

    @every_writer
    def test_while_it_is_written(
        self, line: str, inputs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        modes = []
        good = os.fsync

        def noted(descriptor: int) -> None:
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
            good(descriptor)

        monkeypatch.setattr(os, "fsync", noted)
        perform(line, folder=inputs, out=folder / "out")
        assert modes[0] == 0o600
        assert stat.S_IMODE((folder / "out").stat().st_mode) == 0o666

    @pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o777, 0o000])
    def test_that_of_the_replaced_file_is_kept(self, mode: int, inputs: Path, folder: Path) -> None:
        (folder / "out").write_text("old")
        (folder / "out").chmod(mode)
        os.umask(0o077)
        perform(WRITING["convert"], "--force", folder=inputs, out=folder / "out")
        assert stat.S_IMODE((folder / "out").stat().st_mode) == mode

    def test_set_user_id_is_not_kept(self, inputs: Path, folder: Path) -> None:
        (folder / "out").write_text("old")
        (folder / "out").chmod(0o6755)
        perform(WRITING["convert"], "--force", folder=inputs, out=folder / "out")
        assert stat.S_IMODE((folder / "out").stat().st_mode) == 0o755

    @pytest.mark.parametrize(("mode", "kept"), [(0o666, 0o644), (0o777, 0o644), (0o600, 0o600)])
    def test_another_user_s_gives_no_more_than_a_new_file_has(
        self, mode: int, kept: int, inputs: Path, folder: Path
    ) -> None:
        if os.geteuid():
            pytest.skip("giving a file to another user takes root's rights")
        (folder / "out").write_text("old")
        (folder / "out").chmod(mode)
        os.chown(folder / "out", 65534, -1)
        os.umask(0o022)
        perform(WRITING["convert"], "--force", folder=inputs, out=folder / "out")
        assert stat.S_IMODE((folder / "out").stat().st_mode) == kept

    def test_a_replaced_link_has_none(self, inputs: Path, folder: Path, victim: Path) -> None:
        victim.chmod(0o777)
        (folder / "out").symlink_to(victim)
        os.umask(0o077)
        perform(WRITING["convert"], "--force", folder=inputs, out=folder / "out")
        assert stat.S_IMODE((folder / "out").stat().st_mode) == 0o600

    def test_a_disk_without_modes(
        self, inputs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fchmod", failing(errno.EPERM))
        perform(WRITING["convert"], folder=inputs, out=folder / "out")
        assert [path.name for path in folder.iterdir()] == ["out"]


class TestLeftovers:
    """What is removed is what killed runs of ggcp left, and nothing else."""

    def test_only_files_with_names_of_the_pattern(
        self, inputs: Path, folder: Path, victim: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        others = {
            UNFINISHED,
            f"{UNFINISHED}notes.txt",
            f"{UNFINISHED}0123456789ABCDEF",
            f"{UNFINISHED}0123456789abcde",
            f"{UNFINISHED}0123456789abcdef0",
            f"x{UNFINISHED}0123456789abcdef",
        }
        for name in others:
            (folder / name).write_text("somebody's")
        (folder / f"{UNFINISHED}0000000000000001" / "of somebody").mkdir(parents=True)
        (folder / f"{UNFINISHED}0000000000000002").symlink_to(victim)
        os.mkfifo(folder / f"{UNFINISHED}0000000000000003")
        left = {path.name for path in folder.iterdir()}
        (folder / f"{UNFINISHED}0123456789abcdef").write_text("half")
        with caplog.at_level("INFO", "ggcp"), Output(folder / "out") as output:
            output.commit()
        assert {path.name for path in folder.iterdir()} == left | {"out"}
        assert caplog.messages == [
            f"removed {folder}/{UNFINISHED}0123456789abcdef, which a run that was killed had left"
        ]

    def test_not_one_that_another_run_reads(
        self, inputs: Path, folder: Path, tmp_path: Path
    ) -> None:
        leftover = folder / f"{UNFINISHED}0123456789abcdef"
        leftover.write_bytes((inputs / "in.bin").read_bytes())
        with Source.open(leftover) as source, Output(tmp_path / "other", inputs=(source,)):
            perform(WRITING["convert"], folder=inputs, out=folder / "out")
            assert leftover.exists()
        perform(WRITING["convert"], folder=inputs, out=folder / "second")
        assert not leftover.exists()

    def test_one_that_cannot_be_removed_is_named(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        output = Output(folder / "out")
        with output:
            name = unfinished(folder)
            monkeypatch.setattr(os, "unlink", failing(errno.EACCES))
        assert caplog.messages == [f"{name} could not be removed; remove it"]
        monkeypatch.undo()
        assert discard_unfinished()
        assert list(folder.iterdir()) == []


class TestDescriptors:
    """Links of the system to what is open are no names of files."""

    @forced
    @pytest.mark.parametrize(
        "target", ["/proc/self/fd/1", "/dev/fd/1", "/proc/thread-self/fd/1", "/dev/stdout"]
    )
    def test_a_link_to_one(self, target: str, force: list[str], inputs: Path, folder: Path) -> None:
        if not os.path.lexists(target):
            pytest.skip("not on this system")
        (folder / "direct").symlink_to(target)
        (folder / "indirect").symlink_to("direct")
        for name in ("direct", "indirect"):
            with pytest.raises(ConversionError) as caught:
                perform(WRITING["convert"], *force, folder=inputs, out=folder / name)
            assert str(caught.value) == (
                f"{folder}/{name}: expected the name of a file, found an open file of a program, "
                "such as standard output; give the name of a file; standard output is not "
                "supported"
            )
        assert (folder / "direct").readlink() == Path(target)
        assert (folder / "indirect").readlink() == Path("direct")

    @forced
    def test_one_that_leads_to_a_regular_file(
        self, force: list[str], inputs: Path, folder: Path, victim: Path
    ) -> None:
        with victim.open("r+b") as file:
            name = f"/proc/self/fd/{file.fileno()}"
            with pytest.raises(ConversionError, match="found an open file of a program"):
                perform(WRITING["convert"], *force, folder=inputs, out=name)
        assert victim.read_text() == "precious"


@forced
@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_links_to_devices_and_pipes(
    kind: str, force: list[str], inputs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = folder / "node"
    if kind == "pipe":
        os.mkfifo(node)
    elif kind == "device":
        try:
            os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except OSError:
            pytest.skip("making a device takes root's rights")
    else:
        monkeypatch.chdir(folder)  # a socket's name is short
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("node")
    (folder / "link").symlink_to("node")
    before = node.lstat()
    for name in ("node", "link"):
        with pytest.raises(ConversionError) as caught:
            perform(WRITING["convert"], *force, folder=inputs, out=folder / name)
        assert str(caught.value) == (
            f"{folder}/{name}: expected the name of a file, found a device, a pipe or a socket; "
            "give the name of a file; standard output is not supported"
        )
    assert (folder / "link").readlink() == Path("node")
    assert os.path.samestat(node.lstat(), before)


@pytest.mark.parametrize("target", ["victim", "nowhere"])
def test_a_replaced_link_is_said(
    target: str, inputs: Path, folder: Path, victim: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = folder / "out"
    output.symlink_to(victim.with_name(target))
    perform(WRITING["convert"], "--force", folder=inputs, out=output)
    assert caplog.messages == [
        f"{output} was a symbolic link to {victim.with_name(target)}; the link was replaced, not "
        "what it led to"
    ]
    assert victim.read_text() == "precious"


@forced
@pytest.mark.parametrize("name", ["convert", "export f32", "merge"])
def test_an_input_that_is_moved_to_the_output(
    name: str, force: list[str], tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the only copy."""
    write_inputs(tmp_path)
    read = {"convert": "in.bin", "export f32": "vocab.gguf", "merge": "base.gguf"}[name]
    whole = (tmp_path / read).read_bytes()
    output = folder / "out"
    moved = acting_first(lambda: (tmp_path / read).rename(output), os.fsync)
    monkeypatch.setattr(os, "fsync", moved)
    with pytest.raises(ConversionError) as caught:
        perform(WRITING[name], *force, folder=tmp_path, out=output)
    assert str(caught.value) == (
        f"{output}: expected an output that is not the input, found the input itself; "
        "give another name; the input is never written to"
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"out": whole}
