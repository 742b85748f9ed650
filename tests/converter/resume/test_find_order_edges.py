"""Where the signs of an order end: the element behind the embeddings, and what is no vector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from resumed import LBFGS, VERSION_1, elements, parsed

from converter.resume.detect import find_order
from ggcp_schema.order import Order
from ggcp_schema.synthetic import Synthetic

EMBEDDINGS = 40 * 8
"""Elements of tok_embeddings, with which the order scratch begins."""


@pytest.mark.parametrize(
    ("zero", "inside"), [(0, True), (EMBEDDINGS - 1, True), (EMBEDDINGS, False)]
)
def test_where_the_embeddings_end(zero: int, inside: bool) -> None:
    v = elements(VERSION_1, "second_moments")
    v[zero] = 0
    with parsed(VERSION_1, {"optimizer.state.second_moments": v}) as checkpoint:
        first, _spread = find_order(checkpoint.snapshot(), thorough=True).evidence
    said = "all zeros read in v lie in tok_embeddings in the order scratch"
    outside = "zeros in v lie outside tok_embeddings in every order"
    assert first == (said if inside else outside)


def test_zeros_are_remembered_over_blocks() -> None:
    """The embeddings are 2.56 MB, read in blocks of 2 MiB; a zero is in the first, and no other."""
    given = replace(VERSION_1, vocabulary_size=80_000)
    v = elements(given, "second_moments")
    v[0], v[600_000] = 0, -1
    with parsed(given, {"optimizer.state.second_moments": v}) as checkpoint:
        first, _spread = find_order(checkpoint.snapshot(), thorough=True).evidence
    assert first == "all zeros read in v lie in tok_embeddings in the order scratch"


VECTORS = {
    "current_parameters": 1,
    "previous_parameters": 1,
    "current_gradients": 1,
    "previous_gradients": 1,
    "search_direction": 1,
    "memory_s": 2,
    "memory_y": 2,
}
"""The vectors of L-BFGS over all parameters, and how many each are of m = 2."""


def test_what_does_not_run_over_the_parameters_has_no_order() -> None:
    given = replace(LBFGS, approx_hessian_count=2, order=Order.FLASH)
    count = elements(given, "current_parameters").size
    changes = {
        f"optimizer.state.{name}": np.zeros((rows, count) if rows > 1 else count, "<f4")
        for name, rows in VECTORS.items()
    }
    for name in ("memory_alpha", "memory_ys"):
        changes[f"optimizer.state.{name}"] = np.array([1, 2], "<f4")
    with parsed(given, changes) as checkpoint:
        finding = find_order(checkpoint.snapshot(), thorough=True)
    assert (finding.settled, finding.indifferent) == (True, True)


@pytest.mark.parametrize("name", VECTORS)
def test_every_vector_over_the_parameters_has_one(name: str) -> None:
    given = replace(LBFGS, approx_hessian_count=2, order=Order.FLASH)
    count = elements(given, "current_parameters").size
    changes = {
        f"optimizer.state.{each}": np.zeros((rows, count) if rows > 1 else count, "<f4")
        for each, rows in VECTORS.items()
    }
    changes[f"optimizer.state.{name}"].reshape(-1)[-1] = 1  # also of the last correction
    with parsed(given, changes) as checkpoint:
        finding = find_order(checkpoint.snapshot(), thorough=True)
    assert not finding.indifferent


LARGE = Synthetic(
    vocabulary_size=17_000,
    embedding_length=16,
    feed_forward_multiple=16,
    head_count=2,
    block_count=1,
    order=Order.SCRATCH,
)
"""Its embeddings are the first 1,088,000 bytes of x: one block of 1 MiB, and a part of another."""


@pytest.mark.parametrize("changed", [None, (1 << 18) - 1, 1 << 18, 17_000 * 16 - 1])
def test_x_is_compared_to_its_last_element(changed: int | None) -> None:
    x = elements(LARGE, "parameters")
    if changed is not None:
        x[changed] += np.float32(1)
    with parsed(LARGE, {"optimizer.state.parameters": x}) as checkpoint:
        finding = find_order(checkpoint.snapshot(), thorough=True)
    assert finding.candidates == ((Order.SCRATCH,) if changed is None else ())
