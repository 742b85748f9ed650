"""What is in a checkpoint: the data from which the text, the JSON and the page are made."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from converter.layouts.trainer import STATE_TENSORS, trained_context_length
from converter.numeric.statistics import Statistics, measure
from converter.progress import Progress, silent
from converter.resume.detect import Finding, find_order, part
from ggcp_schema import Checkpoint, FormatError, Span, parse
from ggcp_schema.enums import HeaderLayout, Layout, OptimizerType

MOST_PAST_LOSSES = 10_000
"""How many of the past losses are read; the newest, should there be more."""

_MANY_MAGNITUDES = {
    "gradients",
    "squared_gradients",
    "first_moments",
    "second_moments",
    "corrected_first_moments",
    "corrected_second_moments",
    "current_gradients",
    "previous_gradients",
    "search_direction",
    "memory_s",
    "memory_y",
}
"""Vectors whose elements differ by orders of magnitude, so that only a logarithm shows them."""

_SCALARS = (
    "best_loss",
    "previous_loss",
    "line_search_step",
    "line_search_j",
    "line_search_k",
    "line_search_end",
    "no_improvement_count",
)
_COUNTERS = (
    "parameter_count",
    "iteration_count",
    "just_initialized",
    "convergence_past_count",
    "approx_hessian_count",
)


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file.

    Attributes:
        path: where it is in the schema, such as ``model.layers[0].attention.wq``.
        name: as stored; empty for the optimizer's.
        shape: elements along each dimension, the fastest-varying first; none if it does not exist.
        offset: where its data start, in bytes from the beginning of the file.
        length: bytes of data.
        name_cut: whether the writer cut the name.
        padding_zero: whether the bytes between its header and its data are zero, as they should.
        statistics: what its elements are like; None if that was not asked.
    """

    path: str
    name: str
    shape: tuple[int, ...]
    offset: int
    length: int
    name_cut: bool
    padding_zero: bool
    statistics: Statistics | None = None


@dataclass(frozen=True)
class Optimizer:
    """The optimizer context, as far as it was read; names are those of the schema.

    Attributes:
        layout: which of the three layouts it has; None if the file ends before that is known.
        type: Adam or L-BFGS; None likewise.
        counters: the parameter count, iterations and so on.
        params: all settings, in groups ``adam`` and ``lbfgs`` where they belong to one; None where
            the layout does not store them.
        state: the numbers at the end of the file: losses, line search.
        past_losses: the losses of the last iterations, the oldest first.
    """

    layout: Layout | None
    type: OptimizerType | None
    counters: Mapping[str, int]
    params: Mapping[str, Any] | None
    state: Mapping[str, float]
    past_losses: tuple[float, ...]


@dataclass(frozen=True)
class Report:
    """All that is known of a checkpoint. What a damaged file does not tell is empty or None.

    Attributes:
        file: its name as given.
        length: bytes.
        lora: whether it is a LoRA checkpoint (``finetune``), not a training checkpoint.
        header_layout: which header a LoRA checkpoint has.
        training: the counters.
        hyperparameters: those stored, the feed-forward length and the head dimension.
        ranks: of the kinds of pairs in a LoRA checkpoint.
        parameter_count: elements of all tensors of the model.
        optimizer: the optimizer context.
        order: in which order the parameters stand in the optimizer's vectors; None if the file
            does not tell or, with LoRA, no order is established.
        thorough: whether everything was read to find the order, not only a sample.
        tensors: all tensors, in the order of the file.
        error: what is wrong with the file; None if nothing is.
    """

    file: str
    length: int
    lora: bool
    header_layout: HeaderLayout | None
    training: Mapping[str, int]
    hyperparameters: Mapping[str, int]
    ranks: Mapping[str, int]
    parameter_count: int | None
    optimizer: Optimizer | None
    order: Finding | None
    thorough: bool
    tensors: tuple[Tensor, ...]
    error: FormatError | None

    @property
    def context_length(self) -> int | None:
        """Tokens in a sample, if the counters give a whole number."""
        return trained_context_length(self.training)

    @property
    def header_length(self) -> int:
        """Bytes in front of the first record, as far as they were read."""
        derived = ("feed_forward_length", "head_dimension")
        sizes = sum(name not in derived for name in self.hyperparameters)
        return min(8 + 4 * (len(self.training) + sizes + len(self.ranks)), self.length)

    @property
    def model_tensors(self) -> tuple[Tensor, ...]:
        """The tensors of the model."""
        return tuple(t for t in self.tensors if t.path.startswith("model."))

    @property
    def optimizer_tensors(self) -> tuple[Tensor, ...]:
        """The vectors of the optimizer."""
        return tuple(t for t in self.tensors if t.path.startswith("optimizer."))


