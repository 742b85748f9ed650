"""What a checkpoint holds, whichever file it came from: typed, frozen, and without any format.

Inputs make it; from here on nobody asks which file it was.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ggcp_schema import Source, Span
from ggcp_schema.enums import OptimizerType
from ggcp_schema.order import Order

ELEMENT_BYTES = 4
"""Of a float32, the type of all that a checkpoint trains."""


@dataclass(frozen=True)
class Computed:
    """Bytes that are in no file as they stand.

    Attributes:
        length: bytes.
        make: returns the bytes, in blocks of bounded size; may be called more than once.
    """

    length: int
    make: Callable[[], Iterable[bytes]]

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes in order."""
        yield from self.make()


Part = Span | Computed
"""Where a run of an array's bytes comes from."""


@dataclass(frozen=True)
class Array:
    """The elements of a tensor, float32 each.

    Attributes:
        shape: elements along each dimension, the fastest-varying first; none if it does not exist.
        parts: its bytes, one part after the other.
    """

    shape: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def span(self) -> Span:
        """The one run of a file that holds all of it, as where it was read.

        Raises:
            ValueError: it is put together from several runs, or computed.
        """
        (part,) = self.parts
        if not isinstance(part, Span):
            raise ValueError("a computed array is no span of a file")
        return part


def elements(span: Span, start: int, stop: int) -> Span:
    """Return the elements from ``start`` to ``stop`` of a run of float32, as a flat one."""
    offset = span.offset + ELEMENT_BYTES * start
    return Span(span.source, offset, ELEMENT_BYTES * (stop - start), (stop - start,))


class Pair(NamedTuple):
    """The two matrices that stand for the change of a tensor; see numeric/delta.py.

    Attributes:
        a: A, of the shape [rank, inputs].
        b: B, of the shape [rank, outputs]; outputs is 1 for a vector.
    """

    a: Array
    b: Array


@dataclass(frozen=True)
class Counters:
    """How far the training got: optimizer iterations, samples and tokens seen, over all runs."""

    iteration_count: int
    sample_count: int
    token_count: int

    @property
    def tokens_per_sample(self) -> int | None:
        """Tokens in a sample; None if that is no whole number.

        The trainers before GGUF counted exactly this many tokens with each sample (llama.cpp
        e32089b2c, train-text-from-scratch: ``train_tokens += n_batch * n_tokens``).
        """
        samples, tokens = self.sample_count, self.token_count
        return tokens // samples if samples and tokens and tokens % samples == 0 else None


@dataclass(frozen=True)
class Hyperparameters:
    """The sizes of the model, or of a LoRA's base model, by the names of the schema."""

    vocabulary_size: int
    embedding_length: int
    feed_forward_length: int
    head_count: int
    block_count: int
    rope_dimension_count: int

    @property
    def head_dimension(self) -> int:
        """Elements of each head (C: ``n_embd / n_head``)."""
        return self.embedding_length // self.head_count

    @property
    def rotates_in_part(self) -> bool:
        """Whether only the first dimensions of each head are rotated."""
        return self.rope_dimension_count < self.head_dimension


class Gradients(enum.Enum):
    """What the optimizer's vectors are of."""

    SUMMED = "gradients of the loss summed over the rows of a batch"
    MEAN = "gradients of the mean loss"


@dataclass(frozen=True)
class Resumption:
    """How the optimizer's vectors were made to fit the trainer that goes on.

    Attributes:
        stored: the order of the parameters in the file that was read.
        target: the order in which they stand now.
        rows: n_ctx · n_batch, by which the first moments were divided, and the second by its
            square; 1 where they were left as they are.
    """

    stored: Order
    target: Order
    rows: int = 1


@dataclass(frozen=True)
class Optimizer:
    """What the optimizer has learnt, by the names of the schema.

    Attributes:
        type: Adam or L-BFGS.
        gradients: what its vectors are of.
        parameter_count: elements of all tensors that are trained.
        convergence_past_count: losses kept for the test of convergence.
        approx_hessian_count: corrections kept by L-BFGS.
        iteration_count: iterations done since it was set up.
        just_initialized: whether nothing was computed since.
        iteration_limit: Adam's iterations in a run; None where the file does not say.
        scalars: losses and line search.
        vectors: everything else that it keeps, flat vectors over all parameters among them.
    """

    type: OptimizerType
    gradients: Gradients
    parameter_count: int
    convergence_past_count: int
    approx_hessian_count: int
    iteration_count: int
    just_initialized: bool
    iteration_limit: int | None
    scalars: Mapping[str, float]
    vectors: Mapping[str, Array]

    @property
    def is_scaled(self) -> bool:
        """Whether the moments are divided for a trainer that takes the mean loss."""
        return self.gradients is Gradients.SUMMED and self.type is OptimizerType.ADAM


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint, or a model alone.

    Attributes:
        source: the open file.
        counters: how far the training got.
        hyperparameters: sizes.
        weights: the tensors by their path in the schema, such as ``layers[0].attention.wq``, in the
            order of the file; of a LoRA the two of each pair, at ``….a`` and ``….b``.
        ranks: of a LoRA, by kind of pair; None for a whole model.
        optimizer: its state; None where there is none, or not all of it.
        optimizer_version: the version of its layout in the file; None where none was read.
        context_length: tokens in a sample; None if the file does not say.
        missing: values at the end of the model that the file lacks and that are zero here; None for
            a file with which nothing is wrong.
        resumption: what was done to the optimizer's vectors; None if they are as stored.
        locate: returns at which byte of the file a field stands, by its path, for messages.
    """

    source: Source
    counters: Counters
    hyperparameters: Hyperparameters
    weights: Mapping[str, Array]
    ranks: Mapping[str, int] | None
    optimizer: Optimizer | None
    optimizer_version: int | None
    context_length: int | None
    missing: int | None
    resumption: Resumption | None
    locate: Callable[[str], int | None]

    @property
    def file(self) -> str:
        """The name of the file as it was given, for messages."""
        return self.source.label or "checkpoint"

    @property
    def required_optimizer(self) -> Optimizer:
        """The optimizer, for who has made sure that there is one.

        Raises:
            ValueError: there is none.
        """
        if self.optimizer is None:
            raise ValueError("there is no optimizer state")
        return self.optimizer

    def pairs(self) -> Iterator[tuple[str, Pair]]:
        """Yield the pairs of a LoRA, by the path of the tensor that each changes."""
        for path, array in self.weights.items():
            tensor, _, half = path.rpartition(".")
            if half == "a":
                yield tensor, Pair(array, self.weights[f"{tensor}.b"])
