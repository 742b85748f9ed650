"""The use case: a checkpoint becomes a GGUF with which the GGUF trainers resume."""

from __future__ import annotations

import os

from converter.carry_out import Writing, Written, carry_out
from converter.mapper import trainer_plan
from converter.plan import Plan
from ggcp_schema import Checkpoint, parse

DEFAULT_EPSILON = 1e-5
"""What the historical converter always wrote, whatever the trainer used."""


def plan_conversion(checkpoint: Checkpoint, *, epsilon: float = DEFAULT_EPSILON) -> Plan:
    """Return the plan of the GGUF that a checkpoint becomes.

    Args:
        checkpoint: a parsed checkpoint.
        epsilon: the epsilon of the RMS norms, which the checkpoint does not hold.
    """
    return trainer_plan(checkpoint.container, epsilon=epsilon)


def convert(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    epsilon: float = DEFAULT_EPSILON,
    writing: Writing | None = None,
) -> Written:
    """Convert a checkpoint to a GGUF in the layout of the trainers.

    Raises:
        FormatError: the checkpoint cannot be read.
        ConversionError: the GGUF cannot be written.
    """
    with parse(source) as checkpoint:
        plan = plan_conversion(checkpoint, epsilon=epsilon)
        return carry_out(plan, checkpoint.source, path, writing or Writing(), inputs=(source,))
