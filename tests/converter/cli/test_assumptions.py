"""What a run rests on that is not in the file: in --json, and with --verbose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import run
from reference.checkpoint import read


@pytest.fixture
def source(fixtures: Path) -> Path:
    return fixtures / "v0_adam_one.bin"  # 192 tokens in 12 samples; trained with -b 2


def assumptions(*arguments: str | Path) -> dict[str, Any]:
    done = run(*arguments, "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["assumptions"]


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_resuming_with_everything_found_out(dry: list[str], source: Path, folder: Path) -> None:
    checkpoint = read(source)
    assert (checkpoint.header["train_tokens"], checkpoint.header["train_samples"]) == (192, 12)
    found = assumptions("convert", source, folder / "out", "--resume-with", "flash", *dry)
    estimated = found.pop("batch")
    assert estimated["basis"] == "estimate"
    assert estimated["value"] >= 2
    assert found == {
        "epsilon": {"value": 1e-5, "basis": "assumed"},
        "context_length": {"value": 16, "basis": "counters"},
        "order": {"value": "scratch", "basis": "evidence"},
    }


def test_resuming_as_the_options_say(source: Path, folder: Path) -> None:
    options = ["--resume-with", "flash", "--order", "scratch", "--batch", "2", "--eps", "5e-6"]
    assert assumptions("convert", source, folder / "out", *options) == {
        "epsilon": {"value": 5e-6, "basis": "option"},
        "context_length": {"value": 16, "basis": "counters"},
        "batch": {"value": 2, "basis": "option"},
        "order": {"value": "scratch", "basis": "option"},
    }


def test_moments_of_the_mean_take_no_batch(fixtures: Path, folder: Path) -> None:
    options = ["--resume-with", "flash", "--order", "flash"]
    found = assumptions("convert", fixtures / "v1_adam_one.bin", folder / "out", *options)
    assert (found["batch"], found["context_length"]) == (None, None)
    assert found["order"] == {"value": "flash", "basis": "option"}


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_model(dry: list[str], source: Path, fixtures: Path, folder: Path) -> None:
    vocabulary = ["--vocab", fixtures / "vocab300.gguf"]
    assert assumptions("export", source, folder / "a", *vocabulary, *dry) == {
        "epsilon": {"value": 1e-5, "basis": "assumed"},
        "context_length": {"value": 16, "basis": "counters"},
        "batch": None,
        "order": None,
    }
    options = ["--eps", "1e-6", "-c", "99"]
    found = assumptions("export", source, folder / "b", *vocabulary, *options, *dry)
    assert found["epsilon"] == {"value": 1e-6, "basis": "option"}
    assert found["context_length"] == {"value": 99, "basis": "option"}


def test_a_checkpoint_that_says_its_epsilon(fixtures: Path, folder: Path) -> None:
    found = assumptions("export", fixtures / "chk_aug23_rope.gguf", folder / "out")
    assert found["epsilon"]["basis"] == "file"


def test_an_adapter_rests_on_nothing(fixtures: Path, folder: Path) -> None:
    source = fixtures / "ggcl_v1_adam_1a5f0a30e.bin"
    assert set(assumptions("export", source, folder / "out").values()) == {None}


def test_verbose_says_what_was_decided(source: Path, folder: Path) -> None:
    options = ["--resume-with", "flash", "--batch", "2"]
    plain = run("convert", source, folder / "a", *options).stderr.splitlines()
    lines = run("convert", source, folder / "b", *options, "--verbose").stderr.splitlines()
    *before, go_on = plain
    assert lines[: len(before)] == before
    assert lines[len(before) :][:6] == [
        "ggcp: epsilon: 1e-5, assumed",
        "ggcp: context length: 16, from the counters of the training",
        "ggcp: batch: 2, as the options say",
        "ggcp: order: scratch, found in the optimizer state",
        "ggcp: token_embd.weight: F32, 16 × 300, copied",
        "ggcp: output_norm.weight: F32, 16, copied",
    ]
    assert lines[-2] == "ggcp: optimizer.adam.second_moments: F32, 16336, computed"
    assert lines[-1] == go_on.replace(str(folder / "a"), str(folder / "b"))
    assert len(lines) == len(plain) + 4 + 23
