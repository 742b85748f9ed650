"""Verifying a GGUF with a reordered and scaled optimizer state, and what differs in wrong ones."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from gguf_bytes import ARRAY, STRING, U32, U64, Gguf
from reference import checkpoint as reference
from resumed import LORA, ORDERS, REAL, ggcp, reordered, resumed

from converter.use_cases.verify import verify

M = "optimizer.adam.first_moments"
V = "optimizer.adam.second_moments"
IS_SCRATCH = "x holds the model's tensors in the order scratch"
IS_FLASH = (
    "all zeros read in v lie in tok_embeddings in the order flash, "
    "log v varies least in the order flash (scratch 10.78, flash 4.814, plain 7.549)"
)


class Case:
    """The right GGUF of a real file, to be changed and compared."""

    def __init__(self, source: Path, folder: Path, target: str, rows: int) -> None:
        self.source = source
        self.path = folder / "changed.gguf"
        self.checkpoint = reference.read(source)
        self.stored = REAL[source.name][0]
        self.gguf = resumed(self.checkpoint, self.stored, target, rows)

    def differences(self, gguf: Gguf | None = None) -> list[str]:
        self.path.write_bytes((gguf or self.gguf).to_bytes())
        return verify(self.source, self.path)

    def from_byte(self, tensor: str, byte: int) -> str:
        """The line that says that a tensor differs from its byte ``byte`` on."""
        data = self.gguf.tensor(tensor).data
        start = self.path.read_bytes().index(data)
        return f"tensor {tensor}: the data differ from byte {start + byte:#x} of the file on"


@pytest.fixture
def summed(fixtures: Path, tmp_path: Path) -> Case:
    return Case(fixtures / "v0_adam_one.bin", tmp_path, "flash", 32)


@pytest.fixture
def mean(fixtures: Path, tmp_path: Path) -> Case:
    return Case(fixtures / "v1_adam_one.bin", tmp_path, "plain", 1)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("target", ORDERS)
def test_right_files(name: str, target: str, fixtures: Path, tmp_path: Path) -> None:
    case = Case(fixtures / name, tmp_path, target, REAL[name][1])
    assert case.differences() == []
    assert ggcp("verify", case.source, case.path).out == [f"{case.path}: the same as {case.source}"]


def test_another_batch_is_as_right_as_any(summed: Case) -> None:
    assert summed.differences(resumed(summed.checkpoint, "scratch", "flash", 16 * 7)) == []


def test_one_bit_of_a_scaled_moment(summed: Case) -> None:
    tensor = summed.gguf.tensor(V)
    data = bytearray(tensor.data)
    data[1000] ^= 1
    tensor.data = bytes(data)
    assert summed.differences() == [summed.from_byte(V, 1000)]
    assert ggcp("verify", summed.source, summed.path).code == 1


def test_two_tensors_swapped_in_a_vector(mean: Case) -> None:
    # Plain begins with output and norm; then come w2 and w1 of the last layer, of the same size.
    tensor = mean.gguf.tensor(M)
    size = 4 * mean.checkpoint.tensors["layers.1.feed_forward.w2.weight"].size
    start = 4 * (300 * 16 + 16)
    w2, w1 = (tensor.data[start + size * i : start + size * (i + 1)] for i in (0, 1))
    tensor.data = tensor.data[:start] + w1 + w2 + tensor.data[start + 2 * size :]
    first = next(i for i, (a, b) in enumerate(zip(w1, w2, strict=True)) if a != b)
    assert mean.differences() == [mean.from_byte(M, start + first)]


def test_not_scaled(summed: Case) -> None:
    names = {M: "m", V: "v"}
    for name, vector in names.items():
        data = reordered(
            summed.checkpoint.optimizer.vectors[vector], "scratch", "flash", summed.checkpoint
        )
        scaled, summed.gguf.tensor(name).data = summed.gguf.tensor(name).data, data.tobytes()
        assert summed.gguf.tensor(name).data != scaled
    found = summed.differences()
    assert [line.split(":")[0] for line in found] == [f"tensor {name}" for name in names]


def test_v_divided_by_rows_and_not_their_square(summed: Case) -> None:
    v = np.frombuffer(summed.gguf.tensor(V).data, "<f4") * 32
    summed.gguf.tensor(V).data = v.tobytes()
    (line,) = summed.differences()
    assert line.startswith(f"tensor {V}: the data differ from byte 0x")


def test_rows_that_were_changed(summed: Case) -> None:
    summed.gguf.key("ggcp.gradient_rows").value = 64
    found = summed.differences()
    assert [line.split(":")[0] for line in found] == [f"tensor {M}", f"tensor {V}"]


def test_rows_that_are_no_multiple_of_the_context(summed: Case) -> None:
    right = resumed(summed.checkpoint, "scratch", "flash", 1)
    assert summed.differences(right) == [
        "key ggcp.gradient_rows: expected a multiple of 16 (the context length), found 1"
    ]


def test_rows_where_nothing_is_scaled(mean: Case) -> None:
    scaled = resumed(mean.checkpoint, "flash", "plain", 32)
    assert mean.differences(scaled) == ["key ggcp.gradient_rows: expected 1, found 32"]


@pytest.mark.parametrize(
    ("name", "evidence"), [("v0_adam_one.bin", IS_SCRATCH), ("v1_adam_one.bin", IS_FLASH)]
)
def test_reordered_from_an_order_that_is_not_the_file_s(
    name: str, evidence: str, fixtures: Path, tmp_path: Path
) -> None:
    stored, rows = REAL[name]
    case = Case(fixtures / name, tmp_path, "flash", rows)
    for order in set(ORDERS) - {stored}:
        wrong = resumed(case.checkpoint, order, "plain", rows)
        assert case.differences(wrong) == [
            f"key ggcp.stored_parameter_order: expected {stored}, found {order} ({evidence})"
        ]


def test_the_stored_order_was_changed(mean: Case) -> None:
    mean.gguf.key("ggcp.stored_parameter_order").value = "scratch"
    found = mean.differences()
    assert found[0] == (
        f"key ggcp.stored_parameter_order: expected flash, found scratch ({IS_FLASH})"
    )
    assert [line.split(":")[0] for line in found[1:]] == [f"tensor {M}", f"tensor {V}"]


@pytest.mark.parametrize("target", ["flash", "scratch"])
def test_the_order_was_changed(target: str, mean: Case) -> None:
    mean.gguf.key("ggcp.parameter_order").value = target
    found = mean.differences()
    assert [line.split(":")[0] for line in found] == [f"tensor {M}", f"tensor {V}"]


def test_types(summed: Case) -> None:
    types = [(key.name, key.type) for key in summed.gguf.keys[-3:]]
    assert types == [
        ("ggcp.parameter_order", STRING),
        ("ggcp.stored_parameter_order", STRING),
        ("ggcp.gradient_rows", U64),
    ]
    summed.gguf.key("ggcp.gradient_rows").type = U32
    assert summed.differences() == [
        "key ggcp.gradient_rows: expected the type UINT64, found UINT32"
    ]


# fmt: off
UNREADABLE = {
    "ggcp.parameter_order": [(STRING, "sideways"), (U32, 1), (STRING, "\ud800")],
    "ggcp.stored_parameter_order": [(STRING, ""), (U64, 2), (ARRAY, (STRING, ["flash"]))],
    "ggcp.gradient_rows": [(U64, 0), (STRING, "32")],
}
# fmt: on


@pytest.mark.parametrize(
    ("key", "kind", "value"),
    [(key, kind, value) for key, changes in UNREADABLE.items() for kind, value in changes],
)
def test_keys_that_say_nothing_usable(key: str, kind: int, value: object, summed: Case) -> None:
    if value == "\ud800":
        data = summed.gguf.to_bytes().replace(b"flash", b"fl\xffsh", 1)
    else:
        changed = summed.gguf.key(key)
        changed.type, changed.value = kind, value
        data = summed.gguf.to_bytes()
    summed.path.write_bytes(data)
    found = verify(summed.source, summed.path)
    assert found[:4] == [
        "key ggcp.gradients: expected b'summed', found b'mean'",
        "key ggcp.parameter_order: not expected",
        "key ggcp.stored_parameter_order: not expected",
        "key ggcp.gradient_rows: not expected",
    ]
    assert [line.split(":")[0] for line in found[4:]] == [f"tensor {M}", f"tensor {V}"]


def test_a_key_is_missing(summed: Case) -> None:
    del summed.gguf.keys[-1]
    assert summed.differences()[:3] == [
        "key ggcp.gradients: expected b'summed', found b'mean'",
        "key ggcp.parameter_order: not expected",
        "key ggcp.stored_parameter_order: not expected",
    ]


@pytest.mark.parametrize("name", LORA)
@pytest.mark.parametrize("target", ORDERS)
def test_right_files_of_loras(name: str, target: str, fixtures: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.gguf"
    checkpoint = reference.read(fixtures / name)
    path.write_bytes(resumed(checkpoint, LORA[name], target, 1).to_bytes())
    assert verify(fixtures / name, path) == []


def test_wrong_keys_in_the_gguf_of_a_lora(fixtures: Path, tmp_path: Path) -> None:
    source, path = fixtures / "ggcl_1a5f0a30e_one_flash.bin", tmp_path / "out.gguf"
    evidence = (
        "all zeros read in v lie in tok_embeddings.b in the order flash, "
        "log v varies least in the order flash (flash 3.209, plain 3.354)"
    )
    for stored in set(ORDERS) - {"flash"}:
        path.write_bytes(resumed(reference.read(source), stored, "plain", 16).to_bytes())
        assert verify(source, path) == [
            f"key ggcp.stored_parameter_order: expected flash, found {stored} ({evidence})",
            "key ggcp.gradient_rows: expected 1, found 16",
        ]


def test_the_counters_give_no_context_length(summed: Case, tmp_path: Path) -> None:
    data = bytearray(summed.source.read_bytes())
    struct.pack_into("<I", data, 16, 191)
    source = tmp_path / "odd.bin"
    source.write_bytes(data)
    summed.path.write_bytes(summed.gguf.to_bytes())
    said = ggcp("verify", source, summed.path)
    assert said.code == 1
    assert said.err == [
        f"ggcp: {source}: training.token_count at offset 0x10: expected a multiple of 12 "
        "(sample_count), which gives the context length, found 191; the moments cannot be scaled; "
        "convert without --resume-with, as they are stored"
    ]
