"""Complete synthetic LoRA checkpoints, written through the structs that parse real ones."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from construct import Container

from ggcp_schema import build
from ggcp_schema.enums import HeaderLayout, OptimizerType
from ggcp_schema.language.errors import FormatError
from ggcp_schema.language.fields import Struct
from ggcp_schema.lora import (
    HyperparametersWithMultiple,
    HyperparametersWithoutMultiple,
    LoraModel,
    Ranks,
)
from ggcp_schema.optimizer import VERSION_1_STATES
from ggcp_schema.synthetic.training import Values, nested, optimizer_state, slice_of
from ggcp_schema.tensor import element_count, slots

DEFAULT_RANK = 4
"""What finetune took for the matrices without ``--lora-r``."""

NORMS = ("attention_norm", "ffn_norm", "norm")
"""Kinds whose rank was 1 unless finetune was told another for that kind."""


@dataclass(frozen=True)
class SyntheticLora:
    """What a synthetic LoRA checkpoint is made of; the defaults make a small one.

    Attributes:
        vocabulary_size: n_vocab.
        embedding_length: n_embd.
        feed_forward_multiple: n_mult; None for the header of a few commits, which lacks it.
        feed_forward_length: n_ff, that of the base model.
        head_count: n_head.
        block_count: n_layer.
        rope_dimension_count: n_rot; None for n_embd / n_head.
        ranks: one number, which is that of the matrices, as with ``--lora-r`` (the norms have 1);
            or a number for each kind that is to have another one than without options, as with
            ``--rank-wq`` and its like. Kinds are the fields of ``ggcp_schema.lora.Ranks``.
        optimizer_type: Adam or L-BFGS.
        convergence_past_count: past.
        approx_hessian_count: m of L-BFGS.
        context_length: tokens in a sample, for the counters.
        iteration_count: optimizer iterations done.
        seed: the same seed gives the same bytes.
    """

    vocabulary_size: int = 300
    embedding_length: int = 32
    feed_forward_multiple: int | None = 4
    feed_forward_length: int = 96
    head_count: int = 4
    block_count: int = 2
    rope_dimension_count: int | None = None
    ranks: int | Mapping[str, int] = DEFAULT_RANK
    optimizer_type: OptimizerType = OptimizerType.ADAM
    convergence_past_count: int = 0
    approx_hessian_count: int = 6
    context_length: int = 64
    iteration_count: int = 100
    seed: int = 0

    @property
    def hyperparameters(self) -> dict[str, int]:
        """The stored hyperparameters, by the names of the schema."""
        multiple = self.feed_forward_multiple
        rotated = self.rope_dimension_count
        return {
            "vocabulary_size": self.vocabulary_size,
            "embedding_length": self.embedding_length,
            **({} if multiple is None else {"feed_forward_multiple": multiple}),
            "head_count": self.head_count,
            "block_count": self.block_count,
            "rope_dimension_count": (
                self.embedding_length // max(self.head_count, 1) if rotated is None else rotated
            ),
        }

    @property
    def rank_of_each_kind(self) -> dict[str, int]:
        """The stored ranks, by the names of the schema."""
        given = self.ranks
        matrices, named = (DEFAULT_RANK, given) if isinstance(given, Mapping) else (given, {})
        kinds = (member.name for member in Ranks.subcons)
        return {kind: named.get(kind, 1 if kind in NORMS else matrices) for kind in kinds}

    def write(self, file: BinaryIO) -> None:
        """Write the checkpoint in blocks of bounded size.

        Raises:
            FormatError: no checkpoint can have these hyperparameters or ranks, or ``file`` cannot
                be written.
        """
        build(self.container(), file)

    def container(self) -> dict[str, Any]:
        """Return what ``ggcp_schema.build`` takes; data are made while they are written.

        Raises:
            FormatError: no checkpoint can have these hyperparameters or ranks.
        """
        multiple = self.feed_forward_multiple is not None
        struct = HyperparametersWithMultiple if multiple else HyperparametersWithoutMultiple
        self._check_kinds()
        root = {
            "hyperparameters": _checked("hyperparameters", struct, self.hyperparameters),
            "ranks": _checked("ranks", Ranks, self.rank_of_each_kind),
            "feed_forward_length": self.feed_forward_length,
        }
        counts = {path: element_count(shape) for path, shape in slots(LoraModel, {"_root": root})}
        samples = 2 * self.iteration_count
        return {
            "magic": b"lcgg",
            "training": {
                "iteration_count": self.iteration_count,
                "sample_count": samples,
                "token_count": samples * self.context_length,
            },
            "layout": HeaderLayout.WITH_MULTIPLE if multiple else HeaderLayout.WITHOUT_MULTIPLE,
            **root,
            "model": nested(
                {path: slice_of(self.seed, "model", path, count) for path, count in counts.items()}
            ),
            "optimizer": self._optimizer(counts),
        }

    def _check_kinds(self) -> None:
        kinds = [member.name for member in Ranks.subcons]
        for kind in self.ranks if isinstance(self.ranks, Mapping) else ():
            if kind not in kinds:
                raise FormatError(
                    path="ranks",
                    expected=", ".join(kinds),
                    found=str(kind),
                    hint="give ranks by the names of these kinds",
                )

    def _optimizer(self, counts: Mapping[str, int]) -> dict[str, Any]:
        lbfgs = self.optimizer_type == OptimizerType.LBFGS
        lengths = {
            "convergence_past_count": self.convergence_past_count,
            "approx_hessian_count": self.approx_hessian_count if lbfgs else 0,
        }

        def vector(name: str) -> tuple[Values, ...]:
            return tuple(slice_of(self.seed, name, path, count) for path, count in counts.items())

        state = optimizer_state(VERSION_1_STATES[self.optimizer_type], lengths, self.seed, vector)
        return {
            **lengths,
            "iteration_count": self.iteration_count,
            "just_initialized": 0,
            "type": int(self.optimizer_type),
            "state": state,
        }


def _checked(name: str, struct: Struct, members: Mapping[str, int]) -> Container:
    """Return the members as parsing what they build gives them, checked."""
    stream = io.BytesIO()
    try:
        struct.build_stream(members, stream)
    except FormatError as error:
        error.within(name)
        error.offset = None  # of no file
        raise
    return struct.parse(stream.getvalue())
