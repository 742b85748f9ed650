"""The reader of GGUF: what it reads, and each defect with its message."""

from __future__ import annotations

import contextlib
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from hypothesis import given, settings
from hypothesis import strategies as st
from lora_models import base_weights, write_base
from vocabulary_files import array, gguf, pair, text

from converter.gguf_io.reader import read_gguf, read_keys
from ggcp_schema import FormatError, Source
from ggcp_schema.gguf import MOST_WIDE_BYTES, TensorType, ValueType

DAMAGED, OTHER = "give another copy", "give a GGUF"
SAID = "the file is damaged, or not a GGUF; give another copy"
"""What the schema says to do where the caller does not."""
SIZES = {"n_embd": 4, "n_vocab": 300, "n_ff": 6, "n_layer": 1, "n_head": 1, "n_rot": 4}


def info(
    name: bytes = b"w", dims: tuple[int, ...] = (2, 3), kind: int = 0, offset: int = 0
) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def model(*infos: bytes, keys: tuple[bytes, ...] = (), data: int = 24) -> bytes:
    """A GGUF whose data are zeros."""
    head = gguf(*keys, tensors=len(infos)) + b"".join(infos)
    return head + bytes(-len(head) % 32) + bytes(data)


def error_of(data: bytes, folder: Path) -> str:
    path = folder / "base.gguf"
    path.write_bytes(data)
    with Source.open(path) as source, pytest.raises(FormatError) as caught:
        read_gguf(source, damaged=DAMAGED, other=OTHER)
    return str(caught.value).removeprefix(f"{path}: ")


def test_keys_and_tensors(tmp_path: Path) -> None:
    path = tmp_path / "base.gguf"
    write_base(path, SIZES, base_weights(SIZES))
    oracle = GGUFReader(path)
    with Source.open(path) as source:
        found = read_gguf(source)
        fields = {n: f for n, f in oracle.fields.items() if not n.startswith("GGUF.")}
        assert list(found.keys) == list(fields)
        for name, field in fields.items():
            metadata = found.keys[name].metadata
            kinds = [metadata.type, metadata.element_type][: len(field.types)]
            assert kinds == field.types[: len(kinds)]
            if ValueType.STRING not in field.types:
                array = isinstance(metadata.value, np.ndarray)
                assert array == (field.types[0] == ValueType.ARRAY)
                assert field.contents() == (metadata.value.tolist() if array else metadata.value)
        assert found.value("general.name") == "A base"
        assert found.value("general.nothing") is None
        assert found.keys["test.texts"].metadata.value == (b"a", b"\xff")
        assert found.value("test.texts") is found.keys["test.texts"].metadata
        assert (found.version, found.alignment) == (3, oracle.alignment)
        assert found.data_offset == oracle.data_offset
        assert list(found.tensors) == [tensor.name for tensor in oracle.tensors]
        for tensor in oracle.tensors:
            span = found.tensors[tensor.name].data
            assert source.read_at(span.offset, span.length) == tensor.data.tobytes()
            assert span.shape == tuple(tensor.shape.tolist())


def test_a_text_that_is_not_utf_8_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "base.gguf"
    path.write_bytes(model(info(), keys=(pair("general.name", 8, text(b"\xff")),)))
    with Source.open(path) as source:
        assert read_gguf(source).value("general.name") == b"\xff"


def test_alignment_is_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "base.gguf"
    head = gguf(pair("general.alignment", 4, struct.pack("<I", 64)), tensors=1) + info()
    path.write_bytes(head + bytes(-len(head) % 64) + np.arange(6, dtype="<f4").tobytes())
    with Source.open(path) as source:
        assert read_gguf(source).tensors["w"].data.array().ravel().tolist() == [0, 1, 2, 3, 4, 5]


# Defects


def test_not_a_gguf(tmp_path: Path) -> None:
    assert error_of(b"lmgg" + bytes(60), tmp_path) == (
        f"magic at offset 0x0: expected 'GGUF', found 'lmgg'; {OTHER}"
    )


