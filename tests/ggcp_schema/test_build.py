"""Building: what may be given, and what is said about what may not."""

import array
import ctypes
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import corpus
from layouts import ONE_LAYER, TINY, floats
from members import changed, span

from ggcp_schema import FormatError, Span, build, parse

ADAM_0 = TINY["version 0 Adam past 3"]
ADAM_1 = TINY["version 1 Adam past 0"]
NORM = b"\0\0\xa0\x40\0\0\xc0\x40"  # 5 and 6, the data of model.norm


def built(container: Any) -> bytes:
    file = io.BytesIO()
    build(container, file)
    return file.getvalue()


def refused(container: Any, file: Any = None) -> FormatError:
    with pytest.raises(FormatError) as caught:
        build(container, io.BytesIO() if file is None else file)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(NORM, id="bytes"),
        pytest.param(bytearray(NORM), id="bytearray"),
        pytest.param(memoryview(NORM), id="memoryview"),
        pytest.param(memoryview(b"".join(bytes([x, 0]) for x in NORM))[::2], id="with gaps"),
        pytest.param(array.array("f", [5, 6]), id="array.array"),
        pytest.param((ctypes.c_float * 2)(5, 6), id="ctypes"),
        pytest.param(floats([5, 6]), id="NumPy"),
        pytest.param(floats([5, 0, 6])[::2], id="NumPy with gaps"),
        pytest.param([NORM[:3], bytearray(NORM[3:7]), memoryview(NORM[7:])], id="blocks"),
        pytest.param([b"", NORM, b""], id="empty blocks"),
        pytest.param([floats([5]), floats([6])], id="NumPy blocks"),
        pytest.param({"data": NORM}, id="record"),
        pytest.param({"data": NORM, "name": b"norm.weight", "padding": bytes(21)}, id="whole"),
        pytest.param({"data": NORM, "padding": b"of another length"}, id="other padding"),
        pytest.param({"data": NORM, "n_dims": 7, "shape": (3,), "type": 1}, id="derived"),
    ],
)
def test_data_may_be(data: Any) -> None:
    assert built(changed(ADAM_0.container, "model.norm", data)) == ADAM_0.data


def test_data_may_be_made_while_they_are_written() -> None:
    blocks = (NORM[index : index + 1] for index in range(8))
    assert built(changed(ADAM_0.container, "model.norm", blocks)) == ADAM_0.data


def test_data_may_be_spans_of_another_file(tmp_path: Path) -> None:
    path = tmp_path / "other.bin"
    path.write_bytes(TINY["version 1 L-BFGS past 0"].data)
    with parse(path) as other:
        state = other.optimizer.state
        container = changed(
            ADAM_1.container, "optimizer.state.first_moments", state.current_parameters
        )
        container = changed(
            container, "optimizer.state.second_moments", state.previous_gradients.data
        )
        assert built(container) == ADAM_1.data


@pytest.mark.parametrize("missing", [None, b"", [], {}, np.zeros(0, "<f4"), array.array("f")])
def test_a_tensor_that_does_not_exist_needs_nothing(missing: Any) -> None:
    container = changed(ADAM_1.container, "optimizer.state.past_loss_values", missing)
    assert built(container) == ADAM_1.data


def test_what_is_derived_need_not_be_right() -> None:
    stale = {
        "magic": b"pcgg",
        "version": 5,
        "parameter_count": 7,
        "end": "nonsense",
        "_root": {},
        "_index": 3,
    }
    container = changed({**ONE_LAYER.container, **stale}, "optimizer.parameter_count", 1)
    assert built(changed(container, "hyperparameters.feed_forward_length", 9)) == ONE_LAYER.data


EIGHT = "8 bytes for the shape [2]"
FITS = "give as many elements as the shape says, four bytes each"
HOLDS = "a span, a NumPy array, a buffer, or an iterable of blocks of bytes"
LITTLE = "give the elements as little-endian float32"
REVERSED = "NumPy's shape is the checkpoint's, reversed"
OTHER = "give another value"
MISSING = ("a value", "none", "give the container a member of this name")
U32 = "a whole number from 0 to 4294967295"
F32 = "a number that a float32 can hold"
I32 = "a whole number from -2147483648 to 2147483647"


