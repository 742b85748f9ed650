"""Complete synthetic checkpoints of any size, written through the structs that parse real ones.

The numbers are random but make sense together: x holds the parameters in the chosen order, the
second moments are positive and alike within a tensor, and the moments of tokens that were never
seen in training are exactly zero.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

import numpy as np

from ggcp_schema import build
from ggcp_schema.enums import OptimizerType
from ggcp_schema.language.errors import FormatError
from ggcp_schema.model import Hyperparameters, Model
from ggcp_schema.optimizer import VERSION_0_STATES, VERSION_1_STATES
from ggcp_schema.order import Order, paths
from ggcp_schema.tensor import element_count, slots

_BLOCK_ELEMENTS = 1 << 18

# What ggml_opt_default_params and the trainer set; the file needs values, nothing here reads them.
_ADAM_PARAMS = {
    "iteration_limit": 16,
    "schedule_factor": 1.0,
    "weight_decay": 0.001,
    "learning_rate": 0.001,
    "first_moment_decay": 0.9,
    "second_moment_decay": 0.999,
    "epsilon": 1e-8,
    "loss_epsilon": 1e-5,
    "gradient_epsilon": 0.001,
}
_LBFGS_PARAMS = {
    "iteration_limit": 16,
    "line_search_limit": 20,
    "gradient_epsilon": 1e-5,
    "line_search_tolerance": 1e-4,
    "wolfe_coefficient": 0.9,
    "smallest_step": 1e-20,
    "largest_step": 1e20,
    "line_search_condition": 1,
}
_PARAMS = {
    "thread_count": 6,
    "convergence_delta": 1e-5,
    "no_improvement_limit": 100,
    "print_forward_graph": 0,
    "print_backward_graph": 0,
    "compiler_padding": bytes(2),
    "adam": _ADAM_PARAMS,
}
_SCALARS = {
    "best_loss": 5.5,
    "previous_loss": 5.75,
    "line_search_step": 0.5,
    "line_search_j": 3,
    "line_search_k": 4,
    "line_search_end": 3,
    "no_improvement_count": 2,
}

_PARAMETERS = ("parameters", "current_parameters")
_POSITIVE = ("squared_gradients", "second_moments", "corrected_second_moments")


@dataclass(frozen=True)
class Values:
    """Random float32 values, made in blocks whenever they are asked for, always the same.

    Attributes:
        seed: numbers that tell this tensor from all others.
        count: elements.
        low: the smallest value.
        high: the value that none reaches.
        zeros: how many elements at the end are exactly zero.
    """

    seed: tuple[int, ...]
    count: int
    low: float
    high: float
    zeros: int = 0

    def __iter__(self) -> Iterator[bytes]:
        generator = np.random.default_rng(self.seed)
        random = self.count - self.zeros
        for start in range(0, random, _BLOCK_ELEMENTS):
            block = generator.random(min(_BLOCK_ELEMENTS, random - start), dtype=np.float32)
            block *= np.float32(self.high - self.low)
            block += np.float32(self.low)
            yield block.astype("<f4", copy=False).tobytes()
        for start in range(0, self.zeros, _BLOCK_ELEMENTS):
            yield bytes(4 * min(_BLOCK_ELEMENTS, self.zeros - start))


@dataclass(frozen=True)
class Vector:
    """One tensor's values after the other."""

    parts: tuple[Values, ...]

    def __iter__(self) -> Iterator[bytes]:
        return chain.from_iterable(self.parts)


