"""Elements divided by a number, in blocks of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from converter.parts import Computed, Part


def divided(part: Part, divisor: float) -> Part:
    """Return float32 elements divided by a number; as they are where that is 1."""
    return part if divisor == 1 else Computed(part.length, _Divided(part, divisor))


@dataclass(frozen=True)
class _Divided:
    """The elements of a part, each divided in float64 and rounded once to float32."""

    part: Part
    divisor: float

    def __call__(self) -> Iterator[bytes]:
        for block in self.part.blocks():
            with np.errstate(all="ignore"):
                quotient = np.frombuffer(block, "<f4").astype(np.float64) / self.divisor
                yield quotient.astype("<f4").tobytes()
