"""Many files in a line each, and folders."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from command import ENVIRONMENT, run
from packed import checkpoint
from resumed import ggcp

from converter.report.json import FORMAT

NARROW = {**ENVIRONMENT, "COLUMNS": "80"}
NO_CHECKPOINT = "ggcp: none of these files is a checkpoint; ggcp inspect FILE says more of each\n"


def listed(folder: Path, *names: str) -> tuple[int, str, str]:
    done = run("inspect", *names, cwd=folder, env=NARROW)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def files(fixtures: Path, tmp_path: Path) -> Path:
    for name in (
        *("v0_adam_one.bin", "v1_adam_one.bin", "v1_lbfgs.bin", "pre_b241b9cb6.bin"),
        *("ggcl_v1_adam_1a5f0a30e.bin", "ggla_oct23_lora.bin", "vocab300.ggjt"),
        *("v0_lbfgs_truncated_master43033b7bb.bin", "model_aug23_lbfgs.gguf"),
    ):
        shutil.copy(fixtures / name, tmp_path)
    return tmp_path


WHOLE = """\
file                         kind           size  iterations       loss   whole
v0_adam_one.bin              training  512.2 KiB          30     5.4382*  yes
v1_adam_one.bin              training  192.9 KiB          30     5.4708   yes
v1_lbfgs.bin                 training  913.6 KiB           5     5.7042   yes
pre_b241b9cb6.bin            May 2023   51.4 KiB          12          -   yes
ggcl_v1_adam_1a5f0a30e.bin   LoRA       50.3 KiB          10     5.6402   yes
ggla_oct23_lora.bin          adapter    33.6 KiB           -          -   yes
model_aug23_lbfgs.gguf       model      58.5 KiB           -          -   yes
vocab300.ggjt                no checkpoint: a LLaMA model file (ggjt) with 30...

* no mean loss: compare it with those of the same trainer only
"""


def test_a_line_each(files: Path) -> None:
    names = [line.split()[0] for line in WHOLE.split("\n")[1:9]]
    assert listed(files, *names) == (0, WHOLE, "")


def test_no_folder_is_searched_for_a_line(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vocabulary beside a file has no room in its line; in JSON it has."""
    searched: list[object] = []
    good = os.scandir

    def scandir(path: str) -> object:
        searched.append(path)
        return good(path)

    monkeypatch.setattr(os, "scandir", scandir)
    names = [files / "v0_adam_one.bin", files / "v1_adam_one.bin"]
    assert len(ggcp("inspect", *names).out) == 5
    assert searched == []
    assert json.loads("\n".join(ggcp("inspect", "--json", *names).out))[1]["file"]
    assert searched == [str(files)] * 2


def test_a_damaged_one(files: Path) -> None:
    code, text, error = listed(files, "v1_lbfgs.bin", "v0_lbfgs_truncated_master43033b7bb.bin")
    assert (code, error) == (1, "")
    assert text.splitlines()[2:] == [
        "...ated_master43033b7bb.bin  training   48.4 KiB           0          -   rescue",
        "",
        "rescue: damaged, but ggcp export --rescue gets the model, or the LoRA, out",
    ]
    data = checkpoint(1, n_layer=1).data
    (files / "lost.bin").write_bytes(data[:200])
    code, text, _ = listed(files, "v1_lbfgs.bin", "lost.bin")
    assert code == 1
    assert text.splitlines()[2:] == [
        "lost.bin                     training      200 B           3          -   no"
    ]


def test_what_cannot_be_read_is_named_and_the_others_are_shown(files: Path) -> None:
    os.mkfifo(files / "pipe")
    code, text, error = listed(files, "nothing.bin", "pipe", "v1_lbfgs.bin")
    assert code == 1
    assert text.splitlines()[1:3] == [
        "nothing.bin                  cannot be read: no such file",
        "pipe                         cannot be read: this is a pipe",
    ]
    assert text.splitlines()[3].startswith("v1_lbfgs.bin ")
    assert error == (
        "ggcp: to make a file, say of which kind: ggcp export IN OUT, or ggcp convert IN OUT\n"
    )


def test_none_is_a_checkpoint(files: Path) -> None:
    (files / "empty").write_bytes(b"")
    code, text, error = listed(files, "vocab300.ggjt", "empty")
    assert (code, error) == (1, NO_CHECKPOINT)
    assert len(text.splitlines()) == 3


