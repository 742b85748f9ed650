"""What a trainer saved is replaced by nothing, whatever is forced; what ggcp made is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from resumed import ggcp
from tiny_files import write_inputs

SAVED = {
    "v0_adam_one.bin": "a training checkpoint (ggcp)",
    "pre_37c69435f.bin": "a training checkpoint of 17 to 21 May 2023, before the magic",
    "ggcl_v1_adam_1a5f0a30e.bin": "a LoRA checkpoint (ggcl)",
    "ggla_oct23_lora.bin": "a LoRA adapter (ggla)",
    "chk_aug23_rope.gguf": "a training checkpoint (GGUF)",
    "chk_oct23_lora_nockpt.gguf": "a LoRA checkpoint (GGUF)",
    "v0_lbfgs_truncated_master43033b7bb.bin": "a training checkpoint (ggcp)",
}
LINES = (
    "export in.bin {} --vocab vocab.gguf",
    "export lora.bin {}",
    "convert in.bin {}",
    "convert lora.bin {} --resume-with plain --order flash",
    "inspect in.bin --html {}",
)


@pytest.fixture(autouse=True)
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("name", SAVED)
def test_it_stays(name: str, force: tuple[str, ...], fixtures: Path, inputs: Path) -> None:
    saved = (fixtures / name).read_bytes()
    (inputs / "saved").write_bytes(saved)
    names = sorted(inputs.iterdir())
    for line in LINES:
        said = ggcp(*line.format("saved").split(), *force)
        assert (said.code, said.out) == (1, [])
        assert said.err[-1] == (
            f"ggcp: saved: expected the name of a new file, found {SAVED[name]}; what a trainer "
            "saved is not replaced, not with --force either; name the checkpoint to read first, "
            "and a new file to write second"
        )
    assert (inputs / "saved").read_bytes() == saved
    assert sorted(inputs.iterdir()) == names


@pytest.mark.parametrize("line", LINES)
def test_what_ggcp_made_is_replaced(line: str, inputs: Path) -> None:
    assert ggcp("convert", "in.bin", "made", "-q").code == 0
    words = line.format("made").split()
    assert ggcp(*words, "-q").err[-1].startswith("ggcp: made: expected a name that is free")
    assert ggcp(*words, "-q", "--force").code == 0


def test_the_input_itself(inputs: Path) -> None:
    """By its own name and another: of this the output says more."""
    shutil.copy("in.bin", "copy.bin")
    (inputs / "link.bin").hardlink_to(inputs / "copy.bin")
    for output in ("copy.bin", "link.bin"):
        said = ggcp("convert", "copy.bin", output, "--force")
        assert said.err[-1] == (
            f"ggcp: {output}: expected an output that is not the input, found the input itself; "
            "give another name; the input is never written to"
        )
