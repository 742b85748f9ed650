"""Base models for LoRA checkpoints, written by the gguf package, and what the two are together."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, quants
from paths import FIXTURES
from reference.checkpoint import Checkpoint, gguf_names, read
from reference.llama import lora_deltas

from ggcp_schema import parse

F32Array = npt.NDArray[np.float32]

VOCAB = FIXTURES / "vocab300.gguf"
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"

F32, F16, BF16 = GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.BF16
HALVES = ("loraA", "loraB")

HALVES = ("loraA", "loraB")

# Keys of every type that GGUF has, which a merged model has to keep.
EXTRA = (
    ("general.name", "A base", GGUFValueType.STRING, None),
    ("general.quantization_version", 2, GGUFValueType.UINT32, None),
    ("test.u8", 200, GGUFValueType.UINT8, None),
    ("test.i8", -100, GGUFValueType.INT8, None),
    ("test.u16", 60000, GGUFValueType.UINT16, None),
    ("test.i16", -30000, GGUFValueType.INT16, None),
    ("test.u64", 2**63, GGUFValueType.UINT64, None),
    ("test.i64", -(2**63), GGUFValueType.INT64, None),
    ("test.f64", 0.1, GGUFValueType.FLOAT64, None),
    ("test.bool", True, GGUFValueType.BOOL, None),
    ("test.i32s", (-1, 2), GGUFValueType.ARRAY, GGUFValueType.INT32),
    ("test.bools", (True, False), GGUFValueType.ARRAY, GGUFValueType.BOOL),
    ("test.texts", (b"a", b"\xff"), GGUFValueType.ARRAY, GGUFValueType.STRING),
)


def sizes(checkpoint: Checkpoint) -> dict[str, int]:
    n_ff = checkpoint.tensors["layers.0.feed_forward.w1.weight.loraB"].shape[0]
    return {**checkpoint.header, "n_ff": n_ff}


def base_weights(sizes: Mapping[str, int], seed: int = 1) -> dict[str, F32Array]:
    """Weights of a model, by their names in a checkpoint; large enough to make up its mind."""
    made = np.random.default_rng(seed)
    embd, vocab, ff = sizes["n_embd"], sizes["n_vocab"], sizes["n_ff"]
    shapes = {"w1": (ff, embd), "w2": (embd, ff), "w3": (ff, embd)}
    weights = {}
    for name in gguf_names(sizes["n_layer"]):
        kind = name.split(".")[-2]
        if kind.endswith("norm"):
            weights[name] = made.normal(1, 0.1, embd).astype(np.float32)
        else:
            shape = (vocab, embd) if kind in ("tok_embeddings", "output") else (embd, embd)
            weights[name] = made.normal(0, 0.3, shapes.get(kind, shape)).astype(np.float32)
    return weights


def header_keys(sizes: Mapping[str, int]) -> dict[str, Any]:
    return {
        "llama.context_length": 64,
        "llama.embedding_length": sizes["n_embd"],
        "llama.block_count": sizes["n_layer"],
        "llama.feed_forward_length": sizes["n_ff"],
        "llama.attention.head_count": sizes["n_head"],
        "llama.attention.head_count_kv": sizes["n_head"],
        "llama.rope.dimension_count": sizes["n_rot"],
        "general.file_type": 0,
    }


def write_base(
    path: Path,
    sizes: Mapping[str, int],
    weights: Mapping[str, F32Array],
    kind: GGMLQuantizationType = F32,
    *,
    keys: Mapping[str, Any] | None = None,
    types: Mapping[str, GGMLQuantizationType] | None = None,
    extra_tensors: Mapping[str, F32Array] | None = None,
    alignment: int | None = None,
    architecture: str = "llama",
) -> dict[str, F32Array]:
    """Write a base model, matrices in one type; return the weights as a reader sees them.

    ``keys`` replace those of the header; None leaves a key out. ``types`` are by GGUF name.
    """
    writer = GGUFWriter(path, architecture)
    if alignment:
        writer.add_custom_alignment(alignment)
    for key, value in {**header_keys(sizes), **(keys or {})}.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif value is not None:
            writer.add_uint32(key, value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    for key, value, value_type, element_type in EXTRA:
        writer.add_key_value(key, value, value_type, element_type)
    for field in GGUFReader(VOCAB).fields.values():
        if field.name.startswith("tokenizer."):
            array = field.types[0] is GGUFValueType.ARRAY
            element_type = field.types[-1] if array else None
            writer.add_key_value(field.name, field.contents(), field.types[0], element_type)
    writer.add_chat_template(TEMPLATE)
    seen: dict[str, F32Array] = {}
    names = gguf_names(sizes["n_layer"])
    for name, weight in weights.items():
        stored = (types or {}).get(names[name], F32 if weight.ndim == 1 else kind)
        encoded = quants.quantize(weight, stored)
        seen[name] = quants.dequantize(encoded, stored).reshape(weight.shape)
        writer.add_tensor(names[name], encoded, raw_dtype=stored)
    for name, tensor in (extra_tensors or {}).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return seen


def expected(weights: Mapping[str, F32Array], checkpoint: Checkpoint) -> dict[str, F32Array]:
    """W + Δ in float64, rounded once, by GGUF name."""
    names = gguf_names(checkpoint.header["n_layer"])
    deltas = lora_deltas(checkpoint.tensors)
    return {
        names[name]: (weight.astype(np.float64) + deltas[name]).astype(np.float32)
        for name, weight in weights.items()
    }


def tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a GGUF as NumPy arrays, in float32 whatever their type."""
    return {
        tensor.name: quants.dequantize(
            np.ascontiguousarray(tensor.data).view(np.uint8), tensor.tensor_type
        ).reshape(tensor.shape[::-1])
        for tensor in GGUFReader(path).tensors
    }