def test_hints_that_the_caller_does_not_give(tmp_path: Path) -> None:
    path = tmp_path / "base.gguf"
    for data, hint in (
        (b"lmgg" + bytes(60), "the file is damaged, or not what its first bytes say; "),
        (model(info(kind=99)), SAID),
    ):
        path.write_bytes(data)
        with Source.open(path) as source, pytest.raises(FormatError) as caught:
            read_gguf(source)
        assert caught.value.file == str(path)
        assert caught.value.hint.startswith(hint)


def test_version_1(tmp_path: Path) -> None:
    assert error_of(gguf(version=1), tmp_path) == (
        f"version at offset 0x4: expected GGUF version 2 or 3, found 1; {OTHER}"
    )


def test_more_tensors_than_any_model_has(tmp_path: Path) -> None:
    assert error_of(gguf(tensors=2**63), tmp_path) == (
        f"tensor_count at offset 0x8: expected at most 65536 tensors, found {2**63}; {DAMAGED}"
    )


def test_fewer_tensors_than_announced(tmp_path: Path) -> None:
    assert error_of(gguf(tensors=1), tmp_path) == (
        "tensors[0].name at offset 0x18: expected 8 bytes, found 0 bytes and the end of the file; "
        + DAMAGED
    )


def test_an_array_longer_than_the_file(tmp_path: Path) -> None:
    data = model(info(), keys=(array("a", 4, 2**20, b""),))
    left = len(data) - 0x31
    assert error_of(data, tmp_path) == (
        f"metadata[0].value.elements at offset 0x31: expected {4 * 2**20} bytes, found {left} "
        f"bytes and the end of the file; {DAMAGED}"
    )


def test_an_array_of_2_to_the_63(tmp_path: Path) -> None:
    assert error_of(model(info(), keys=(array("a", 8, 2**63, b""),)), tmp_path) == (
        "metadata[0].value.count at offset 0x29: expected at most 2097152 elements in all arrays, "
        f"found {2**63}; {DAMAGED}"
    )


def test_an_array_of_arrays(tmp_path: Path) -> None:
    assert error_of(model(info(), keys=(array("a", 9, 1, b""),)), tmp_path) == (
        "metadata[0].value.element_type at offset 0x25: expected an array of numbers or texts, "
        f"found 9; {DAMAGED}"
    )


def test_a_key_twice(tmp_path: Path) -> None:
    twice = (pair("a", 0, b"\1"), pair("a", 0, b"\2"))
    assert error_of(model(info(), keys=twice), tmp_path) == (
        f"metadata[1] at offset 0x26: expected a name that no other has, found 'a' again; {DAMAGED}"
    )


def test_a_key_that_is_not_utf_8(tmp_path: Path) -> None:
    broken = text(b"\xff") + struct.pack("<IB", 0, 1)
    assert error_of(model(info(), keys=(broken,)), tmp_path) == (
        f"metadata[0] at offset 0x18: expected a name in UTF-8, found '\\xff'; {DAMAGED}"
    )


def test_a_tensor_without_a_name(tmp_path: Path) -> None:
    assert error_of(model(info(b"")), tmp_path) == (
        f"tensors[0] at offset 0x18: expected a name that no other has, found no name; {DAMAGED}"
    )


def test_a_tensor_twice(tmp_path: Path) -> None:
    assert error_of(model(info(), info()), tmp_path) == (
        f"tensors[1] at offset 0x41: expected a name that no other has, found 'w' again; {DAMAGED}"
    )


@pytest.mark.parametrize("count", [0, 5])
def test_no_dimensions_or_five(count: int, tmp_path: Path) -> None:
    assert error_of(model(info(dims=(1,) * count)), tmp_path) == (
        "tensors[0].dimension_count at offset 0x21: expected 1 to 4 dimensions, "
        f"found {count}; {DAMAGED}"
    )


def test_a_type_that_nobody_knows(tmp_path: Path) -> None:
    assert error_of(model(info(kind=99)), tmp_path) == (
        "tensors[0].type at offset 0x35: expected a type of tensor that ggml has, "
        f"found 99; {DAMAGED}"
    )


def test_data_that_are_not_aligned(tmp_path: Path) -> None:
    assert error_of(model(info(offset=4)), tmp_path) == (
        f"tensors[0].offset at offset 0x39: expected a multiple of 32, found 4; {DAMAGED}"
    )


