"""Writes the optimizer's vectors in another order of parameters, and its moments in another scale.

Reordering is no arithmetic: a vector in another order is a list of spans of the old file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from converter.parts import ELEMENT_BYTES, Array, Computed, elements
from converter.resume.detect import CONTINUED, NOT_FLAT, flat_vectors, slices
from converter.snapshot import Gradients, Resumption, Snapshot
from ggcp_schema import Span
from ggcp_schema.order import paths


def rearranged(snapshot: Snapshot, resumption: Resumption) -> Snapshot:
    """Return a training checkpoint whose optimizer goes on as a Resumption says.

    Args:
        snapshot: as it was read.
        resumption: the order of its vectors, the one they are to have, and their scale.
    """
    optimizer, blocks = snapshot.required_optimizer, snapshot.hyperparameters.block_count
    stored = slices(snapshot.weights, blocks, resumption.stored)
    target = tuple(paths(resumption.target, blocks))
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
        if divisor == 1:
            return Array(array.shape, tuple(spans))
        return Array(
            array.shape, tuple(Computed(span.length, _Divided(span, divisor)) for span in spans)
        )

    vectors = {
        member: array if member in NOT_FLAT else in_target_order(member, array)
        for member, array in optimizer.vectors.items()
        if member in (*CONTINUED[optimizer.type], *NOT_FLAT)
    }
    gradients = Gradients.MEAN if optimizer.is_scaled else optimizer.gradients
    return replace(
        snapshot,
        optimizer=replace(optimizer, vectors=vectors, gradients=gradients),
        resumption=resumption,
    )


def _joined(spans: Iterator[Span]) -> Iterator[Span]:
    """Join spans that follow each other in the file."""
    before = next(spans)
    for span in spans:
        if span.offset == before.offset + before.length:
            length = before.length + span.length
            before = Span(span.source, before.offset, length, (length // ELEMENT_BYTES,))
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
