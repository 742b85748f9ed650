"""Somebody else, or another run, in the folder that a new folder is made in."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import acting_first, failing
from folders import FILES, OTHERS, content, refused, tree, unfinished, whole, write

from converter import ConversionError
from converter.disk.folder_output import FolderOutput
from converter.disk.leftovers import ASIDE, UNFINISHED
from converter.disk.stopping import discard_unfinished
from ggcp_schema import Source

SOMEBODY = (
    "expected the folder that was written, found another folder in its place, or none, or other "
    "files in it; somebody else changes files in that folder; write to a folder of your own"
)


@pytest.fixture
def out(folder: Path) -> Path:
    return folder / "out"


class TestRaces:
    """The name is taken while the folder is written."""

    @pytest.mark.parametrize("moment", ["fsync", "rename"])
    @pytest.mark.parametrize(
        ("take", "found"),
        [
            (write, "a folder of that name"),
            (lambda out: out.write_text("somebody's"), "a file of that name"),
            (lambda out: out.symlink_to("nowhere"), "a symbolic link of that name"),
        ],
    )
    def test_taken_meanwhile(
        self,
        take: Callable[[Path], object],
        found: str,
        moment: str,
        out: Path,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        good = getattr(os, moment)

        def act() -> None:
            monkeypatch.setattr(os, moment, good)
            take(out)

        monkeypatch.setattr(os, moment, acting_first(act, good))
        with pytest.raises(ConversionError, match=f"expected a name that is free, found {found}"):
            write(out, OTHERS)
        assert [path.name for path in folder.iterdir()] == ["out"]
        if take is write:
            assert content(out) == whole()

    def test_an_empty_folder_before_the_rename(self, out: Path, folder: Path) -> None:
        with FolderOutput(out) as output:
            out.mkdir()
            with pytest.raises(ConversionError, match="found a folder of that name"):
                output.commit({})
        assert content(out) == {}

    def test_two_runs(self, out: Path, folder: Path) -> None:
        with FolderOutput(out) as one, FolderOutput(out) as other:
            one.commit({"which": 1})
            with pytest.raises(ConversionError, match="found a folder of that name"):
                other.commit({"which": 2})
        assert (out / "ggcp.json").read_text() == '{\n  "which": 1,\n  "files": {}\n}\n'
        assert [path.name for path in folder.iterdir()] == ["out"]

    @pytest.mark.parametrize("force", [False, True])
    @pytest.mark.parametrize("again", [False, True], ids=["renamed", "exchanged"])
    def test_the_parent_is_renamed(
        self, again: bool, force: bool, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if force:
            write(out)

        def rename() -> None:
            folder.rename(folder.with_name("renamed"))
            if again:
                folder.mkdir()

        monkeypatch.setattr(os, "fsync", acting_first(rename, os.fsync))
        assert refused(out, force=force, files=OTHERS) == (
            "expected the folder that was there when writing began, found another folder of that "
            "name, or none; the folder was renamed or removed meanwhile; nothing was kept, try "
            "again"
        )
        left = folder.with_name("renamed")
        assert [path.name for path in left.iterdir()] == ["out"] * force
        assert not again or list(folder.iterdir()) == []


class TestNeighbours:
    """Somebody else may write to the folder that the new one is in."""

    @pytest.fixture
    def victim(self, tmp_path: Path) -> Path:
        victim = tmp_path / "victim"
        victim.mkdir()
        for name in (*FILES, "ggcp.json"):
            (victim / name).write_text("precious")
        return victim

    @pytest.mark.parametrize(
        "plant", ["link", "link to nothing in it", "full folder", "folder", "file", "nothing"]
    )
    @pytest.mark.parametrize("moment", ["at once", "while it is written"])
    def test_something_in_its_place(
        self,
        plant: str,
        moment: str,
        out: Path,
        folder: Path,
        victim: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        tmp_path: Path,
    ) -> None:
        if (plant, moment) == ("folder", "at once"):
            return  # an empty one of the same user's is as good as the one that was created
        precious = content(victim)
        (tmp_path / "empty").mkdir()

        def change() -> None:
            path = unfinished(folder)
            path.rename(folder / "stolen")
            if plant == "link":
                path.symlink_to(victim)
            elif plant == "link to nothing in it":
                path.symlink_to(tmp_path / "empty")
            elif plant == "folder":
                path.mkdir()
            elif plant == "file":
                path.write_text("his")
            elif plant == "full folder":
                path.mkdir()
                (path / "config.json").write_text("his")

        if moment == "at once":
            good = os.mkdir

            def mkdir(*arguments: object, **named: object) -> None:
                good(*arguments, **named)  # type: ignore[arg-type]
                monkeypatch.setattr(os, "mkdir", good)
                change()

            monkeypatch.setattr(os, "mkdir", mkdir)
            write(out)
            assert content(out) == whole()
        else:
            monkeypatch.setattr(os, "fsync", acting_first(change, os.fsync))
            assert refused(out) == SOMEBODY
            assert not out.exists()
        assert content(victim) == precious
        assert content(tmp_path / "empty") == {}
        assert caplog.messages == []  # nothing of ours is left to be removed
        assert content(folder / "stolen") == {}
        planted = [path for path in folder.iterdir() if path.name.startswith(UNFINISHED)]
        assert len(planted) == (plant != "nothing")
        if plant == "full folder":
            assert content(planted[0]) == {"config.json": b"his"}

    def test_another_folder_gets_the_name(
        self, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the last look at the temporary name and the rename."""

        def exchange() -> None:
            path = unfinished(folder)
            path.rename(folder / "stolen")
            path.mkdir()
            (path / "his").write_text("his")

        monkeypatch.setattr(os, "rename", acting_first(exchange, os.rename))
        assert refused(out) == SOMEBODY
        assert content(out) == {"his": b"his"}
        assert content(folder / "stolen") == {}

    def test_another_user_s_folder(self, out: Path, folder: Path) -> None:
        if os.geteuid():
            pytest.skip("giving a folder to another user takes root's rights")
        good = os.mkdir

        def mkdir(name: str, mode: int, *, dir_fd: int | None) -> None:
            good(name, mode, dir_fd=dir_fd)
            os.chown(name, 65534, -1, dir_fd=dir_fd)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "mkdir", mkdir)
            assert refused(out) == SOMEBODY
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize("name", ["new", "config.json"])
    def test_a_file_in_it(
        self, name: str, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def plant() -> None:
            path = unfinished(folder) / name
            path.unlink(missing_ok=True)
            path.write_text("his")

        monkeypatch.setattr(os, "fsync", acting_first(plant, os.fsync))
        said = refused(out)
        if name == "new":
            assert said == SOMEBODY
            assert content(unfinished(folder)) == {"new": b"his"}  # which is not ours to remove
        else:
            assert "found another file in its place, or none" in said
        assert not out.exists()

    def test_a_link_where_a_file_is_to_be_made(self, out: Path, folder: Path, victim: Path) -> None:
        with FolderOutput(out) as output:
            (unfinished(folder) / "config.json").symlink_to(victim / "config.json")
            with pytest.raises(ConversionError, match="cannot be written: 'File exists'"):
                output.file("config.json", 3)
        assert (victim / "config.json").read_text() == "precious"

    def test_no_name_is_opened_twice(self, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        good, opened = os.open, []

        def noted(path: str, flags: int, *arguments: int, **named: int) -> int:
            opened.append((str(path), flags))
            return good(path, flags, *arguments, **named)

        monkeypatch.setattr(os, "open", noted)
        write(out)
        made = [name for name, flags in opened if flags & os.O_CREAT]
        assert sorted(made) == sorted([*FILES, "ggcp.json"])
        assert [name for name, _ in opened if name in made] == made
        assert all(flags & os.O_EXCL for _, flags in opened if flags & os.O_CREAT)


class TestLeftovers:
    """What a killed run left is removed by the next; what may be the only copy is named."""

    LEFT = f"{UNFINISHED}0123456789abcdef"

    def test_of_a_killed_run(
        self, out: Path, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (folder / self.LEFT).mkdir(0o700)
        (folder / self.LEFT / "config.json").write_text("half")
        with caplog.at_level("INFO", "ggcp"):
            write(out)
        assert [path.name for path in folder.iterdir()] == ["out"]
        assert caplog.messages == [
            f"removed {folder}/{self.LEFT}, which a run that was killed had left"
        ]

    def test_of_a_running_one(self, out: Path, folder: Path) -> None:
        with FolderOutput(folder / "other") as running:
            file = running.file("a", 0)
            write(out)
            file.write(())
            running.commit({})
        assert {path.name for path in folder.iterdir()} == {"out", "other"}

    @pytest.mark.parametrize("kind", ["link", "folder", "pipe", "input", "read", "another user's"])
    def test_what_is_not_removed(self, kind: str, out: Path, folder: Path, tmp_path: Path) -> None:
        left = folder / self.LEFT
        left.mkdir()
        (left / "a").write_text("a")
        inputs: tuple[Path, ...] = ()
        if kind == "link":
            (left / "b").symlink_to("a")
        elif kind == "folder":
            (left / "b").mkdir()
        elif kind == "pipe":
            os.mkfifo(left / "b")
        elif kind == "input":
            inputs = (left / "a",)
        elif kind == "another user's":
            if os.geteuid():
                pytest.skip("giving a folder to another user takes root's rights")
            os.chown(left, 65534, -1)
        before = tree(left)
        with Source.open(left / "a") as source:
            given = (source,) if kind == "read" else ()
            with FolderOutput(tmp_path / "other", inputs=given):  # another run
                write(out, inputs=inputs)
        assert tree(left) == before

    def test_what_was_moved_aside(
        self, out: Path, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        aside = folder / f"{ASIDE}0123456789abcdef"
        write(aside)
        write(out)
        assert content(aside) == whole()
        assert caplog.messages == [
            f"{aside} is a folder that a run that was killed had moved aside to replace it; give "
            "it its name back if the new one is not there, else remove it"
        ]

    def test_what_a_running_one_moved_aside(
        self,
        out: Path,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        write(out)
        good = os.rename

        def rename(name: str, new: str, **named: int) -> None:
            good(name, new, **named)
            if new.startswith(ASIDE):
                monkeypatch.setattr(os, "rename", good)
                write(folder / "another run's")

        monkeypatch.setattr(os, "rename", rename)
        write(out, OTHERS, force=True)
        assert {path.name for path in folder.iterdir()} == {"out", "another run's"}
        assert caplog.messages == []

    def test_one_that_cannot_be_removed_is_named(
        self,
        out: Path,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with FolderOutput(out) as output:
            output.file("a", 1)
            name = unfinished(folder)
            monkeypatch.setattr(os, "unlink", failing(errno.EACCES))
        assert caplog.messages == [f"{name} could not be removed; remove it"]
        monkeypatch.undo()
        assert discard_unfinished()
        assert list(folder.iterdir()) == []