def written_with(source: Path, target: Path, changes: Mapping[str, float | F32Array]) -> None:
    """Copy a LoRA checkpoint with other elements in some tensors, by their names in it."""
    shutil.copyfile(source, target)
    names = [
        f"{name}.{half}" for name in gguf_names(read(source).header["n_layer"]) for half in HALVES
    ]
    with parse(source) as checkpoint:
        spans = dict(zip(names, _spans(checkpoint.container.model), strict=True))
    with target.open("r+b") as file:
        for name, values in changes.items():
            span = spans[name]
            elements = np.broadcast_to(np.asarray(values, "<f4"), span.shape[::-1])
            file.seek(span.offset)
            file.write(elements.tobytes())


def _spans(part: Any) -> Iterator[Any]:
    """The spans of a part of a container, in the order of the file."""
    if "data" in part:
        yield part.data
        return
    for member in part.values():
        for inner in member if isinstance(member, list) else [member]:
            yield from _spans(inner)


@dataclass
class Case:
    """A LoRA checkpoint and its base model."""

    source: Path
    base: Path
    checkpoint: Checkpoint
    sizes: dict[str, int]
    weights: dict[str, F32Array]

    def write_base(self, kind: GGMLQuantizationType = F32, **options: Any) -> dict[str, F32Array]:
        return write_base(self.base, self.sizes, self.weights, kind, **options)


def case_of(source: Path, folder: Path) -> Case:
    """A checkpoint with a base model that fits, not yet written."""
    checkpoint = read(source)
    facts = sizes(checkpoint)
    return Case(source, folder / "base.gguf", checkpoint, facts, base_weights(facts))


def keys(path: Path) -> dict[str, tuple[list[str], Any]]:
    return {
        name: ([kind.name for kind in field.types], [field.parts[i].tolist() for i in field.data])
        for name, field in GGUFReader(path).fields.items()
        if not name.startswith("GGUF.")
    }


def types(path: Path) -> dict[str, GGMLQuantizationType]:
    return {tensor.name: tensor.tensor_type for tensor in GGUFReader(path).tensors}
