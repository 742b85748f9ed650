"""The change of a LoRA pair, in numbers worked out by hand."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from converter.numeric import delta as lora_delta
from converter.numeric.delta import Delta, transposed
from ggcp_schema import Source, Span


def delta(a: Any, b: Any) -> Delta:
    """A pair; A has a row for each input, B one for each output, as they stand in the file."""
    a, b = (np.asarray(each, "<f4") for each in (a, b))
    source = Source.over(io.BytesIO(a.tobytes() + b.tobytes()))
    return Delta(
        Span(source, 0, a.nbytes, a.shape[::-1]), Span(source, a.nbytes, b.nbytes, b.shape[::-1])
    )


def test_the_largest_change_has_no_sign() -> None:
    assert delta(np.ones((4, 1)), [[-0.5]]).largest() == 0.5


def test_more_inputs_than_are_summed_at_once() -> None:
    rows = delta(np.ones((16_385, 1)), [[0.5]]).rows(0, 1)
    assert rows.shape == (1, 16_385)
    assert float(rows.sum()) == 8192.5


@pytest.mark.parametrize("block", [1, 3, 1 << 20])
def test_ranks_are_summed_in_their_order(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64 1e16 and 1 are 1e16: only in this order is the one left."""
    monkeypatch.setattr(lora_delta, "BLOCK_ELEMENTS", block)
    rows = delta([[1e16, -1e16, 1]] * 3, [[1, 1, 1]] * 2).rows(0, 2)
    assert rows.tolist() == [[1.0] * 3] * 2


def test_rows_are_those_of_the_outputs() -> None:
    # Two inputs, two ranks, three outputs.
    found = delta([[1, 10], [2, 20]], [[1, 0], [0, 1], [1, -1]])
    assert (found.rank, found.inputs, found.outputs) == (2, 2, 3)
    assert found.rows(1, 2).tolist() == [[10, 20], [-9, -18]]
    assert found.largest() == 20


def peak_of(work: Callable[[], object], result: object) -> int:
    tracemalloc.start()
    try:
        assert work() == result
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_that_of_blocks() -> None:
    """Δ has 16,777,216 elements, 128 MiB in float64, of which 8 MiB are summed at once."""
    large = delta(np.ones((2048, 2)), np.ones((8192, 2)))
    assert peak_of(large.largest, 2.0) < 32 << 20


def test_memory_of_a_transposed_matrix_is_that_of_blocks() -> None:
    """A has 16,777,216 elements, 64 MiB as stored, of which 4 MiB are turned at once."""
    a = delta(np.ones((8192, 2048)), np.ones((1, 2048))).a
    assert peak_of(lambda: sum(map(len, transposed(a))), 2048) < 32 << 20
