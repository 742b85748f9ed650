"""Elements times a number or divided by one, in blocks of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from converter.numeric.room import Room
from converter.parts import Computed, Part


def divided(part: Part, divisor: float) -> Part:
    """Return float32 elements divided by a number; as they are where that is 1."""
    return part if divisor == 1 else Computed(part.length, _Calculated(part, np.divide, divisor))


def multiplied(part: Part, factor: float) -> Part:
    """Return float32 elements times a number; as they are where that is 1."""
    return part if factor == 1 else Computed(part.length, _Calculated(part, np.multiply, factor))


@dataclass(frozen=True)
class _Calculated:
    """The elements of a part, each with a number in float64, rounded once to float32."""

    part: Part
    operation: np.ufunc
    number: float

    def __call__(self) -> Iterator[bytes]:
        room = Room()
        for block in self.part.blocks():
            values: npt.NDArray[np.float32] = np.frombuffer(block, "<f4")
            result = room.of(values.size)
            with np.errstate(all="ignore"):
                np.copyto(result, values)
                self.operation(result, self.number, out=result)
                narrow = result.astype("<f4")
            yield narrow.tobytes()
