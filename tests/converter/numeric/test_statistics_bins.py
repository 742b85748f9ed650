"""Bins that are put together, in numbers worked out by hand: at most 48, as full at both ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from converter.numeric.statistics import Histogram, Statistics, measure

BLOCK = 1 << 18
FIRST = np.resize(np.arange(1920), BLOCK)  # 1,920 bins, 1 wide
PASSES, REST = divmod(BLOCK, 1920)


def measured(*blocks: npt.NDArray[Any]) -> Statistics:
    """Measure blocks of a mebibyte, the last of which may be shorter."""
    data = b"".join(block.astype("<f4").tobytes() for block in blocks)
    size = 4 * BLOCK
    return measure((data[at : at + size] for at in range(0, len(data), size)), magnitudes=False)


def counts(low: int, width: int, bins: int, top: int) -> tuple[int, ...]:
    """How many values are in each bin of ``FIRST`` and of the integers from 0 to ``top``."""
    values = [PASSES * (v < 1920) + (v < REST) + 1 for v in range(top + 1)]
    every = dict(enumerate(values))
    edges = range(low, low + width * bins, width)
    return tuple(sum(every.get(v, 0) for v in range(edge, edge + width)) for edge in edges)


def test_as_many_bins_as_there_may_be() -> None:
    """Of 1,920 bins always 40 are put together."""
    found = measured(np.tile(np.arange(1920), 3))
    assert found.histogram == Histogram("linear", 0.0, 40.0, (40 * 3,) * 48)


def test_bins_that_grew() -> None:
    """Up to 2,879 it takes 1,440 bins, 2 wide, of which always 30 are put together."""
    found = measured(FIRST, np.arange(2880))
    assert found.histogram == Histogram("linear", 0.0, 60.0, counts(0, 60, 48, 2879))
    assert (found.minimum, found.maximum, found.zeros) == (0.0, 2879.0, PASSES + 2)


def test_what_is_missing_is_missing_at_both_ends() -> None:
    """Up to 2,053 it takes 1,027 bins, 13 times 79: the least is missing if 24 are put together.

    43 times 24 are 1,032: 2 empty bins of 2 stand in front, and 3 at the end.
    """
    found = measured(FIRST, np.arange(2054))
    assert found.histogram == Histogram("linear", -4.0, 48.0, counts(-4, 48, 43, 2053))
