"""What is known of a file of any kind, for reports: everything may be missing but its name.

Inputs fill it, with words and meanings from the schema; who reads it knows no format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ggcp_schema import FormatError, Span
from ggcp_schema.enums import OptimizerType
from ggcp_schema.history import Trainer
from ggcp_schema.tensor import element_count


class Group(Mapping[str, Any]):
    """Numbers that belong together, by the names of the schema, with what each means.

    Args:
        values: the numbers, in the order of the file.
        meanings: a sentence for each name that has one.
    """

    def __init__(
        self, values: Mapping[str, Any] | None = None, meanings: Mapping[str, str] | None = None
    ) -> None:
        self._values = dict(values or {})
        self._meanings = dict(meanings or {})

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def meaning(self, name: str) -> str:
        """Return what a number means; empty where nothing is to be said."""
        return self._meanings.get(name, "")


@dataclass(frozen=True)
class TensorFacts:
    """A tensor of the file.

    Attributes:
        path: where it is in the schema, such as ``model.layers[0].attention.wq``.
        name: as stored; empty for the optimizer's.
        shape: elements along each dimension, the fastest-varying first; none if it does not exist.
        data: where its data are.
        name_cut: whether the writer cut the name.
        padding_zero: whether the bytes between its header and its data are zero, as they should.
    """

    path: str
    name: str
    shape: tuple[int, ...]
    data: Span
    name_cut: bool
    padding_zero: bool

    @property
    def offset(self) -> int:
        """Where its data start, in bytes from the beginning of the file."""
        return self.data.offset

    @property
    def length(self) -> int:
        """Bytes of data."""
        return self.data.length

    @property
    def is_f32(self) -> bool:
        """Whether its elements are float32, of which alone statistics are taken."""
        return self.data.length == 4 * element_count(self.shape)


@dataclass(frozen=True)
class Region:
    """A run of bytes of the file that belongs together.

    Attributes:
        label: what it is.
        kind: ``header``, ``table`` (embeddings and output), ``norm``, ``layer``, ``optimizer``
            (a vector), ``numbers`` (the optimizer's header and last numbers) or ``unread``.
        start: its first byte.
        stop: the byte behind its last.
        tensors: those in it.
    """

    label: str
    kind: str
    start: int
    stop: int
    tensors: tuple[TensorFacts, ...] = ()

    @property
    def length(self) -> int:
        """Bytes of the region."""
        return self.stop - self.start


@dataclass(frozen=True)
class OptimizerFacts:
    """The optimizer's state, as far as it was read.

    Attributes:
        layout: which of its layouts it has, in words; empty if the file ends before that is known.
        type: Adam or L-BFGS; None likewise.
        counters: the parameter count, iterations and so on.
        params: all settings; None where the layout does not store them.
        adam: those of Adam; None likewise.
        lbfgs: those of L-BFGS; None likewise.
        state: the numbers at the end of the file: losses, line search.
        past_losses: the losses of the last iterations, the oldest first.
        iterations_done: the number of the last of these iterations.
        losses_are_means: whether a loss is the mean over a batch.
        sums_gradients: whether its moments are of gradients summed over a batch.
        trainers: those that write such a file.
    """

    layout: str
    type: OptimizerType | None
    counters: Group
    params: Group | None
    adam: Group | None
    lbfgs: Group | None
    state: Group
    past_losses: tuple[float, ...]
    iterations_done: int
    losses_are_means: bool
    sums_gradients: bool
    trainers: tuple[Trainer, ...]


@dataclass(frozen=True)
class Facts:
    """All that a file says. What a damaged one does not tell is empty or None.

    Attributes:
        file: its name as given.
        length: bytes.
        lora: whether it holds the change of a model, not a model.
        kind: what it is, in words.
        kind_code: the same for scripts: ``training``, ``magicless``, ``lora``, ``adapter`` or
            ``model``.
        header_layout: which of several headers it has, in words; empty for the only one.
        header_note: what is unusual about its header, as a sentence; empty for nothing.
        written_by: which trainers write such files, in words.
        training: the counters.
        hyperparameters: those stored, the feed-forward length and the head dimension.
        ranks: of the kinds of pairs in a LoRA.
        context_length: tokens in a sample.
        parameter_count: elements of all tensors of the model.
        optimizer: its state; None if the file ends before it.
        tensors: all tensors, in the order of the file.
        regions: the whole file, without a hole.
        error: what is wrong with the file; None if nothing is.
        aborted_save: whether it is what a trainer left that aborted while it saved.
        vocabulary_tokens: tokens of the vocabulary in it; None if it holds none.
        epsilon: the epsilon of the RMS norms; None if the file does not say.
        converted: whether ggcp made the file.
    """

    file: str
    length: int
    lora: bool
    kind: str
    kind_code: str
    header_layout: str
    header_note: str
    written_by: str
    training: Group
    hyperparameters: Group
    ranks: Group
    context_length: int | None
    parameter_count: int | None
    optimizer: OptimizerFacts | None
    tensors: tuple[TensorFacts, ...]
    regions: tuple[Region, ...]
    error: FormatError | None
    aborted_save: bool
    vocabulary_tokens: int | None
    epsilon: float | None
    converted: bool

    @property
    def model_tensors(self) -> tuple[TensorFacts, ...]:
        """The tensors of the model."""
        return tuple(t for t in self.tensors if t.path.startswith("model."))

    @property
    def optimizer_tensors(self) -> tuple[TensorFacts, ...]:
        """The vectors of the optimizer."""
        return tuple(t for t in self.tensors if t.path.startswith("optimizer."))
