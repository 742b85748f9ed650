"""What differs between a GGUF and its plan is found, and said in short lines for a terminal."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vocabulary_files import array, gguf, pair, text

from converter.gguf_io.comparison import differences, read_made
from converter.plan import Metadata, Plan, PlannedTensor
from ggcp_schema import FormatError, Source
from ggcp_schema.gguf import MOST_NAME_BYTES, ValueType

LLAMA = pair("general.architecture", 8, text(b"llama"))
ARRAY, STRING = ValueType.ARRAY, ValueType.STRING
NAN = struct.pack("<I", 0x7FC12345)
"""A NaN of another payload than Python's."""


def found(folder: Path, plan: Plan, *keys: bytes, tensors: tuple[bytes, ...] = ()) -> list[str]:
    path = folder / "made.gguf"
    head = gguf(LLAMA, *keys, tensors=len(tensors)) + b"".join(tensors)
    path.write_bytes(head + bytes(-len(head) % 32))
    with Source.open(path) as made:
        return list(differences(plan, read_made(made)))


def one(folder: Path, expected: Metadata, *keys: bytes) -> list[str]:
    return found(folder, Plan("llama", (expected,), ()), *keys)


FLOATS = [
    (ValueType.FLOAT32, "<f", NAN),
    (ValueType.FLOAT64, "<d", struct.pack("<d", math.nan)),
]


@pytest.mark.parametrize(("kind", "layout", "nan"), FLOATS)
@pytest.mark.parametrize("array_type", [tuple, np.array], ids=["tuple", "array"])
def test_nan_is_nan_and_zero_has_a_sign(
    array_type: Any, kind: ValueType, layout: str, nan: bytes, tmp_path: Path
) -> None:
    zero, minus = struct.pack(layout, 0.0), struct.pack(layout, -0.0)
    number = Metadata("a", kind, math.nan)
    assert one(tmp_path, number, pair("a", kind, nan)) == []
    assert one(tmp_path, number, pair("a", kind, zero)) == ["key a: expected nan, found 0.0"]
    assert one(tmp_path, Metadata("a", kind, 0.0), pair("a", kind, minus)) == [
        "key a: expected 0.0, found -0.0"
    ]
    numbers = Metadata("a", ARRAY, array_type((math.nan, 0.0)), kind)
    assert one(tmp_path, numbers, array("a", kind, 2, nan + zero)) == []
    assert one(tmp_path, numbers, array("a", kind, 2, nan + minus)) == [
        "key a[1]: expected 0.0, found -0.0"
    ]
    assert one(tmp_path, numbers, array("a", kind, 2, zero + zero)) == [
        "key a[0]: expected nan, found 0.0"
    ]


def test_numbers_of_arrays_are_shown_as_they_are(tmp_path: Path) -> None:
    for kind, value, packed, shown in (
        (ValueType.UINT64, 1, b"\xff" * 8, f"1, found {2**64 - 1}"),
        (ValueType.INT8, -1, b"\x80", "-1, found -128"),
        (ValueType.BOOL, True, b"\0", "True, found False"),
        (ValueType.FLOAT32, 0.1, bytes(4), "0.10000000149011612, found 0.0"),
    ):
        expected = Metadata("a", ARRAY, (value,), kind)
        complaint = f"key a[0]: expected {shown}"
        assert one(tmp_path, expected, array("a", kind, 1, packed)) == [complaint]


def test_an_array_without_elements_has_a_type(tmp_path: Path) -> None:
    expected = Metadata("a", ARRAY, ("x",), STRING)
    assert one(tmp_path, expected, array("a", 8, 0, b"")) == ["key a: expected 1 elements, found 0"]
    assert one(tmp_path, expected, array("a", 4, 0, b"")) == [
        "key a: expected the type ARRAY of STRING, found ARRAY of UINT32"
    ]


def test_texts_are_cut_and_printable(tmp_path: Path) -> None:
    long = "\x1b[2J" * (1 << 20)
    shown = "b'" + r"\x1b[2J" * 7 + r"\x1b[2" + "..."
    assert len(shown) == 60
    assert one(tmp_path, Metadata("a", STRING, "x"), pair("a", 8, text(long.encode()))) == [
        f"key a: expected b'x', found {shown}"
    ]
    assert one(tmp_path, Metadata("a", STRING, "x"), pair("a", 8, text(b"\xff"))) == [
        "key a: expected b'x', found b'\\xff'"
    ]


LONG = "\u202e\x1b[31m" + "x" * (MOST_NAME_BYTES - 8)
SHOWN = "\\u202e\\x1b[31m" + "x" * 71 + "..."
"""Its first 77 characters."""


def test_names_in_the_file_are_cut_and_printable(tmp_path: Path) -> None:
    info = text(LONG.encode()) + struct.pack("<IQIQ", 1, 0, 0, 0)
    lines = found(tmp_path, Plan("llama", (), ()), pair(LONG, 0, b"\0"), tensors=(info,))
    assert lines == [f"key {SHOWN}: not expected", f"tensor {SHOWN}: not expected"]


def test_names_in_the_plan_are_too(tmp_path: Path) -> None:
    """They may come from the base of a merge."""
    metadata = Metadata(LONG, ValueType.UINT8, 1)
    plan = Plan("llama", (metadata,), (PlannedTensor(LONG, (1,), ()),))
    info = text(LONG.encode()) + struct.pack("<IQIQ", 1, 0, 0, 0)
    assert found(tmp_path, plan) == [f"key {SHOWN}: missing", f"tensor {SHOWN}: missing"]
    assert found(tmp_path, plan, pair(LONG, 0, b"\0"), tensors=(info,)) == [
        f"key {SHOWN}: expected 1, found 0",
        f"tensor {SHOWN}: expected the dimensions (1,), found (0,)",
    ]


def test_a_name_of_80_characters_is_whole(tmp_path: Path) -> None:
    for length, shown in ((80, "x" * 80), (81, "x" * 77 + "...")):
        lines = found(tmp_path, Plan("llama", (), ()), pair("x" * length, 0, b"\0"))
        assert lines == [f"key {shown}: not expected"]


def test_names_in_errors_are_cut_and_printable(tmp_path: Path) -> None:
    twice = pair(LONG, 0, b"\0")
    with pytest.raises(FormatError) as caught:
        found(tmp_path, Plan("llama", (), ()), twice, twice)
    assert caught.value.found == f"'{SHOWN}' again"
    info = text(LONG.encode()) + struct.pack("<IQIQ", 1, 2**40, 0, 0)
    with pytest.raises(FormatError) as caught:
        found(tmp_path, Plan("llama", (), ()), tensors=(info,))
    assert caught.value.path == f"tensor {SHOWN}"
