"""Tells the user of values that are NaN or infinite, which are written as they are."""

from __future__ import annotations

from collections.abc import Iterator

from converter.numeric.encode import Encoding, Tally
from converter.plan import Computed, Plan, PlannedTensor
from converter.progress import LOGGER
from ggcp_schema.tensor import element_count

MOST_REPORTED = 10
"""Tensors that are named in the notes; of the others only the number is given."""


def tell_what_is_not_finite(plan: Plan, origin: str) -> None:
    """Say which tensors of a plan that was written hold NaN or infinities, and how many.

    Args:
        plan: the plan.
        origin: where its values come from, such as ``the checkpoint``.
    """
    lines = []
    for tensor, tally in _tallies(plan):
        count = element_count(tensor.shape)
        if tally.nans or tally.infinities:
            lines.append(
                f"{tensor.name}: {tally.nans} NaN and {tally.infinities} infinite of "
                f"{count} values, as in {origin}"
            )
        if tally.lost:
            lines.append(
                f"{tensor.name}: {tally.lost} of {count} values are finite in "
                f"{origin} but not as {tensor.type.name}; --outtype f32 keeps them"
            )
    for line in lines[:MOST_REPORTED]:
        LOGGER.warning("%s", line)
    if len(lines) > MOST_REPORTED:
        LOGGER.warning("and %d more lines like these", len(lines) - MOST_REPORTED)


def _tallies(plan: Plan) -> Iterator[tuple[PlannedTensor, Tally]]:
    """Yield each tensor that was encoded, with what in it was not finite."""
    for tensor in plan.tensors:
        for part in tensor.parts:
            if isinstance(part, Computed) and isinstance(part.make, Encoding):
                yield tensor, part.make.tally
