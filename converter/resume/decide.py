"""Decides how the optimizer state fits the trainer that will read it: order of parameters, scale.

Without this a converted release checkpoint resumes worse than with no optimizer state at all: its
moments end up on the wrong parameters, and are of summed gradients where later trainers take the
mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from converter.errors import ConversionError
from converter.gguf_io import keys
from converter.layouts.trainer import model_tensors
from converter.progress import LOGGER
from converter.resume.detect import Finding, find_order
from converter.resume.rearrange import Resumption
from ggcp_schema import Checkpoint, FormatError
from ggcp_schema.enums import Layout, OptimizerType
from ggcp_schema.order import Order

READERS = {
    Order.FLASH: "August 2023 to May 2024 without --no-flash",
    Order.PLAIN: "August 2023 to May 2024 with --no-flash, and July 2024",
    Order.SCRATCH: "July 2024 where it evaluates from right to left",
}
"""Which train-text-from-scratch with GGUF expects each order."""

BATCH_LIMIT = 2**32 - 1

_SAMPLE_COUNT_OFFSET = 12
_TOKEN_COUNT_OFFSET = 16
_ITERATION_COUNT_OFFSET = 8

_ITERATION_LIMIT_OFFSET = 28
"""Where adam.n_iter stands in the optimizer context."""


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
        ConversionError: the order cannot be found out, or there is no such batch size.
        FormatError: the context length or the batch size does not follow from the counters.
    """
    if order is None:
        order = _known_order(checkpoint, target)
    else:
        _warn_of_doubt(checkpoint, order)
    return Resumption(order, target, _rows(checkpoint, batch))


def _file(checkpoint: Checkpoint) -> str:
    return checkpoint.source.label or "checkpoint"


def _warn_of_doubt(checkpoint: Checkpoint, order: Order) -> None:
    finding = find_order(checkpoint.container, thorough=True)
    if _contradicts(finding, order):
        LOGGER.warning("--order %s is taken, but the file says otherwise: %s", order.value, finding)


def _contradicts(finding: Finding, order: Order) -> bool:
    """Tell whether the file has signs of another order, and it makes a difference."""
    ruled_out = order not in finding.candidates and not finding.contradiction
    return ruled_out and not finding.indifferent


def _known_order(checkpoint: Checkpoint, target: Order) -> Order:
    finding = find_order(checkpoint.container, thorough=True)
    if not finding.settled:
        fits = "none that fits" if finding.contradiction else "several that fit"
        raise ConversionError(
            _file(checkpoint),
            expected="one order of the parameters that fits the optimizer state",
            found=f"{fits}: {finding}",
            hint="say which it is with --order flash, --order plain or --order scratch "
            "(README, «Continue training»)",
        )
    if finding.contradiction or target in finding.candidates:
        order = target
    else:
        order = finding.candidates[0]
    if not finding.indifferent:
        LOGGER.info("the optimizer state is stored in the order %s: %s", order.value, finding)
    return order


def _sums_gradients(container: Any) -> bool:
    """Tell whether the trainer took the gradient of the sum over a batch, not of the mean."""
    return container.optimizer.layout is not Layout.VERSION_1


def _is_scaled(container: Any) -> bool:
    return _sums_gradients(container) and container.optimizer.type == OptimizerType.ADAM


def _rows(checkpoint: Checkpoint, batch: int | None) -> int:
    container = checkpoint.container
    if batch is not None and not 1 <= batch <= BATCH_LIMIT:
        raise ConversionError(
            _file(checkpoint),
            expected=f"a batch size from 1 to {BATCH_LIMIT}",
            found=str(batch),
            hint="give the batch size of the training (the trainer's -b, 8 by default)",
        )
    if _is_scaled(container):
        context_length = _context_length(checkpoint)
        return context_length * (_estimated_batch(checkpoint) if batch is None else batch)
    if _sums_gradients(container):
        LOGGER.warning(
            "the state of L-BFGS is not scaled: its gradients are summed over a batch, and how "
            "trainers that read GGUF continue from there was not measured"
        )
    if batch is not None:
        LOGGER.info("--batch has no effect: only moments of summed gradients are scaled")
    return 1


