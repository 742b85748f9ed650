"""What all kinds of synthetic checkpoint have in common."""

from __future__ import annotations

import io
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, BinaryIO, ClassVar

from construct import Container

from ggcp_schema.checkpoint import build
from ggcp_schema.enums import OptimizerType
from ggcp_schema.language.errors import FormatError
from ggcp_schema.language.fields import Struct
from ggcp_schema.order import Order, paths
from ggcp_schema.synthetic.values import Values, Vector, seed_of, slice_of
from ggcp_schema.tensor import element_count, slots

_SCALARS = {
    "best_loss": 5.5,
    "previous_loss": 5.75,
    "line_search_step": 0.5,
    "line_search_j": 3,
    "line_search_k": 4,
    "line_search_end": 3,
    "no_improvement_count": 2,
}


@dataclass(frozen=True)
class SyntheticFile(ABC):
    """What a synthetic checkpoint of any kind is made of; the defaults make a small one.

    Attributes:
        vocabulary_size: n_vocab.
        embedding_length: n_embd.
        feed_forward_multiple: n_mult; None for a header that lacks it.
        head_count: n_head.
        block_count: n_layer.
        rope_dimension_count: n_rot; None for the trainer's default.
        iteration_count: optimizer iterations done.
        seed: the same seed gives the same bytes.
    """

    vocabulary_size: int = 300
    embedding_length: int = 32
    feed_forward_multiple: int | None = None
    _: KW_ONLY
    head_count: int = 4
    block_count: int = 2
    rope_dimension_count: int | None = None
    iteration_count: int = 100
    seed: int = 0

    _model: ClassVar[Struct]
    _most_rotated: ClassVar[float] = math.inf

    @property
    def hyperparameters(self) -> dict[str, int]:
        """The stored hyperparameters, by the names of the schema."""
        rotated = self.rope_dimension_count
        if rotated is None:
            head_dimension = self.embedding_length // max(self.head_count, 1)
            rotated = int(min(self._most_rotated, head_dimension))
        sizes = {
            "vocabulary_size": self.vocabulary_size,
            "embedding_length": self.embedding_length,
            "feed_forward_multiple": self.feed_forward_multiple,
            "head_count": self.head_count,
            "block_count": self.block_count,
            "rope_dimension_count": rotated,
        }
        return {name: size for name, size in sizes.items() if size is not None}

    @abstractmethod
    def _header(self) -> dict[str, Any]:
        """Return what stands before the model and is not the same in both kinds, checked."""

    def _zeros(self, path: str) -> int:
        """Return how many elements of a tensor were never seen in training."""
        return 0

    def write(self, file: BinaryIO) -> None:
        """Write the checkpoint in blocks of bounded size.

        Raises:
            FormatError: no checkpoint can have these sizes, or ``file`` cannot be written.
        """
        build(self.container(), file)

    def container(self) -> dict[str, Any]:
        """Return what ``ggcp_schema.build`` takes; data are made while they are written.

        Raises:
            FormatError: no checkpoint can have these sizes.
        """
        header = self._header()
        counts = self._counts(header)
        return {
            **header,
            "training": self._training(2 * self.iteration_count),
            "model": _nested({path: self._values("model", path, counts) for path in counts}),
        }

    def _training(self, sample_count: int) -> dict[str, int]:
        """Return the counters."""
        return {"iteration_count": self.iteration_count, "sample_count": sample_count}

    def _counts(self, header: Mapping[str, Any]) -> dict[str, int]:
        """Return the elements of each tensor of the model, by its path."""
        shapes = slots(self._model, {"_root": header})
        return {path: element_count(shape) for path, shape in shapes}

    def _values(self, vector: str, path: str, counts: Mapping[str, int]) -> Values:
        """Return the slice of a vector that belongs to the tensor at ``path``."""
        return slice_of(self.seed, vector, path, counts[path], self._zeros(path))


@dataclass(frozen=True)
class SyntheticCheckpoint(SyntheticFile):
    """A file with an optimizer's state.

    Attributes:
        optimizer_type: Adam or L-BFGS.
        convergence_past_count: past.
        approx_hessian_count: m of L-BFGS.
        context_length: tokens in a sample, for the counters.
        order: the order of the parameters in the optimizer's vectors.
    """

    _: KW_ONLY
    optimizer_type: OptimizerType = OptimizerType.ADAM
    convergence_past_count: int = 0
    approx_hessian_count: int = 6
    context_length: int = 64
    order: Order = Order.SCRATCH

    _pairs: ClassVar[bool] = False

    @abstractmethod
    def _optimizer(self, lengths: Mapping[str, int]) -> tuple[Struct, dict[str, Any]]:
        """Return the layout of the optimizer's state, and the context's members of this kind."""

    def _training(self, sample_count: int) -> dict[str, int]:
        tokens = sample_count * self.context_length
        return {**super()._training(sample_count), "token_count": tokens}

    def container(self) -> dict[str, Any]:
        """Return what ``ggcp_schema.build`` takes; data are made while they are written.

        Raises:
            FormatError: no checkpoint can have these sizes.
        """
        whole = super().container()
        counts = self._counts(whole)
        lbfgs = self.optimizer_type == OptimizerType.LBFGS
        lengths = {
            "convergence_past_count": self.convergence_past_count,
            "approx_hessian_count": self.approx_hessian_count if lbfgs else 0,
        }
        state, context = self._optimizer(lengths)
        whole["optimizer"] = {
            **context,
            "iteration_count": self.iteration_count,
            "just_initialized": 0,
            "state": self._state(state, lengths, counts),
        }
        return whole

    def _state(
        self, struct: Struct, counts: Mapping[str, int], parameters: Mapping[str, int]
    ) -> dict[str, Any]:
        """Return what the optimizer has learnt.

        Args:
            struct: the layout of the state.
            counts: ``convergence_past_count`` and ``approx_hessian_count``.
            parameters: elements of each tensor of the model, by its path.
        """
        lengths = {
            "past_loss_values": counts["convergence_past_count"],
            "memory_alpha": counts["approx_hessian_count"],
            "memory_ys": counts["approx_hessian_count"],
        }
        order = tuple(paths(self.order, self.block_count, pairs=self._pairs))
        state: dict[str, Any] = {}
        for name in (member.name for member in struct.subcons):
            if name in _SCALARS:
                state[name] = _SCALARS[name]
            elif name in lengths:
                state[name] = Values(seed_of(self.seed, name), lengths[name], 5.5, 6.5)
            else:
                rows = counts["approx_hessian_count"] if name.startswith("memory_") else 1
                vectors = [f"{name}[{row}]" if rows > 1 else name for row in range(rows)]
                parts = (self._values(v, path, parameters) for v in vectors for path in order)
                state[name] = Vector(tuple(parts))
        return state


def checked(name: str, struct: Struct, members: Mapping[str, int]) -> Container:
    """Return the members of a struct as parsing what they build gives them.

    Raises:
        FormatError: no file can have them; the path begins with ``name``.
    """
    stream = io.BytesIO()
    try:
        struct.build_stream(members, stream)
    except FormatError as error:
        error.within(name)
        error.offset = None  # of no file
        raise
    return struct.parse(stream.getvalue())


def _nested(tensors: Mapping[str, Any]) -> dict[str, Any]:
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