@pytest.mark.parametrize(
    ("path", "value", "offset", "expected", "found", "hint"),
    [
        # data
        ("model.norm.data", b"", 0xA0, EIGHT, "0 bytes", FITS),
        ("model.norm.data", NORM[1:], 0xA0, EIGHT, "7 bytes", FITS),
        ("model.norm.data", NORM * 2, 0xA0, EIGHT, "16 bytes or more", FITS),
        ("model.norm.data", [NORM, b"!"], 0xA0, EIGHT, "9 bytes or more", FITS),
        ("model.norm.data", 5, 0xA0, HOLDS, "int", LITTLE),
        ("model.norm.data", "text", 0xA0, HOLDS, "blocks of str", LITTLE),
        ("model.norm.data", [5.0, 6.0], 0xA0, HOLDS, "blocks of float", LITTLE),
        (
            "model.norm.data",
            np.array([5, 6], "<f8"),
            0xA0,
            "an array of float32 (<f4) of the shape [2]",
            "<f8 of the shape [2]",
            REVERSED,
        ),
        (
            "model.norm.data",
            np.array([5, 6], ">f4"),
            0xA0,
            "an array of float32 (<f4) of the shape [2]",
            ">f4 of the shape [2]",
            REVERSED,
        ),
        (
            "model.layers[0].feed_forward.w1.data",
            np.zeros((2, 6), "<f4"),
            0x2A0,
            "an array of float32 (<f4) of the shape [6, 2]",
            "<f4 of the shape [2, 6]",
            REVERSED,
        ),
        # records
        ("model.norm.name", b"norm.weighs", 0x80, "'norm.weight'", "'norm.weighs'", OTHER),
        (
            "model.norm.name",
            "norm.weight",
            0x70,
            "'norm.weight'",
            "str",
            "give the name as bytes, or leave it out",
        ),
        ("model.norm.padding", "zeros", 0x8B, "bytes", "str", "give a bytes object"),
        # members that are missing, or no members
        ("training.sample_count", None, 0xC, *MISSING),
        ("hyperparameters", None, 0x14, *MISSING),
        ("model.norm", None, 0x70, *MISSING),
        ("model.layers", None, 0xF0, *MISSING),
        ("optimizer", None, 0x3D0, *MISSING),
        ("optimizer.type", None, 0x3EC, *MISSING),
        ("optimizer.state", None, 0x3EC, *MISSING),
        ("optimizer.state.best_loss", None, 0x644, *MISSING),
        ("optimizer.state.past_loss_values.data", None, 0x640, *MISSING),
        (
            "training",
            7,
            0x8,
            "a mapping with iteration_count, sample_count, token_count",
            "int",
            "give the members by name",
        ),
        ("model.layers", 1, 0xF0, "a list with 1 entries", "int", "give a list"),
        ("model.layers", [], 0xF0, "1 entries", "0", "give as many as the count says"),
        (
            "model.layers",
            [{}, {}],
            0xF0,
            "1 entries",
            "2 or more",
            "give as many as the count says",
        ),
        # numbers
        ("training.sample_count", -1, 0xC, U32, "-1", OTHER),
        ("training.sample_count", 2**32, 0xC, U32, "4294967296", OTHER),
        ("training.sample_count", 1.5, 0xC, U32, "1.5", OTHER),
        ("training.sample_count", "1\n2", 0xC, U32, r"1\n2", OTHER),
        ("hyperparameters.head_count", "one", 0x20, U32, "one", OTHER),
        ("hyperparameters.head_count", 2**40, 0x20, U32, str(2**40), OTHER),
        ("hyperparameters.head_count", 3, 0x20, "a divisor of 2 (embedding_length)", "3", OTHER),
        (
            "hyperparameters.rope_dimension_count",
            4,
            0x28,
            "an even number from 2 to 2 / 1 (the head dimension)",
            "4",
            OTHER,
        ),
        ("optimizer.convergence_past_count", -1, 0x3D4, "0 or more", "-1", OTHER),
        ("optimizer.convergence_past_count", 2**31, 0x3D4, I32, "2147483648", OTHER),
        ("optimizer.iteration_count", -1, 0x3E4, "0 or more", "-1", OTHER),
        ("optimizer.type", 2, 0x3EC, "0 (Adam) or 1 (L-BFGS)", "2", OTHER),
        ("optimizer.type", 1, 0x3EC, "0 (Adam) where approx_hessian_count is 0", "1", OTHER),
        (
            "optimizer.state.best_loss",
            1e300,
            0x644,
            "a number that a float32 can hold",
            "1e+300",
            OTHER,
        ),
        (
            "optimizer.state.best_loss",
            "low",
            0x644,
            "a number that a float32 can hold",
            "low",
            OTHER,
        ),
    ],
)
def test_a_wrong_member(
    path: str, value: Any, offset: int, expected: str, found: str, hint: str
) -> None:
    container = ONE_LAYER.container
    record = path.rpartition(".")[0]
    if path.endswith((".data", ".name", ".padding")):
        array_ = container
        for step in record.replace("[", ".").replace("]", "").split("."):
            array_ = array_[int(step) if step.isdigit() else step]
        container = changed(container, record, {"data": array_})
    error = refused(changed(container, path, value))
    assert str(error) == f"{path} at offset {offset:#x}: expected {expected}, found {found}; {hint}"


