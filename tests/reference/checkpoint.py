"""Reads ggcp and ggcl checkpoints with nothing but `struct` and NumPy.

Everything keeps the name it has in the C structs. A tensor's NumPy shape is its `ne` reversed.
"""

import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

# fmt: off
HEADER = [
    "version", "train_its", "train_samples", "train_tokens",
    "n_vocab", "n_embd", "n_mult", "n_head", "n_layer", "n_rot",
]
LORA_RANKS = [
    "attention_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w1", "w2", "w3",
    "tok_embeddings", "norm", "output",
]
PARAMS = [  # struct ggml_opt_params; two bytes of padding follow the bools
    "type", "n_threads", "past", "delta", "max_no_improvement",
    "print_forward_graph", "print_backward_graph",
    "adam.n_iter", "adam.sched", "adam.decay", "adam.alpha", "adam.beta1", "adam.beta2",
    "adam.eps", "adam.eps_f", "adam.eps_g",
    "lbfgs.m", "lbfgs.n_iter", "lbfgs.max_linesearch", "lbfgs.eps", "lbfgs.ftol", "lbfgs.wolfe",
    "lbfgs.min_step", "lbfgs.max_step", "lbfgs.linesearch",
]
_PARAMS_LAYOUT = "<3ifi2?2xi8f3i5fi"
# fmt: on

# Name in the checkpoint, name in a GGUF.
MODEL_NAMES = {
    "tok_embeddings": "token_embd",
    "norm": "output_norm",
    "output": "output",
}
LAYER_NAMES = {
    "attention_norm": "attn_norm",
    "attention.wq": "attn_q",
    "attention.wk": "attn_k",
    "attention.wv": "attn_v",
    "attention.wo": "attn_output",
    "ffn_norm": "ffn_norm",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down",
    "feed_forward.w3": "ffn_up",
}

# The records of an optimizer context, by version and type, and the scalars after them.
VECTORS = {
    (0, "adam"): ["x", "g1", "g2", "m", "v", "mh", "vh", "pf"],
    (1, "adam"): ["m", "v", "pf"],
    (0, "lbfgs"): ["x", "xp", "g", "gp", "d", "pf", "lmal", "lmys", "lms", "lmy"],
    (1, "lbfgs"): ["x", "xp", "g", "gp", "d", "pf", "lmal", "lmys", "lms", "lmy"],
}
SCALARS = {
    "adam": ("<ffi", ["fx_best", "fx_prev", "n_no_improvement"]),
    "lbfgs": ("<ffiiii", ["fx_best", "step", "j", "k", "end", "n_no_improvement"]),
}


@dataclass
class Optimizer:
    version: int
    type: str  # "adam" or "lbfgs"
    past: int
    lbfgs_m: int
    nx: int
    iter: int
    just_initialized: int
    params: dict[str, float]  # empty where the layout has no struct ggml_opt_params
    vectors: dict[str, Array]
    scalars: dict[str, float]


@dataclass
class Checkpoint:
    header: dict[str, int]
    ranks: dict[str, int]  # LoRA only
    tensors: dict[str, Array]
    optimizer: Optimizer


def gguf_names(n_layer: int) -> dict[str, str]:
    """Model tensors in the order of the file: name in the checkpoint to name in a GGUF."""
    names = {f"{old}.weight": f"{new}.weight" for old, new in MODEL_NAMES.items()}
    for i in range(n_layer):
        for old, new in LAYER_NAMES.items():
            names[f"layers.{i}.{old}.weight"] = f"blk.{i}.{new}.weight"
    return names


def as_it_is(name: str) -> str:
    """The name that a record has in nearly every file."""
    return name


def read(
    path: Path, *, n_mult_stored: bool = True, stored_name: Callable[[str], str] = as_it_is
) -> Checkpoint:
    """A whole checkpoint. A few finetune trainers left n_mult out: say so with n_mult_stored.

    Some had other names for records: `stored_name` says which, for a tensor's usual name, and for
    "adam.m" and the like.
    """
    cursor = _Cursor(path.read_bytes())
    magic = cursor.data[:4]
    cursor.offset = 4
    fields = [name for name in HEADER if name != "n_mult" or n_mult_stored]
    header = dict(zip(fields, cursor.numbers(f"<{len(fields)}I"), strict=True))
    names: Iterable[str] = gguf_names(header["n_layer"])
    ranks = {}
    if magic == b"lcgg":
        ranks = dict(zip(LORA_RANKS, cursor.numbers("<12I"), strict=True))
        names = [f"{name}.{half}" for name in names for half in ("loraA", "loraB")]
    else:
        assert magic == b"pcgg", magic
    assert header["version"] == 0
    tensors = {name: cursor.record(stored_name(name)) for name in names}
    count = sum(tensor.size for tensor in tensors.values())
    optimizer = _read_optimizer(cursor, count, stored_name)
    assert cursor.offset == len(cursor.data), f"{len(cursor.data) - cursor.offset} bytes are left"
    return Checkpoint(header, ranks, tensors, optimizer)


