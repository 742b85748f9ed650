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

from converter import ConversionError
from converter.gguf_io.comparison import open_reader
from ggcp_schema import FormatError

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
            open_reader(path)
        except (FormatError, ConversionError) as error:
            return str(error).removeprefix(f"{path}: ").removesuffix(f"; {HINT}")
        return ""

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
    "magic": (0, b"pcgg", "magic at offset 0x0: expected 'GGUF', found 'pcgg'"),
    "version": (4, b"\1", "header at offset 0x4: expected version 2 or 3, found 1"),
    "length of a key": (
        *(24, huge()),
        f"keys[0] at offset 0x20: expected {2**60} bytes, found {left(32)}",
    ),
    "type of a value": (
        *(NAMES, b"\x0d"),
        f"key some.names at offset {NAMES:#x}: expected a type of value, 0 to 12, found 13",
    ),
    "array of arrays": (
        *(NAMES + 4, b"\x09"),
        f"key some.names at offset {NAMES + 4:#x}: expected elements that are no arrays, "
        "found an array of arrays",
    ),
    "count of texts": (
        *(NAMES + 8, huge()),
        f"key some.names at offset {NAMES + 16:#x}: expected {2**63} bytes, "
        f"found {left(NAMES + 16)}",
    ),
    "length of a text": (
        *(NAMES + 16, huge()),
        f"key some.names at offset {NAMES + 24:#x}: expected {2**60} bytes, "
        f"found {left(NAMES + 24)}",
    ),
    "count of numbers": (
        *(NUMBERS + 8, huge()),
        f"key some.numbers at offset {NUMBERS + 16:#x}: expected {2**62} bytes, "
        f"found {left(NUMBERS + 16)}",
    ),
    "length of a tensor's name": (
        *(ONE - 8, huge()),
        f"tensors[0] at offset {ONE:#x}: expected {2**60} bytes, found {left(ONE)}",
    ),
    "number of dimensions": (
        *(ONE + 10, b"\5"),
        f"tensor one.weight at offset {ONE + 10:#x}: expected at most 4 dimensions, found 5",
    ),
    "type of a tensor": (
        *(ONE + 30, b"\xff"),
        f"tensor one.weight at offset {ONE + 30:#x}: expected a type of tensor, found 255",
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
    assert complaint.startswith("keys[5] at offset ")
    assert complaint.endswith(f": expected a name of its own, found «{name}», again or empty")


@pytest.mark.parametrize("alignment", [0, 24])
def test_alignment_that_is_no_power_of_two(alignment: int, opened: Opened) -> None:
    changed = copy.deepcopy(SMALL)
    changed.keys.append(Key("general.alignment", U32, alignment))
    at = changed.to_bytes().index(b"general.alignment") + 17 + 4
    assert opened(changed.to_bytes()) == (
        f"key general.alignment at offset {at:#x}: expected a power of two, found {alignment}"
    )


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected a file to read, found «No such file"):
        open_reader(tmp_path / "none.gguf")


def test_what_only_the_package_refuses(opened: Opened) -> None:
    changed = copy.deepcopy(SMALL)
    changed.tensors[1].name = "one.weight"
    assert opened(changed.to_bytes()) == (
        "expected a GGUF that the gguf package can read, found «Found duplicated tensor with name "
        "one.weight»"
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