@pytest.mark.parametrize(
    ("container", "path", "offset", "value", "expected", "found", "hint"),
    [
        (ADAM_0, "training.iteration_count", 8, np.array([1, 2]), U32, "[1 2]", OTHER),
        (ADAM_0, "optimizer.state.best_loss", 0x34C, np.array("x"), F32, "x", OTHER),
        (
            ADAM_0,
            "optimizer.version",
            0xF0,
            np.array([0, 0]),
            "0 or 1",
            "[0 0]",
            "give the version of the optimizer context",
        ),
        (ADAM_1, "optimizer.type", 0x10C, np.array([0, 0]), "a whole number", "ndarray", OTHER),
        (ADAM_1, "optimizer.type", 0x10C, np.array(0), "a whole number", "ndarray", OTHER),
    ],
)
def test_an_array_is_no_number(
    container: Any, path: str, offset: int, value: Any, expected: str, found: str, hint: str
) -> None:
    error = refused(changed(container.container, path, value))
    assert str(error) == f"{path} at offset {offset:#x}: expected {expected}, found {found}; {hint}"


@pytest.mark.parametrize("value", [np.array([9, 9]), np.array(9), np.array([9.0])])
def test_an_array_is_no_feed_forward_length(value: Any) -> None:
    with parse(io.BytesIO(corpus.lora())) as lora:
        assert str(refused({**lora.container, "feed_forward_length": value})) == (
            "feed_forward_length at offset 0x5c: expected a whole number, found ndarray; " + OTHER
        )


def test_padding_is_measured_in_bytes() -> None:
    """21 elements of two bytes each: not what stands between a record's head and its data."""
    wide = memoryview(bytes(range(42))).cast("H")
    assert len(wide) == 21
    record = {"data": NORM, "padding": wide}
    assert built(changed(ADAM_0.container, "model.norm", record)) == ADAM_0.data
    compiler = changed(
        ADAM_0.container, "optimizer.params.compiler_padding", memoryview(bytes(4)).cast("H")
    )
    assert str(refused(compiler)) == (
        "optimizer.params.compiler_padding at offset 0x10a: expected 2 bytes, found 4 bytes; "
        + OTHER
    )


def test_a_name_of_another_length() -> None:
    record = {"name": b"norm", "data": NORM}
    assert str(refused(changed(ADAM_0.container, "model.norm", record))) == (
        "model.norm.name_length at offset 0x74: expected 11 ('norm.weight'), found 4; " + OTHER
    )


