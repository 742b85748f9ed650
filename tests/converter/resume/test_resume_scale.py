"""The moments of summed gradients as those of their mean: m ÷ rows, v ÷ rows²."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf_bytes import read
from hypothesis import given, settings
from hypothesis import strategies as st
from packed import checkpoint
from resumed import SMALL, VERSION_1, Array, Said, divided, elements, ggcp, made

from converter import ConversionError
from converter.use_cases.convert import ResumeWith, convert
from ggcp_schema import FormatError
from ggcp_schema.enums import OptimizerType
from ggcp_schema.order import Order
from ggcp_schema.synthetic import Synthetic

VERSION_0 = Synthetic(**SMALL)  # type: ignore[arg-type]
SUMMED = replace(VERSION_1, with_params=True)  # m and v, but no x that would have to fit
M = "optimizer.state.first_moments"
V = "optimizer.state.second_moments"
NO_SCALE = "the moments cannot be scaled; convert without --resume-with, as they are stored"
NO_BATCH = "give the batch size of the training (the trainer's -b, 8 by default) with --batch"

# fmt: off
# The smallest and largest float32, denormal ones, halfway cases and what is no number.
HARD = [
    0, -0.0, 1e-45, -1e-45, 7e-45, 1.1754942e-38, 1.1754944e-38, 2e-38, 4e-37,
    1e-30, 0.1, 1, 3, 1 / 3, 16777215, 3.4028235e38, -3.4028235e38, np.inf, -np.inf, np.nan,
]
# fmt: on


def resume(path: Path, *options: object) -> Said:
    return ggcp(
        *("convert", path, path.with_suffix(".gguf"), "--resume-with", "scratch", "--no-fsync"),
        *("--eps", 1e-6, "--order", "scratch", *options),
    )


def moments(path: Path) -> tuple[Array, Array]:
    gguf = read(path.with_suffix(".gguf"))
    assert gguf.key("ggcp.gradient_rows").value > 0
    m, v = (
        np.frombuffer(gguf.tensor(f"optimizer.adam.{name}_moments").data, "<f4")
        for name in ("first", "second")
    )
    return m, v


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in.bin"


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 1001, 2**20, 2**32 - 1])
def test_every_kind_of_number(batch: int, path: Path) -> None:
    count = elements(SUMMED, "first_moments").size
    m = np.resize(np.array(HARD, "<f4"), count)
    v = np.abs(np.resize(np.array(HARD[::-1], "<f4"), count))
    path.write_bytes(made(replace(SUMMED, context_length=5), {M: m, V: v}))
    assert resume(path, "--batch", batch).code == 0
    rows = 5 * batch
    assert read(path.with_suffix(".gguf")).key("ggcp.gradient_rows").value == rows
    for written, stored, divisor in zip(moments(path), (m, v), (rows, rows**2), strict=True):
        assert written.tobytes() == divided(stored, divisor).tobytes()
        np.testing.assert_array_equal(np.isnan(written), np.isnan(stored))
        assert not written[stored == 0].any()
        np.testing.assert_array_equal(np.signbit(written), np.signbit(stored))


@settings(deadline=None)
@given(
    bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40),
    rows=st.integers(1, 2**20),
)
def test_any_bits(bits: list[int], rows: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("bits") / "in.bin"
    tiny = replace(SUMMED, vocabulary_size=3, embedding_length=4, block_count=0)
    tiny = replace(tiny, context_length=rows)
    count = elements(tiny, "first_moments").size
    m = np.resize(np.array(bits, "<u4"), count).view("<f4")
    path.write_bytes(made(tiny, {M: m, V: m}))
    assert resume(path, "--batch", 1).code == 0
    for written, divisor in zip(moments(path), (rows, rows**2), strict=True):
        with np.errstate(invalid="ignore"):  # NaN that signal
            wanted = m if divisor == 1 else divided(m, divisor)
        assert written.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("given", [VERSION_0, SUMMED])
def test_the_other_members_are_not_scaled(given: Synthetic, path: Path) -> None:
    path.write_bytes(made(replace(given, convergence_past_count=3)))
    assert resume(path, "--batch", 2).code == 0
    assert resume(path, "--batch", 2, "--force").code == 0
    written = read(path.with_suffix(".gguf"))
    assert ggcp("convert", path, path.with_suffix(".plain"), "--eps", 1e-6).code == 0
    unscaled = read(path.with_suffix(".plain"))
    for tensor in unscaled.tensors:
        same = written.tensor(tensor.name) == tensor
        assert same == (not tensor.name.endswith("_moments")), tensor.name


def estimate(samples: int, limit: int, iterations: int, exact: str, batch: int) -> str:
    return (
        f"ggcp: the batch size of the training is not in the file; {batch} is estimated, rather "
        f"too much than too little: {samples} samples × {limit} iterations in a run / {iterations} "
        f"iterations = {exact}; if the trainer's -b was another (8 by default), give it with "
        "--batch"
    )


def counted(path: Path, its: int, samples: int, tokens: int, limit: int) -> None:
    """A checkpoint with these counters, and n_iter of Adam."""
    file = checkpoint(with_params=True)
    fields = {"iteration_count": its, "sample_count": samples, "token_count": tokens}
    data = bytes(file.data)
    for name, number in fields.items():
        start, _length = file.fields[f"training.{name}"]
        data = data[:start] + struct.pack("<I", number) + data[start + 4 :]
    start, _length = file.fields["optimizer.params.adam.iteration_limit"]
    path.write_bytes(data[:start] + struct.pack("<i", limit) + data[start + 4 :])


@pytest.mark.parametrize(
    ("its", "samples", "limit", "exact", "batch"),
    [
        (30, 12, 5, "2", 2),
        (50, 16, 16, "5.12", 5),  # the true one was 4
        (100, 25, 10, "2.5", 2),
        (100, 27, 10, "2.7", 3),
        (1000, 1, 1, "0.001", 1),
        (1, 2**16, 2**16 - 1, "4.295e+09", 2**32 - 2**16),
    ],
)
def test_an_estimate_says_what_it_rests_on(
    its: int, samples: int, limit: int, exact: str, batch: int, path: Path
) -> None:
    counted(path, its, samples, 16 * samples, limit)
    said = resume(path)
    assert said.code == 0
    assert estimate(samples, limit, its, exact, batch) in said.err
    gguf = read(path.with_suffix(".gguf"))
    assert gguf.key("ggcp.gradient_rows").value == 16 * batch


def test_a_batch_that_is_given_is_not_estimated(path: Path) -> None:
    counted(path, 0, 12, 192, 0)
    assert resume(path, "--batch", 4).err == []
    assert read(path.with_suffix(".gguf")).key("ggcp.gradient_rows").value == 64


# fmt: off
NOT_TO_BE_HAD = [
    ((30, 12, 191, 5), "training.token_count at offset 0x10: expected a multiple of 12 "
        f"(sample_count), which gives the context length, found 191; {NO_SCALE}"),
    ((30, 12, 0, 5), "training.token_count at offset 0x10: expected a multiple of 12 "
        f"(sample_count), which gives the context length, found 0; {NO_SCALE}"),
    ((30, 0, 0, 5), "training.sample_count at offset 0xc: expected at least 1: tokens divided by "
        f"samples is the context length, found 0; {NO_SCALE}"),
    ((0, 12, 192, 5), "training.iteration_count at offset 0x8: expected a number from which the "
        f"batch size can be estimated, found 0; {NO_BATCH}"),
    ((30, 12, 192, 0), "optimizer.params.adam.iteration_limit at offset 0x10c: expected a number "
        f"from which the batch size can be estimated, found 0; {NO_BATCH}"),
    ((30, 12, 192, -5), "optimizer.params.adam.iteration_limit at offset 0x10c: expected a number "
        f"from which the batch size can be estimated, found -5; {NO_BATCH}"),
    ((1, 2**31, 2**31, 2**31 - 1), "optimizer.params.adam.iteration_limit at offset 0x10c: "
        "expected a number from which the batch size can be estimated, found 2147483647; "
        f"{NO_BATCH}"),
]
# fmt: on


@pytest.mark.parametrize(("counters", "message"), NOT_TO_BE_HAD)
def test_what_cannot_be_had_from_the_counters(
    counters: tuple[int, int, int, int], message: str, path: Path
) -> None:
    counted(path, *counters)
    assert resume(path) == Said(1, [], [f"ggcp: {path}: {message}"])
    assert list(path.parent.iterdir()) == [path]


def test_the_offset_of_the_iterations_in_a_run_is_where_they_stand() -> None:
    file = checkpoint(with_params=True)
    assert file.fields["optimizer.params.adam.iteration_limit"][0] == 0x10C
    assert file.fields["training.token_count"][0] == 0x10


@pytest.mark.parametrize("batch", [0, -1, 2**32])
def test_no_such_batch(batch: int, path: Path) -> None:
    path.write_bytes(made(SUMMED))
    output = path.with_suffix(".gguf")
    with pytest.raises(ConversionError) as caught:
        convert(path, output, resume_with=ResumeWith(Order.FLASH, batch=batch))
    assert str(caught.value) == (
        f"{path}: expected a batch size from 1 to 4294967295, found {batch}; "
        "give the batch size of the training (the trainer's -b, 8 by default)"
    )
    assert not output.exists()


def test_a_format_error_names_the_file_to_callers_too(path: Path) -> None:
    counted(path, 30, 12, 191, 5)
    resume_with = ResumeWith(Order.FLASH, order=Order.SCRATCH)
    with pytest.raises(FormatError) as caught:
        convert(path, path.with_suffix(".gguf"), resume_with=resume_with)
    assert caught.value.file == str(path)


NO_EFFECT = "ggcp: --batch has no effect: only moments of summed gradients are scaled"
NOT_SCALED = (
    "ggcp: the state of L-BFGS is not scaled: its gradients are summed over a batch, and how "
    "trainers that read GGUF continue from there was not measured"
)


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (VERSION_1, [NO_EFFECT]),
        (replace(VERSION_1, optimizer_type=OptimizerType.LBFGS), [NO_EFFECT]),
        (replace(SUMMED, optimizer_type=OptimizerType.LBFGS), [NOT_SCALED, NO_EFFECT]),
        (Synthetic(**SMALL, optimizer_type=OptimizerType.LBFGS), [NOT_SCALED, NO_EFFECT]),  # type: ignore[arg-type]
    ],
)
def test_where_nothing_is_scaled_the_batch_has_no_effect(
    given: Synthetic, lines: list[str], path: Path
) -> None:
    path.write_bytes(made(given))
    assert resume(path, "--batch", 7).err == lines
    gguf = read(path.with_suffix(".gguf"))
    assert gguf.key("ggcp.gradient_rows").value == 1
    assert resume(path, "--force").err == lines[:-1]
    assert read(path.with_suffix(".gguf")) == gguf
