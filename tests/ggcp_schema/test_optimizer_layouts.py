"""What version 1 does not store is decided exactly: the optimizer's type, and its own layout."""

import io
import struct
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packed import Packed, checkpoint

from ggcp_schema import FormatError, parse
from ggcp_schema.enums import Layout, OptimizerType
from ggcp_schema.optimizer import OptimizerContext

SHAPES = st.builds(
    dict,
    n_vocab=st.integers(1, 12),
    n_embd=st.sampled_from([2, 4, 6, 8]),
    n_mult=st.integers(1, 9),
    n_layer=st.integers(0, 1),
    past=st.integers(0, 40) | st.sampled_from([900, 4096]),
    m=st.integers(1, 20) | st.just(300),
)


def parsed(file: Packed | bytes) -> Any:
    data = bytes(file.data) if isinstance(file, Packed) else file
    with parse(io.BytesIO(data)) as checkpoint_:
        return checkpoint_.container


def parameter_count(shape: dict[str, int]) -> int:
    return int(parsed(checkpoint(**shape)).parameter_count)


@pytest.mark.parametrize("with_params", [False, True])
@pytest.mark.parametrize("kind", OptimizerType)
@settings(max_examples=60, deadline=None)
@given(shape=SHAPES)
# A size estimate takes Adam's past losses for vectors, or L-BFGS's vectors for past losses.
@example(shape={"n_vocab": 1, "n_embd": 2, "past": 900, "m": 1})
@example(shape={"n_vocab": 1, "n_embd": 2, "past": 6, "m": 1})
@example(shape={"n_vocab": 1, "n_embd": 2, "past": 18, "m": 1})
@example(shape={"n_vocab": 2, "n_embd": 2, "past": 10, "m": 10})
def test_the_type_of_any_shape(
    kind: OptimizerType, with_params: bool, shape: dict[str, int]
) -> None:
    """Adam's m may be anything too, although every trainer stored 0."""
    file = checkpoint(1, kind.name.lower(), with_params=with_params, **shape)
    optimizer = parsed(file).optimizer
    assert optimizer.type == kind
    assert optimizer.layout is (Layout.VERSION_1_WITH_PARAMS if with_params else Layout.VERSION_1)
    assert (optimizer.convergence_past_count, optimizer.approx_hessian_count) == (
        shape["past"],
        shape["m"],
    )
    state = "optimizer.state."
    records = [path for path in file.fields if path.startswith(state) and path.endswith(".data")]
    for path in records:
        assert optimizer.state[path.split(".")[2]].data.offset == file.fields[path][0]


@settings(max_examples=30, deadline=None)
@given(shape=SHAPES)
def test_past_that_is_the_parameter_count(shape: dict[str, int]) -> None:
    """Then Adam's losses and L-BFGS's third vector are records of the same shape."""
    shape = {**shape, "past": parameter_count({**shape, "past": 0})}
    for kind in OptimizerType:
        assert parsed(checkpoint(1, kind.name.lower(), **shape)).optimizer.type == kind


@pytest.mark.parametrize("kind", OptimizerType)
@pytest.mark.parametrize("past", [0, 3, 10])
def test_damage_is_told_in_the_words_of_the_type_that_fits_further(
    kind: OptimizerType, past: int
) -> None:
    file = checkpoint(1, kind.name.lower(), past=past)
    wrong = file.with_number("optimizer.state.no_improvement_count", -1)
    with pytest.raises(FormatError) as caught:
        parse(io.BytesIO(wrong))
    assert caught.value.path == "optimizer.state.no_improvement_count"
    assert caught.value.offset == len(file.data) - 4


@pytest.mark.parametrize("layout", Layout)
def test_each_layout_knows_its_own_version_only(layout: Layout) -> None:
    version = OptimizerContext.versions[layout]
    with pytest.raises(FormatError) as caught:
        OptimizerContext.cases[layout].parse(struct.pack("<L", 1 - version) + bytes(108))
    assert (caught.value.path, caught.value.expected) == ("version", str(version))


def test_nothing_is_taken_from_a_context_of_an_unknown_version() -> None:
    data = checkpoint(1).with_number("optimizer.version", 2)
    with parse(io.BytesIO(data), partial=True) as checkpoint_:
        assert checkpoint_.error is not None
        assert (checkpoint_.error.path, checkpoint_.error.expected) == (
            "optimizer.version",
            "0 or 1",
        )
        assert dict(checkpoint_.optimizer) == {}


def with_both_places(kind: OptimizerType, with_params: bool) -> tuple[Packed, bytes]:
    """A file with the parameter count, 22, both 12 and 100 bytes from where its context starts.

    Without params it is two floats of a vector that read as 22; with params, past is 22 and delta
    is 0.
    """
    file = checkpoint(
        1, kind.name.lower(), with_params=with_params, n_vocab=5, past=22 if with_params else 3
    )
    start = file.fields["optimizer.version"][0]
    data = bytearray(file.data)
    other = start + (12 if with_params else 100)
    assert data[other : other + 8] != struct.pack("<q", 22)
    struct.pack_into("<q", data, other, 22)
    return file, bytes(data)


@pytest.mark.parametrize("kind", OptimizerType)
@pytest.mark.parametrize("with_params", [False, True])
def test_the_parameter_count_in_both_places(kind: OptimizerType, with_params: bool) -> None:
    file, data = with_both_places(kind, with_params)
    optimizer = parsed(data).optimizer
    assert optimizer.layout is (Layout.VERSION_1_WITH_PARAMS if with_params else Layout.VERSION_1)
    assert optimizer.type == kind
    first = "first_moments" if kind is OptimizerType.ADAM else "current_parameters"
    assert optimizer.state[first].data.offset == file.fields[f"optimizer.state.{first}.data"][0]


def test_the_parameter_count_in_both_places_of_a_file_that_is_cut() -> None:
    """Neither layout ends with the file: it is taken for the one of more than a single commit."""
    _, data = with_both_places(OptimizerType.ADAM, with_params=False)
    with pytest.raises(FormatError) as caught:
        parse(io.BytesIO(data[:-4]))
    assert caught.value.path == "optimizer.state.no_improvement_count"
