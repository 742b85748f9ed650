"""A GGUF as plain values, read and written with nothing but `struct`.

Independent of the gguf package, so that a defect which its writer and its reader share is noticed.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reference.checkpoint import Checkpoint, gguf_names

ALIGNMENT = 32
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
SCALARS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?"}
SCALARS |= {U64: "Q", I64: "q", F64: "d"}
F32_TENSOR, F16_TENSOR, Q8_0_TENSOR, BF16_TENSOR = 0, 1, 8, 30
BLOCKS = {F32_TENSOR: (1, 4), F16_TENSOR: (1, 2), Q8_0_TENSOR: (32, 34), BF16_TENSOR: (1, 2)}
"""Elements and bytes of a block of each type."""


GGUF_VECTORS = {
    "adam": {"m": "first_moments", "v": "second_moments", "pf": "past_loss_values"},
    "lbfgs": {
        "x": "current_parameters",
        "xp": "previous_parameters",
        "g": "current_gradients",
        "gp": "previous_gradients",
        "d": "search_direction",
        "pf": "past_loss_values",
        "lmal": "memory_alpha",
        "lmys": "memory_ys",
        "lms": "memory_s",
        "lmy": "memory_y",
    },
}


@dataclass
class Key:
    name: str
    type: int
    value: Any  # for an array: its element type and its elements


@dataclass
class Tensor:
    name: str
    dims: tuple[int, ...]
    data: bytes
    type: int = F32_TENSOR


@dataclass
class Gguf:
    keys: list[Key] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)

    def key(self, name: str) -> Key:
        return next(key for key in self.keys if key.name == name)

    def tensor(self, name: str) -> Tensor:
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def to_bytes(self) -> bytes:
        head = struct.pack("<4sIQQ", b"GGUF", 3, len(self.tensors), len(self.keys))
        for key in self.keys:
            head += _text(key.name) + struct.pack("<I", key.type) + _value(key.type, key.value)
        offset = 0
        for tensor in self.tensors:
            head += _text(tensor.name) + struct.pack("<I", len(tensor.dims))
            head += struct.pack(f"<{len(tensor.dims)}Q", *tensor.dims)
            head += struct.pack("<IQ", tensor.type, offset)
            offset += len(_padded(tensor.data))
        return _padded(head) + b"".join(_padded(tensor.data) for tensor in self.tensors)


def read(path: Path | bytes) -> Gguf:
    """A whole GGUF; anything left over or overlapping is an AssertionError."""
    cursor = _Cursor(path if isinstance(path, bytes) else path.read_bytes())
    magic, version, tensor_count, key_count = cursor.numbers("<4sIQQ")
    assert (magic, version) in ((b"GGUF", 2), (b"GGUF", 3))  # which differ in nothing here
    keys = [cursor.key() for _ in range(key_count)]
    infos = [cursor.tensor_info() for _ in range(tensor_count)]
    place = cursor.padded()
    tensors = []
    for name, dims, kind, offset in infos:
        assert cursor.offset == place + offset, name
        elements, size = BLOCKS[kind]
        data = cursor.bytes(math.prod(dims) // elements * size)
        tensors.append(Tensor(name, dims, data, kind))
        cursor.padded()
    assert cursor.offset == len(cursor.data)
    return Gguf(keys, tensors)


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def bytes(self, length: int) -> bytes:
        self.offset += length
        assert self.offset <= len(self.data)
        return self.data[self.offset - length : self.offset]

    def numbers(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.bytes(struct.calcsize(layout)))

    def text(self) -> str:
        return self.bytes(*self.numbers("<Q")).decode()

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            element, count = self.numbers("<IQ")
            return element, [self.value(element) for _ in range(count)]
        return self.numbers("<" + SCALARS[kind])[0]

    def key(self) -> Key:
        name, (kind,) = self.text(), self.numbers("<I")
        return Key(name, kind, self.value(kind))

    def tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        name, (n_dims,) = self.text(), self.numbers("<I")
        return name, self.numbers(f"<{n_dims}Q"), *self.numbers("<IQ")

    def padded(self) -> int:
        padding = self.bytes(-self.offset % ALIGNMENT)
        assert not any(padding)
        return self.offset


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return _text(value)
    if kind == ARRAY:
        element, elements = value
        head = struct.pack("<IQ", element, len(elements))
        return head + b"".join(_value(element, item) for item in elements)
    return struct.pack("<" + SCALARS[kind], value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT)


def single(number: float) -> float:
    """The float32 nearest to a number."""
    rounded: float = struct.unpack("<f", struct.pack("<f", number))[0]
    return rounded


# The rank of each kind in the order of the trainers' keys, and its name in a GGUF.
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


def expected(checkpoint: Checkpoint, version: str, epsilon: float = 1e-5) -> Gguf:
    """What the trainers' layout says a checkpoint becomes, from the reference's reading of it."""
    lora = bool(checkpoint.ranks)
    w1 = checkpoint.tensors.get("layers.0.feed_forward.w1.weight" + ".loraB" * lora)
    header, optimizer = checkpoint.header, checkpoint.optimizer
    scalars = optimizer.scalars
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
        Key("training.type", STRING, "finetune_lora" if lora else "train_model"),
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
            if lora
        ),
        Key("optimizer.file_version", U32, 0),
        Key("optimizer.convergence_past_count", U32, optimizer.past),
        Key("optimizer.parameter_count", U64, optimizer.nx),
        Key("optimizer.iteration_count", U32, optimizer.iter),
        Key("optimizer.just_initialized", BOOL, bool(optimizer.just_initialized)),
        *state[optimizer.type],
        Key("ggcp.version", STRING, version),
        Key("ggcp.optimizer_version", U32, optimizer.version),
        Key("ggcp.gradients", STRING, "summed" if optimizer.params else "mean"),
    ]
    # fmt: on
    names = [
        f"{name}{half}"
        for name in gguf_names(header["n_layer"]).values()
        for half in ((".lora_a", ".lora_b") if lora else ("",))
    ]
    tensors = [
        Tensor(name, tensor.shape[::-1], tensor.tobytes())
        for name, tensor in zip(names, checkpoint.tensors.values(), strict=True)
    ]
    for old, new in GGUF_VECTORS[optimizer.type].items():
        vector = optimizer.vectors[old]
        if vector.shape != (0,) or old in ("m", "v"):
            name = f"optimizer.{optimizer.type}.{new}"
            tensors.append(Tensor(name, vector.shape[::-1], vector.tobytes()))
    return Gguf(keys, tensors)