def test_it_keeps_to_eighty_columns_and_is_aligned(fixtures: Path) -> None:
    _, text, _ = listed(fixtures, ".")
    lines = text.partition("\n\n")[0].split("\n")
    assert max(map(len, lines)) <= 80
    wholes = [line for line in lines if line.endswith(("  yes", "  rescue", "  whole"))]
    assert len(wholes) > 25
    assert len({line.rindex("  ") for line in wholes}) == 1


def test_a_folder_is_its_files_sorted_and_not_those_below(files: Path) -> None:
    below = files / "below"
    below.mkdir()
    shutil.move(files / "v1_lbfgs.bin", below)
    os.mkfifo(files / "pipe")
    code, text, error = listed(files.parent, files.name)
    assert (code, error) == (1, "")  # one of them is damaged
    names = [line.split("  ")[0].removeprefix("...") for line in text.splitlines()[1:-3]]
    expected = sorted(path.name for path in files.iterdir() if path.is_file())
    assert all(
        f"{files.name}/{each}".endswith(name) for name, each in zip(names, expected, strict=True)
    )
    assert code == listed(files.parent, f"{files.name}/")[0]


def test_a_folder_of_many_files(tmp_path: Path) -> None:
    for index in range(260):
        (tmp_path / f"{index:03}.bin").write_bytes(checkpoint(1).data)
    code, text, error = listed(tmp_path, ".")
    assert (code, len(text.splitlines())) == (0, 257)
    assert text.splitlines()[-1].startswith("./255.bin ")
    assert error == "ggcp: .: 4 more files were not looked at\n"


def test_a_folder_without_files(tmp_path: Path) -> None:
    code, text, error = listed(tmp_path, ".")
    assert (code, text) == (1, "")
    assert error == (
        "ggcp: .: file: expected a file, or a folder with files, found a folder without files; "
        "give the name of a file, or of the folder that holds it\n"
    )


class TestAFolderThatGgcpMade:
    @pytest.fixture
    def made(self, tmp_path: Path) -> Path:
        (tmp_path / "my model").mkdir()
        manifest = {"version": "2.0", "made": {}, "files": {}}
        (tmp_path / "my model" / "ggcp.json").write_text(json.dumps(manifest))
        (tmp_path / "my model" / "model.safetensors").write_bytes(b"")
        return tmp_path

    def test_it_is_recognised(self, made: Path) -> None:
        assert listed(made, "my model") == (
            0,
            "my model: a folder for PyTorch and transformers, made by ggcp\n\n"
            "What you can do next\n"
            "  # Run it, or go on with its training: my model/README.md has the code\n"
            "  # Compare it with the checkpoint it was made from\n"
            "  ggcp verify CHECKPOINT 'my model'\n",
            "",
        )
        found = json.loads(run("inspect", "my model", "--json", cwd=made).stdout)
        assert found == {
            "format": 1,
            "file": {"name": "my model", "bytes": None},
            "kind": "folder",
            "complete": None,
            "error": None,
            "manifest": {"version": "2.0", "made": {}, "files": {}},
        }

    def test_among_others(self, made: Path) -> None:
        (made / "a.bin").write_bytes(checkpoint(1).data)
        code, text, error = listed(made, "a.bin", "my model")
        assert (code, error) == (0, "")
        assert (
            text.splitlines()[2]
            == (
                "my model                     a folder for PyTorch and transformers, made by ggcp"[
                    :80
                ]
            )
        )

    def test_whether_it_is_unchanged(self, made: Path) -> None:
        # Of "abc", as FIPS 180-4 has it.
        sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        manifest = {"made": {}, "files": {"a.pt": {"size": 3, "sha256": sha256}}}
        folder = made / "my model"
        (folder / "ggcp.json").write_text(json.dumps(manifest))
        (folder / "model.safetensors").rename(folder / "a.pt")
        (folder / "a.pt").write_bytes(b"abc")
        code, text, error = listed(made, "my model", "--stats")
        assert (code, error) == (0, "")
        assert text.splitlines()[:3] == [
            "my model: a folder for PyTorch and transformers, made by ggcp",
            "Whole: every file is as it was written",
            "",
        ]
        shown = json.loads(run("inspect", "my model", "--json", "--stats", cwd=made).stdout)
        assert (shown["complete"], shown["error"]) == (True, None)
        (folder / "a.pt").write_bytes(b"abd")
        other = "a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9"
        hint = (
            "the folder was changed after it was written; give a folder that ggcp wrote, or write "
            "it again from the checkpoint"
        )
        assert listed(made, "my model", "--stats") == (
            1,
            "",
            f"ggcp: my model/a.pt: sha256: expected {sha256}, found {other}; {hint}\n",
        )
        done = run("inspect", "my model", "--json", "--stats", cwd=made)
        shown = json.loads(done.stdout)
        assert (done.returncode, shown["complete"]) == (1, False)
        assert shown["error"] == {
            "file": "my model/a.pt",
            "path": "sha256",
            "offset": None,
            "expected": sha256,
            "found": other,
            "hint": hint,
        }
        (made / "a.bin").write_bytes(checkpoint(1).data)
        code, text, error = listed(made, "a.bin", "my model", "--stats")
        assert (code, error) == (1, "")
        assert text.splitlines()[2].split("  ")[-1].strip() == (
            "changed since ggcp made it; look at it alone"
        )
        code, text, error = listed(made, "a.bin", "my model")
        assert (code, error) == (0, "")  # nothing is read

    @pytest.mark.parametrize("text", ["", "[]", '{"files": {}}', '{"format"', "[" * 100_000, "\0"])
    def test_another_file_of_that_name(self, text: str, made: Path) -> None:
        (made / "my model" / "ggcp.json").write_text(text)
        code, shown, _ = listed(made, "my model")
        assert code == 1
        assert "made by ggcp" not in shown