@pytest.mark.parametrize("dims", [(2, 4), (2**62, 2**62), (2**63,)])
def test_data_past_the_end(dims: tuple[int, ...], tmp_path: Path) -> None:
    length = 4 * int(np.prod([int(n) for n in dims], dtype=object))
    start = len(model(info(dims=dims), data=0))
    assert error_of(model(info(dims=dims)), tmp_path) == (
        f"tensor w at offset {start:#x}: expected {length} bytes of data, "
        f"found 24 bytes and the end of the file; {DAMAGED}"
    )


def test_a_row_that_is_no_whole_number_of_blocks(tmp_path: Path) -> None:
    kind = int(TensorType.Q8_0)
    assert error_of(model(info(dims=(33,), kind=kind), data=64), tmp_path) == (
        "tensor w at offset 0x18: expected rows of whole blocks of 32 (Q8_0), "
        f"found the dimensions [33]; {DAMAGED}"
    )


def test_text_that_is_not_ascii_has_a_limit_of_its_own(tmp_path: Path) -> None:
    """Python takes four bytes for each character of a text with one llama in it."""
    path = tmp_path / "wide.gguf"
    llama, half = "🦙", MOST_WIDE_BYTES // 2
    keys = (
        pair("a", 8, text(llama.encode().ljust(half - 5, b"x"))),
        pair("b", 8, text(llama.encode().ljust(half, b"x"))),
        pair(llama + "x", 0, b"\0"),
        pair("c", 8, text(bytes(half))),
    )
    path.write_bytes(gguf(*keys))
    with Source.open(path) as source:
        assert len(read_keys(source)) == 4
    message = error_of(gguf(*keys, pair("é", 0, b"\0")), tmp_path)
    assert message == (
        f"metadata[4] at offset {len(gguf(*keys)):#x}: expected at most 8388608 bytes of text that "
        f"is not ASCII, found 8388610 bytes; {DAMAGED}"
    )


@pytest.mark.parametrize(("kind", "value"), [(4, 0), (4, 48), (4, 2**31), (10, 32)])
def test_an_alignment_that_is_none(kind: int, value: int, tmp_path: Path) -> None:
    packed = struct.pack("<I" if kind == 4 else "<Q", value)
    message = error_of(model(info(), keys=(pair("general.alignment", kind, packed),)), tmp_path)
    assert message == (
        "general.alignment at offset 0x35: expected a power of two as UINT32, at most 65536, found "
        f"{value} as {ValueType(kind).name}; {DAMAGED}"
    )


@pytest.mark.parametrize("kind", [0, 4])
def test_an_alignment_that_is_an_array(kind: int, tmp_path: Path) -> None:
    key = array("general.alignment", kind, 1, struct.pack("<I", 32)[: kind or 1])
    assert error_of(model(info(), keys=(key,)), tmp_path) == (
        "general.alignment at offset 0x35: expected a power of two as UINT32, at most 65536, "
        f"found ARRAY; {DAMAGED}"
    )


def test_tensors_that_overlap(tmp_path: Path) -> None:
    assert error_of(model(info(), info(b"v")), tmp_path) == (
        "tensors at offset 0x80: expected 48 bytes of data, if no two tensors overlap, found 24 "
        f"bytes to the end of the file; {DAMAGED}"
    )


def test_every_cut(tmp_path: Path) -> None:
    keys = (pair("general.architecture", 8, text(b"llama")), array("a", 4, 2, bytes(8)))
    whole = model(info(), info(b"v", (2,), offset=32), keys=keys, data=40)
    for length in range(len(whole)):
        assert error_of(whole[:length], tmp_path).endswith((OTHER, DAMAGED)), length


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 10**6), byte=st.integers(1, 255))
def test_a_changed_byte_is_read_or_refused_in_no_time(
    place: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.gguf"
    whole = tmp_path_factory.getbasetemp() / "whole.gguf"
    if not whole.exists():
        write_base(whole, SIZES, base_weights(SIZES))
    data = bytearray(whole.read_bytes())
    with Source.open(whole) as source:
        head = min(tensor.data.offset for tensor in read_gguf(source).tensors.values())
    data[place % head] ^= byte
    path.write_bytes(data)
    started = time.process_time()
    with Source.open(path) as source, contextlib.suppress(FormatError):
        read_gguf(source)
    assert time.process_time() - started < 5
