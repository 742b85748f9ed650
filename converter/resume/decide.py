"""Decides how the optimizer state fits the trainer that will read it: order of parameters, scale.

Without this a converted release checkpoint resumes worse than with no optimizer state at all: its
moments end up on the wrong parameters, and are of summed gradients where later trainers take the
mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from converter.errors import ConversionError
from converter.gguf_io import keys
from converter.progress import LOGGER
from converter.resume.detect import Finding, find_order
from converter.resume.rearrange import gradients_of
from converter.snapshot import Gradients, Resumption, Snapshot
from ggcp_schema import FormatError
from ggcp_schema.enums import OptimizerType
from ggcp_schema.history import READERS
from ggcp_schema.order import Order

BATCH_LIMIT = 2**32 - 1


def decided_resumption(
    snapshot: Snapshot, target: Order, *, order: Order | None, batch: int | None
) -> Resumption:
    """Decide how the vectors are written, and tell the user what rests on an estimate.

    Args:
        snapshot: a checkpoint as it was read.
        target: the order of the trainer that will read the GGUF.
        order: the order in the checkpoint, if the user says so; otherwise it is found out.
        batch: the trainer's batch size (-b), if the user says so; otherwise it is estimated.

    Raises:
        ConversionError: the order cannot be found out, or there is no such batch size.
        FormatError: the context length or the batch size does not follow from the counters.
    """
    if order is None:
        order = _found_order(snapshot, target)
    else:
        _warn_of_signs_against(snapshot, order)
    return Resumption(order, target, _rows(snapshot, order, batch))


def _warn_of_signs_against(snapshot: Snapshot, order: Order) -> None:
    finding = find_order(snapshot, thorough=True)
    unheard = order not in snapshot.required_optimizer.orders
    if unheard and not finding.settled:
        LOGGER.warning("--order %s is taken, but no trainer wrote such a file in it", order.value)
    elif _contradicts(finding, order):
        LOGGER.warning("--order %s is taken, but the file says otherwise: %s", order.value, finding)


def _contradicts(finding: Finding, order: Order) -> bool:
    """Tell whether the file has signs of another order, and it makes a difference."""
    ruled_out = order not in finding.candidates and not finding.contradiction
    return ruled_out and not finding.indifferent


def _found_order(snapshot: Snapshot, target: Order) -> Order:
    orders = snapshot.required_optimizer.orders
    finding = find_order(snapshot, thorough=True)
    if not finding.settled:
        choice = _choice(f"--order {order.value}" for order in READERS if order in orders)
        fits = "none that fits" if finding.contradiction else "several that fit"
        raise ConversionError(
            snapshot.file,
            expected="one order of the parameters that fits the optimizer state",
            found=f"{fits}: {finding}",
            hint=f"say which it is with {choice} (README, 'Continue training')",
        )
    possible = finding.candidates or orders
    order = target if target in possible else possible[0]
    if not finding.indifferent:
        LOGGER.info("the optimizer state is stored in the order %s: %s", order.value, finding)
    return order


def _rows(snapshot: Snapshot, stored: Order, batch: int | None) -> int:
    if batch is not None and not 1 <= batch <= BATCH_LIMIT:
        raise ConversionError(
            snapshot.file,
            expected=f"a batch size from 1 to {BATCH_LIMIT}",
            found=str(batch),
            hint="give the batch size of the training (the trainer's -b, 8 by default)",
        )
    adam = snapshot.required_optimizer.type is OptimizerType.ADAM
    gradients = gradients_of(snapshot, stored)
    if gradients is Gradients.UNKNOWN and adam:
        if batch is not None:
            return _context_length(snapshot) * batch
        LOGGER.warning(
            "the moments stay as they are: the file does not say whether its gradients are summed "
            "over a batch; if they come from a checkpoint of a release of 2023 (optimizer version "
            "0), give the trainer's -b with --batch, and they are divided"
        )
        return 1
    if gradients is Gradients.SUMMED and adam:
        context_length = _context_length(snapshot)
        return context_length * (_estimated_batch(snapshot) if batch is None else batch)
    if gradients is Gradients.SUMMED:
        LOGGER.warning(
            "the state of L-BFGS is not scaled: its gradients are summed over a batch, and how "
            "trainers that read GGUF continue from there was not measured"
        )
    if batch is not None:
        LOGGER.info("--batch has no effect: only moments of summed gradients are scaled")
    return 1


def _context_length(snapshot: Snapshot) -> int:
    if snapshot.context_length is not None:
        return snapshot.context_length
    samples, tokens = snapshot.counters.sample_count, snapshot.counters.token_count
    if not samples:
        path, expected = "training.sample_count", "at least 1: tokens divided by samples is the "
        expected += "context length"
    else:
        path = "training.token_count"
        expected = f"a multiple of {samples} (sample_count), which gives the context length"
    raise FormatError(
        file=snapshot.source.label,
        path=path,
        offset=snapshot.locate(path),
        expected=expected,
        found=str(tokens if samples else samples),
        hint="the moments cannot be scaled; convert without --resume-with, as they are stored",
    )


def _estimated_batch(snapshot: Snapshot) -> int:
    samples, iterations = snapshot.counters.sample_count, snapshot.counters.iteration_count
    limit = snapshot.required_optimizer.iteration_limit
    if limit is None:
        raise ConversionError(
            snapshot.file,
            expected="the batch size with which the moments were made",
            found="none: a converted checkpoint does not hold what it could be estimated from",
            hint="give the batch size of the training (the trainer's -b, 8 by default) with "
            "--batch",
        )
    if not iterations:
        raise _no_estimate(snapshot, "training.iteration_count", 0)
    if limit < 1 or samples * limit // iterations >= BATCH_LIMIT:
        raise _no_estimate(snapshot, "optimizer.params.adam.iteration_limit", limit)
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


def _no_estimate(snapshot: Snapshot, path: str, found: int) -> FormatError:
    return FormatError(
        file=snapshot.source.label,
        path=path,
        offset=snapshot.locate(path),
        expected="a number from which the batch size can be estimated",
        found=str(found),
        hint="give the batch size of the training (the trainer's -b, 8 by default) with --batch",
    )


def contradictions(snapshot: Snapshot, resumption: Resumption) -> Iterator[str]:
    """Yield one line for each thing in a Resumption that the checkpoint contradicts.

    Raises:
        FormatError: the counters give no context length.
    """
    finding = find_order(snapshot, thorough=True)
    if _contradicts(finding, resumption.stored):
        expected = " or ".join(order.value for order in finding.candidates)
        found = f"{resumption.stored.value} ({finding})"
        yield f"key {keys.GGCP_STORED_PARAMETER_ORDER}: expected {expected}, found {found}"
    scaled = gradients_of(snapshot, resumption.stored)
    if snapshot.required_optimizer.type is not OptimizerType.ADAM:
        scaled = Gradients.MEAN
    if scaled is Gradients.UNKNOWN and resumption.rows == 1:
        return  # left as they are
    context_length = 0 if scaled is Gradients.MEAN else _context_length(snapshot)
    if context_length and resumption.rows % context_length:
        expected = f"a multiple of {context_length} (the context length)"
    elif not context_length and resumption.rows != 1:
        expected = "1"
    else:
        return
    yield f"key {keys.GGCP_GRADIENT_ROWS}: expected {expected}, found {resumption.rows}"


def log_order(snapshot: Snapshot) -> None:
    """Say in one line in which order the optimizer state is, and who continues it as it stands."""
    finding = find_order(snapshot, thorough=False)
    if finding.indifferent or len(finding.candidates) != 1:  # as far as a sample tells
        finding = find_order(snapshot, thorough=True)
    if not finding.indifferent:
        LOGGER.info("the optimizer state stays as it is stored, %s", _in_words(snapshot, finding))


def _in_words(snapshot: Snapshot, finding: Finding) -> str:
    if not finding.settled:
        return (
            f"in an order that is not certain ({finding}); for a trainer to continue it right, "
            "convert with --resume-with and --order (README, 'Continue training')"
        )
    optimizer = snapshot.required_optimizer
    right = [order for order in Order if order in finding.candidates]
    others = [order for order in READERS if order not in right]
    said = f"in the order {' or '.join(order.value for order in right)}"
    trainer = "train-text-from-scratch" if snapshot.ranks is None else "finetune"
    gradients = gradients_of(snapshot, right[0])
    if gradients is Gradients.SUMMED and optimizer.type is OptimizerType.ADAM:
        return (
            f"{said} and of gradients summed over a batch: wrong for every {trainer} that reads "
            f"GGUF; convert with {_options(READERS)}"
        )
    readers = "; ".join(READERS[order] for order in right)
    words = f"{said}: right for {trainer} of {readers}; for others convert with {_options(others)}"
    if gradients is Gradients.SUMMED:
        words += (
            "; but its gradients are summed over a batch, and how trainers that read GGUF continue "
            "L-BFGS from there was not measured"
        )
    return words


def _options(orders: Iterable[Order]) -> str:
    return _choice(f"--resume-with {order.value} ({READERS[order]})" for order in orders)


def _choice(options: Iterable[str]) -> str:
    *others, last = options
    return " or ".join([", ".join(others), last] if others else [last])
