"""The first answer: what a person has to know of a file, on one screen of a terminal."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator

from converter.assumptions import small
from converter.report.advice import SUMMED_GRADIENTS, notes, steps
from converter.report.report import Report
from converter.report.verdict import Verdict, verdict, verdict_in_words
from converter.report.words import TYPES, counted, in_bytes, in_date, number
from converter.vocabulary.beside import advice
from ggcp_schema import printable
from ggcp_schema.enums import OptimizerType
from ggcp_schema.history import EPSILONS, LORA_EPSILONS, NO_MEAN_LOSS, NO_MEAN_LOSSES

MOST_LINES = 40
"""Of 80 columns; long names in the commands take more."""

_LABEL = 12
_MOST_NAME = 60  # characters of the file's name; the commands have it whole

_COMMITS = re.compile(r",? \(?[0-9a-f]{9}(?: to [0-9a-f]{9})?\)?(?![0-9a-f])")

_IS_MEAN = "the mean cross-entropy of a token, in nats"

_MORE = "More: --all (every number), --tensors (every tensor), --stats (their values)"


def as_screen(report: Report, *, width: int = 80) -> str:
    """Return what matters of a report: at most 40 lines, where 80 columns and the names allow.

    Whether the file is whole stands first, then what it is and how far its training got, and at
    the end the commands for what can be done next.

    Args:
        report: what to show.
        width: columns of the terminal; only commands and addresses may be longer.
    """
    head = [f"{verdict_in_words(report)}.", ""]
    for label, text in _rows(report):
        head += _row(label, text, width)
    end = [*_next(report, width), "", *textwrap.wrap(_MORE, width)]
    left = MOST_LINES - 2 - sum(-(-len(line) // width) or 1 for line in (*head, *end))
    return "\n".join((*head, *_notes(report, width, left), *end))


def without_commits(text: str) -> str:
    """Return a text without the commits in it, which few people want to know."""
    return _COMMITS.sub("", text)


def _row(label: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, _LABEL + 30),
        initial_indent=f"  {label.ljust(_LABEL)}",
        subsequent_indent=" " * (_LABEL + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    """Yield label and text of each fact; what is not known is left out."""
    yield "file", f"{_short(printable(report.file))}, {in_bytes(report.length)}"
    if report.modified is not None:
        yield "modified", in_date(report.modified)
    if report.sha256 is not None:
        yield "SHA-256", report.sha256
    layout = report.optimizer.layout if report.optimizer else ""
    stored = f", optimizer context {layout}" if layout not in ("", "GGUF") else ""
    yield "kind", f"{report.kind}{stored}"
    if report.written_by:
        yield "written by", without_commits(report.written_by)
    if report.error is not None:
        at = "" if report.error.offset is None else f" at byte {report.error.offset:,}"
        yield "damaged", f"{report.error.path}{at} of {report.length:,}"
    yield from _training(report)
    yield from _model(report)


def _short(name: str) -> str:
    half = _MOST_NAME // 2 - 1
    return name if len(name) <= _MOST_NAME else f"{name[:half]}...{name[-half:]}"


def _model(report: Report) -> Iterator[tuple[str, str]]:
    sizes = report.hyperparameters
    words = (
        ("block_count", "layer"),
        ("embedding_length", "embedding element"),
        ("head_count", "head"),
        ("feed_forward_length", "feed-forward element"),
    )
    parts = ", ".join(counted(sizes[name], what) for name, what in words if name in sizes)
    if report.parameter_count is not None:
        of = ", the change of a model" if report.lora else ""
        parts = f"{counted(report.parameter_count, 'parameter')}{of}: {parts}"
    if parts:
        yield "model", parts
    if report.ranks:
        yield "ranks", _ranks(report)
    if verdict(report) is Verdict.LOST:
        return
    count = report.wanted_tokens
    if count is not None:
        known = advice(count, report.vocabularies)
        yield "vocabulary", f"{number(count)} tokens, not in this file; {known}"
    elif report.vocabulary_tokens is not None:
        yield "vocabulary", f"{number(report.vocabulary_tokens)} tokens, in this file"
    yield from _epsilon(report)


def _ranks(report: Report) -> str:
    values = sorted(set(report.ranks.values()))
    return number(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _epsilon(report: Report) -> Iterator[tuple[str, str]]:
    if report.likely_epsilon is not None:
        yield "epsilon", f"not in this file; {report.likely_epsilon.sentence}"
    elif report.epsilon is not None:
        yield "epsilon", f"{small(report.epsilon)}, in this file"
    elif report.kind_code in ("training", "lora"):
        eras = LORA_EPSILONS if report.lora else EPSILONS
        later = "".join(f", from {era.since} {era.words}" for era in eras[1:])
        yield "epsilon", f"not in this file; by the trainer's age {eras[0].words}{later} (--eps)"


def _training(report: Report) -> Iterator[tuple[str, str]]:
    words = (
        ("iteration_count", "iteration"),
        ("sample_count", "sample"),
        ("token_count", "token"),
    )
    done = report.training
    parts = [counted(done[name], what) for name, what in words if name in done]
    if report.context_length:
        parts.append(f"context length {number(report.context_length)}")
    if parts:
        yield "training", ", ".join(parts)
    optimizer = report.optimizer
    if optimizer is None:
        return
    loss = last_loss(report)
    lbfgs = optimizer.type is OptimizerType.LBFGS
    if loss is not None:
        kind = _IS_MEAN if optimizer.losses_are_means else NO_MEAN_LOSS.rstrip(".")
        kind = kind if math.isfinite(loss) else "the training diverged"
        best = ", the best so far" if lbfgs else ""
        yield "loss", f"{number(loss)}{best}; {kind[:1].lower()}{kind[1:]}"
    if optimizer.type is not None:
        done_by_it = f", {counted(optimizer.iterations_done, 'iteration')}" if lbfgs else ""
        order = report.known_order
        more = f", parameters in the order {order.value}" if order else ""
        yield "optimizer", f"{TYPES[optimizer.type]}{done_by_it}{more}"


def last_loss(report: Report) -> float | None:
    """Return the loss after the last iteration, of L-BFGS the best; None if there is none yet."""
    optimizer = report.optimizer
    if optimizer is None or optimizer.type is None:
        return None
    if not optimizer.iterations_done and not optimizer.counters.get("iteration_count"):
        return None
    name = "previous_loss" if optimizer.type is OptimizerType.ADAM else "best_loss"
    loss: float | None = optimizer.state.get(name)
    return loss


def _next(report: Report, width: int) -> list[str]:
    lines = []
    for step in steps(report):
        lines += textwrap.wrap(
            step.purpose, max(width, 40), initial_indent="  # ", subsequent_indent="  # "
        )
        lines.append(f"  {step.command}")
    return ["", "What you can do next", *lines] if lines else []


def _notes(report: Report, width: int, most: int) -> list[str]:
    """Return the notes that have room, but for what is said elsewhere; and how many have not."""
    lines: list[str] = []
    left_out = 0
    said = (SUMMED_GRADIENTS, NO_MEAN_LOSSES)
    for note in (note for note in notes(report) if note not in said):
        wrapped = textwrap.wrap(
            without_commits(note), width, initial_indent="  - ", subsequent_indent="    "
        )
        if len(lines) + len(wrapped) < most:
            lines += wrapped
        else:
            left_out += 1
    if left_out:
        lines.append(f"  - {left_out} more with --all")
    return ["", "Worth knowing", *lines] if lines else []
