"""Random values that make sense together, in any number, always the same for the same seed.

The second moments are positive and alike within a tensor, x holds the parameters.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

_BLOCK_ELEMENTS = 1 << 18

_PARAMETERS = ("parameters", "current_parameters")
_POSITIVE = ("squared_gradients", "second_moments", "corrected_second_moments")


@dataclass(frozen=True)
class Values:
    """Random float32 values, made in blocks whenever they are asked for, always the same.

    Attributes:
        seed: numbers that tell this tensor from all others.
        count: elements.
        low: the smallest value.
        high: the value that none reaches.
        zeros: how many elements at the end are exactly zero.
    """

    seed: tuple[int, ...]
    count: int
    low: float
    high: float
    zeros: int = 0

    def __iter__(self) -> Iterator[bytes]:
        generator = np.random.default_rng(self.seed)
        random = self.count - self.zeros
        for start in range(0, random, _BLOCK_ELEMENTS):
            block = generator.random(min(_BLOCK_ELEMENTS, random - start), dtype=np.float32)
            block *= np.float32(self.high - self.low)
            block += np.float32(self.low)
            yield block.astype("<f4", copy=False).tobytes()
        for start in range(0, self.zeros, _BLOCK_ELEMENTS):
            yield bytes(4 * min(_BLOCK_ELEMENTS, self.zeros - start))


@dataclass(frozen=True)
class Vector:
    """One tensor's values after the other."""

    parts: tuple[Values, ...]

    def __iter__(self) -> Iterator[bytes]:
        return chain.from_iterable(self.parts)


def slice_of(seed: int, vector: str, path: str, count: int, zeros: int) -> Values:
    """Return the part of a vector (or of the model) that belongs to the tensor at ``path``."""
    if vector == "model" or vector in _PARAMETERS:
        return Values(seed_of(seed, "model", path), count, -0.04, 0.04)
    # Gradients of one tensor are of one size, those of another of another.
    size = 10.0 ** np.random.default_rng(seed_of(seed, path)).uniform(-5, -2)
    low, high = (size**2 / 2, size**2 * 2) if vector in _POSITIVE else (-size, size)
    return Values(seed_of(seed, vector, path), count, low, high, zeros)


def seed_of(seed: int, *names: str) -> tuple[int, ...]:
    """Return numbers that tell what has these names from all else."""
    return (seed % 2**64, *(zlib.crc32(name.encode()) for name in names))
