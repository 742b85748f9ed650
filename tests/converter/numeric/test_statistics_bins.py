"""Bins that are put together so that there are at most 48, in numbers worked out by hand."""

from __future__ import annotations

import io

import numpy as np

from converter.numeric.statistics import Histogram, measure
from ggcp_schema import Source, Span


def test_as_many_bins_as_there_may_be() -> None:
    # A block of 1 MiB with 0 to 127: 128 bins, 1 wide. Then 0 to 191: 96 bins, 2 wide, and as 48
    # are the most, always two of them together.
    first = np.tile(np.arange(128, dtype="<f4"), 2048)
    second = np.tile(np.arange(192, dtype="<f4"), 1000)
    assert first.nbytes == 1 << 20
    data = first.tobytes() + second.tobytes()
    with Source.over(io.BytesIO(data)) as source:
        span = Span(source, 0, len(data), (len(data) // 4,))
        found = measure(span, magnitudes=False, progress=lambda _count: None)
    counts = (4 * 2048 + 4 * 1000,) * 32 + (4 * 1000,) * 16
    assert found.histogram == Histogram("linear", 0.0, 4.0, counts)
    assert (found.minimum, found.maximum, found.zeros) == (0.0, 191.0, 3048)
