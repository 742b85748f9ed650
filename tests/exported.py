"""Models for tests of export: exported in one line, with chosen weights, or trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf_bytes import F32, STRING, U32, Gguf, Key, Tensor, single
from gguf_bytes import read as read_gguf
from paths import FIXTURES
from reference import llama
from reference.checkpoint import Checkpoint, gguf_names

from converter.use_cases.carry_out import Writing
from converter.use_cases.export import export as run_export
from converter.use_cases.export_options import ExportOptions
from ggcp_schema import build
from ggcp_schema.synthetic import Synthetic

VOCABULARY = FIXTURES / "vocab300.gguf"
GGJT_VOCABULARY = FIXTURES / "vocab300.ggjt"

SENTENCE = [1, *(byte + 3 for byte in "Où est la forêt ? ¶".encode())]
"""Beginning of text, then byte tokens, some of which make up characters of two bytes."""

Weights = Mapping[str, npt.NDArray[np.floating]]


def export(checkpoint: Path, path: Path, *, vocabulary: Path = VOCABULARY, **options: Any) -> Path:
    """Export without waiting for the disk, and return the path."""
    run_export(checkpoint, path, ExportOptions(vocabulary, **options), writing=Writing(sync=False))
    return path


def header(synthetic: Synthetic) -> dict[str, int]:
    """The hyperparameters that the reference needs."""
    found = synthetic.hyperparameters
    return {
        "n_head": found["head_count"],
        "n_layer": found["block_count"],
        "n_rot": found["rope_dimension_count"],
    }


def random_weights(synthetic: Synthetic, size: float = 1.0, seed: int = 0) -> dict[str, Any]:
    """Weights so large that the probabilities are far from even, by their names in the file."""
    rng = np.random.default_rng(seed)
    n_embd, n_mult = synthetic.embedding_length, synthetic.feed_forward_multiple
    n_ff = (2 * (4 * n_embd) // 3 + n_mult - 1) // n_mult * n_mult
    shapes = {
        "attention_norm": (n_embd,),
        **{f"attention.w{kind}": (n_embd, n_embd) for kind in "qkvo"},
        "ffn_norm": (n_embd,),
        "feed_forward.w1": (n_ff, n_embd),
        "feed_forward.w2": (n_embd, n_ff),
        "feed_forward.w3": (n_ff, n_embd),
    }
    names: dict[str, tuple[int, ...]] = {
        "tok_embeddings": (synthetic.vocabulary_size, n_embd),
        "norm": (n_embd,),
        "output": (synthetic.vocabulary_size, n_embd),
    }
    for layer in range(synthetic.block_count):
        names |= {f"layers.{layer}.{name}": shape for name, shape in shapes.items()}
    return {
        f"{name}.weight": (
            rng.uniform(0.5, 1.5, shape)
            if len(shape) == 1
            else size * rng.standard_normal(shape) / shape[-1] ** 0.5
        ).astype("<f4")
        for name, shape in names.items()
    }


def write_checkpoint(path: Path, synthetic: Synthetic, weights: Weights) -> Path:
    """Write a checkpoint with these weights, and return the path."""
    container = synthetic.container()
    for name, values in weights.items():
        first, *inner = name.removesuffix(".weight").split(".")
        place = container["model"]
        if first == "layers":
            place = place[first][int(inner.pop(0))]
            first, *inner = inner
        while inner:
            place = place[first]
            first, *inner = inner
        place[first] = np.asarray(values, "<f4")
    with path.open("wb") as file:
        build(container, file)
    return path


def train(synthetic: Synthetic, tokens: list[int], steps: int = 60) -> dict[str, Any]:
    """Weights that know a sequence of tokens by heart: Adam on the reference's gradients."""
    weights = {n: w.astype(np.float64) for n, w in random_weights(synthetic).items()}
    m = {name: np.zeros_like(weight) for name, weight in weights.items()}
    v = {name: np.zeros_like(weight) for name, weight in weights.items()}
    for t in range(1, steps + 1):
        _loss, gradients = llama.loss_and_gradients(
            weights, header(synthetic), tokens[:-1], tokens[1:], epsilon=1e-5
        )
        for name, g in gradients.items():
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.99 * v[name] + 0.01 * g**2
            step = (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.99**t)) + 1e-8)
            weights[name] -= 0.01 * step
    return {name: weight.astype("<f4") for name, weight in weights.items()}


def vocabulary_keys() -> list[Key]:
    """The keys of the vocabulary, which is not padded at its end as a GGUF with tensors is."""
    data = VOCABULARY.read_bytes()
    return read_gguf(data + bytes(-len(data) % 32)).keys


def expected_model(
    checkpoint: Checkpoint,
    name: str,
    *,
    version: str,
    context_length: int,
    epsilon: float = 1e-5,
    file_type: int = 0,
    general: Sequence[Key] = (),
) -> Gguf:
    """What today's engines need of a checkpoint, from the reference's reading of it, all F32."""
    header, optimizer = checkpoint.header, checkpoint.optimizer
    # fmt: off
    keys = [
        Key("general.architecture", STRING, "llama"),
        Key("general.name", STRING, name),
        *general,
        Key("general.file_type", U32, file_type),
        Key("llama.context_length", U32, context_length),
        Key("llama.embedding_length", U32, header["n_embd"]),
        Key("llama.block_count", U32, header["n_layer"]),
        Key("llama.feed_forward_length", U32,
            checkpoint.tensors["layers.0.feed_forward.w1.weight"].shape[0]),
        Key("llama.attention.head_count", U32, header["n_head"]),
        Key("llama.attention.head_count_kv", U32, header["n_head"]),
        Key("llama.attention.layer_norm_rms_epsilon", F32, single(epsilon)),
        Key("llama.rope.dimension_count", U32, header["n_embd"] // header["n_head"]),
        Key("llama.rope.freq_base", F32, 10000.0),
        Key("llama.vocab_size", U32, header["n_vocab"]),
        Key("ggcp.version", STRING, version),
        Key("ggcp.optimizer_version", U32, optimizer.version),
        *(key for key in vocabulary_keys() if key.name.startswith("tokenizer.ggml.")),
    ]
    # fmt: on
    tensors = [
        Tensor(new, tensor.shape[::-1], tensor.tobytes())
        for new, tensor in zip(
            gguf_names(header["n_layer"]).values(), checkpoint.tensors.values(), strict=True
        )
    ]
    return Gguf(keys, tensors)
