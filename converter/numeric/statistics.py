"""Measures the elements of a tensor in one pass, in blocks of bounded size.

In the caller's thread alone: the steps are so short, and ``numpy.bincount`` keeps Python's lock for
so much of its time, that two threads wait for each other as long as they work. The other cores have
the file to read and its SHA-256 to compute.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from converter.numeric.room import F64Array, Room
from converter.numeric.spread import Spread, spread_of

F32Array = npt.NDArray[np.float32]
Counts = npt.NDArray[np.intp]

_FINE_BINS = 1920  # so fine that it cannot be seen where the first and last of them are not full
_FEWEST_BINS, _MOST_BINS = 24, 48
_EXPONENT_BIAS = 127


@dataclass(frozen=True)
class Histogram:
    """How many elements lie where; only finite ones are counted.

    Attributes:
        scale: ``linear``: the bins divide the values. ``magnitude``: each bin holds the elements
            whose distance from zero is at least a power of two and below the next; zeros are in
            none.
        low: where the first bin begins; for ``magnitude`` the exponent of two.
        width: of each bin; for ``magnitude`` 1.
        counts: elements in each bin.
    """

    scale: str
    low: float
    width: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Statistics:
    """What the elements of a tensor are like; computed in float64.

    The first five are those of the finite elements, and None where there is none.

    Attributes:
        minimum: the smallest.
        maximum: the largest.
        mean: their mean.
        deviation: their standard deviation, with all of them as the population.
        norm: the root of the sum of their squares.
        zeros: elements that are exactly zero, of either sign.
        nan: elements that are not a number.
        infinities: elements that are infinite, of either sign.
        histogram: where the finite elements lie; None where there is none to count.
    """

    minimum: float | None
    maximum: float | None
    mean: float | None
    deviation: float | None
    norm: float | None
    zeros: int
    nan: int
    infinities: int
    histogram: Histogram | None


def measure(blocks: Iterable[bytes], *, magnitudes: bool) -> Statistics:
    """Return the statistics of a tensor.

    Args:
        blocks: its data, in blocks of whole elements.
        magnitudes: whether the histogram is of magnitudes, for values of many orders of magnitude
            such as gradients and moments; otherwise of the values.
    """
    bins: _Magnitudes | _Linear = _Magnitudes() if magnitudes else _Linear()
    spread, minimum, maximum = Spread(), math.inf, -math.inf
    zeros = nan = infinities = 0
    room = Room()
    for block in blocks:
        values: F32Array = np.frombuffer(block, "<f4")
        with np.errstate(invalid="ignore"):
            low, high = float(values.min()), float(values.max())
        if not -math.inf < low <= high < math.inf:  # no comparison with NaN is true
            size, not_numbers = values.size, int(np.count_nonzero(np.isnan(values)))
            values = values[np.isfinite(values)]
            nan += not_numbers
            infinities += size - values.size - not_numbers
            if not values.size:
                continue
            low, high = float(values.min()), float(values.max())
        minimum, maximum = min(minimum, low), max(maximum, high)
        wide = room.of(values.size)
        zeros += bins.add(_Block(values, wide, low, high))
        np.copyto(wide, values)
        spread += spread_of(wide)
    if not spread.count:
        return Statistics(None, None, None, None, None, zeros, nan, infinities, None)
    return Statistics(
        minimum,
        maximum,
        spread.mean,
        math.sqrt(spread.squares / spread.count),
        math.sqrt(spread.squares + spread.count * spread.mean**2),
        zeros,
        nan,
        infinities,
        bins.histogram(),
    )


class _Block(NamedTuple):
    """The finite elements of a block, of which there are some.

    Attributes:
        values: as they are stored.
        wide: an array as long, to compute in.
        minimum: the smallest.
        maximum: the largest.
    """

    values: F32Array
    wide: F64Array
    minimum: float
    maximum: float

    def zeros(self) -> int:
        """Return how many are zero."""
        is_zero = self.wide.view(np.bool_)[: self.values.size]
        return int(np.count_nonzero(np.equal(self.values, 0, out=is_zero)))


class _Linear:
    """Equal bins over values whose range is not known before: they grow when a value is outside."""

    def __init__(self) -> None:
        self._counts: Counts = np.zeros(_FINE_BINS, np.intp)
        self._low = 0.0
        self._width = 0.0

    def add(self, block: _Block) -> int:
        """Count a block, in bins that grow until they hold all of it, and return its zeros."""
        zeros = block.zeros() if block.minimum <= 0 <= block.maximum else 0
        self._reach(block.minimum, block.maximum)
        wide = block.wide
        np.copyto(wide, block.values)
        np.subtract(wide, self._low, out=wide)
        np.divide(wide, self._width, out=wide)
        places = wide.view(np.intp)[: wide.size]
        np.copyto(places, wide, casting="unsafe")
        counts = np.bincount(places, minlength=_FINE_BINS + 1)
        counts[_FINE_BINS - 1] += counts[_FINE_BINS]  # by rounding up
        self._counts += counts[:_FINE_BINS]
        return zeros

    def _reach(self, low: float, high: float) -> None:
        if not self._width:
            self._low = low
            least = max(abs(low), abs(high), 2.0**-149) * 2.0**-24  # one value so far
            self._width = max((high - low) / (_FINE_BINS - 1), least)
        while low < self._low:
            self._low -= _FINE_BINS * self._width
            self._double(slice(_FINE_BINS // 2, None))
        while high >= self._low + _FINE_BINS * self._width:
            self._double(slice(0, _FINE_BINS // 2))

    def _double(self, kept: slice) -> None:
        merged = self._counts.reshape(-1, 2).sum(axis=1)
        self._counts = np.zeros(_FINE_BINS, np.intp)
        self._counts[kept] = merged
        self._width *= 2

    def histogram(self) -> Histogram:
        first, last = (int(used) for used in np.flatnonzero(self._counts)[[0, -1]])
        used = last + 1 - first
        together, before = _whole_groups(used)
        counts = np.zeros(-(-used // together) * together, np.intp)
        counts[before : before + used] = self._counts[first : last + 1]
        counts = counts.reshape(-1, together).sum(axis=1)
        low = self._low + (first - before) * self._width
        return Histogram("linear", low, together * self._width, tuple(counts.tolist()))


def _whole_groups(used: int) -> tuple[int, int]:
    """Return how many fine bins to put together, and how many empty ones to put before them.

    The groups at both ends are as full as they can be: one that is half empty would look as if
    there were half as many values there.
    """
    least = -(-used // _MOST_BINS)
    most = max(used // _FEWEST_BINS, least)
    together = min(range(least, most + 1), key=lambda size: (-used % size) / size)
    return together, -used % together // 2


class _Magnitudes:
    """One bin for each power of two, by the exponent as float32 stores it."""

    def __init__(self) -> None:
        self._counts: Counts = np.zeros(256, np.intp)

    def add(self, block: _Block) -> int:
        """Count a block, but for its zeros, and return how many these are."""
        size = block.values.size
        bits = block.wide.view(np.uint32)[:size]
        exponents = block.wide.view(np.uint8)[4 * size : 5 * size]
        np.right_shift(block.values.view("<u4"), 23, out=bits)
        np.copyto(exponents, bits, casting="unsafe")  # without the sign, which is the ninth bit
        counts = _counted(exponents, block.wide)
        zeros = block.zeros() if counts[0] else 0  # they share a bin with small numbers
        counts[0] -= zeros
        self._counts += counts
        return zeros

    def histogram(self) -> Histogram | None:
        used = np.flatnonzero(self._counts)
        if not used.size:
            return None
        first, last = int(used[0]), int(used[-1])
        counts = tuple(self._counts[first : last + 1].tolist())
        # Below the smallest normal number (exponent 0) all are in one bin.
        return Histogram("magnitude", first - _EXPONENT_BIAS, 1.0, counts)


def _counted(exponents: npt.NDArray[np.uint8], wide: F64Array) -> Counts:
    """Return how often each byte occurs.

    Where there are many, neighbours are counted in pairs: half as many steps, and seldom one that
    waits for the last to add to the same count.

    Args:
        exponents: the bytes, which may be the second half of ``wide``.
        wide: an array to compute in.
    """
    paired = exponents.size // 2 * 2 if exponents.size >= 1 << 16 else 0
    counts = np.bincount(exponents[paired:], minlength=256)
    if paired:
        most = int(exponents[:paired].max()) + 1
        places = wide.view(np.intp)[: paired // 2]
        np.copyto(places, exponents[:paired].view(np.uint16))
        pairs = np.bincount(places, minlength=most * 256).reshape(most, 256)
        counts += pairs.sum(axis=0)
        counts[:most] += pairs.sum(axis=1)
    return counts