def _context_length(checkpoint: Checkpoint) -> int:
    training = checkpoint.container.training
    samples: int = training.sample_count
    tokens: int = training.token_count
    hint = "the moments cannot be scaled; convert without --resume-with, as they are stored"
    if not samples:
        raise FormatError(
            file=checkpoint.source.label,
            path="training.sample_count",
            offset=_SAMPLE_COUNT_OFFSET,
            expected="at least 1: tokens divided by samples is the context length",
            found="0",
            hint=hint,
        )
    if not tokens or tokens % samples:
        raise FormatError(
            file=checkpoint.source.label,
            path="training.token_count",
            offset=_TOKEN_COUNT_OFFSET,
            expected=f"a multiple of {samples} (sample_count), which gives the context length",
            found=str(tokens),
            hint=hint,
        )
    return tokens // samples


def _estimated_batch(checkpoint: Checkpoint) -> int:
    container = checkpoint.container
    samples: int = container.training.sample_count
    iterations: int = container.training.iteration_count
    limit: int = container.optimizer.params.adam.iteration_limit
    if not iterations:
        raise _no_estimate(checkpoint, "training.iteration_count", _ITERATION_COUNT_OFFSET, 0)
    if limit < 1 or samples * limit // iterations >= BATCH_LIMIT:
        *_others, (_path, _name, last) = model_tensors(container.model)
        offset = last.data.offset + last.data.length + _ITERATION_LIMIT_OFFSET
        path = "optimizer.params.adam.iteration_limit"
        raise _no_estimate(checkpoint, path, offset, limit)
    exact = samples * limit / iterations
    batch = max(1, round(exact))
    LOGGER.warning(
        "the batch size of the training is not in the file; %d is estimated, rather too much than "
        "too little: %d samples × %d iterations in a run / %d iterations = %.4g; if the trainer's "
        "-b was another (8 by default), give it with --batch",
        batch,
        samples,
        limit,
        iterations,
        exact,
    )
    return batch


def _no_estimate(checkpoint: Checkpoint, path: str, offset: int, found: int) -> FormatError:
    return FormatError(
        file=checkpoint.source.label,
        path=path,
        offset=offset,
        expected="a number from which the batch size can be estimated",
        found=str(found),
        hint="give the batch size of the training (the trainer's -b, 8 by default) with --batch",
    )


def doubts(checkpoint: Checkpoint, resumption: Resumption) -> Iterator[str]:
    """Yield one line for each thing in a Resumption that the checkpoint contradicts.

    Raises:
        FormatError: the counters give no context length.
    """
    container = checkpoint.container
    finding = find_order(container, thorough=True)
    if _contradicts(finding, resumption.stored):
        expected = " or ".join(order.value for order in finding.candidates)
        found = f"{resumption.stored.value} ({finding})"
        yield f"key {keys.GGCP_STORED_PARAMETER_ORDER}: expected {expected}, found {found}"
    context_length = _context_length(checkpoint) if _is_scaled(container) else 0
    if context_length and resumption.rows % context_length:
        expected = f"a multiple of {context_length} (the context length)"
    elif not context_length and resumption.rows != 1:
        expected = "1"
    else:
        return
    yield f"key {keys.GGCP_GRADIENT_ROWS}: expected {expected}, found {resumption.rows}"


def tell_order(checkpoint: Checkpoint) -> None:
    """Say in one line in which order the optimizer state is, and who continues it as it stands."""
    finding = find_order(checkpoint.container, thorough=False)
    if not finding.settled:
        finding = find_order(checkpoint.container, thorough=True)
    if not finding.indifferent:
        words = _in_words(checkpoint.container, finding)
        LOGGER.info("the optimizer state stays as it is stored, %s", words)


def _in_words(container: Any, finding: Finding) -> str:
    if not finding.settled:
        return (
            f"in an order that is not certain ({finding}); for a trainer to continue it right, "
            "convert with --resume-with and --order (README, «Continue training»)"
        )
    right = [order for order in Order if order in finding.candidates]
    others = [order for order in READERS if order not in right]
    said = f"in the order {' or '.join(order.value for order in right)}"
    if _is_scaled(container):
        return (
            f"{said} and of gradients summed over a batch: wrong for every train-text-from-scratch "
            f"that reads GGUF; convert with {_options(list(READERS))}"
        )
    readers = "; ".join(READERS[order] for order in right)
    words = (
        f"{said}: right for train-text-from-scratch of {readers}; "
        f"for others convert with {_options(others)}"
    )
    if _sums_gradients(container):
        words += (
            "; but its gradients are summed over a batch, and how trainers that read GGUF continue "
            "L-BFGS from there was not measured"
        )
    return words


def _options(orders: list[Order]) -> str:
    options = [f"--resume-with {order.value} ({READERS[order]})" for order in orders]
    return " or ".join([", ".join(options[:-1]), options[-1]] if len(options) > 1 else options)