def inspect(
    path: str | os.PathLike[str], *, stats: bool = False, progress: Progress = silent
) -> Report:
    """Report what is in a checkpoint, a damaged one as far as it goes.

    Without ``stats`` no tensor is read, but for the past losses and a sample of each tensor, at
    most 64 KiB, that tells the order of the parameters. With it the whole file is read, in blocks.

    Args:
        path: the checkpoint.
        stats: whether to measure the elements of each tensor.
        progress: shows how far it is.

    Raises:
        FormatError: the file cannot be read, is no checkpoint, or was written to meanwhile. A
            checkpoint that is damaged raises nothing: the report has the error.
    """
    with parse(path, partial=True) as checkpoint:
        container = checkpoint.container
        lora = container["magic"] == b"lcgg"
        found = list(_tensors(container))
        measured: dict[str, Statistics] = {}
        if stats:
            with progress("Measuring", sum(data.length for _, data in found)) as count:
                for tensor, data in found:
                    many = tensor.path.rpartition(".")[2] in _MANY_MAGNITUDES
                    measured[tensor.path] = measure(data, magnitudes=many, progress=count)
        report = Report(
            file=os.fspath(path),
            length=checkpoint.source.size,
            lora=lora,
            header_layout=container.get("layout"),
            training=dict(container.get("training", {})),
            hyperparameters=_hyperparameters(container),
            ranks=dict(container.get("ranks", {})),
            parameter_count=container.get("parameter_count"),
            optimizer=_optimizer(container["optimizer"]) if container.get("optimizer") else None,
            order=None if lora else _order(checkpoint, thorough=stats),
            thorough=stats,
            tensors=tuple(
                Tensor(**{**vars(tensor), "statistics": measured.get(tensor.path)})
                for tensor, _ in found
            ),
            error=checkpoint.error,
        )
        checkpoint.source.check_unchanged()
        return report


def _tensors(part_of_file: Any, path: str = "") -> Iterator[tuple[Tensor, Span]]:
    members = enumerate(part_of_file) if isinstance(part_of_file, list) else part_of_file.items()
    for name, member in members:
        here = f"{path}[{name}]" if isinstance(name, int) else f"{path}.{name}".lstrip(".")
        if isinstance(member, Mapping) and isinstance(member.get("data"), Span):
            data = member["data"]
            stored = member["name"]
            whole = (b".loraA", b".loraB") if here.endswith((".a", ".b")) else (b".weight",)
            tensor = Tensor(
                path=here,
                name=stored.decode("ascii", "backslashreplace"),
                shape=tuple(member["shape"]),
                offset=data.offset,
                length=data.length,
                name_cut=bool(stored) and not stored.endswith(whole),
                padding_zero=not member["padding"].strip(b"\0"),
            )
            yield tensor, data
        elif isinstance(member, (Mapping, list)):
            yield from _tensors(member, here)


def _hyperparameters(container: Any) -> dict[str, int]:
    found = dict(container.get("hyperparameters", {}))
    if "feed_forward_length" in container:
        found["feed_forward_length"] = container["feed_forward_length"]
    if found.get("head_count"):
        found["head_dimension"] = found["embedding_length"] // found["head_count"]
    return found


def _optimizer(context: Any) -> Optimizer:
    state = context.get("state") or {}
    params = context.get("params")
    kind = context.get("type")
    losses: tuple[float, ...] = ()
    data = state.get("past_loss_values", {}).get("data")
    if data is not None and data.length:
        # Both optimizers write iteration i to place i mod past; L-BFGS counts in k.
        done = "line_search_k" if kind == OptimizerType.LBFGS else "iteration_count"
        losses = _past_losses(data, max(0, state.get(done, context.get(done, 0))))
    return Optimizer(
        layout=context.get("layout") if context.get("version") in (0, 1) else None,
        type=OptimizerType(kind) if kind in tuple(OptimizerType) else None,
        counters={name: context[name] for name in _COUNTERS if name in context},
        params=None if params is None else _settings(params),
        state={name: state[name] for name in _SCALARS if name in state},
        past_losses=losses,
    )


def _settings(params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: dict(member) if isinstance(member, Mapping) else member
        for name, member in params.items()
        if name != "compiler_padding"
    }


def _past_losses(data: Span, done: int) -> tuple[float, ...]:
    past = data.length // 4
    count = min(past, done, MOST_PAST_LOSSES)
    stop = done % past
    runs = [part(data, max(stop - count, 0), stop)]
    if count > stop:
        runs.insert(0, part(data, past - (count - stop), past))
    return tuple(float(loss) for run in runs for loss in run.array())


def _order(checkpoint: Checkpoint, *, thorough: bool) -> Finding | None:
    error, container = checkpoint.error, checkpoint.container
    if error is not None and not error.path.startswith(("optimizer.state", "end")):
        return None
    state = container.optimizer.state
    needed = STATE_TENSORS[OptimizerType(container.optimizer.type)]
    if any("data" not in state.get(name, {}) for name in needed):
        return None
    return find_order(container, thorough=thorough)