@pytest.mark.parametrize("padding", [b"", b"\0", b"\0\0\0", "\0\0"])
def test_compiler_padding_is_two_bytes(padding: Any) -> None:
    container = changed(ADAM_0.container, "optimizer.params.compiler_padding", padding)
    error = refused(container)
    assert (error.path, error.offset) == ("optimizer.params.compiler_padding", 0xF0 + 4 + 22)


@pytest.mark.parametrize(
    ("version", "found"), [(None, "None"), (2, "2"), (-1, "-1"), ("1\n", r"1\n"), ([0], "[0]")]
)
def test_an_unknown_version_of_the_optimizer(version: Any, found: str) -> None:
    assert str(refused(changed(ADAM_0.container, "optimizer.version", version))) == (
        f"optimizer.version at offset 0xf0: expected 0 or 1, found {found}; "
        "give the version of the optimizer context"
    )


@pytest.mark.parametrize(
    ("magic", "found"),
    [(b"GGUF", "'GGUF'"), ("pcgg", "pcgg"), (0x67676370, "1734828912"), ([], "[]")],
)
def test_an_unknown_magic(magic: Any, found: str) -> None:
    assert str(refused({**ADAM_0.container, "magic": magic})) == (
        f"magic at offset 0x0: expected 'pcgg' (ggcp) or 'lcgg' (ggcl) or 'algg' (ggla) or '' "
        f"(none), found {found}; "
        "give the magic of a checkpoint, or none for a training checkpoint"
    )


def test_more_parameters_than_32_bits_can_count() -> None:
    """The optimizer's vectors would need a dimension that no record can hold."""

    class Nowhere:
        def write(self, data: Any) -> int:
            return len(data)

    embeddings = [bytes(2**30)] * 8 + [bytes(16)]
    container = changed(ADAM_1.container, "hyperparameters.vocabulary_size", 2**30 + 2)
    for name in ("tok_embeddings", "output"):
        container = changed(container, f"model.{name}", embeddings)
    error = refused(container, Nowhere())
    assert (error.path, error.expected, error.found) == (
        "optimizer.state.first_moments.shape",
        "dimensions below 4294967296",
        f"[{4 * (2**30 + 2) + 2}]",
    )


@pytest.mark.parametrize("container", [None, 5, "text", [1]])
def test_what_is_no_checkpoint_at_all(container: Any) -> None:
    assert refused(container).expected.startswith("a mapping with magic, version, training, ")


def test_a_span_of_another_shape() -> None:
    with parse(io.BytesIO(ONE_LAYER.data)) as checkpoint:
        w2 = span(checkpoint.container, "model.layers[0].feed_forward.w2")
        error = refused(changed(ONE_LAYER.container, "model.layers[0].feed_forward.w1", w2))
    assert str(error) == (
        "model.layers[0].feed_forward.w1.data at offset 0x2a0: expected a span of the shape "
        "[2, 6], found [6, 2]; give the span of a tensor of the same shape"
    )


def test_a_span_of_a_file_that_was_cut_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "cut.bin"
    path.write_bytes(ADAM_1.data)
    with parse(path) as checkpoint:
        os.truncate(path, 0xA4)
        error = refused(checkpoint)
    assert str(error) == (
        f"{path}: model.norm.data at offset 0xa0: expected 8 bytes, found 4 bytes and the end of "
        "the file; the file was cut while it was read; get it back whole and try again"
    )


def test_a_span_of_a_closed_file() -> None:
    checkpoint = parse(io.BytesIO(ADAM_1.data))
    checkpoint.close()
    error = refused(checkpoint)
    assert str(error) == (
        "model.tok_embeddings.data at offset 0x60: expected 16 bytes, found a file that was "
        "closed; read the tensors before the checkpoint is closed"
    )
    assert isinstance(error.__cause__, ValueError)


def test_a_span_that_ends_behind_the_file() -> None:
    with parse(io.BytesIO(ADAM_1.data)) as checkpoint:
        short = Span(checkpoint.source, len(ADAM_1.data) - 4, 8, (2,))
        error = refused(changed(ADAM_1.container, "model.norm", short))
    assert error.found == "4 bytes and the end of the file"
