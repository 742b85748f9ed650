"""A damaged GGUF is an error at once, whatever its counts claim."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from gguf_bytes import ARRAY, STRING, U32, Gguf, Key, Tensor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converter.gguf_io.comparison import read_made
from ggcp_schema import FormatError, Source

HINT = "the file is damaged or no GGUF; convert the checkpoint again"
SMALL = Gguf(
    [
        Key("general.architecture", STRING, "llama"),
        Key("general.file_type", U32, 0),
        Key("some.names", ARRAY, (STRING, ["a", "bc"])),
        Key("some.numbers", ARRAY, (U32, [1, 2, 3])),
        Key("some.name", STRING, "abc"),
    ],
    [Tensor("one.weight", (2, 3), bytes(range(24))), Tensor("two.weight", (1,), b"abcd")],
)
Opened = Callable[[bytes], str]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """Open bytes as a GGUF and return what is complained about."""

    def opened(data: bytes) -> str:
        path = tmp_path / "damaged.gguf"
        path.write_bytes(data)
        try:
            with Source.open(path) as made:
                read_made(made)
                return ""
        except FormatError as error:
            return str(error).removeprefix(f"{path}: ").removesuffix(f"; {HINT}")

    return opened


WHOLE = SMALL.to_bytes()
NAMES = WHOLE.index(b"some.names") + 10  # the type, the elements' type, their count
NUMBERS = WHOLE.index(b"some.numbers") + 12
ONE = WHOLE.index(b"one.weight")
TWO = WHOLE.index(b"two.weight")


def huge(number: int = 2**60) -> bytes:
    return struct.pack("<Q", number)


def left(offset: int) -> str:
    return f"{len(WHOLE) - offset} bytes and the end of the file"


# What is written where, and what is said about it.
DAMAGE = {
    "magic": (
        0,
        b"pcgg",
        "magic at offset 0x0: expected a GGUF that was made of the checkpoint, found a training "
        "checkpoint (ggcp); give the checkpoint first, and second what ggcp convert or export made "
        "of it",
    ),
    "version": (4, b"\1", "version at offset 0x4: expected GGUF version 2 or 3, found 1"),
    "length of a key": (
        *(24, huge()),
        f"metadata[0].key at offset 0x20: expected {2**60} bytes, found {left(32)}",
    ),
    "type of a value": (
        *(NAMES, b"\x0d"),
        f"metadata[2].type at offset {NAMES:#x}: expected a GGUF value type, 0 to 12, found 13",
    ),
    "array of arrays": (
        *(NAMES + 4, b"\x09"),
        f"metadata[2].value.element_type at offset {NAMES + 4:#x}: "
        "expected an array of numbers or texts, found 9",
    ),
    "count of texts": (
        *(NAMES + 8, huge()),
        f"metadata[2].value.count at offset {NAMES + 8:#x}: "
        f"expected at most 2097152 elements in all arrays, found {2**60}",
    ),
    "count of texts within the limit": (
        *(NAMES + 8, huge(2**20)),
        f"metadata[2].value.elements at offset {NAMES + 16:#x}: expected {2**23} bytes, "
        f"found {left(NAMES + 16)}",
    ),
    "length of a text": (
        *(NAMES + 16, huge()),
        f"metadata[2].value.elements[0] at offset {NAMES + 24:#x}: expected {2**60} bytes, "
        f"found {left(NAMES + 24)}",
    ),
    "count of numbers": (
        *(NUMBERS + 8, huge()),
        f"metadata[3].value.count at offset {NUMBERS + 8:#x}: "
        f"expected at most 2097152 elements in all arrays, found {2**60}",
    ),
    "count of numbers within the limit": (
        *(NUMBERS + 8, huge(2**20)),
        f"metadata[3].value.elements at offset {NUMBERS + 16:#x}: expected {2**22} bytes, "
        f"found {left(NUMBERS + 16)}",
    ),
    "length of a tensor's name": (
        *(ONE - 8, huge()),
        f"tensors[0].name at offset {ONE:#x}: expected {2**60} bytes, found {left(ONE)}",
    ),
    "number of dimensions": (
        *(ONE + 10, b"\5"),
        f"tensors[0].dimension_count at offset {ONE + 10:#x}: expected 1 to 4 dimensions, found 5",
    ),
    "type of a tensor": (
        *(ONE + 30, b"\xff"),
        f"tensors[0].type at offset {ONE + 30:#x}: expected a type of tensor that ggml has, "
        "found 255",
    ),
    "dimension": (
        *(TWO + 14, huge()),
        f"tensor two.weight at offset {len(WHOLE) - 32:#x}: expected {2**62} bytes of data, "
        f"found {left(len(WHOLE) - 32)}",
    ),
    "offset": (
        *(TWO + 26, huge()),
        f"tensor two.weight at offset {len(WHOLE) - 64 + 2**60:#x}: expected 4 bytes of data, "
        "found 0 bytes and the end of the file",
    ),
}


def test_sound_file(opened: Opened) -> None:
    assert opened(WHOLE) == ""


@pytest.mark.parametrize("what", DAMAGE)
def test_damage(what: str, opened: Opened) -> None:
    at, data, complaint = DAMAGE[what]
    assert opened(WHOLE[:at] + data + WHOLE[at + len(data) :]) == complaint


@pytest.mark.parametrize("at", [8, 16])
def test_huge_count_of_keys_or_tensors(at: int, opened: Opened) -> None:
    assert opened(WHOLE[:at] + huge() + WHOLE[at + 8 :]) != ""


@pytest.mark.parametrize("name", ["", "general.file_type"])
def test_key_without_a_name_of_its_own(name: str, opened: Opened) -> None:
    changed = copy.deepcopy(SMALL)
    changed.keys.append(Key(name, U32, 0))
    complaint = opened(changed.to_bytes())
    assert complaint.startswith("metadata[5] at offset ")
    found = f"'{name}' again" if name else "no name"
    assert complaint.endswith(f": expected a name that no other has, found {found}")


@pytest.mark.parametrize("alignment", [0, 24])
def test_alignment_that_is_no_power_of_two(alignment: int, opened: Opened) -> None:
    changed = copy.deepcopy(SMALL)
    changed.keys.append(Key("general.alignment", U32, alignment))
    at = changed.to_bytes().index(b"general.alignment") + 17 + 4
    assert opened(changed.to_bytes()) == (
        f"general.alignment at offset {at:#x}: expected a power of two as UINT32, at most 65536, "
        f"found {alignment} as UINT32"
    )


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        Source.open(tmp_path / "none.gguf")


def test_a_tensor_twice(opened: Opened) -> None:
    changed = copy.deepcopy(SMALL)
    changed.tensors[1].name = "one.weight"
    assert opened(changed.to_bytes()) == (
        f"tensors[1] at offset {TWO - 8:#x}: expected a name that no other has, "
        "found 'one.weight' again"
    )


@settings(
    max_examples=1000, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4
    )
)
def test_any_damage_is_an_error_or_harmless(changes: list[tuple[int, int]], opened: Opened) -> None:
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at] = value
    assert "\n" not in opened(bytes(data))
