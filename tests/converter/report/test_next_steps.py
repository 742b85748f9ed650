"""The commands that are shown for files of every kind, each whole."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from converter import inspect
from converter.report.advice import steps

RESUME = tuple(
    f"ggcp convert IN.END IN-resume.gguf --resume-with {order}" for order in ("flash", "plain")
)
# fmt: off
COMMANDS = {
    "v1_adam_one.bin": (
        "ggcp export IN.END IN-model.gguf --vocab VOCAB",
        "ggcp export IN.END IN-pytorch --format hf --vocab VOCAB",
        *RESUME,
        "ggcp verify IN.END IN-resume.gguf"),
    "v1_lbfgs.bin": (  # PyTorch cannot go on with L-BFGS
        "ggcp export IN.END IN-model.gguf --vocab VOCAB",
        *RESUME,
        "ggcp verify IN.END IN-resume.gguf"),
    "chk_aug23_rope.gguf": (  # holds its vocabulary
        "ggcp export IN.END IN-model.gguf",
        "ggcp export IN.END IN-pytorch --format hf",
        *RESUME,
        "ggcp verify IN.END IN-resume.gguf"),
    "model_aug23_lbfgs.gguf": (
        "ggcp export IN.END IN-model.gguf",),
    "pre_37c69435f.bin": (  # stores no state of the optimizer, and no context length
        "ggcp export IN.END IN-model.gguf --vocab VOCAB -c 32",
        "ggcp verify IN.END IN-model.gguf"),
    "ggcl_1a5f0a30e_one_flash.bin": (
        "ggcp export IN.END IN-adapter.gguf",
        "ggcp export IN.END IN-merged.gguf --merge BASE.gguf",
        *RESUME,
        "ggcp verify IN.END IN-resume.gguf"),
    "ggla_oct23_lora.bin": (  # no trainer goes on from an adapter
        "ggcp export IN.END IN-adapter.gguf",
        "ggcp export IN.END IN-merged.gguf --merge BASE.gguf",
        "ggcp verify IN.END IN-adapter.gguf"),
}
# fmt: on


@pytest.mark.parametrize("name", COMMANDS)
def test_commands(
    name: str, fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    end = name.rpartition(".")[2]
    shutil.copyfile(fixtures / name, f"IN.{end}")
    report = inspect(f"IN.{end}")
    commands = tuple(command.replace("END", end) for command in COMMANDS[name])
    assert tuple(step.command for step in steps(report)) == commands
    # Moments of the mean are not divided, so that nothing depends on how long a sample is.
    if not name.startswith("pre_"):
        unknown = replace(report, context_length=None)
        assert tuple(step.command for step in steps(unknown)) == commands


def test_sums_over_samples_of_unknown_length(fixtures: Path) -> None:
    """They cannot be divided: all that is left is a GGUF with everything as it is."""
    report = inspect(fixtures / "v0_adam_one.bin")
    found = [step.command for step in steps(replace(report, context_length=None))]
    source = str(fixtures / "v0_adam_one.bin")
    resume = source.replace(".bin", "-resume.gguf")
    assert found[2:] == [f"ggcp convert {source} {resume}", f"ggcp verify {source} {resume}"]
