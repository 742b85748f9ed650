"""GGUF's container: bytes written by hand are parsed, and built again, as ggml says."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from construct import Container
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType
from vocabulary_files import array, pair, text

from ggcp_schema import FormatError, Source
from ggcp_schema.gguf import (
    DEFAULT_ALIGNMENT,
    HEADER,
    KEY_VALUE,
    MOST_ELEMENTS,
    MOST_HEAD_BYTES,
    MOST_KEYS,
    MOST_NAME_BYTES,
    MOST_TEXT_BYTES,
    TENSOR_INFO,
    TensorType,
    ValueType,
)
from ggcp_schema.language.sink import Sink

DAMAGED = "the file is damaged, or not a GGUF; give another copy"
TOO_LARGE = "no GGUF in use is this large: the file is damaged or not a GGUF; give another copy"
CUT = "the file is cut short; look for a whole copy of it"
ANOTHER = "give another value"


def scope(elements_before: int = 0) -> Container:
    return Container(elements_before=elements_before, alignment=DEFAULT_ALIGNMENT)


def parsed(layout: Any, data: bytes, elements_before: int = 0) -> Any:
    with Source.over(io.BytesIO(data)) as source:
        found = layout._parse(source, scope(elements_before), "")
        assert source.read() == b""
    return found


def built(layout: Any, members: Any) -> bytes:
    file = io.BytesIO()
    sink = Sink(file)
    layout._build(members, sink, scope(), "")
    sink.flush()
    return file.getvalue()


def error_of(layout: Any, data: bytes, elements_before: int = 0) -> str:
    with pytest.raises(FormatError) as caught:
        parsed(layout, data, elements_before)
    return str(caught.value)


def build_error_of(layout: Any, members: Any) -> str:
    with pytest.raises(FormatError) as caught:
        built(layout, members)
    return str(caught.value)


def test_types_are_those_of_the_gguf_package() -> None:
    assert {kind.name: int(kind) for kind in ValueType} == {k.name: int(k) for k in GGUFValueType}
    names = {kind.name: int(kind) for kind in TensorType}
    assert {kind.name: int(kind) for kind in GGMLQuantizationType}.items() <= names.items()
    assert TensorType(8) is TensorType.Q8_0
    for kind, sizes in GGML_QUANT_SIZES.items():
        found = TensorType(kind)
        assert (found.block_elements, found.block_bytes) == sizes, kind


@pytest.mark.parametrize("version", [2, 3])
def test_header(version: int) -> None:
    # magic, version, tensors, pairs of key and value
    data = bytes.fromhex(
        "47475546 0v000000 0500000000000000 0100000000000000".replace("v", f"{version}")
    )
    members = {"magic": b"GGUF", "version": version, "tensor_count": 5, "metadata_count": 1}
    assert parsed(HEADER, data) == members
    assert built(HEADER, members) == data


SCALARS = [
    (0, "ff", 255),
    (1, "80", -128),
    (2, "feff", 65534),
    (3, "0080", -32768),
    (4, "ffffffff", 2**32 - 1),
    (5, "00000080", -(2**31)),
    (6, "0000c03f", 1.5),
    (7, "01", True),
    (10, "ffffffffffffffff", 2**64 - 1),
    (11, "0000000000000080", -(2**63)),
    (12, "9a9999999999b93f", 0.1),
]


@pytest.mark.parametrize(("kind", "digits", "value"), SCALARS)
def test_a_number_and_an_array_of_them(kind: int, digits: str, value: float) -> None:
    packed = bytes.fromhex(digits)
    data = text(b"k.y") + struct.pack("<I", kind) + packed
    found = parsed(KEY_VALUE, data)
    assert found == {"key": b"k.y", "type": kind, "offset": 15, "value": value}
    assert type(found.value) is type(value)
    assert built(KEY_VALUE, found) == data

    data = array("k.y", kind, 3, packed + bytes(len(packed)) + packed)
    found = parsed(KEY_VALUE, data)
    assert (found.value.element_type, found.value.count) == (kind, 3)
    elements = found.value.elements
    assert elements.tolist() == [value, 0, value]
    assert elements.dtype.itemsize == len(packed)
    assert not elements.flags.writeable
    assert built(KEY_VALUE, found) == data
    found.value.elements = elements.tolist()
    assert built(KEY_VALUE, found) == data


def test_a_text_and_an_array_of_them() -> None:
    data = bytes.fromhex("0100000000000000 61 08000000 0200000000000000 ff00")
    found = parsed(KEY_VALUE, data)
    assert found == {"key": b"a", "type": 8, "offset": 13, "value": b"\xff\x00"}
    assert built(KEY_VALUE, found) == data

    data = array("a", 8, 3, text(b"") + text(b"\xff") + text(b"bc"))
    found = parsed(KEY_VALUE, data)
    assert found.value.elements == (b"", b"\xff", b"bc")
    assert built(KEY_VALUE, found) == data


def test_arrays_of_nothing() -> None:
    for kind in set(ValueType) - {ValueType.ARRAY}:
        data = array("a", kind, 0, b"")
        found = parsed(KEY_VALUE, data)
        assert len(found.value.elements) == 0
        assert built(KEY_VALUE, found) == data


def test_tensor_info() -> None:
    # length and name, two dimensions: 3 and 2^40, type Q8_0, offset 64
    data = bytes.fromhex(
        "0100000000000000 77 02000000 0300000000000000 0000000000010000 08000000 4000000000000000"
    )
    members = {
        "name": b"w",
        "dimension_count": 2,
        "shape": (3, 2**40),
        "type": TensorType.Q8_0,
        "offset": 64,
    }
    assert parsed(TENSOR_INFO, data) == members
    assert built(TENSOR_INFO, members) == data


# Limits: at each it is read, one above it is the error.


def test_the_limit_of_keys() -> None:
    data = b"GGUF" + struct.pack("<IQQ", 3, 2**63, MOST_KEYS)
    assert parsed(HEADER, data).metadata_count == 65536
    assert error_of(HEADER, data[:16] + struct.pack("<Q", MOST_KEYS + 1)) == (
        "metadata_count at offset 0x10: expected at most 65536 pairs of key and value, "
        f"found 65537; {TOO_LARGE}"
    )


@pytest.mark.parametrize("layout", [KEY_VALUE, TENSOR_INFO])
def test_the_limit_of_a_name(layout: Any) -> None:
    rest = {KEY_VALUE: bytes(5), TENSOR_INFO: struct.pack("<IQIQ", 1, 1, 0, 0)}[layout]
    member = "key" if layout is KEY_VALUE else "name"
    found = parsed(layout, text(b"n" * MOST_NAME_BYTES) + rest)
    assert len(found[member]) == 65535
    expected = f"expected a name of at most 65535 bytes, found 65536 bytes; {TOO_LARGE}"
    too_long = b"n" * (MOST_NAME_BYTES + 1)
    assert error_of(layout, text(too_long) + rest) == f"{member} at offset 0x0: {expected}"
    assert build_error_of(layout, {**found, member: too_long}) == (
        f"{member} at offset 0x0: {expected}"
    )


def test_the_limit_of_a_text() -> None:
    found = parsed(KEY_VALUE, pair("a", 8, text(bytes(MOST_TEXT_BYTES))))
    assert len(found.value) == 1 << 24
    assert error_of(KEY_VALUE, pair("a", 8, text(bytes(MOST_TEXT_BYTES + 1)))) == (
        "value at offset 0xd: expected a text of at most 16777216 bytes, "
        f"found 16777217 bytes; {TOO_LARGE}"
    )


def test_the_limit_of_elements_of_all_arrays() -> None:
    data = array("a", 0, 3, b"abc")
    assert len(parsed(KEY_VALUE, data, MOST_ELEMENTS - 3).value.elements) == 3
    assert error_of(KEY_VALUE, data, MOST_ELEMENTS - 2) == (
        "value.count at offset 0x11: expected at most 2097152 elements in all arrays, "
        f"found 3; {TOO_LARGE}"
    )
    whole = array("a", 7, MOST_ELEMENTS, bytes(MOST_ELEMENTS))
    assert not parsed(KEY_VALUE, whole).value.elements.any()


@pytest.mark.parametrize("beyond", [0, 1])
def test_dimensions_at_the_limit_of_the_whole_head(beyond: int, tmp_path: Path) -> None:
    path = tmp_path / "large.gguf"
    head = struct.pack("<QcI", 1, b"a", 2)
    with path.open("wb") as file:  # a hole, and the end of the last tensor's record
        file.seek(MOST_HEAD_BYTES - len(head) - 16 + beyond)
        file.write(head + struct.pack("<QQIQ", 2**64 - 1, 3, 0, 0))
    with Source.open(path) as source:
        source.seek(MOST_HEAD_BYTES - len(head) - 16 + beyond)
        if not beyond:
            assert TENSOR_INFO._parse(source, scope(), "").shape == (2**64 - 1, 3)
            return
        with pytest.raises(FormatError) as caught:
            TENSOR_INFO._parse(source, scope(), "")
    place = MOST_HEAD_BYTES - 15
    assert str(caught.value).endswith(
        f"shape at offset {place:#x}: expected everything before the data in the first 67108864 "
        f"bytes, found 16 bytes at {place}; {TOO_LARGE}"
    )


class Zeros(io.RawIOBase):
    """A file of zeros, of any size."""

    def __init__(self, size: int) -> None:
        self.size = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:] = bytes(len(buffer))
        return len(buffer)

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self.place = offset if whence == 0 else self.size
        return self.place

    def tell(self) -> int:
        return self.place


@pytest.mark.parametrize(
    ("layout", "least"),
    [(KEY_VALUE, 8 + 4 + 1), (TENSOR_INFO, 8)],  # an empty name, UINT8 0; of a tensor just a name
)
def test_the_limit_of_the_whole_head(layout: Any, least: int) -> None:
    with Source.over(Zeros(1 << 40)) as source:  # type: ignore[arg-type]
        if layout is KEY_VALUE:
            source.seek(MOST_HEAD_BYTES - least)
            assert layout._parse(source, scope(), "").value == 0
            assert source.tell() == MOST_HEAD_BYTES
        source.seek(MOST_HEAD_BYTES - least + 1)
        with pytest.raises(FormatError) as caught:
            layout._parse(source, scope(), "")
    member, place, length = (
        ("value", 0x4000000, 1) if layout is KEY_VALUE else ("name", 0x3FFFFF9, 8)
    )
    assert str(caught.value) == (
        f"{member} at offset {place:#x}: expected everything before the data in the first 67108864 "
        f"bytes, found {length} bytes at {place}; {TOO_LARGE}"
    )


# What cannot be built


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "text"}, "key at offset 0x0: expected bytes, found str"),
        ({"value": 256}, "value at offset 0xd: expected a UINT8, found 256"),
        ({"value": "x"}, "value at offset 0xd: expected a UINT8, found x"),
        ({"type": 13}, "type at offset 0x9: expected a GGUF value type, 0 to 12, found 13"),
        ({"type": 8, "value": 5}, "value at offset 0xd: expected bytes, found int"),
        (
            {"type": 9, "value": {"element_type": 0, "count": 2, "elements": [1]}},
            "value.elements at offset 0x19: expected 2 elements, as the count says, found 1",
        ),
        (
            {"type": 9, "value": {"element_type": 0, "count": 2, "elements": [1, -1]}},
            "value.elements[1] at offset 0x1a: expected a UINT8, found -1",
        ),
        (
            {"type": 9, "value": {"element_type": 9, "count": 0, "elements": []}},
            "value.element_type at offset 0xd: expected an array of numbers or texts, found 9",
        ),
    ],
)
def test_a_key_that_cannot_be_built(change: dict[str, Any], message: str) -> None:
    found = build_error_of(KEY_VALUE, {"key": b"a", "type": 0, "value": 1, **change})
    assert found.startswith(f"{message}; ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"dimension_count": 0},
            "dimension_count at offset 0x9: expected 1 to 4 dimensions, found 0",
        ),
        ({"shape": (1,)}, "shape at offset 0xd: expected 2 whole numbers of 64 bits, found [1]"),
        (
            {"shape": (1, -1)},
            "shape at offset 0xd: expected 2 whole numbers of 64 bits, found [1, -1]",
        ),
        ({"type": 4}, "type at offset 0x1d: expected a type of tensor that ggml has, found 4"),
        ({"offset": 33}, "offset at offset 0x21: expected a multiple of 32, found 33"),
        (
            {"offset": 2**64},
            "offset at offset 0x21: expected a whole number from 0 to 18446744073709551615, "
            f"found {2**64}",
        ),
    ],
)
def test_a_tensor_info_that_cannot_be_built(change: dict[str, Any], message: str) -> None:
    members = {"name": b"w", "dimension_count": 2, "shape": (1, 1), "type": 0, "offset": 0}
    assert build_error_of(TENSOR_INFO, {**members, **change}).startswith(f"{message}; ")


def test_numpy_arrays_are_built() -> None:
    members = {"element_type": 4, "count": 2, "elements": np.array([1, 2], np.uint32)}
    data = built(KEY_VALUE, {"key": b"a", "type": 9, "value": members})
    assert data == array("a", 4, 2, struct.pack("<2I", 1, 2))
