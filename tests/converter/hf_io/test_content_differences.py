"""What is said of a file of a folder that is not as it should be."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from converter.hf_io.comparison import content_differences
from converter.parts import Computed
from converter.plan import PlannedFile, PlannedTensor
from ggcp_schema import Source

MIB = 1 << 20


def differences(planned: PlannedFile, found: bytes) -> list[str]:
    return list(content_differences(planned, Source.over(io.BytesIO(found))))


def in_json(expected: Any, found: bytes) -> list[str]:
    return differences(PlannedFile.of("a.json", json.dumps(expected).encode()), found)


@pytest.mark.parametrize("found", [b"1.0", b"true"])
def test_a_number_is_no_other_kind_of_value(found: bytes) -> None:
    line = f"a.json: key a.b: expected 1, found {found.decode()}"
    assert in_json({"a": {"b": 1}}, b'{"a": {"b": %s}}' % found) == [line]


def test_values_that_are_written_in_another_way() -> None:
    assert in_json({"a": 1}, b'{"a":1}') == ["a.json: the same values, written in another way"]
    assert in_json({"a": 1}, b'{"a": 1}') == []


def test_a_file_of_json_is_counted_whole() -> None:
    planned = PlannedFile.of("a.json", b"{}")
    for found in (b"{}", b"[]"):
        counts: list[int] = []
        list(content_differences(planned, Source.over(io.BytesIO(found)), counts.append))
        assert counts == [2]


def test_a_name_in_json_is_never_as_it_was_found() -> None:
    assert in_json({}, b'{"\\u001b[1m": {}}') == [r"a.json: key \x1b[1m: not expected"]


@pytest.mark.parametrize(
    ("letters", "shown"), [(58, f'"{58 * "a"}"'), (59, f'"{56 * "a"}...')], ids=["60", "61"]
)
def test_a_value_of_more_than_60_characters_is_cut(letters: int, shown: str) -> None:
    found = json.dumps(letters * "a").encode()
    assert in_json(None, found) == [f"a.json: key : expected null, found {shown}"]


def test_json_that_is_too_deep_to_read() -> None:
    assert in_json({}, 100_000 * b"[") == [
        "a.json: expected JSON as it was written, found something else"
    ]


def test_no_more_than_a_megabyte_is_read_as_json() -> None:
    found = b"{}" + MIB * b" "
    assert in_json({}, found[:MIB]) == ["a.json: the same values, written in another way"]
    assert in_json({}, found[: MIB + 1]) == ["a.json: expected 2 bytes, found 1048577"]


def test_a_block_of_any_length_is_compared_and_counted_whole() -> None:
    content = bytes(3 * MIB + 5)
    planned = PlannedFile.of("a.bin", content)
    counts: list[int] = []
    assert list(content_differences(planned, Source.over(io.BytesIO(content)), counts.append)) == []
    assert counts == [MIB, MIB, MIB, 5]
    line = "a.bin: the data differ from byte {} of the file on"
    for at in (0, MIB, 3 * MIB + 4):
        found = content[:at] + b"\x01" + content[at + 1 :]
        assert differences(planned, found) == [line.format(hex(at))]


HEAD = 100
SIZES = {"a": 8, "b": 3 * MIB, "c": 4}


def test_each_byte_belongs_to_a_tensor_or_the_head() -> None:
    content = bytes(HEAD + sum(SIZES.values()))
    tensors = tuple(PlannedTensor(name, (size // 4,), ()) for name, size in SIZES.items())
    planned = PlannedFile("a.bin", (Computed(len(content), lambda: (content,)),), tensors)

    def differing(*places: int) -> list[str]:
        found = bytearray(content)
        for at in places:
            found[at] = 1
        return differences(planned, bytes(found))

    line = "a.bin{}: the data differ from byte {} of the file on".format
    b = HEAD + 8
    c = b + 3 * MIB
    assert differing(0) == [line("", "0x0")]
    assert differing(HEAD - 1) == [line("", "0x63")]
    assert differing(HEAD) == [line(": tensor a", "0x64")]
    assert differing(b - 1) == [line(": tensor a", "0x6b")]
    assert differing(b) == [line(": tensor b", "0x6c")]
    assert differing(c - 1) == [line(": tensor b", hex(c - 1))]
    assert differing(c) == [line(": tensor c", hex(c))]
    assert differing(c + 3) == [line(": tensor c", hex(c + 3))]
    # Once for each tensor, though several blocks of it differ.
    assert differing(5, MIB, 2 * MIB) == [line("", "0x5"), line(": tensor b", hex(MIB))]