def read_magicless(path: Path) -> tuple[dict[str, int], dict[str, Array]]:
    """Header and tensors of a checkpoint of May 2023, which has neither magic nor optimizer."""
    cursor = _Cursor(path.read_bytes())
    fields = [name for name in HEADER if name not in ("version", "train_tokens")]
    header = dict(zip(fields, cursor.numbers(f"<{len(fields)}I"), strict=True))
    tensors = {name: cursor.record(name) for name in gguf_names(header["n_layer"])}
    assert cursor.offset == len(cursor.data), f"{len(cursor.data) - cursor.offset} bytes are left"
    return header, tensors


def read_adapter(path: Path) -> tuple[int, int, dict[str, Array]]:
    """lora_r, lora_alpha and all tensors of a ggla, by the names that a checkpoint has for them."""
    cursor = _Cursor(path.read_bytes())
    magic, version, lora_r, lora_alpha = cursor.numbers("<4s3I")
    assert (magic, version) == (b"algg", 1)
    old_names = {new: old for old, new in gguf_names(256).items()}
    tensors = {}
    while cursor.offset < len(cursor.data):
        n_dims, length, kind = cursor.numbers("<3I")
        ne = cursor.numbers(f"<{n_dims}I")
        name = cursor.data[cursor.offset : cursor.offset + length].decode()
        cursor.offset = math.ceil((cursor.offset + length) / 32) * 32
        values = np.frombuffer(cursor.data, ("<f4", "<f2")[kind], math.prod(ne), cursor.offset)
        cursor.offset += values.nbytes
        tensor, half = name.rsplit(".", 1)
        shape = (*ne, 1)[:2][::-1]
        tensors[f"{old_names.get(tensor, tensor)}.{half}"] = values.reshape(shape).astype("<f4")
    return lora_r, lora_alpha, tensors


@dataclass
class _Cursor:
    data: bytes
    offset: int = 0

    def numbers(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from(layout, self.data, self.offset)
        self.offset += struct.calcsize(layout)
        return values

    def record(self, expected_name: str = "") -> Array:
        n_dims, name_length, tensor_type = self.numbers("<3I")
        assert tensor_type == 0
        ne = self.numbers(f"<{n_dims}I")
        name = self.data[self.offset : self.offset + name_length].decode()
        # Trainers cut long names at the GGML_MAX_NAME of their day.
        assert name == expected_name or (len(name) >= 31 and expected_name.startswith(name)), name
        self.offset = math.ceil((self.offset + name_length) / 32) * 32
        count = math.prod(ne) if n_dims else 0  # a tensor without dimensions does not exist
        values = np.frombuffer(self.data, "<f4", count, self.offset)
        self.offset += values.nbytes
        return values.reshape(ne[::-1] if n_dims else (0,))


def _read_optimizer(
    cursor: _Cursor, parameter_count: int, stored_name: Callable[[str], str]
) -> Optimizer:
    start = cursor.offset
    (version,) = cursor.numbers("<I")
    params: dict[str, float] = {}
    # Version 1 has the struct in the files of one commit: then the count stands behind it. Without
    # it the same number may stand there by chance, as the size of a vector.
    (compact_count,) = struct.unpack_from("<q", cursor.data, start + 12)
    if version == 0 or compact_count != parameter_count:
        params = dict(zip(PARAMS, cursor.numbers(_PARAMS_LAYOUT), strict=True))
        past, lbfgs_m = int(params["past"]), int(params["lbfgs.m"])
        kind = ("adam", "lbfgs")[int(params["type"])]
    else:
        assert version == 1
        past, lbfgs_m = cursor.numbers("<2i")
        kind = "lbfgs" if lbfgs_m else "adam"
    nx, iteration, just_initialized = cursor.numbers("<qiI")
    assert nx == parameter_count

    vectors = {}
    for name in VECTORS[version, kind]:
        stored = stored_name(f"{kind}.{name}") if name != "pf" or past else ""
        vectors[name] = cursor.record(stored.removeprefix(f"{kind}.{name}"))
    layout, names = SCALARS[kind]
    scalars: dict[str, float] = dict(zip(names, cursor.numbers(layout), strict=True))
    shapes: dict[str, tuple[int, ...]] = {"pf": (past,), "lmal": (lbfgs_m,), "lmys": (lbfgs_m,)}
    shapes |= {"lms": (lbfgs_m, nx), "lmy": (lbfgs_m, nx)}
    for name, vector in vectors.items():
        assert vector.shape == shapes.get(name, (nx,)), name
    return Optimizer(
        version, kind, past, lbfgs_m, nx, iteration, just_initialized, params, vectors, scalars
    )
