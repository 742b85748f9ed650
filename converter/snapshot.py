"""What a checkpoint holds, whichever file it came from: typed, frozen, and without any format.

Inputs make it; from here on nobody asks which file it was.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from converter.parts import Array, Pair
from ggcp_schema import Source
from ggcp_schema.enums import OptimizerType
from ggcp_schema.order import Order

if TYPE_CHECKING:
    from converter.plan import Metadata


@dataclass(frozen=True)
class Counters:
    """How far the training got: optimizer iterations, samples and tokens seen, over all runs.

    ``token_count`` is None where a trainer did not count them.
    """

    iteration_count: int
    sample_count: int
    token_count: int | None

    @property
    def tokens_per_sample(self) -> int | None:
        """Tokens in a sample; None if that is no whole number.

        The trainers before GGUF counted exactly this many tokens with each sample (llama.cpp
        e32089b2c, train-text-from-scratch: ``train_tokens += n_batch * n_tokens``).
        """
        samples, tokens = self.sample_count, self.token_count
        return tokens // samples if samples and tokens and tokens % samples == 0 else None


@dataclass(frozen=True)
class SizesOfBase:
    """The sizes of a LoRA's base model, by the names of the schema; None where it is not said."""

    vocabulary_size: int | None = None
    embedding_length: int | None = None
    feed_forward_length: int | None = None
    head_count: int | None = None
    key_value_head_count: int | None = None
    block_count: int | None = None
    rope_dimension_count: int | None = None


@dataclass(frozen=True)
class Hyperparameters(SizesOfBase):
    """The same where all are known: of a model, or of a LoRA that was saved with them."""

    vocabulary_size: int
    embedding_length: int
    feed_forward_length: int
    head_count: int
    key_value_head_count: int
    block_count: int
    rope_dimension_count: int

    @property
    def key_value_length(self) -> int:
        """Elements of all keys of a token, or of all values; less where heads share them."""
        return self.head_dimension * self.key_value_head_count

    @property
    def head_dimension(self) -> int:
        """Elements of each head (C: ``n_embd / n_head``)."""
        return self.embedding_length // self.head_count

    @property
    def rotates_in_part(self) -> bool:
        """Whether only the first dimensions of each head are rotated."""
        return self.rope_dimension_count < self.head_dimension


class Gradients(enum.Enum):
    """Which gradients the optimizer's vectors are of, as a GGUF says it."""

    SUMMED = "summed"  # of the loss summed over the rows of a batch
    MEAN = "mean"  # of the mean loss
    UNKNOWN = "unknown"  # the file does not say


@dataclass(frozen=True)
class Rope:
    """The rotation of queries and keys: angles are position · scale · base^(-2i / n_rot)."""

    base: float = 10000.0
    scale: float = 1.0


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
class AdamSettings:
    """The settings with which Adam ran, by the names of the schema.

    Attributes:
        schedule_factor: factor on the learning rate in the last run of iterations.
        weight_decay: what of each weight is taken away in an iteration, before that factor.
        learning_rate: the step of an iteration, before that factor.
        first_moment_decay: decay of the first moments (beta1).
        second_moment_decay: decay of the second moments (beta2).
        epsilon: what is added to the root of the second moments.
    """

    schedule_factor: float
    weight_decay: float
    learning_rate: float
    first_moment_decay: float
    second_moment_decay: float
    epsilon: float


@dataclass(frozen=True)
class Moments:
    """Adam's moments, each beside the tensor that it belongs to.

    Attributes:
        first: running means of the gradient, by the path of the tensor, as they are stored.
        second: those of its square.
        resumption: the order in which they were found, and what they are to be divided by.
        of_sums: whether they are stored of gradients summed over a batch.
    """

    first: Mapping[str, Array]
    second: Mapping[str, Array]
    resumption: Resumption
    of_sums: bool


@dataclass(frozen=True)
class Optimizer:
    """What the optimizer has learnt, by the names of the schema.

    Attributes:
        type: Adam or L-BFGS.
        gradients: what its vectors are of.
        orders: the orders of the parameters that its vectors may have; one where the file says it.
        parameter_count: elements of all tensors that are trained.
        convergence_past_count: losses kept for the test of convergence.
        approx_hessian_count: corrections kept by L-BFGS.
        iteration_count: iterations done since it was set up.
        just_initialized: whether nothing was computed since.
        iteration_limit: Adam's iterations in a run; None where the file does not say.
        adam: Adam's settings; None likewise.
        scalars: losses and line search.
        vectors: everything else that it keeps, flat vectors over all parameters among them.
    """

    type: OptimizerType
    gradients: Gradients
    orders: tuple[Order, ...]
    parameter_count: int
    convergence_past_count: int
    approx_hessian_count: int
    iteration_count: int
    just_initialized: bool
    iteration_limit: int | None
    adam: AdamSettings | None
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
        kind: what it is, in words, such as ``a training checkpoint (ggcp)``.
        counters: how far the training got.
        sizes: of the model, or of what is known of a LoRA's base.
        weights: the tensors by their path in the schema, such as ``layers[0].attention.wq``, in the
            order of the file; of a LoRA the two of each pair, at ``….a`` and ``….b``.
        ranks: of a LoRA, by kind of pair; None for a whole model.
        optimizer: its state; None where there is none, or not all of it.
        optimizer_version: the version of its layout in the file; None where none was read.
        context_length: tokens in a sample; None if the file does not say.
        epsilon: the epsilon of the RMS norms; None likewise.
        rope: how queries and keys are rotated; None likewise.
        vocabulary: the keys ``tokenizer.ggml.*``; None likewise.
        kept: the keys of a GGUF, which stay as they are where it becomes one again; None for a
            file that is none.
        delta_scale: factor on the product of each pair of a LoRA.
        missing: values at the end of the model that the file lacks and that are zero here; None for
            a file with which nothing is wrong.
        resumption: what was done to the optimizer's vectors; None if they are as stored.
        locate: returns at which byte of the file a field stands, by its path, for messages.
    """

    source: Source
    kind: str
    counters: Counters
    sizes: SizesOfBase
    weights: Mapping[str, Array]
    ranks: Mapping[str, int] | None
    optimizer: Optimizer | None
    optimizer_version: int | None
    context_length: int | None
    epsilon: float | None
    rope: Rope | None
    vocabulary: tuple[Metadata, ...] | None
    kept: tuple[Metadata, ...] | None
    delta_scale: float
    missing: int | None
    resumption: Resumption | None
    locate: Callable[[str], int | None]

    @property
    def file(self) -> str:
        """The name of the file as it was given, for messages."""
        return self.source.label or "checkpoint"

    @property
    def hyperparameters(self) -> Hyperparameters:
        """All sizes, for who knows that the file holds them.

        Raises:
            ValueError: it does not.
        """
        if not isinstance(self.sizes, Hyperparameters):
            raise ValueError("not all sizes are known")
        return self.sizes

    @property
    def required_rope(self) -> Rope:
        """How queries and keys are rotated, for who has a whole model.

        Raises:
            ValueError: it is not known: only the base model of a LoRA knows it.
        """
        if self.rope is None:
            raise ValueError("only the base model of a LoRA knows its rope")
        return self.rope

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
