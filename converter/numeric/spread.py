"""How far numbers lie apart: count, mean and squared deviations, of one block after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from converter.numeric.room import F64Array

_ROW = 1 << 13
"""Elements of a product: too few for the linear algebra library to start threads of its own."""

_LEAST_LEFT = 1e-3
"""What must be left of the sum of squares when that of the mean is taken from it."""


@dataclass(frozen=True)
class Spread:
    """What is known of some numbers, to which more can be added.

    Attributes:
        count: how many they are.
        mean: their mean; 0 if there are none.
        squares: the sum of their squared deviations from it.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def __add__(self, other: Spread) -> Spread:
        """Return that of these numbers and some more.

        By Chan's formula, which takes no difference of two large sums.
        """
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        apart = other.mean - self.mean
        return Spread(
            count,
            self.mean + apart * other.count / count,
            self.squares + other.squares + apart**2 * self.count * other.count / count,
        )


def spread_of(values: F64Array) -> Spread:
    """Return the spread of a block of finite numbers, which may be overwritten for that."""
    if not values.size:
        return Spread()
    mean = float(values.sum()) / values.size
    raw = _sum_of_squares(values)
    squares = raw - values.size * mean**2
    if squares < _LEAST_LEFT * raw:  # of nearly equal numbers the difference holds few digits
        squares = _sum_of_squares(np.subtract(values, mean, out=values))
    return Spread(values.size, mean, squares)


def _sum_of_squares(values: F64Array) -> float:
    whole = values.size // _ROW * _ROW
    rows, rest = values[:whole].reshape(-1, _ROW), values[whole:]
    products = rows[:, np.newaxis, :] @ rows[:, :, np.newaxis]
    return float(products.sum()) + float(rest @ rest)
