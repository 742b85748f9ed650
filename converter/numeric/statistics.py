"""Measures the elements of a tensor in one pass and bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ggcp_schema import Span

_FINE_BINS = 128
_MOST_BINS = 48
_EXPONENT_BIAS = 127
_EXPONENT_COUNT = 255  # of finite float32; the last exponent is that of NaN and infinities


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


def measure(span: Span, *, magnitudes: bool, progress: Callable[[int], object]) -> Statistics:
    """Read a tensor once, in blocks, and return its statistics.

    Args:
        span: the tensor's data.
        magnitudes: whether the histogram is of magnitudes, for values of many orders of magnitude
            such as gradients and moments; otherwise of the values.
        progress: called with the number of bytes after each block.

    Raises:
        FormatError: the file cannot be read.
    """
    moments = _Moments()
    bins: _Bins | _Exponents = _Exponents() if magnitudes else _Bins()
    zeros = nan = infinities = 0
    for block in span.blocks():
        values: npt.NDArray[Any] = np.frombuffer(block, "<f4")
        zeros += values.size - int(np.count_nonzero(values))
        finite = values[np.isfinite(values)]
        if finite.size != values.size:
            unordered = int(np.count_nonzero(np.isnan(values)))
            nan += unordered
            infinities += values.size - finite.size - unordered
        if finite.size:
            wide = finite.astype(np.float64)
            moments.add(wide)
            bins.add(finite if magnitudes else wide)
        progress(len(block))
    if not moments.count:
        return Statistics(None, None, None, None, None, zeros, nan, infinities, None)
    return Statistics(
        moments.minimum,
        moments.maximum,
        moments.mean,
        math.sqrt(moments.squares / moments.count),
        math.sqrt(moments.squares + moments.count * moments.mean**2),
        zeros,
        nan,
        infinities,
        bins.histogram(),
    )


class _Moments:
    """Count, extremes, mean and sum of squared deviations of all blocks so far."""

    def __init__(self) -> None:
        self.count = 0
        self.minimum = math.inf
        self.maximum = -math.inf
        self.mean = 0.0
        self.squares = 0.0

    def add(self, values: npt.NDArray[np.float64]) -> None:
        mean = float(values.mean())
        deviations = np.square(values - mean)
        apart = mean - self.mean
        count = self.count + values.size
        # Chan's formula: no difference of two large sums. Summing in pairs is also more exact than
        # the dot product of the linear algebra library, whose threads wait for each other.
        between = apart**2 * self.count * values.size / count
        self.squares += float(deviations.sum()) + between
        self.mean += apart * values.size / count
        self.count = count
        self.minimum = min(self.minimum, float(values.min()))
        self.maximum = max(self.maximum, float(values.max()))


class _Bins:
    """Equal bins over values whose range is not known before: they grow when a value is outside."""

    def __init__(self) -> None:
        self._low = 0.0
        self._width = 0.0
        self._counts = np.zeros(_FINE_BINS, np.int64)

    def add(self, values: npt.NDArray[np.float64]) -> None:
        low, high = float(values.min()), float(values.max())
        if not self._width:
            self._low = low
            least = max(abs(low), abs(high), 2.0**-149) * 2.0**-24  # one value so far
            self._width = max((high - low) / (_FINE_BINS - 1), least)
        while low < self._low:
            self._low -= _FINE_BINS * self._width
            self._double(slice(_FINE_BINS // 2, None))
        while high >= self._low + _FINE_BINS * self._width:
            self._double(slice(0, _FINE_BINS // 2))
        places = ((values - self._low) / self._width).astype(np.intp)
        np.clip(places, 0, _FINE_BINS - 1, out=places)
        self._counts += np.bincount(places, minlength=_FINE_BINS)

    def _double(self, kept: slice) -> None:
        merged = self._counts.reshape(-1, 2).sum(axis=1)
        self._counts = np.zeros(_FINE_BINS, np.int64)
        self._counts[kept] = merged
        self._width *= 2

    def histogram(self) -> Histogram:
        first, last = (int(used) for used in np.flatnonzero(self._counts)[[0, -1]])
        together = -(-(last - first + 1) // _MOST_BINS)
        counts = self._counts[first : last + 1]
        counts = np.add.reduceat(counts, np.arange(0, counts.size, together))
        low = self._low + first * self._width
        return Histogram("linear", low, together * self._width, tuple(counts.tolist()))


class _Exponents:
    """One bin for each power of two, by the exponent as float32 stores it."""

    def __init__(self) -> None:
        self._counts = np.zeros(_EXPONENT_COUNT, np.int64)

    def add(self, values: npt.NDArray[np.float32]) -> None:
        bits = values[values != 0].view("<u4")
        exponents = ((bits >> 23) & 0xFF).astype(np.intp)
        self._counts += np.bincount(exponents, minlength=_EXPONENT_COUNT)

    def histogram(self) -> Histogram | None:
        used = np.flatnonzero(self._counts)
        if not used.size:
            return None
        first, last = int(used[0]), int(used[-1])
        counts = tuple(self._counts[first : last + 1].tolist())
        # Below the smallest normal number (exponent 0) all are in one bin.
        return Histogram("magnitude", first - _EXPONENT_BIAS, 1.0, counts)
