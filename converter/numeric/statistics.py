"""Measures the elements of a tensor: in one pass, in blocks, on several cores.

All that is a sum is summed within a block, and the blocks' sums in the order of the file, so that
not a bit of a result depends on how many threads there are, or on which is faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from converter.numeric.in_order import in_order
from ggcp_schema import Span

F32Array = npt.NDArray[np.float32]
F64Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.uint16]
Counts = npt.NDArray[np.intp]
_Counting = Callable[[F32Array, F64Array, Places], Counts]
"""Counts the elements in each bin; the other arrays are as long, to compute in."""

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
    kind: type[_Magnitudes | _Linear] = _Magnitudes if magnitudes else _Linear
    bins, moments = kind(), _Moments()
    zeros = nan = infinities = 0
    for found in in_order(_measured, _blocks(span, kind())):
        zeros += found.zeros
        nan += found.nan
        infinities += found.infinities
        if found.moments.count:
            moments += found.moments
            bins.add(found)
        progress(found.length)
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


class _Block(NamedTuple):
    """A block as soon as it is read.

    Attributes:
        length: bytes read.
        values: the elements that are finite; the extremes are theirs.
        nan: elements that are not a number.
        minimum: the smallest.
        maximum: the largest.
        counting: how to count the values in bins that reach over this block and those before.
    """

    length: int
    values: F32Array
    nan: int
    minimum: float
    maximum: float
    counting: _Counting


def _blocks(span: Span, bins: _Magnitudes | _Linear) -> Iterator[_Block]:
    for data in span.blocks():
        values: F32Array = np.frombuffer(data, "<f4")
        nan = 0
        with np.errstate(invalid="ignore"):
            low, high = float(values.min()), float(values.max())
            if not -math.inf < low <= high < math.inf:  # no comparison with NaN is true
                nan = int(np.count_nonzero(np.isnan(values)))
                values = values[np.isfinite(values)]
                low = float(values.min(initial=math.inf))
                high = float(values.max(initial=-math.inf))
        yield _Block(len(data), values, nan, low, high, bins.counting(low, high))


@dataclass(frozen=True)
class _Moments:
    """Count, extremes, mean and sum of squared deviations of some elements."""

    count: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0

    def __add__(self, other: _Moments) -> _Moments:
        """Return those of these elements and some more, by Chan's formula.

        It takes no difference of two large sums.
        """
        apart = other.mean - self.mean
        count = self.count + other.count
        return _Moments(
            count,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.mean + apart * other.count / count,
            self.squares + (other.squares + apart**2 * self.count * other.count / count),
        )


class _Found(NamedTuple):
    """What is known of a block in the end; ``counts`` are those of the bins."""

    length: int
    nan: int
    infinities: int
    zeros: int
    moments: _Moments
    counts: Counts


def _measured(block: _Block) -> _Found:
    values, size = block.values, block.values.size
    # Two arrays to compute in, for all steps: fresh memory for each would cost as much as these.
    wide, places = np.empty(size, np.float64), np.empty(size, np.uint16)
    zeros = int(np.count_nonzero(np.equal(values, 0, out=places.view(np.bool_)[:size])))
    counts = block.counting(values, wide, places)
    np.copyto(wide, values)
    mean = float(wide.sum()) / max(size, 1)
    np.subtract(wide, mean, out=wide)
    # Summing in pairs is also more exact than the dot product of the linear algebra library, whose
    # threads wait for each other.
    squares = float(np.square(wide, out=wide).sum())
    moments = _Moments(size, block.minimum, block.maximum, mean, squares)
    infinities = block.length // 4 - size - block.nan
    return _Found(block.length, block.nan, infinities, zeros, moments, counts)


class _Linear:
    """Equal bins over values whose range is not known before: they grow when a value is outside."""

    def __init__(self) -> None:
        self._counts: Counts = np.zeros(_FINE_BINS, np.intp)
        self._low = 0.0
        self._width = 0.0

    def counting(self, low: float, high: float) -> _Counting:
        """Return how to count a block between these extremes, in bins that grew with all so far."""
        if low <= high:
            self._reach(low, high)
        return partial(_count_equal_bins, self._low, self._width)

    def add(self, found: _Found) -> None:
        """Add the counts of a block, whose bins are those that these grow to here."""
        self._reach(found.moments.minimum, found.moments.maximum)
        self._counts += found.counts

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


def _count_equal_bins(
    low: float, width: float, values: F32Array, wide: F64Array, places: Places
) -> Counts:
    np.subtract(values, low, out=wide, dtype=np.float64)
    np.divide(wide, width, out=wide)
    np.copyto(places, wide, casting="unsafe")
    counts = np.bincount(places, minlength=_FINE_BINS + 1)
    counts[_FINE_BINS - 1] += counts[_FINE_BINS]  # by rounding up
    return counts[:_FINE_BINS]


class _Magnitudes:
    """One bin for each power of two, by the exponent as float32 stores it."""

    def __init__(self) -> None:
        self._counts: Counts = np.zeros(256, np.intp)

    def counting(self, low: float, high: float) -> _Counting:
        """Return how to count a block: each exponent has its bin, whatever the extremes."""
        return _count_exponents

    def add(self, found: _Found) -> None:
        """Add the counts of a block, but for the zeros, which share a bin with small numbers."""
        self._counts += found.counts
        self._counts[0] -= found.zeros

    def histogram(self) -> Histogram | None:
        used = np.flatnonzero(self._counts)
        if not used.size:
            return None
        first, last = int(used[0]), int(used[-1])
        counts = tuple(self._counts[first : last + 1].tolist())
        # Below the smallest normal number (exponent 0) all are in one bin.
        return Histogram("magnitude", first - _EXPONENT_BIAS, 1.0, counts)


def _count_exponents(values: F32Array, wide: F64Array, places: Places) -> Counts:
    bits = wide.view(np.uint32)[: values.size]
    np.right_shift(values.view("<u4"), 23, out=bits)
    exponents = places.view(np.uint8)[: values.size]
    np.copyto(exponents, bits, casting="unsafe")  # without the sign, which is the ninth bit
    return _counted(exponents)


def _counted(places: npt.NDArray[np.uint8]) -> Counts:
    """Return how often each byte occurs.

    Where there are many, neighbours are counted in pairs: half as many steps, and seldom one that
    waits for the last to add to the same count.
    """
    paired = places.size // 2 * 2 if places.size >= 1 << 16 else 0
    counts = np.bincount(places[paired:], minlength=256)
    if paired:
        pairs = np.bincount(places[:paired].view(np.uint16), minlength=1 << 16).reshape(256, 256)
        counts += pairs.sum(axis=0) + pairs.sum(axis=1)
    return counts
