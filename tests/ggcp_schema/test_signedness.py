"""Which numbers may be below zero: as `struct ggml_opt_params` and `ggml_opt_context` say."""

from __future__ import annotations

import io

import pytest
from members import values
from packed import checkpoint

from ggcp_schema import build, parse

# ggml.h at e32089b2c: int is signed; enum ggml_linesearch and a bool written as u32 are not.
INT = {
    "params.thread_count": -1,
    "params.no_improvement_limit": -1,
    "params.adam.iteration_limit": -1,
    "params.lbfgs.iteration_limit": -1,
    "params.lbfgs.line_search_limit": -1,
    "state.line_search_j": -1,
    "state.line_search_k": -1,
    "state.line_search_end": -1,
    "params.lbfgs.line_search_condition": 4294967295,
    "just_initialized": 4294967295,
}


@pytest.mark.parametrize("name", INT)
def test_four_bytes_of_ones(name: str) -> None:
    path = f"optimizer.{name}"
    data = checkpoint(0, "lbfgs").with_number(path, -1)
    built = io.BytesIO()
    with parse(io.BytesIO(data)) as parsed:
        assert values(parsed.container)[path] == INT[name]
        build(parsed, built)
    assert built.getvalue() == data


@pytest.mark.parametrize("name", ["training.iteration_count", "training.sample_count"])
def test_the_counters_of_the_header_are_not_signed(name: str) -> None:
    with parse(io.BytesIO(checkpoint().with_number(name, -1))) as parsed:
        assert values(parsed.container)[name] == 4294967295
