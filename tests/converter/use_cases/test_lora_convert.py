"""The GGUF that a LoRA checkpoint becomes for the finetune trainers, byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf_bytes import STRING, Key, expected
from gguf_bytes import read as read_gguf
from hypothesis import given, settings
from lora_bytes import BYTES, file_with_layers, recipes
from reference import checkpoint as reference

from converter import Writing, __version__
from converter.use_cases.convert import convert
from converter.use_cases.verify import verify
from ggcp_schema.synthetic import SyntheticLora

REAL = "ggcl_v1_adam_1a5f0a30e.bin"


def written(folder: Path, data: bytes) -> Path:
    path = folder / "lora.bin"
    path.write_bytes(data)
    return path


def test_the_bytes_written_by_hand(tmp_path: Path) -> None:
    convert(written(tmp_path, BYTES), tmp_path / "out.gguf")
    made = read_gguf(tmp_path / "out.gguf")
    found = {t.name: (t.dims, np.frombuffer(t.data, "<f4").tolist()) for t in made.tensors}
    assert found == {
        "token_embd.weight.lora_a": ((1, 2), [1, 2]),
        "token_embd.weight.lora_b": ((1, 3), [3, 4, 5]),
        "output_norm.weight.lora_a": ((1, 2), [6, 7]),
        "output_norm.weight.lora_b": ((1, 1), [8]),
        "output.weight.lora_a": ((1, 2), [9, 10]),
        "output.weight.lora_b": ((1, 3), [11, 12, 13]),
        "optimizer.adam.first_moments": ((13,), [0.5] * 13),
        "optimizer.adam.second_moments": ((13,), [0.25] * 13),
    }
    assert list(found)[:2] == ["token_embd.weight.lora_a", "token_embd.weight.lora_b"]
    assert made.key("training.type") == Key("training.type", STRING, "finetune_lora")


def test_no_two_ranks_are_confused(tmp_path: Path) -> None:
    path = written(tmp_path, file_with_layers())
    convert(path, tmp_path / "out.gguf")
    made = read_gguf(tmp_path / "out.gguf")
    ranks = {key.name: key.value for key in made.keys if "rank" in key.name}
    # fmt: off
    assert ranks == {
        "training.lora.rank.token_embd": 10, "training.lora.rank.output_norm": 11,
        "training.lora.rank.output": 12, "training.lora.rank.attn_norm": 1,
        "training.lora.rank.attn_q": 2, "training.lora.rank.attn_k": 3,
        "training.lora.rank.attn_v": 4, "training.lora.rank.attn_output": 5,
        "training.lora.rank.ffn_norm": 6, "training.lora.rank.ffn_gate": 7,
        "training.lora.rank.ffn_down": 8, "training.lora.rank.ffn_up": 9,
    }
    # fmt: on
    assert made == expected(reference.read(path), __version__)


def test_the_real_file(fixtures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    convert(fixtures / REAL, output, writing=Writing(verify=True))
    assert read_gguf(output) == expected(reference.read(fixtures / REAL), __version__)
    assert verify(fixtures / REAL, output) == []


def test_another_epsilon(fixtures: Path, tmp_path: Path) -> None:
    convert(fixtures / REAL, tmp_path / "out.gguf", epsilon=5e-6)
    made = read_gguf(tmp_path / "out.gguf")
    assert made == expected(reference.read(fixtures / REAL), __version__, 5e-6)
    assert verify(fixtures / REAL, tmp_path / "out.gguf") == []


@settings(max_examples=60, deadline=None)
@given(recipe=recipes())
def test_any_checkpoint(recipe: SyntheticLora, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = tmp_path_factory.getbasetemp() / "any-lora.bin"
    output = tmp_path_factory.getbasetemp() / "any-lora.gguf"
    with source.open("wb") as file:
        recipe.write(file)
    convert(source, output, writing=Writing(force=True, sync=False, verify=True))
    stored = recipe.feed_forward_multiple is not None
    assert read_gguf(output) == expected(reference.read(source, n_mult_stored=stored), __version__)


def test_what_verify_says_of_a_changed_file(fixtures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    convert(fixtures / REAL, output)
    made = read_gguf(output)
    made.key("training.lora.rank.attn_q").value = 3
    made.key("training.type").value = "train_model"
    tensor = made.tensor("blk.1.ffn_norm.weight.lora_b")
    tensor.data = np.float32(0).tobytes()
    tensor.dims = (1,)
    made.tensors.remove(made.tensor("blk.0.attn_k.weight.lora_b"))
    output.write_bytes(made.to_bytes())
    assert verify(fixtures / REAL, output) == [
        "key training.type: expected b'finetune_lora', found b'train_model'",
        "key training.lora.rank.attn_q: expected 2, found 3",
        "tensor blk.0.attn_k.weight.lora_b: missing",
        "tensor blk.1.ffn_norm.weight.lora_b: expected the dimensions (1, 1), found (1,)",
    ]


def test_which_gradients_the_moments_are_of(fixtures: Path, tmp_path: Path) -> None:
    convert(fixtures / REAL, tmp_path / "out.gguf")
    assert read_gguf(tmp_path / "out.gguf").key("ggcp.gradients").value == "mean"
