"""Rows of queries and keys stand as transformers rotates them."""

from __future__ import annotations

import io

import numpy as np
import pytest

from converter.hf_io.rope_rows import halved
from converter.parts import Computed, Part
from ggcp_schema import Source, Span


def span(values: np.ndarray) -> Span:
    data = values.tobytes()
    return Span(Source.over(io.BytesIO(b"head" + data)), 4, len(data), values.shape[::-1])


def made(part: Part, most: int = 8 << 20) -> bytes:
    blocks = list(part.blocks())
    assert max(map(len, blocks)) <= most
    return b"".join(blocks)


# The third has heads of 9 MiB, which are read row by row; the last rotates a part of each.
@pytest.mark.parametrize(
    ("heads", "dimension", "columns", "rotated"),
    [(2, 8, 16, 8), (3, 4, 1, 4), (2, 6, 3 << 17, 6), (5, 6, 7, 4)],
)
def test_halves(heads: int, dimension: int, columns: int, rotated: int) -> None:
    rows = np.arange(heads * dimension * columns, dtype="<f4").reshape(-1, columns)
    wanted = rows.reshape(heads, dimension, columns).copy()
    turned = wanted[:, :rotated].reshape(heads, rotated // 2, 2, columns)
    wanted[:, :rotated] = turned.swapaxes(1, 2).reshape(heads, rotated, columns).copy()
    whole = span(rows)
    assert made(halved(whole, 4 * columns, dimension, rotated)) == wanted.tobytes()
    computed = Computed(whole.length, lambda: whole.blocks(4 * 5))
    # What is computed has no rows to look up: each of its heads is held whole.
    assert made(halved(computed, 4 * columns, dimension, rotated), 9 << 20) == wanted.tobytes()


def test_by_hand() -> None:
    rows = np.arange(8, dtype="<f4").reshape(8, 1)
    found = np.frombuffer(made(halved(span(rows), 4, 4, 4)), "<f4")
    assert found.tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    found = np.frombuffer(made(halved(span(rows), 4, 8, 4)), "<f4")
    assert found.tolist() == [0, 2, 1, 3, 4, 5, 6, 7]
