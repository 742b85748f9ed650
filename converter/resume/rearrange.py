"""Writes the optimizer's vectors in another order of parameters, and its moments in another scale.

Reordering is no arithmetic: a vector in another order is a list of spans of the old file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from converter.numeric.scale import divided
from converter.parts import ELEMENT_BYTES, Array, elements
from converter.resume.detect import CONTINUED, NOT_FLAT, flat_vectors, slices
from converter.snapshot import Gradients, Moments, Resumption, Snapshot
from ggcp_schema import Span
from ggcp_schema.enums import OptimizerType
from ggcp_schema.order import Order


def gradients_of(snapshot: Snapshot, stored: Order) -> Gradients:
    """Return which gradients the vectors are of, when their order in the file is known.

    Where a converted file does not say it, its order may: of the trainers whose optimizer context
    is of version 1, those that summed over a batch used the order scratch (d39c8e686), those that
    took the mean others.
    """
    said = snapshot.required_optimizer.gradients
    if said is Gradients.UNKNOWN and snapshot.optimizer_version == 1:
        return Gradients.SUMMED if stored is Order.SCRATCH else Gradients.MEAN
    return said


def rearranged(snapshot: Snapshot, resumption: Resumption) -> Snapshot:
    """Return a checkpoint whose optimizer goes on as a Resumption says.

    Args:
        snapshot: as it was read.
        resumption: the order of its vectors, the one they are to have, and their scale.
    """
    optimizer = snapshot.required_optimizer
    stored, target = (slices(snapshot, o) for o in (resumption.stored, resumption.target))
    divisors = {
        "first_moments": float(resumption.rows),
        "second_moments": float(resumption.rows) ** 2,
    }

    def in_target_order(member: str, array: Array) -> Array:
        spans = _joined(
            elements(vector, *stored[path])
            for vector in flat_vectors(array.span, optimizer.parameter_count)
            for path in target
        )
        divisor = divisors.get(member, 1.0)
        return Array(array.shape, tuple(divided(span, divisor) for span in spans))

    vectors = {
        member: array if member in NOT_FLAT else in_target_order(member, array)
        for member, array in optimizer.vectors.items()
        if member in (*CONTINUED[optimizer.type], *NOT_FLAT)
    }
    gradients = gradients_of(snapshot, resumption.stored)
    if optimizer.type is OptimizerType.ADAM and (
        gradients is Gradients.SUMMED or resumption.rows > 1
    ):
        gradients = Gradients.MEAN
    return replace(
        snapshot,
        optimizer=replace(
            optimizer, vectors=vectors, gradients=gradients, orders=(resumption.target,)
        ),
        resumption=resumption,
    )


def moments_of(snapshot: Snapshot, resumption: Resumption) -> Moments:
    """Return what of Adam's flat vectors belongs to each tensor.

    Args:
        snapshot: as it was read, with the state of Adam.
        resumption: the order of its vectors, and their scale.
    """
    where = slices(snapshot, resumption.stored)

    def of_tensors(member: str) -> dict[str, Array]:
        vector = snapshot.required_optimizer.vectors[member].span
        return {
            path: Array(snapshot.weights[path].shape, (elements(vector, *place),))
            for path, place in where.items()
        }

    summed = gradients_of(snapshot, resumption.stored) is Gradients.SUMMED
    return Moments(
        of_tensors("first_moments"),
        of_tensors("second_moments"),
        resumption,
        of_sums=summed or resumption.rows > 1,
    )


def _joined(spans: Iterator[Span]) -> list[Span]:
    """Join spans that follow each other in the file, and leave out those of no elements."""
    joined: list[Span] = []
    for span in spans:
        before = joined[-1] if joined else None
        if before and span.offset == before.offset + before.length:
            length = before.length + span.length
            joined[-1] = Span(span.source, before.offset, length, (length // ELEMENT_BYTES,))
        elif span.length:
            joined.append(span)
    return joined
