"""The use case: a checkpoint becomes a GGUF with which the GGUF trainers resume."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from converter.assumptions import Assumption, Basis
from converter.errors import ConversionError
from converter.inputs import open_checkpoint
from converter.layouts.tables import RMS_EPSILON
from converter.layouts.trainer import trainer_plan
from converter.plan import Plan
from converter.progress import LOGGER
from converter.resume.decide import decided_resumption, log_order
from converter.resume.rearrange import rearranged
from converter.snapshot import Resumption, Snapshot
from converter.use_cases.after import after_convert
from converter.use_cases.carry_out import Writing, Written, carry_out, tell_what_was_decided
from converter.use_cases.epsilon import basis_of_epsilon, epsilon_or_assumed
from ggcp_schema.order import Order


@dataclass(frozen=True)
class ResumeWith:
    """What the user says of the trainer that will read the GGUF.

    Attributes:
        target: the order of parameters that it expects.
        order: the order in the checkpoint; None to find it out.
        batch: the batch size of the trainer that wrote the checkpoint; None to estimate it.
    """

    target: Order
    order: Order | None = None
    batch: int | None = None


def require_optimizer(snapshot: Snapshot) -> None:
    """Make sure that there is an optimizer state with which a training can go on.

    Raises:
        ConversionError: there is none.
    """
    if snapshot.optimizer is None:
        raise ConversionError(
            snapshot.file,
            expected="a checkpoint with the state of an optimizer, to go on training from",
            found=f"{snapshot.kind}, which holds none",
            hint="make of it what today's engines run: ggcp export",
        )


def planned_conversion(
    snapshot: Snapshot, *, epsilon: float | None = None, resume_with: ResumeWith | None = None
) -> Plan:
    """Return the plan, having told the user through the logger what it rests on.

    Args:
        snapshot: a whole checkpoint.
        epsilon: the epsilon of the RMS norms; None for 1e-5.
        resume_with: the trainer that will read the GGUF; None to leave the optimizer state exactly
            as it is stored.

    Raises:
        ConversionError: there is no optimizer state, or the order or the batch size cannot be found
            out.
        FormatError: the counters give no context length.
    """
    require_optimizer(snapshot)
    # A GGUF of a trainer keeps its own.
    known = Basis.FILE if snapshot.kept is not None else basis_of_epsilon(epsilon, snapshot)
    if resume_with is None:
        if LOGGER.isEnabledFor(logging.INFO):
            log_order(snapshot)
        return _told(trainer_plan(snapshot, epsilon=epsilon), known)
    if epsilon is None:
        epsilon = snapshot.epsilon
    epsilon = epsilon_or_assumed(epsilon, snapshot, "convert")
    resumption = decided_resumption(
        snapshot, resume_with.target, order=resume_with.order, batch=resume_with.batch
    )
    plan = trainer_plan(rearranged(snapshot, resumption), epsilon=epsilon)
    return _told(plan, known, *_decided(snapshot, resume_with, resumption))


def _decided(
    snapshot: Snapshot, resume_with: ResumeWith, resumption: Resumption
) -> Iterator[Assumption]:
    context_length = snapshot.context_length
    scaled = snapshot.required_optimizer.is_scaled or resumption.rows > 1
    if scaled and context_length is not None:
        counted = context_length == snapshot.counters.tokens_per_sample
        basis = Basis.COUNTERS if counted else Basis.FILE
        yield Assumption("context_length", context_length, basis)
        basis = Basis.ESTIMATE if resume_with.batch is None else Basis.OPTION
        yield Assumption("batch", resumption.rows // context_length, basis)
    basis = Basis.EVIDENCE if resume_with.order is None else Basis.OPTION
    yield Assumption("order", resumption.stored.value, basis)


def _told(plan: Plan, basis: Basis, *others: Assumption) -> Plan:
    """Return a plan with what it rests on, having told that whoever wants to know more."""
    said = {item.key: item.value for item in plan.metadata}
    epsilons = (Assumption("epsilon", said[key], basis) for key in (RMS_EPSILON,) if key in said)
    plan = replace(plan, assumptions=(*epsilons, *others))
    tell_what_was_decided(plan)
    return plan


def convert(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    epsilon: float | None = None,
    resume_with: ResumeWith | None = None,
    writing: Writing | None = None,
) -> Written:
    """Convert a checkpoint to a GGUF in the layout of the trainers.

    Args:
        source: the checkpoint.
        path: the GGUF to write.
        epsilon: the epsilon of the RMS norms; None for 1e-5.
        resume_with: the trainer that will read the GGUF; None to leave the optimizer state exactly
            as it is stored.
        writing: how the file is written.

    Raises:
        FormatError: the checkpoint cannot be read.
        ConversionError: the GGUF cannot be written, what was asked cannot be decided, or there is
            no optimizer state.
    """
    writing = writing or Writing()
    with open_checkpoint(source) as opened:
        snapshot = opened.snapshot()
        # A name that is taken is refused before the order is found out, which may read a lot.
        output = writing.output(path, (opened.source,))
        plan = planned_conversion(snapshot, epsilon=epsilon, resume_with=resume_with)
        written = carry_out(plan, (opened.source,), output, writing)
        target, batch = (resume_with.target, resume_with.batch) if resume_with else (None, None)
        return replace(written, next=after_convert(written.path, snapshot, target, batch))
