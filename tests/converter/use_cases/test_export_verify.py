"""Verifying a model says exactly what differs from what its checkpoint becomes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from exported import GGJT_VOCABULARY, VOCABULARY, export, random_weights, write_checkpoint
from gguf_bytes import ARRAY, F32, STRING, U32, U64, Gguf, Key, Tensor, read

from converter.use_cases.convert import convert
from converter.use_cases.verify import verify
from ggcp_schema import FormatError
from ggcp_schema.synthetic import Synthetic


@pytest.fixture
def checkpoint(fixtures: Path) -> Path:
    return fixtures / "v1_adam_one.bin"


@pytest.mark.parametrize("outtype", ["f32", "f16", "bf16", "q8_0"])
@pytest.mark.parametrize("vocabulary", [VOCABULARY, GGJT_VOCABULARY])
def test_nothing_differs(outtype: str, vocabulary: Path, tmp_path: Path) -> None:
    metadata = tmp_path / "metadata.json"
    metadata.write_text(json.dumps({"general.tags": ["a", "b"], "general.author": "Ü"}))
    synthetic = Synthetic(embedding_length=32, head_count=1, rope_dimension_count=8)
    checkpoint = write_checkpoint(tmp_path / "checkpoint.bin", synthetic, random_weights(synthetic))
    path = export(
        checkpoint,
        tmp_path / "model.gguf",
        vocabulary=vocabulary,
        outtype=outtype,
        context_length=77,
        epsilon=5e-6,
        model_name="A name",
        metadata=metadata,
    )
    assert verify(checkpoint, path) == []


Change = Callable[[Gguf], Any]


def key(name: str, **changes: Any) -> Change:
    def change(gguf: Gguf) -> None:
        for member, value in changes.items():
            setattr(gguf.key(name), member, value)

    return change


def without(name: str) -> Change:
    return lambda gguf: gguf.keys.remove(gguf.key(name))


def flipped(name: str, offset: int) -> Change:
    def change(gguf: Gguf) -> None:
        data = bytearray(gguf.tensor(name).data)
        data[offset] ^= 1
        gguf.tensor(name).data = bytes(data)

    return change


CHANGES: dict[str, tuple[Change, list[str]]] = {
    # What the checkpoint does not hold may be anything of the right kind.
    "epsilon": (key("llama.attention.layer_norm_rms_epsilon", value=1e-6), []),
    "context length": (key("llama.context_length", value=1), []),
    "name": (key("general.name", value="Another"), []),
    "version": (key("ggcp.version", value="0.1"), []),
    "no epsilon": (
        without("llama.attention.layer_norm_rms_epsilon"),
        ["key llama.attention.layer_norm_rms_epsilon: missing"],
    ),
    "no context length": (without("llama.context_length"), ["key llama.context_length: missing"]),
    "context length of 64 bits": (
        key("llama.context_length", type=U64),
        ["key llama.context_length: expected the type UINT32, found UINT64"],
    ),
    "context length as a text": (
        key("llama.context_length", type=STRING, value="16"),
        ["key llama.context_length: expected the type UINT32, found STRING"],
    ),
    "no name": (without("general.name"), ["key general.name: missing"]),
    "no head_count_kv": (
        without("llama.attention.head_count_kv"),
        ["key llama.attention.head_count_kv: missing"],
    ),
    "another head_count_kv": (
        key("llama.attention.head_count_kv", value=1),
        ["key llama.attention.head_count_kv: expected 2, found 1"],
    ),
    "another rope base": (
        key("llama.rope.freq_base", value=1e6),
        ["key llama.rope.freq_base: expected 10000.0, found 1000000.0"],
    ),
    "another architecture": (
        key("general.architecture", value="gpt2"),
        ["key general.architecture: expected b'llama', found b'gpt2'"],
    ),
    "file type as a list": (
        key("general.file_type", type=ARRAY, value=(U32, [0])),
        ["key general.file_type: expected the type UINT32, found ARRAY of UINT32"],
    ),
    "a chat template": (
        lambda gguf: gguf.keys.append(Key("tokenizer.chat_template", STRING, "x")),
        ["key tokenizer.chat_template: not expected"],
    ),
    "a key of its own": (
        lambda gguf: gguf.keys.append(Key("general.mood", F32, 1.0)),
        ["key general.mood: not expected"],
    ),
    "a tensor too many": (
        lambda gguf: gguf.tensors.append(Tensor("optimizer.x", (1,), bytes(4))),
        ["tensor optimizer.x: not expected"],
    ),
    "a tensor too few": (
        lambda gguf: gguf.tensors.pop(),
        ["tensor blk.1.ffn_up.weight: missing"],
    ),
}


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES.keys())
def test_what_differs(
    change: Change, expected: list[str], checkpoint: Path, tmp_path: Path
) -> None:
    path = export(checkpoint, tmp_path / "model.gguf")
    gguf = read(path)
    change(gguf)
    path.write_bytes(gguf.to_bytes())
    assert verify(checkpoint, path) == expected


@pytest.mark.parametrize("outtype", ["f32", "f16", "bf16", "q8_0"])
@pytest.mark.parametrize("tensor", ["token_embd.weight", "blk.0.attn_norm.weight"])
def test_a_bit_of_a_tensor(outtype: str, tensor: str, tmp_path: Path) -> None:
    synthetic = Synthetic(embedding_length=32)
    checkpoint = write_checkpoint(tmp_path / "checkpoint.bin", synthetic, random_weights(synthetic))
    path = export(checkpoint, tmp_path / "model.gguf", outtype=outtype)
    gguf = read(path)
    good = path.read_bytes()
    flipped(tensor, 37)(gguf)
    path.write_bytes(gguf.to_bytes())
    (place,) = (
        i for i, pair in enumerate(zip(good, path.read_bytes(), strict=True)) if len(set(pair)) > 1
    )
    assert verify(checkpoint, path) == [
        f"tensor {tensor}: the data differ from byte {place:#x} of the file on"
    ]


def test_another_type_than_it_says(checkpoint: Path, tmp_path: Path) -> None:
    path = export(checkpoint, tmp_path / "model.gguf", outtype="f16")
    gguf = read(path)
    gguf.key("general.file_type").value = 0
    path.write_bytes(gguf.to_bytes())
    found = verify(checkpoint, path)
    assert found[0] == "tensor token_embd.weight: expected F32, found F16"
    assert len(found) == 16  # matrices


def test_another_checkpoint(checkpoint: Path, fixtures: Path, tmp_path: Path) -> None:
    path = export(checkpoint, tmp_path / "model.gguf")
    found = verify(fixtures / "v0_adam_one.bin", path)
    assert found[0] == "key ggcp.optimizer_version: expected 0, found 1"
    assert len(found) == 1 + 3 + 9 * 2


def test_a_vocabulary_that_does_not_fit(checkpoint: Path, tmp_path: Path) -> None:
    path = export(checkpoint, tmp_path / "model.gguf")
    gguf = read(path)
    tokens = gguf.key("tokenizer.ggml.tokens")
    tokens.value = (STRING, tokens.value[1][:-1])
    path.write_bytes(gguf.to_bytes())
    with pytest.raises(FormatError) as caught:
        verify(checkpoint, path)
    assert caught.value.file == str(path)
    assert caught.value.found == "299 tokens"


def test_a_token_that_was_changed_is_the_vocabulary_s_own(checkpoint: Path, tmp_path: Path) -> None:
    """The checkpoint holds no vocabulary: there is nothing to compare with."""
    path = export(checkpoint, tmp_path / "model.gguf")
    gguf = read(path)
    gguf.key("tokenizer.ggml.tokens").value[1][299] = "other"
    path.write_bytes(gguf.to_bytes())
    assert verify(checkpoint, path) == []


def test_a_trainers_gguf_is_verified_as_one(checkpoint: Path, tmp_path: Path) -> None:
    convert(checkpoint, tmp_path / "trainer.gguf")
    assert verify(checkpoint, tmp_path / "trainer.gguf") == []
