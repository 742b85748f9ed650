"""Only a folder that is as it was written is replaced: people train into such folders."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import acting_first, failing
from folders import FILES, OTHERS, content, refused, tree, whole, write

from converter.disk.leftovers import ASIDE
from ggcp_schema import Source

FORCE = {"force": True, "files": OTHERS}
REPLACING = "expected a folder that holds what ggcp wrote, unchanged, to replace it, found "
KEPT = "; nothing was changed; give another name, or move the folder away"


@pytest.fixture
def out(folder: Path) -> Path:
    return folder / "out"


def add_file(out: Path) -> None:
    (out / "checkpoint.pt").write_bytes(b"a month of work")


def add_folder(out: Path) -> None:
    (out / "checkpoint-1").mkdir()


def add_link(out: Path) -> None:
    (out / "link").symlink_to("config.json")


def add_pipe(out: Path) -> None:
    os.mkfifo(out / "pipe")


def remove_file(out: Path) -> None:
    (out / "empty.txt").unlink()


def remove_manifest(out: Path) -> None:
    (out / "ggcp.json").unlink()


def break_manifest(out: Path) -> None:
    (out / "ggcp.json").write_text("{")


def grow(out: Path) -> None:
    (out / "empty.txt").write_bytes(b"x")


def one_bit(out: Path) -> None:
    data = bytearray(FILES["model.bin"])
    data[-1] ^= 1
    (out / "model.bin").write_bytes(data)


def link_instead(out: Path) -> None:
    (out / "config.json").rename(out.parent / "config.json")
    (out / "config.json").symlink_to("../config.json")


def folder_instead(out: Path) -> None:
    (out / "config.json").unlink()
    (out / "config.json").mkdir()


CHANGES: list[tuple[Callable[[Path], None], str]] = [
    (add_file, "checkpoint.pt, which is a new file"),
    (add_folder, "checkpoint-1, which is a new folder"),
    (add_link, "link, which is a new symbolic link"),
    (add_pipe, "pipe, which is a new device or a pipe"),
    (remove_file, "no empty.txt"),
    (remove_manifest, "ggcp.json: 'No such file or directory'"),
    (
        break_manifest,
        "ggcp.json: 'Expecting property name enclosed in double quotes: line 1 column 2 (char 1)'",
    ),
    (grow, "empty.txt, which was changed"),
    (one_bit, "model.bin, which was changed"),
    (link_instead, "config.json, which is a symbolic link"),
    (folder_instead, "config.json, which is a folder"),
]


class TestForce:
    """People train into such folders."""

    def test_one_that_is_unchanged_is_replaced(self, out: Path, folder: Path) -> None:
        write(out)
        write(out, **FORCE)
        assert content(out) == whole(OTHERS)
        assert [path.name for path in folder.iterdir()] == ["out"]

    def test_where_nothing_is(self, out: Path, folder: Path) -> None:
        write(out, **FORCE)
        assert content(out) == whole(OTHERS)

    @pytest.mark.parametrize(("change", "found"), CHANGES)
    def test_one_that_was_changed(
        self, change: Callable[[Path], None], found: str, out: Path, folder: Path
    ) -> None:
        write(out)
        change(out)
        before = tree(folder)
        assert refused(out, **FORCE) == REPLACING + found + KEPT
        assert tree(folder) == before

    @pytest.mark.parametrize(
        ("change", "found"),
        [
            (add_file, "checkpoint.pt, which was added or removed meanwhile"),
            (add_folder, "checkpoint-1, which was added or removed meanwhile"),
            (remove_file, "empty.txt, which was added or removed meanwhile"),
            (one_bit, "model.bin, which was changed meanwhile"),
        ],
    )
    @pytest.mark.parametrize("moved", [False, True], ids=["before", "after it was moved aside"])
    def test_one_that_is_changed_meanwhile(
        self,
        change: Callable[[Path], None],
        found: str,
        moved: bool,
        out: Path,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        write(out)
        if moved:
            good = os.rename

            def rename_and_change(name: str, new: str, **named: int) -> None:
                good(name, new, **named)
                if new.startswith(ASIDE):
                    change(folder / new)

            monkeypatch.setattr(os, "rename", rename_and_change)
        else:
            monkeypatch.setattr(os, "fsync", acting_first(lambda: change(out), os.fsync))
            monkeypatch.setattr(os, "rename", failing(errno.EIO))  # it is not even moved
        assert refused(out, **FORCE) == REPLACING + found + KEPT
        assert [path.name for path in folder.iterdir()] == ["out"]
        expected = dict.fromkeys(whole(), True)
        expected.update({"checkpoint.pt": change is add_file, "empty.txt": change != remove_file})
        expected["checkpoint-1"] = change is add_folder
        assert {path.name for path in out.iterdir()} == {
            n for n, is_in in expected.items() if is_in
        }

    def test_another_folder_came_meanwhile(
        self, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(out)
        write(folder / "same")

        def exchange() -> None:
            out.rename(folder / "old")
            (folder / "same").rename(out)

        monkeypatch.setattr(os, "fsync", acting_first(exchange, os.fsync))
        found = "another folder, which came meanwhile"
        assert refused(out, **FORCE) == REPLACING + found + KEPT
        assert {path.name for path in folder.iterdir()} == {"out", "old"}

    @pytest.mark.parametrize(
        ("take", "found"),
        [
            (lambda out: out.write_text("somebody's"), "a file of that name"),
            (lambda out: out.symlink_to("old"), "a symbolic link of that name"),
        ],
    )
    def test_something_else_came_meanwhile(
        self,
        take: Callable[[Path], object],
        found: str,
        out: Path,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        write(out)

        def exchange() -> None:
            out.rename(folder / "old")
            take(out)

        monkeypatch.setattr(os, "fsync", acting_first(exchange, os.fsync))
        assert refused(out, **FORCE).startswith(f"expected a name that is free, found {found}; ")
        assert {path.name for path in folder.iterdir()} == {"out", "old"}
        assert content(folder / "old") == whole()

    def test_a_folder_came_where_nothing_was(
        self, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fsync", acting_first(out.mkdir, os.fsync))
        assert "found a folder of that name" in refused(out, **FORCE)
        assert [path.name for path in folder.iterdir()] == ["out"]
        assert content(out) == {}

    def test_it_went_meanwhile(
        self, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(out)
        moved = acting_first(lambda: out.rename(folder / "moved"), os.fsync)
        monkeypatch.setattr(os, "fsync", moved)
        write(out, **FORCE)
        assert content(out) == whole(OTHERS)
        assert content(folder / "moved") == whole()

    def test_the_second_rename_fails(
        self, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(out)
        before = tree(folder)
        good, seen = os.rename, []

        def rename(name: str, new: str, **named: int) -> None:
            seen.append(new)
            if len(seen) == 2:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            good(name, new, **named)

        monkeypatch.setattr(os, "rename", rename)
        assert refused(out, **FORCE) == (
            "cannot be written: 'Input/output error'; write to another folder or disk"
        )
        assert [name[: len(ASIDE)] for name in seen] == [ASIDE, "out", "out"]
        assert tree(folder) == before

    def test_it_cannot_be_moved_back(
        self, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(out)
        monkeypatch.setattr(os, "rename", failing(errno.EIO, 1, os.rename))
        said = refused(out, **FORCE)
        (aside,) = folder.iterdir()
        assert said == (
            "expected the folder to get its name back, after the new one could not get it, found "
            f"'Input/output error'; it is whole: {aside}; give it its name back"
        )
        assert content(aside) == whole()

    def test_the_folder_cannot_be_synchronised(
        self, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(out)
        before = tree(folder)
        good = len(OTHERS) + 2  # with ggcp.json, and the new folder itself
        monkeypatch.setattr(os, "fsync", failing(errno.EIO, good, os.fsync))
        assert refused(out, **FORCE).startswith("cannot be written: 'Input/output error'; ")
        assert tree(folder) == before

    def test_nor_moved_back(self, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(out)
        good = len(OTHERS) + 2
        monkeypatch.setattr(os, "fsync", failing(errno.EIO, good, os.fsync))
        monkeypatch.setattr(os, "rename", failing(errno.EACCES, 2, os.rename))
        said = refused(out, **FORCE)
        (aside,) = (path for path in folder.iterdir() if path.name.startswith(ASIDE))
        assert said == (
            "expected a disk that keeps the name of the folder, found 'Permission denied'; the new "
            f"folder is there, whole, but a power cut may lose it; the old one: {aside}"
        )
        assert content(out) == whole(OTHERS)
        assert content(aside) == whole()

    def test_the_old_one_cannot_be_removed(
        self,
        out: Path,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        write(out)
        monkeypatch.setattr(os, "unlink", failing(errno.EACCES))
        write(out, **FORCE)
        (aside,) = (path for path in folder.iterdir() if path.name.startswith(ASIDE))
        assert caplog.messages == [
            f"the folder that was replaced could not be removed; remove it: {aside}"
        ]
        assert content(out) == whole(OTHERS)
        assert content(aside) == whole()

    def test_what_came_into_the_old_one_is_not_removed(
        self, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At the last moment: somebody had it open as his working folder."""
        write(out)

        def add() -> None:
            (aside,) = (path for path in folder.iterdir() if path.name.startswith(ASIDE))
            add_file(aside)

        monkeypatch.setattr(os, "unlink", acting_first(add, os.unlink))
        write(out, **FORCE)
        assert content(out) == whole(OTHERS)
        (aside,) = (path for path in folder.iterdir() if path.name.startswith(ASIDE))
        assert content(aside) == {"checkpoint.pt": b"a month of work"}

    @pytest.mark.parametrize("opened", [False, True])
    @pytest.mark.parametrize("how", ["in it", "linked"])
    def test_the_input_is_in_it(
        self, how: str, opened: bool, out: Path, folder: Path, tmp_path: Path
    ) -> None:
        write(out)
        given = out / "config.json"
        if how == "linked":
            given = tmp_path / "link"
            given.hardlink_to(out / "config.json")
        before = tree(folder)
        with Source.open(given) as source:
            said = refused(out, **FORCE, inputs=(source if opened else given,))
        assert said == (
            "expected an output that does not hold the input, found the input itself in it, "
            "'config.json'; give another name; the input is never removed"
        )
        assert tree(folder) == before

    def test_the_input_is_moved_into_it(
        self, out: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(out)
        given = tmp_path / "in"
        given.write_bytes(b"the only copy")
        moved = acting_first(lambda: given.rename(out / "config.json"), os.fsync)
        monkeypatch.setattr(os, "fsync", moved)
        found = "config.json, which was changed meanwhile"
        assert refused(out, **FORCE, inputs=(given,)) == REPLACING + found + KEPT
        assert content(out) == {**whole(), "config.json": b"the only copy"}
        assert [path.name for path in folder.iterdir()] == ["out"]


def test_a_name_that_a_terminal_would_obey(out: Path) -> None:
    write(out)
    (out / "\x1b[1m").touch()
    assert refused(out, force=True) == (
        r"expected a folder that holds what ggcp wrote, unchanged, to replace it, found \x1b[1m, "
        "which is a new file; nothing was changed; give another name, or move the folder away"
    )