@dataclass(frozen=True)
class Synthetic:
    """What a synthetic checkpoint is made of; the defaults make a small one.

    Attributes:
        vocabulary_size: n_vocab.
        embedding_length: n_embd.
        feed_forward_multiple: n_mult.
        head_count: n_head.
        block_count: n_layer.
        rope_dimension_count: n_rot; None for the trainer's min(64, n_embd / n_head).
        optimizer_type: Adam or L-BFGS.
        optimizer_version: 0 (the releases) or 1 (the development branch).
        with_params: version 1 with params, the layout of one commit.
        convergence_past_count: past.
        approx_hessian_count: m of L-BFGS.
        order: the order of the parameters in the optimizer's vectors.
        unseen_token_count: how many of the last tokens were never seen in training.
        context_length: tokens in a sample, for the counters.
        iteration_count: optimizer iterations done.
        seed: the same seed gives the same bytes.
    """

    vocabulary_size: int = 300
    embedding_length: int = 32
    feed_forward_multiple: int = 32
    head_count: int = 4
    block_count: int = 2
    rope_dimension_count: int | None = None
    optimizer_type: OptimizerType = OptimizerType.ADAM
    optimizer_version: int = 0
    with_params: bool = False
    convergence_past_count: int = 0
    approx_hessian_count: int = 6
    order: Order = Order.SCRATCH
    unseen_token_count: int = 0
    context_length: int = 64
    iteration_count: int = 100
    seed: int = 0

    @property
    def hyperparameters(self) -> dict[str, int]:
        """The stored hyperparameters, by the names of the schema."""
        head_dimension = self.embedding_length // max(self.head_count, 1)
        rotated = self.rope_dimension_count
        return {
            "vocabulary_size": self.vocabulary_size,
            "embedding_length": self.embedding_length,
            "feed_forward_multiple": self.feed_forward_multiple,
            "head_count": self.head_count,
            "block_count": self.block_count,
            "rope_dimension_count": min(64, head_dimension) if rotated is None else rotated,
        }

    def write(self, file: BinaryIO) -> None:
        """Write the checkpoint in blocks of bounded size.

        Raises:
            FormatError: no checkpoint can have these hyperparameters, or ``file`` cannot be
                written.
        """
        build(self.container(), file)

    def container(self) -> dict[str, Any]:
        """Return what ``ggcp_schema.build`` takes; data are made while they are written.

        Raises:
            FormatError: no checkpoint can have these hyperparameters.
        """
        stream = io.BytesIO()
        try:
            Hyperparameters.build_stream(self.hyperparameters, stream)
        except FormatError as error:
            error.within("hyperparameters")
            error.offset = None  # of no file
            raise
        hyperparameters = Hyperparameters.parse(stream.getvalue())
        shapes = dict(slots(Model, {"_root": {"hyperparameters": hyperparameters}}))
        samples = 2 * self.iteration_count
        return {
            "training": {
                "iteration_count": self.iteration_count,
                "sample_count": samples,
                "token_count": samples * self.context_length,
            },
            "hyperparameters": self.hyperparameters,
            "model": nested({path: self._values("model", path, shapes) for path in shapes}),
            "optimizer": self._optimizer(shapes),
        }

    def _optimizer(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        lbfgs = self.optimizer_type == OptimizerType.LBFGS
        counts = {
            "convergence_past_count": self.convergence_past_count,
            "approx_hessian_count": self.approx_hessian_count if lbfgs else 0,
        }
        states = VERSION_0_STATES if self.optimizer_version == 0 else VERSION_1_STATES
        order = list(paths(self.order, self.block_count))

        def vector(name: str) -> tuple[Values, ...]:
            return tuple(self._values(name, path, shapes) for path in order)

        context: dict[str, Any] = {
            "version": self.optimizer_version,
            "iteration_count": self.iteration_count,
            "just_initialized": 0,
            "state": optimizer_state(states[self.optimizer_type], counts, self.seed, vector),
        }
        if self.optimizer_version == 0 or self.with_params:
            context["params"] = {
                **_PARAMS,
                "type": int(self.optimizer_type),
                "convergence_past_count": self.convergence_past_count,
                "lbfgs": {**_LBFGS_PARAMS, "approx_hessian_count": counts["approx_hessian_count"]},
            }
        else:
            context |= {**counts, "type": int(self.optimizer_type)}
        return context

    def _values(self, vector: str, path: str, shapes: Mapping[str, tuple[int, ...]]) -> Values:
        """Return the slice of a vector that belongs to the tensor at ``path``."""
        unseen = min(self.unseen_token_count, self.vocabulary_size) * self.embedding_length
        zeros = unseen if path == "tok_embeddings" else 0
        return slice_of(self.seed, vector, path, element_count(shapes[path]), zeros)


def slice_of(seed: int, vector: str, path: str, count: int, zeros: int = 0) -> Values:
    """Return the part of a vector (or of the model) that belongs to the tensor at ``path``."""
    if vector == "model" or vector in _PARAMETERS:
        return Values(seed_of(seed, "model", path), count, -0.04, 0.04)
    # Gradients of one tensor are of one size, those of another of another.
    size = 10.0 ** np.random.default_rng(seed_of(seed, path)).uniform(-5, -2)
    low, high = (size**2 / 2, size**2 * 2) if vector in _POSITIVE else (-size, size)
    return Values(seed_of(seed, vector, path), count, low, high, zeros)


def seed_of(seed: int, *names: str) -> tuple[int, ...]:
    """Return numbers that tell what has these names from all else."""
    return (seed % 2**64, *(zlib.crc32(name.encode()) for name in names))


def optimizer_state(
    struct: Any,
    counts: Mapping[str, int],
    seed: int,
    vector: Callable[[str], tuple[Values, ...]],
) -> dict[str, Any]:
    """Return what the optimizer has learnt.

    Args:
        struct: the layout of the state.
        counts: ``convergence_past_count`` and ``approx_hessian_count``.
        seed: the seed of the file.
        vector: makes the values of the vector over all parameters that has this name.
    """
    lengths = {
        "past_loss_values": counts["convergence_past_count"],
        "memory_alpha": counts["approx_hessian_count"],
        "memory_ys": counts["approx_hessian_count"],
    }
    state: dict[str, Any] = {}
    for name in (member.name for member in struct.subcons):
        if name in _SCALARS:
            state[name] = _SCALARS[name]
        elif name in lengths:
            state[name] = Values(seed_of(seed, name), lengths[name], 5.5, 6.5)
        else:
            rows = counts["approx_hessian_count"] if name.startswith("memory_") else 1
            names = [f"{name}[{row}]" if rows > 1 else name for row in range(rows)]
            state[name] = Vector(tuple(chain.from_iterable(map(vector, names))))
    return state


def nested(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Turn paths such as ``layers[0].attention.wq`` into mappings and lists."""
    root: dict[str, Any] = {"layers": []}
    for path, tensor in tensors.items():
        layer = re.match(r"layers\[(\d+)\]\.", path)
        place = root
        if layer:
            if len(root["layers"]) <= int(layer[1]):
                root["layers"].append({})
            place = root["layers"][-1]
        *outer, name = path[layer.end() if layer else 0 :].split(".")
        for part in outer:
            place = place.setdefault(part, {})
        place[name] = tensor
    return root
