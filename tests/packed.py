"""Checkpoints of any shape, packed by struct alone, that know where each of their fields is."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

# fmt: off
HYPERPARAMETERS = [
    "vocabulary_size", "embedding_length", "feed_forward_multiple", "head_count", "block_count",
    "rope_dimension_count",
]
PARAMS_HEAD = {
    "type": "i", "thread_count": "i", "convergence_past_count": "i", "convergence_delta": "f",
    "no_improvement_limit": "i", "print_forward_graph": "B", "print_backward_graph": "B",
    "compiler_padding": "2s",
}
PARAMS_ADAM = {
    "iteration_limit": "i", "schedule_factor": "f", "weight_decay": "f", "learning_rate": "f",
    "first_moment_decay": "f", "second_moment_decay": "f", "epsilon": "f", "loss_epsilon": "f",
    "gradient_epsilon": "f",
}
PARAMS_LBFGS = {
    "approx_hessian_count": "i", "iteration_limit": "i", "line_search_limit": "i",
    "gradient_epsilon": "f", "line_search_tolerance": "f", "wolfe_coefficient": "f",
    "smallest_step": "f", "largest_step": "f", "line_search_condition": "i",
}
LAYER = {
    "attention_norm": "a", "attention.wq": "aa", "attention.wk": "aa", "attention.wv": "aa",
    "attention.wo": "aa", "ffn_norm": "a", "feed_forward.w1": "af", "feed_forward.w2": "fa",
    "feed_forward.w3": "af",
}
VECTORS = {
    (0, "adam"): [
        "parameters", "gradients", "squared_gradients", "first_moments", "second_moments",
        "corrected_first_moments", "corrected_second_moments",
    ],
    (1, "adam"): ["first_moments", "second_moments"],
    "lbfgs": [
        "current_parameters", "previous_parameters", "current_gradients", "previous_gradients",
        "search_direction",
    ],
}
SCALARS = {
    "adam": {"best_loss": "f", "previous_loss": "f", "no_improvement_count": "i"},
    "lbfgs": {
        "best_loss": "f", "line_search_step": "f", "line_search_j": "i", "line_search_k": "i",
        "line_search_end": "i", "no_improvement_count": "i",
    },
}
# fmt: on


@dataclass
class Packed:
    """The bytes, and path, offset and length of each field in them."""

    data: bytearray = field(default_factory=bytearray)
    fields: dict[str, tuple[int, int]] = field(default_factory=dict)
    longest_name: int | None = None  # where the writer cuts

    def put(self, path: str, data: bytes) -> None:
        self.fields[path] = (len(self.data), len(data))
        self.data += data

    def numbers(self, path: str, layouts: dict[str, str], values: Iterable[object]) -> None:
        for (name, layout), value in zip(layouts.items(), values, strict=True):
            self.put(f"{path}.{name}", struct.pack(f"<{layout}", value))

    def record(self, path: str, *ne: int, name: str = "") -> None:
        """A tensor record; its data are 1, 2, 3 and so on."""
        encoded = name.encode()[: self.longest_name]
        self.numbers(
            path, {"n_dims": "I", "name_length": "I", "type": "I"}, (len(ne), len(encoded), 0)
        )
        self.put(f"{path}.shape", struct.pack(f"<{len(ne)}I", *ne))
        self.put(f"{path}.name", encoded)
        self.put(f"{path}.padding", bytes(-len(self.data) % 32))
        count = math.prod(ne) if ne else 0
        self.put(f"{path}.data", struct.pack(f"<{count}f", *range(1, count + 1)))

    def with_field(self, path: str, data: bytes) -> bytes:
        """The file with other bytes, as many, in one field."""
        start, length = self.fields[path]
        assert len(data) == length
        return bytes(self.data[:start] + data + self.data[start + length :])

    def with_number(self, path: str, value: int) -> bytes:
        """The file with another u32 in one field; -1 is that of an i32."""
        return self.with_field(path, struct.pack("<I", value % 2**32))

    def at(self, offset: int) -> str:
        """The path of the field that the byte at ``offset`` belongs to."""
        fields = self.fields.items()
        return next(path for path, (start, size) in fields if start <= offset < start + size)


def checkpoint(
    version: int = 0,
    kind: str = "adam",
    *,
    with_params: bool = False,
    past: int = 0,
    m: int | None = None,
    n_vocab: int = 2,
    n_embd: int = 2,
    n_mult: int = 3,
    n_head: int = 1,
    n_layer: int = 0,
    n_rot: int = 2,
    longest_name: int | None = None,
) -> Packed:
    """A whole checkpoint; ``m`` is 2 for L-BFGS and 0 for Adam unless given."""
    file = Packed(longest_name=longest_name)
    m = (2 if kind == "lbfgs" else 0) if m is None else m
    file.put("magic", b"pcgg")
    file.put("version", bytes(4))
    training = dict.fromkeys(("iteration_count", "sample_count", "token_count"), "I")
    file.numbers("training", training, (3, 6, 96))
    sizes = (n_vocab, n_embd, n_mult, n_head, n_layer, n_rot)
    file.numbers("hyperparameters", dict.fromkeys(HYPERPARAMETERS, "I"), sizes)
    n_ff = (2 * (4 * n_embd) // 3 + n_mult - 1) // n_mult * n_mult
    file.record("model.tok_embeddings", n_embd, n_vocab, name="tok_embeddings.weight")
    file.record("model.norm", n_embd, name="norm.weight")
    file.record("model.output", n_embd, n_vocab, name="output.weight")
    for i in range(n_layer):
        for path, dimensions in LAYER.items():
            ne = [{"a": n_embd, "f": n_ff}[dimension] for dimension in dimensions]
            file.record(f"model.layers[{i}].{path}", *ne, name=f"layers.{i}.{path}.weight")
    nx = 2 * n_vocab * n_embd + n_embd
    nx += n_layer * (2 * n_embd + 4 * n_embd**2 + 3 * n_embd * n_ff)
    _optimizer(file, version, kind, with_params or version == 0, past, m, nx)
    return file


def _optimizer(
    file: Packed, version: int, kind: str, with_params: bool, past: int, m: int, nx: int
) -> None:
    file.put("optimizer.version", struct.pack("<I", version))
    if with_params:
        # fmt: off
        params = "optimizer.params"
        file.numbers(params, PARAMS_HEAD, (kind == "lbfgs", 6, past, 1e-5, 100, 0, 0, b"\0\0"))
        file.numbers(f"{params}.adam", PARAMS_ADAM, (16, 1, 0, 1e-3, 0.9, 0.999, 1e-8, 1e-5, 1e-3))
        file.numbers(f"{params}.lbfgs", PARAMS_LBFGS, (m, 16, 20, 1e-5, 1e-4, 0.9, 1e-20, 1e20, 1))
        # fmt: on
    else:
        file.put("optimizer.convergence_past_count", struct.pack("<i", past))
        file.put("optimizer.approx_hessian_count", struct.pack("<i", m))
    counters = {"parameter_count": "q", "iteration_count": "i", "just_initialized": "I"}
    file.numbers("optimizer", counters, (nx, 7, 0))

    state = "optimizer.state"
    for name in VECTORS["lbfgs" if kind == "lbfgs" else (version, "adam")]:
        file.record(f"{state}.{name}", nx)
    file.record(f"{state}.past_loss_values", *([past] if past else []))
    if kind == "lbfgs":
        file.record(f"{state}.memory_alpha", m)
        file.record(f"{state}.memory_ys", m)
        file.record(f"{state}.memory_s", nx, m)
        file.record(f"{state}.memory_y", nx, m)
        file.numbers(state, SCALARS["lbfgs"], (5.5, 0.5, 3, 4, 1, 2))
    else:
        file.numbers(state, SCALARS["adam"], (5.5, 5.75, 2))
