"""Writes the optimizer's vectors in another order of parameters, and its moments in another scale.

Reordering is no arithmetic: a vector in another order is a list of spans of the old file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter.gguf_io import keys
from converter.layouts.trainer import STRING, U64
from converter.plan import Computed, Metadata, Part
from converter.resume.detect import ELEMENT_BYTES, NOT_FLAT, Slices, flat_vectors, part, slices
from ggcp_schema import Span
from ggcp_schema.order import Order, paths


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


class Rearrangement:
    """Writes the vectors of the optimizer as a Resumption says."""

    def __init__(self, container: Any, resumption: Resumption) -> None:
        self._stored: Slices = slices(container, resumption.stored)
        self._target = list(paths(resumption.target, container.hyperparameters.block_count))
        self._parameter_count = container.parameter_count
        self._divisors = {
            "first_moments": float(resumption.rows),
            "second_moments": float(resumption.rows) ** 2,
        }

    def __call__(self, member: str, data: Span) -> tuple[Part, ...]:
        """Return the parts of a member of the optimizer's state."""
        if member in NOT_FLAT:
            return (data,)
        spans = _joined(
            part(vector, *self._stored[path])
            for vector in flat_vectors(data, self._parameter_count)
            for path in self._target
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
