"""The epsilon that the date of a checkpoint makes probable: said, and never taken by itself."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from command import run
from gguf import GGUFReader

JULY_10 = 1_688_983_200  # date -u -d @1688983200: Mon Jul 10 10:00:00 UTC 2023
AUGUST_18 = 1_692_352_800  # date -u -d @1692352800: Fri Aug 18 10:00:00 UTC 2023
NOW = 1_767_225_600  # 2026-01-01

ASSUMED = (
    "ggcp: the epsilon of the norms is not in the file; 1e-5 is assumed: trainers before "
    "2023-07-25 had 1e-6, before 2023-08-21 5e-6 (see --eps in ggcp {} --help)"
)
SUGGESTED = "; the file is dated 2023-07-10: probably --eps 1e-6"


@pytest.fixture
def dated(fixtures: Path, tmp_path: Path) -> Path:
    for name in ("v0_adam_one.bin", "ggcl_v1_adam_1a5f0a30e.bin", "chk_aug23_rope.gguf"):
        shutil.copy(fixtures / name, tmp_path)
        os.utime(tmp_path / name, (0, AUGUST_18 if name.startswith("ggcl") else JULY_10))
    shutil.copy(fixtures / "vocab300.gguf", tmp_path)
    return tmp_path


def epsilon_of(path: Path) -> float:
    field = GGUFReader(path).fields["llama.attention.layer_norm_rms_epsilon"]
    return float(field.parts[-1][0])


def test_the_warning_suggests_it_and_1e_5_is_still_taken(dated: Path) -> None:
    for line, command in (
        ("export v0_adam_one.bin OUT --vocab vocab300.gguf", "export"),
        ("convert v0_adam_one.bin OUT --resume-with flash --batch 2 --force", "convert"),
    ):
        done = run(*line.split(), cwd=dated)
        assert done.returncode == 0
        assert ASSUMED.format(command) + SUGGESTED in done.stderr.splitlines()
        assert epsilon_of(dated / "OUT") == pytest.approx(1e-5)


def test_who_gives_one_hears_nothing(dated: Path) -> None:
    line = "export v0_adam_one.bin OUT --vocab vocab300.gguf --eps 5e-6"
    assert "probably" not in run(*line.split(), cwd=dated).stderr
    assert epsilon_of(dated / "OUT") == pytest.approx(5e-6)


def test_a_date_of_today_says_nothing(dated: Path) -> None:
    os.utime(dated / "v0_adam_one.bin", (0, NOW))
    done = run("export", "v0_adam_one.bin", "OUT", "--vocab", "vocab300.gguf", cwd=dated)
    assert ASSUMED.format("export") in done.stderr.splitlines()


@pytest.mark.parametrize(
    ("name", "seconds", "words"),
    [  # when one trainer had the new epsilon already, and another not yet
        ("v0_adam_one.bin", 1_692_698_400, "1e-5"),  # date -u -d @1692698400: 22 August 2023
        ("ggcl_v1_adam_1a5f0a30e.bin", 1_693_044_000, "5e-6"),  # 26 August 2023
    ],
)
def test_each_trainer_has_dates_of_its_own(
    name: str, seconds: int, words: str, dated: Path
) -> None:
    os.utime(dated / name, (0, seconds))
    found = json.loads(run("inspect", name, "--json", cwd=dated).stdout)
    assert found["likely_epsilon"]["words"] == words


def test_the_commands_of_inspect_have_it(dated: Path) -> None:
    def inspected(name: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(run("inspect", name, "--json", cwd=dated).stdout)
        return found

    found = inspected("v0_adam_one.bin")
    assert found["likely_epsilon"] == {"words": "1e-6", "date": "2023-07-10"}
    source, target = "v0_adam_one.bin", "v0_adam_one-resume.gguf"
    commands = [step["command"] for step in found["next"]]  # type: ignore[attr-defined]
    assert commands == [
        f"ggcp export {source} v0_adam_one-model.gguf --vocab vocab300.gguf --eps 1e-6",
        f"ggcp export {source} v0_adam_one-pytorch --format hf --vocab vocab300.gguf --eps 1e-6",
        f"ggcp convert {source} {target} --resume-with flash --eps 1e-6",
        f"ggcp convert {source} {target} --resume-with plain --eps 1e-6",
        f"ggcp verify {source} {target}",
    ]
    found = inspected("ggcl_v1_adam_1a5f0a30e.bin")
    assert found["likely_epsilon"] == {"words": "5e-6", "date": "2023-08-18"}
    commands = [step["command"] for step in found["next"]]  # type: ignore[attr-defined]
    assert [command.endswith(" --eps 5e-6") for command in commands] == [
        command.startswith("ggcp convert") for command in commands
    ]
    assert inspected("chk_aug23_rope.gguf")["likely_epsilon"] is None


def test_of_a_lora_the_warning_has_the_dates_of_finetune(dated: Path) -> None:
    line = "convert ggcl_v1_adam_1a5f0a30e.bin OUT --resume-with flash"
    assert run(*line.split(), cwd=dated).stderr.splitlines()[0] == (
        "ggcp: the epsilon of the norms is not in the file; 1e-5 is assumed: trainers before "
        "2023-08-29 had 5e-6 (see --eps in ggcp convert --help); the file is dated 2023-08-18: "
        "probably --eps 5e-6"
    )


def test_nothing_is_guessed_where_the_file_says_it(dated: Path) -> None:
    """A converted checkpoint has the version of its optimizer context, and an epsilon."""
    line = "convert v0_adam_one.bin OUT --resume-with flash --batch 2 --eps 2e-6"
    assert run(*line.split(), cwd=dated).returncode == 0
    os.utime(dated / "OUT", (0, JULY_10))
    found = json.loads(run("inspect", "OUT", "--json", cwd=dated).stdout)
    assert found["likely_epsilon"] is None
    said = run("inspect", "OUT", cwd=dated).stdout.splitlines()
    assert [line.split() for line in said if "epsilon" in line] == [
        ["epsilon", "2e-6,", "in", "this", "file"]
    ]
