"""Makes the optimizer state fit the trainer that will read it: order of parameters, scale.

Without this a converted release checkpoint resumes worse than with no optimizer state at all: its
moments end up on the wrong parameters, and are of summed gradients where later trainers take the
mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter import keys
from converter.errors import ConversionError
from converter.mapper import STRING, U64
from converter.parameter_order import Finding, Slices, find_order, part, slices
from converter.plan import Computed, Metadata, Part
from converter.terminal import LOGGER
from ggcp_schema import Checkpoint, FormatError, Span
from ggcp_schema.optimizer import Layout, OptimizerType
from ggcp_schema.order import Order, paths

_READERS = {
    Order.FLASH: "trainers of August 2023 to May 2024 by default",
    Order.PLAIN: "those with --no-flash, and the trainer of July 2024",
    Order.SCRATCH: "the trainer of July 2024 where it evaluates right to left",
}
"""Which GGUF trainers expect each order."""

_NOT_FLAT = ("past_loss_values", "memory_alpha", "memory_ys")
"""Members of the optimizer's state that do not run over the parameters."""

_TOKEN_COUNT_OFFSET = 16


@dataclass(frozen=True)
class Resumption:
    """How the optimizer's vectors are written.

    Attributes:
        stored: the order in the checkpoint.
        target: the order in the GGUF.
        rows: n_ctx · n_batch, by which the first moments are divided, and the second by its
            square; 1 leaves them as they are.
    """

    stored: Order
    target: Order
    rows: int = 1

    @property
    def metadata(self) -> tuple[Metadata, ...]:
        """What the GGUF says of it, in ggcp's own namespace."""
        return (
            Metadata(keys.GGCP_PARAMETER_ORDER, STRING, self.target.value),
            Metadata(keys.GGCP_STORED_PARAMETER_ORDER, STRING, self.stored.value),
            Metadata(keys.GGCP_GRADIENT_ROWS, U64, self.rows),
        )


def settle(
    checkpoint: Checkpoint, target: Order, *, order: Order | None, batch: int | None
) -> Resumption:
    """Decide how the vectors are written, and tell the user what rests on an estimate.

    Args:
        checkpoint: a parsed training checkpoint.
        target: the order of the trainer that will read the GGUF.
        order: the order in the checkpoint, if the user says so; otherwise it is found out.
        batch: the trainer's batch size (-b), if the user says so; otherwise it is estimated.

    Raises:
        ConversionError: the order cannot be found out, or the batch size cannot be estimated.
        FormatError: the context length does not follow from the counters.
    """
    container = checkpoint.container
    if order is None:
        order = _known_order(checkpoint, target)
    else:
        _warn_of_doubt(container, order)
    return Resumption(order, target, _rows(container, batch))


def _warn_of_doubt(container: Any, order: Order) -> None:
    finding = find_order(container, thorough=False)
    if order not in finding.candidates and not finding.contradiction:
        LOGGER.warning(
            "--order %s is taken, but the file says otherwise: %s",
            order.value,
            "; ".join(finding.evidence),
        )


def _known_order(checkpoint: Checkpoint, target: Order) -> Order:
    container = checkpoint.container
    finding = find_order(container, thorough=True)
    if finding.indifferent:
        return target
    blocks = container.hyperparameters.block_count
    if len({tuple(paths(order, blocks)) for order in finding.candidates}) == 1:
        order = finding.candidates[0]
        LOGGER.info("stored order %s: %s", order.value, "; ".join(finding.evidence))
        return order
    raise ConversionError(
        checkpoint.source.label or "checkpoint",
        expected="signs of one order of the parameters in the optimizer state",
        found="; ".join(finding.evidence),
        hint="say which it is with --order flash, plain or scratch (README, 'Continue training')",
    )


def _sums_gradients(container: Any) -> bool:
    """Tell whether the trainer took the gradient of the sum over a batch, not of the mean."""
    layout = container.optimizer.layout
    return layout is not Layout.VERSION_1 and container.optimizer.type == OptimizerType.ADAM


def _rows(container: Any, batch: int | None) -> int:
    if not _sums_gradients(container):
        if batch is not None:
            LOGGER.info("--batch has no effect: only Adam moments of summed gradients are scaled")
        return 1
    context = _context_length(container)
    if batch is None:
        batch = _estimated_batch(container)
    return context * batch