class TestJson:
    def listed(self, folder: Path, *names: str) -> tuple[int, Any]:
        done = run("inspect", *names, "--json", cwd=folder)
        return done.returncode, json.loads(done.stdout)

    def test_a_list(self, files: Path) -> None:
        names = ("v1_lbfgs.bin", "vocab300.ggjt", "nothing", "v0_adam_one.bin")
        code, found = self.listed(files, *names)
        assert code == 1
        assert [one["file"]["name"] for one in found] == list(names)
        assert [one["kind"] for one in found] == ["training", "foreign", "unreadable", "training"]
        assert {one["format"] for one in found} == {FORMAT}
        assert [one["complete"] for one in found] == [True, None, None, True]
        assert found[2]["error"]["found"] == "no such file"
        assert found[0] == self.listed(files, "v1_lbfgs.bin")[1]

    def test_a_file_that_is_no_checkpoint(self, files: Path) -> None:
        code, found = self.listed(files, "vocab300.ggjt")
        assert code == 1
        hint = found["hint"]
        assert hint.startswith("a model, not a checkpoint; it works as --vocab")
        assert found == {
            "format": 1,
            "file": {"name": "vocab300.ggjt", "bytes": 2755},
            "kind": "foreign",
            "complete": None,
            "error": {
                "path": "magic",
                "offset": 0,
                "expected": "a checkpoint",
                "found": "a LLaMA model file (ggjt) with 300 tokens",
                "hint": hint,
            },
            "foreign": {
                "kind": "ggjt",
                "what": "a LLaMA model file (ggjt) with 300 tokens",
                "token_count": 300,
            },
            "hint": hint,
        }
        (files / "odd").write_bytes(b"\x93what is this")
        _, found = self.listed(files, "odd")
        assert found["foreign"] == {"kind": None, "what": None, "token_count": None}


@pytest.mark.parametrize("option", ["--html page.html", "--all", "--tensors"])
def test_what_takes_one_file_only(option: str, files: Path) -> None:
    done = run("inspect", "v1_lbfgs.bin", "v1_adam_one.bin", *option.split(), cwd=files)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(
        f": error: {option.split()[0]} goes with one file only; see ggcp inspect --help\n"
    )
    assert not (files / "page.html").exists()


def test_quiet(files: Path) -> None:
    done = run("inspect", "v1_lbfgs.bin", "v1_adam_one.bin", "-q", cwd=files)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_hostile_names(tmp_path: Path) -> None:
    for name in ("\x1b[2J\n.bin", "\u202e.bin"):
        (tmp_path / name).write_bytes(checkpoint(1).data)
    code, text, _ = listed(tmp_path, ".")
    assert (code, len(text.splitlines())) == (0, 3)
    assert all(line.isprintable() for line in text.split("\n"))


class TestWithoutACommand:
    def test_a_file_is_inspected(self, files: Path) -> None:
        (files / "plain").write_bytes(checkpoint(1).data)
        for name in ("v1_lbfgs.bin", "plain", "./plain", str(files / "plain")):
            assert run(name, cwd=files).stdout == run("inspect", name, cwd=files).stdout != ""

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        done = run("chk.bin", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "ggcp: chk.bin: no such file; check the name and the folder\n"

    def test_a_command_stays_a_command(self, tmp_path: Path) -> None:
        (tmp_path / "verify").write_bytes(checkpoint(1).data)
        assert run("verify", cwd=tmp_path).returncode == 2
        assert run("convrt", cwd=tmp_path).returncode == 2
