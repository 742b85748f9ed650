"""The use case: a checkpoint becomes a GGUF with which the GGUF trainers resume."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from converter.disk.output import Output
from converter.errors import ConversionError
from converter.layouts.lora_trainer import is_lora, lora_plan
from converter.layouts.trainer import as_stored, trainer_plan
from converter.plan import Plan
from converter.progress import LOGGER
from converter.resume.decide import settle, tell_order
from converter.resume.rearrange import Rearrangement, Resumption
from converter.use_cases.carry_out import Writing, Written, carry_out
from ggcp_schema import Checkpoint, parse
from ggcp_schema.order import Order

DEFAULT_EPSILON = 1e-5
"""What the historical converter always wrote, whatever the trainer used."""


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


def plan_conversion(
    checkpoint: Checkpoint, *, epsilon: float | None = None, resumption: Resumption | None = None
) -> Plan:
    """Return the plan of the GGUF that a checkpoint becomes.

    Args:
        checkpoint: a parsed checkpoint.
        epsilon: the epsilon of the RMS norms, which the checkpoint does not hold; None for 1e-5.
        resumption: how the optimizer's vectors are written; None to leave them as stored.
    """
    container = checkpoint.container
    epsilon = DEFAULT_EPSILON if epsilon is None else epsilon
    if is_lora(container):
        return lora_plan(container, epsilon=epsilon)
    return trainer_plan(
        container,
        epsilon=epsilon,
        rearrange=Rearrangement(container, resumption) if resumption else as_stored,
        extra=resumption.metadata if resumption else (),
    )


def epsilon_or_assumed(given: float | None, command: str) -> float:
    """Return the epsilon of the norms; where the user gave none, say what is assumed.

    Args:
        given: what the user said.
        command: the command whose help has the table of trainers.
    """
    if given is not None:
        return given
    LOGGER.warning(
        "the epsilon of the norms is not in the file; %g is assumed: trainers before "
        "2023-07-25 had 1e-6, before 2023-08-21 5e-6 (see --eps in ggcp %s --help)",
        DEFAULT_EPSILON,
        command,
    )
    return DEFAULT_EPSILON


def decide(
    checkpoint: Checkpoint, *, epsilon: float | None = None, resume_with: ResumeWith | None = None
) -> Plan:
    """Return the plan, having told the user through the logger what it rests on.

    Raises:
        ConversionError: the order or the batch size cannot be found out, or the order is asked for
            that nobody knows, that of a LoRA checkpoint.
        FormatError: the counters give no context length.
    """
    if is_lora(checkpoint.container):
        if resume_with is not None:
            raise _no_order(checkpoint)
        return plan_conversion(checkpoint, epsilon=epsilon)
    if resume_with is None:
        if LOGGER.isEnabledFor(logging.INFO):
            tell_order(checkpoint)
        return plan_conversion(checkpoint, epsilon=epsilon)
    epsilon = epsilon_or_assumed(epsilon, "convert")
    resumption = settle(
        checkpoint, resume_with.target, order=resume_with.order, batch=resume_with.batch
    )
    return plan_conversion(checkpoint, epsilon=epsilon, resumption=resumption)


def _no_order(checkpoint: Checkpoint) -> ConversionError:
    return ConversionError(
        checkpoint.source.label or "checkpoint",
        expected="a training checkpoint (ggcp) to go with --resume-with",
        found="a LoRA checkpoint (ggcl); the order of the parameters in its optimizer state is not "
        "established",
        hint="convert without --resume-with: the optimizer state is then kept as it is stored",
    )


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
        ConversionError: the GGUF cannot be written, or what was asked cannot be decided.
    """
    writing = writing or Writing()
    with parse(source) as checkpoint:
        # A name that is taken is refused before the order is found out, which may read a lot.
        Output(path, force=writing.force, inputs=(source,))
        plan = decide(checkpoint, epsilon=epsilon, resume_with=resume_with)
        return carry_out(plan, checkpoint.source, path, writing, inputs=(source,))
