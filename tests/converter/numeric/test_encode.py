"""What a tensor's bytes become, and what of its values is lost, in numbers worked out by hand."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from converter.numeric.encode import Encoding, Tally
from converter.parts import Computed
from ggcp_schema import Source, Span
from ggcp_schema.gguf import TensorType

F32, Q8_0 = TensorType.F32, TensorType.Q8_0
MEBIBYTE = 1 << 20


def computed(*blocks: bytes) -> Computed:
    return Computed(sum(map(len, blocks)), lambda: blocks)


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize(("kind", "size"), [(F32, 4), (TensorType.F16, 2), (TensorType.BF16, 2)])
def test_a_computed_tensor_of_whole_blocks(kind: TensorType, size: int, blocks: int) -> None:
    """Most real matrices of a merge are a multiple of 1 MiB."""
    encoding = Encoding((computed(bytes(blocks * MEBIBYTE)),), kind)
    assert sum(map(len, encoding())) == blocks * MEBIBYTE // 4 * size
    assert encoding.tally == Tally(0, 0, 0)


def test_parts_of_any_length_are_put_together() -> None:
    data = np.arange(MEBIBYTE, dtype="<f4").tobytes()
    cuts = [0, 3, MEBIBYTE, 2 * MEBIBYTE + 1, 4 * MEBIBYTE]
    parts = tuple(computed(data[a:b]) for a, b in pairwise(cuts))
    assert b"".join(Encoding(parts, F32)()) == data
    with Source.over(io.BytesIO(data)) as source:
        span = Span(source, 4, 8, (2,))
        for others in ((), (computed(data[:4]),), (span, computed(data[:4]))):
            wanted = data[4:12] + b"".join(b"".join(part.blocks()) for part in others)
            assert b"".join(Encoding((span, *others), F32)()) == wanted


def test_values_that_q8_0_cannot_hold_are_lost() -> None:
    """8356600 / 127 is 65800, and no F16 is above 65504: the scale of the block is infinite."""
    row = np.full(32, 8356600, "<f4")
    encoding = Encoding((computed(row.tobytes()),), Q8_0)
    assert sum(map(len, encoding())) == 34
    assert encoding.tally == Tally(nans=0, infinities=0, lost=32)
    row.fill(65504 * 127)  # the largest that it can
    encoding = Encoding((computed(row.tobytes()),), Q8_0)
    assert b"".join(encoding()) == np.float16(65504).tobytes() + bytes([127]) * 32
    assert encoding.tally == Tally(0, 0, 0)


def test_what_is_not_finite_is_counted_apart_from_what_is_lost() -> None:
    row = np.array([np.nan, np.inf, -np.inf, 1, *[65520] * 2, -65520, 65519], "<f4")
    encoding = Encoding((computed(row.tobytes()),), TensorType.F16)
    b"".join(encoding())
    assert encoding.tally == Tally(nans=1, infinities=2, lost=3)  # 65520 rounds to infinity
    assert b"".join(Encoding((computed(row.tobytes()),), F32)()) == row.tobytes()


def test_a_second_time_counts_anew() -> None:
    row = np.array([np.nan] * 5, "<f4").tobytes()

    def twice() -> Iterator[bytes]:
        yield row

    encoding = Encoding((Computed(len(row), twice),), F32)
    for _ in range(2):
        list(encoding())
        assert encoding.tally == Tally(nans=5, infinities=0, lost=0)
