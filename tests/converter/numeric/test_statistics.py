"""Statistics against references of another kind: exact sums, integers, the bits of the numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.numeric.statistics import Histogram, Statistics, measure

BLOCK = 1 << 18
"""Elements of a block of 1 MiB."""
LARGEST = float(np.finfo(np.float32).max)
SMALLEST = 2.0**-149


def measured(*parts: Any, magnitudes: bool = False) -> Statistics:
    """Measure values, each part of them as a block of its own."""
    blocks = [np.asarray(part, "<f4").reshape(-1).tobytes() for part in parts]
    return measure((block for block in blocks if block), magnitudes=magnitudes)


def exactly(values: Sequence[float]) -> dict[str, Any]:
    """Return what is expected of float32 numbers, from sums that are rounded once."""
    finite = [value for value in values if math.isfinite(value)]
    expected: dict[str, Any] = dict.fromkeys(("minimum", "maximum", "mean", "deviation", "norm"))
    if finite:
        largest = max(map(abs, finite))
        mean = math.fsum(finite) / len(finite)
        squares = math.fsum((value - mean) ** 2 for value in finite)
        expected = {
            "minimum": min(finite),
            "maximum": max(finite),
            "mean": pytest.approx(mean, rel=1e-14, abs=largest * 1e-14),
            "deviation": pytest.approx(
                math.sqrt(squares / len(finite)), rel=1e-13, abs=largest * 1e-14
            ),
            "norm": pytest.approx(
                math.sqrt(math.fsum(value**2 for value in finite)), rel=1e-13, abs=0
            ),
        }
    return expected | {
        "zeros": sum(value == 0 for value in values),
        "nan": sum(map(math.isnan, values)),
        "infinities": sum(map(math.isinf, values)),
    }


def exponents(values: Sequence[float]) -> Histogram | None:
    """Return the histogram of magnitudes, with all that is not normal in one bin."""
    counts = Counter(
        max(math.frexp(value)[1] - 1, -127) for value in values if value and math.isfinite(value)
    )
    if not counts:
        return None
    low, high = min(counts), max(counts)
    return Histogram("magnitude", low, 1.0, tuple(counts[e] for e in range(low, high + 1)))


NUMBERS = st.floats(width=32) | st.sampled_from(
    [0.0, -0.0, math.nan, math.inf, -math.inf, SMALLEST, -SMALLEST, LARGEST, -LARGEST, 1.0]
)
BLOCKS = st.lists(st.lists(NUMBERS, max_size=40), max_size=7)


@given(parts=BLOCKS, magnitudes=st.booleans())
@settings(deadline=None, max_examples=300)
def test_any_numbers(parts: list[list[float]], magnitudes: bool) -> None:
    found = vars(measured(*parts, magnitudes=magnitudes)).copy()
    histogram = found.pop("histogram")
    values = [value for part in parts for value in part]
    assert found == exactly(values)
    if magnitudes:
        assert histogram == exponents(values)
    else:
        assert sum(histogram.counts if histogram else ()) == sum(map(math.isfinite, values))


@given(
    parts=st.lists(
        st.lists(st.integers(-(1 << 20), 1 << 20), min_size=1, max_size=60), min_size=1, max_size=6
    )
)
@settings(deadline=None, max_examples=300)
def test_bins_of_integers(parts: list[list[int]]) -> None:
    """The first block makes 1,920 bins of width 1, from 0 on: all later edges are integers too."""
    parts = [[0, 1919], *parts]
    found = measured(*parts).histogram
    assert found is not None
    assert found.scale == "linear"
    assert len(found.counts) <= 48
    low, width = int(found.low), int(found.width)
    assert (low, width) == (found.low, found.width)
    counts = Counter((value - low) // width for part in parts for value in part)
    assert found.counts == tuple(counts[place] for place in range(len(found.counts)))
    assert sum(counts.values()) == sum(found.counts)
    assert found.counts[0]
    assert found.counts[-1]


@pytest.mark.parametrize("value", [2.5, -1e-30, 0.0, -0.0, SMALLEST, -SMALLEST, LARGEST, -LARGEST])
@pytest.mark.parametrize("magnitudes", [False, True])
def test_one_value_has_one_bin(value: float, magnitudes: bool) -> None:
    parts = [np.full(size, value) for size in (BLOCK, BLOCK, BLOCK, 1001)]
    count = 3 * BLOCK + 1001
    found = measured(*parts, magnitudes=magnitudes)
    value = float(np.float32(value))
    assert (found.minimum, found.maximum, found.mean, found.deviation) == (value, value, value, 0)
    assert found.norm == pytest.approx(abs(value) * math.sqrt(count), rel=1e-14, abs=0)
    assert found.zeros == count * (value == 0)
    if magnitudes and not value:
        assert found.histogram is None
    else:
        assert found.histogram is not None
        assert found.histogram.counts == (count,)


@pytest.mark.parametrize("size", [2, 10_000, BLOCK])
@pytest.mark.parametrize("near", [0.1, -1234.567])
@pytest.mark.parametrize("bits", [5, 9, 15, 23])
def test_the_deviation_of_numbers_that_are_nearly_equal(near: float, bits: int, size: int) -> None:
    """Half of them are farther by so little that their squares differ in the last digits alone."""
    values = np.full(size, near, np.float32)
    values[::2] *= np.float32(1 + 2.0**-bits)
    found = measured(values, values)
    one, other = values[:2].astype(np.float64).tolist()
    assert found.deviation == pytest.approx(abs(one - other) / 2, rel=1e-12, abs=0)


@pytest.mark.parametrize("size", [1, 2, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, BLOCK - 1, BLOCK])
def test_magnitudes_of_blocks_of_any_length(size: int) -> None:
    """Long blocks are counted in pairs, of which one element may be left."""
    values = np.random.default_rng(size).normal(0, 1, size).astype(np.float32) ** 9
    values[: size // 3] = 0
    values[-1] = -3.0
    found = measured(values, values[:1], magnitudes=True)
    every = [*values.tolist(), *values[:1].tolist()]
    assert found.histogram == exponents(every)
    assert found.zeros == every.count(0)


def test_whole_bins_of_large_blocks() -> None:
    random = np.random.default_rng(1)
    parts = [np.array([0, 1919])]  # bins of width 1
    parts += [random.integers(-span, span, BLOCK - odd) for span, odd in ((9, 0), (7000, 1))]
    found = measured(*parts).histogram
    assert found is not None
    places = (np.concatenate(parts) - int(found.low)) // int(found.width)
    assert found.counts == tuple(np.bincount(places, minlength=len(found.counts)).tolist())


def test_a_distance_that_is_rounded_up_to_the_end_of_the_last_bin() -> None:
    """From -15 to -2**-60 it is 15 in float64: 1,920 widths of 1/128, as far as the bins reach."""
    found = measured([-15, -1 / 128], [-(2.0**-60)]).histogram
    assert found == Histogram("linear", -15.0, 40 / 128, (1, *[0] * 46, 2))


def mixed(size: int) -> npt.NDArray[np.float32]:
    """Return blocks with growing range, in some of which not all is finite."""
    values = np.random.default_rng(3).normal(0, 1, size) * np.geomspace(1e-3, 1e3, size)
    values = values.astype(np.float32)
    values[::100_003] = np.nan
    values[::150_001] = -np.inf
    values[5 * BLOCK : 6 * BLOCK] = np.nan
    values[6 * BLOCK : 7 * BLOCK : 2] = 0
    return values


@pytest.mark.parametrize("magnitudes", [False, True])
def test_blocks_of_which_not_all_is_finite(magnitudes: bool) -> None:
    values = mixed(9 * BLOCK + 777)
    found = measured(*np.split(values, range(BLOCK, values.size, BLOCK)), magnitudes=magnitudes)
    assert found.nan == int(np.isnan(values).sum())
    assert found.infinities == int(np.isinf(values).sum())
    wide = values[np.isfinite(values)].astype(np.float64)
    assert found.zeros == int((wide == 0).sum())
    assert found.mean == pytest.approx(wide.mean(), rel=1e-12)
    assert found.deviation == pytest.approx(wide.std(), rel=1e-13)
    histogram = found.histogram
    assert histogram is not None
    assert sum(histogram.counts) == wide.size - magnitudes * found.zeros
