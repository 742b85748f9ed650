"""Each layout, against bytes written by hand."""

import io
from collections.abc import Mapping

import numpy as np
import pytest
from layouts import TINY, Tiny
from members import leaves, tensors, values

from ggcp_schema import build, parse
from ggcp_schema.enums import Layout

every_layout = pytest.mark.parametrize("tiny", TINY.values(), ids=TINY.keys())

# What parsing adds to what building takes.
ADDED = {
    "magic": b"pcgg",
    "version": 0,
    "hyperparameters.feed_forward_length": 6,
    "end": None,
}


def given(tiny: Tiny) -> dict[str, object]:
    return dict(leaves(tiny.container))


@every_layout
def test_the_bytes_are_parsed_into_exactly_these_values(tiny: Tiny) -> None:
    with parse(io.BytesIO(tiny.data)) as checkpoint:
        parsed = values(checkpoint.container)
    expected = {path: leaf for path, leaf in given(tiny).items() if path not in tiny.offsets}
    version = expected["optimizer.version"]
    with_params = "optimizer.params.type" in expected
    parameter_count = 66 if expected["hyperparameters.block_count"] else 10
    expected |= ADDED | {
        "parameter_count": parameter_count,
        "optimizer.parameter_count": parameter_count,
        "optimizer.layout": {
            (0, True): Layout.VERSION_0,
            (1, False): Layout.VERSION_1,
            (1, True): Layout.VERSION_1_WITH_PARAMS,
        }[version, with_params],
    }
    if with_params:  # repeated where version 1 has them, so that readers find them in one place
        expected["optimizer.type"] = expected["optimizer.params.type"]
        for name, place in (
            ("convergence_past_count", "optimizer.params.convergence_past_count"),
            ("approx_hessian_count", "optimizer.params.lbfgs.approx_hessian_count"),
        ):
            expected[f"optimizer.{name}"] = expected[place]
    assert parsed == expected


@every_layout
def test_tensors_are_spans_where_their_data_are(tiny: Tiny) -> None:
    arrays = {path: leaf for path, leaf in given(tiny).items() if path in tiny.offsets}
    with parse(io.BytesIO(tiny.data)) as checkpoint:
        parsed = tensors(checkpoint.container)
        assert {path: record["data"].offset for path, record in parsed.items()} == tiny.offsets
        for path, record in parsed.items():
            array = arrays[path]
            assert isinstance(array, np.ndarray)
            shape = array.shape[::-1] if array.size else ()
            assert record["shape"] == record["data"].shape == shape, path
            assert record["n_dims"] == len(shape), path
            assert record["data"].length == 4 * array.size, path
            np.testing.assert_array_equal(record["data"].array(), array, path)
            assert record["name_length"] == len(record["name"]), path


@every_layout
def test_names_are_those_in_the_file(tiny: Tiny) -> None:
    with parse(io.BytesIO(tiny.data)) as checkpoint:
        for path, record in tensors(checkpoint.container).items():
            name = ""
            if path.startswith("model."):
                name = path.removeprefix("model.").replace("[", ".").replace("]", "") + ".weight"
            assert record["name"] == name.encode()


@every_layout
def test_building_gives_exactly_these_bytes(tiny: Tiny) -> None:
    file = io.BytesIO()
    build(tiny.container, file)
    assert file.getvalue() == tiny.data


@every_layout
def test_what_was_parsed_builds_the_same_bytes_again(tiny: Tiny) -> None:
    file = io.BytesIO()
    with parse(io.BytesIO(tiny.data)) as checkpoint:
        build(checkpoint, file)
        assert file.getvalue() == tiny.data
        file = io.BytesIO()
        build(checkpoint.container, file)
        assert file.getvalue() == tiny.data


def test_the_members_of_the_container_are_attributes_of_the_checkpoint() -> None:
    tiny = TINY["version 1 Adam past 0"]
    with parse(io.BytesIO(tiny.data)) as checkpoint:
        assert isinstance(checkpoint.optimizer, Mapping)
        assert checkpoint.optimizer is checkpoint.container.optimizer
        with pytest.raises(AttributeError, match=r"^nothing$"):
            _ = checkpoint.nothing
