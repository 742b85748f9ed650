"""The GGUF that a LoRA checkpoint becomes for the finetune trainers, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_bytes import BOOL, F32, GGUF_VECTORS, I32, STRING, U32, U64, Gguf, Key, Tensor, single
from gguf_bytes import read as read_gguf
from hypothesis import given, settings
from lora_bytes import BYTES, file_with_layers, recipes
from reference import checkpoint as reference

from converter import ConversionError, Writing, __version__
from converter.use_cases.convert import ResumeWith, convert
from converter.use_cases.verify import verify
from ggcp_schema.order import Order
from ggcp_schema.synthetic import SyntheticLora

REAL = "ggcl_v1_adam_1a5f0a30e.bin"

# The rank of each kind in the order of the header, and its name in a GGUF.
RANK_NAMES = {
    "tok_embeddings": "token_embd",
    "norm": "output_norm",
    "output": "output",
    "attention_norm": "attn_norm",
    "wq": "attn_q",
    "wk": "attn_k",
    "wv": "attn_v",
    "wo": "attn_output",
    "ffn_norm": "ffn_norm",
    "w1": "ffn_gate",
    "w2": "ffn_down",
    "w3": "ffn_up",
}


def expected(checkpoint: reference.Checkpoint, epsilon: float = 1e-5) -> Gguf:
    """What the layout of the finetune trainers says a LoRA checkpoint becomes."""
    header, optimizer = checkpoint.header, checkpoint.optimizer
    scalars = optimizer.scalars
    w1 = checkpoint.tensors.get("layers.0.feed_forward.w1.weight.loraB")
    # fmt: off
    state = {
        "adam": [
            Key("optimizer.type", STRING, "adam"),
            Key("optimizer.adam.best_loss", F32, scalars["fx_best"]),
            Key("optimizer.adam.previous_loss", F32, scalars.get("fx_prev")),
            Key("optimizer.adam.no_improvement_count", U32, scalars["n_no_improvement"]),
        ],
        "lbfgs": [
            Key("optimizer.type", STRING, "lbfgs"),
            Key("optimizer.lbfgs.approx_hessian_count", U32, optimizer.lbfgs_m),
            Key("optimizer.lbfgs.best_loss", F32, scalars["fx_best"]),
            Key("optimizer.lbfgs.line_search_step", F32, scalars.get("step")),
            Key("optimizer.lbfgs.line_search_j", I32, scalars.get("j")),
            Key("optimizer.lbfgs.line_search_k", I32, scalars.get("k")),
            Key("optimizer.lbfgs.line_search_end", I32, scalars.get("end")),
            Key("optimizer.lbfgs.no_improvement_count", U32, scalars["n_no_improvement"]),
        ],
    }
    keys = [
        Key("general.architecture", STRING, "llama"),
        Key("general.file_type", U32, 0),
        Key("llama.attention.layer_norm_rms_epsilon", F32, single(epsilon)),
        Key("training.file_version", U32, 0),
        Key("training.type", STRING, "finetune_lora"),
        Key("training.iteration_count", U32, header["train_its"]),
        Key("training.sample_count", U32, header["train_samples"]),
        Key("training.token_count", U32, header["train_tokens"]),
        Key("llama.embedding_length", U32, header["n_embd"]),
        Key("llama.attention.head_count", U32, header["n_head"]),
        Key("llama.block_count", U32, header["n_layer"]),
        Key("llama.rope.dimension_count", U32, header["n_rot"]),
        Key("llama.feed_forward_length", U32, 0 if w1 is None else w1.shape[0]),
        *(
            Key(f"training.lora.rank.{new}", U32, checkpoint.ranks[old])
            for old, new in RANK_NAMES.items()
        ),
        Key("optimizer.file_version", U32, 0),
        Key("optimizer.convergence_past_count", U32, optimizer.past),
        Key("optimizer.parameter_count", U64, optimizer.nx),
        Key("optimizer.iteration_count", U32, optimizer.iter),
        Key("optimizer.just_initialized", BOOL, bool(optimizer.just_initialized)),
        *state[optimizer.type],
        Key("ggcp.version", STRING, __version__),
        Key("ggcp.optimizer_version", U32, 1),
    ]
    # fmt: on
    tensors = []
    for old, new in reference.gguf_names(header["n_layer"]).items():
        for half, suffix in (("loraA", "lora_a"), ("loraB", "lora_b")):
            tensor = checkpoint.tensors[f"{old}.{half}"]
            tensors.append(Tensor(f"{new}.{suffix}", tensor.shape[::-1], tensor.tobytes()))
    for old, new in GGUF_VECTORS[optimizer.type].items():
        vector = optimizer.vectors[old]
        if vector.shape != (0,) or old in ("m", "v"):
            name = f"optimizer.{optimizer.type}.{new}"
            tensors.append(Tensor(name, vector.shape[::-1], vector.tobytes()))
    return Gguf(keys, tensors)


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
    assert made == expected(reference.read(path))


def test_the_real_file(fixtures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    convert(fixtures / REAL, output, writing=Writing(verify=True))
    assert read_gguf(output) == expected(reference.read(fixtures / REAL))
    assert verify(fixtures / REAL, output) == []


def test_another_epsilon(fixtures: Path, tmp_path: Path) -> None:
    convert(fixtures / REAL, tmp_path / "out.gguf", epsilon=5e-6)
    made = read_gguf(tmp_path / "out.gguf")
    assert made == expected(reference.read(fixtures / REAL), epsilon=5e-6)
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
    assert read_gguf(output) == expected(reference.read(source, n_mult_stored=stored))


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


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("more", [{}, {"order": Order.PLAIN, "batch": 8}])
def test_no_order_is_known_to_resume_with(
    order: Order, more: dict[str, Any], fixtures: Path, folder: Path
) -> None:
    with pytest.raises(ConversionError) as caught:
        convert(fixtures / REAL, folder / "out.gguf", resume_with=ResumeWith(order, **more))
    assert str(caught.value) == (
        f"{fixtures / REAL}: expected a training checkpoint (ggcp) to go with --resume-with, found "
        "a LoRA checkpoint (ggcl); the order of the parameters in its optimizer state is not "
        "established; convert without --resume-with: the optimizer state is then kept as it is "
        "stored"
    )
    assert not any(folder.iterdir())