def _context_length(container: Any) -> int:
    samples: int = container.training.sample_count
    tokens: int = container.training.token_count
    if not samples or not tokens or tokens % samples:
        raise FormatError(
            path="training.token_count",
            offset=_TOKEN_COUNT_OFFSET,
            expected=f"a multiple of {samples} (sample_count), which gives the context length",
            found=str(tokens),
            hint="the moments cannot be scaled; convert without --resume-with, as they are stored",
        )
    return tokens // samples


def _estimated_batch(container: Any) -> int:
    training, limit = container.training, container.optimizer.params.adam.iteration_limit
    if not training.iteration_count or limit <= 0:
        raise FormatError(
            path="training.iteration_count",
            offset=8,
            expected="iterations from which the batch size can be estimated",
            found=str(training.iteration_count),
            hint="give the trainer's batch size (its -b, 8 by default) with --batch",
        )
    exact = training.sample_count * limit / training.iteration_count
    batch: int = max(1, round(exact))
    LOGGER.warning(
        "the batch size is not in the file; estimated %d (from above: %d samples · %d iterations "
        "a run / %d iterations = %.4g); if the trainer's -b was another, say so with --batch",
        batch,
        training.sample_count,
        limit,
        training.iteration_count,
        exact,
    )
    return batch


class Rearrangement:
    """Writes the vectors of the optimizer as a Resumption says."""

    def __init__(self, container: Any, resumption: Resumption) -> None:
        self._stored: Slices = slices(container, resumption.stored)
        self._target = list(paths(resumption.target, container.hyperparameters.block_count))
        self._count = container.optimizer.parameter_count
        self._divisors = {
            "first_moments": float(resumption.rows),
            "second_moments": float(resumption.rows) ** 2,
        }

    def __call__(self, member: str, data: Span) -> tuple[Part, ...]:
        """Return the parts of a member of the optimizer's state."""
        if member in _NOT_FLAT:
            return (data,)
        rows = range(0, data.length // 4, self._count)
        spans = _joined(
            part(data, row + start, row + stop)
            for row in rows
            for start, stop in (self._stored[path] for path in self._target)
        )
        divisor = self._divisors.get(member, 1.0)
        if divisor == 1:
            return tuple(spans)
        return tuple(Computed(span.length, _Divided(span, divisor)) for span in spans)


def _joined(spans: Iterator[Span]) -> Iterator[Span]:
    """Join spans that follow each other in the file."""
    before = next(spans)
    for span in spans:
        if span.offset == before.offset + before.length:
            length = before.length + span.length
            before = Span(span.source, before.offset, length, (length // 4,))
        else:
            yield before
            before = span
    yield before


@dataclass(frozen=True)
class _Divided:
    """The elements of a span, each divided in float64 and rounded once to float32."""

    span: Span
    divisor: float

    def __call__(self) -> Iterator[bytes]:
        for block in self.span.blocks():
            with np.errstate(all="ignore"):
                quotient = np.frombuffer(block, "<f4").astype(np.float64) / self.divisor
                yield quotient.astype("<f4").tobytes()


def tell_order(checkpoint: Checkpoint) -> None:
    """Say in one line in which order the optimizer state is, and who continues it as it stands."""
    finding = find_order(checkpoint.container, thorough=False)
    if finding.indifferent:
        return
    LOGGER.info("%s", _order_in_words(checkpoint.container, finding))


def _order_in_words(container: Any, finding: Finding) -> str:
    others = "; for other trainers pass --resume-with flash, plain or scratch"
    if len(finding.candidates) != 1:
        signs = "; ".join(finding.evidence)
        return f"the order of the optimizer state is not certain ({signs}){others}"
    order = finding.candidates[0]
    said = f"the optimizer state stays in its order, {order.value}"
    if _sums_gradients(container):
        return (
            f"{said}, and of summed gradients: no GGUF trainer continues it right as it stands; "
            "pass --resume-with flash (trainers of August 2023 to May 2024), "
            "plain (with --no-flash, or July 2024) or scratch (July 2024, right to left)"
        )
    return f"{said}, which continues right in {_READERS[order]}{others}"
