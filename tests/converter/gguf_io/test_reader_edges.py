"""The edges of a GGUF: four dimensions, the sum over all arrays, and where the file ends."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from gguf_bytes import STRING, Gguf, Key, Tensor
from vocabulary_files import array, gguf, text

from converter.gguf_io.comparison import differences, read_made
from converter.gguf_io.reader import read_gguf
from converter.parts import Computed
from converter.plan import Plan, PlannedTensor
from ggcp_schema import FormatError, Source
from ggcp_schema.gguf import MOST_ELEMENTS


def test_four_dimensions(tmp_path: Path) -> None:
    head = gguf(tensors=1) + text(b"w") + struct.pack("<I4QIQ", 4, 2, 2, 2, 2, 0, 0)
    path = tmp_path / "four.gguf"
    path.write_bytes(head + bytes(-len(head) % 32) + bytes(64))
    with Source.open(path) as source:
        tensor = read_gguf(source).tensors["w"]
        assert (tensor.data.shape, tensor.data.length) == ((2, 2, 2, 2), 64)
    path.write_bytes(path.read_bytes()[:-1])
    with Source.open(path) as source, pytest.raises(FormatError) as caught:
        read_gguf(source)
    assert caught.value.expected == "64 bytes of data"
    assert caught.value.found == "63 bytes and the end of the file"


def test_five_dimensions(tmp_path: Path) -> None:
    path = tmp_path / "five.gguf"
    path.write_bytes(gguf(tensors=1) + text(b"w") + struct.pack("<I5QIQ", 5, *[1] * 5, 0, 0))
    with Source.open(path) as source, pytest.raises(FormatError) as caught:
        read_gguf(source)
    assert (caught.value.path, caught.value.found) == ("tensors[0].dimension_count", "5")


def test_elements_are_counted_over_all_arrays(tmp_path: Path) -> None:
    """2^21 in three arrays are the most; each array alone is far below."""
    path = tmp_path / "arrays.gguf"
    counts = [MOST_ELEMENTS // 2, MOST_ELEMENTS // 2 - 1, 1]
    whole = [array(f"a{n}", 0, count, bytes(count)) for n, count in enumerate(counts)]
    path.write_bytes(gguf(*whole))
    with Source.open(path) as source:
        assert [len(each.metadata.value) for each in read_gguf(source).keys.values()] == counts
    path.write_bytes(gguf(*whole, array("b", 8, 1, text(b""))))
    with Source.open(path) as source, pytest.raises(FormatError) as caught:
        read_gguf(source)
    assert caught.value.path == "metadata[3].value.count"
    assert caught.value.expected == "at most 2097152 elements in all arrays"


LLAMA = Key("general.architecture", STRING, "llama")


def compared(data: bytes, folder: Path, *tensors: PlannedTensor) -> list[str]:
    path = folder / "made.gguf"
    path.write_bytes(data)
    with Source.open(path) as source:
        return list(differences(Plan("llama", (), tensors), read_made(source)))


def test_an_empty_one_ends_in_its_padding(tmp_path: Path) -> None:
    data = Gguf([LLAMA]).to_bytes()
    assert len(data) == 96  # 24 + 32 + 4 + 13, and 23 of padding
    assert compared(data, tmp_path) == []
    for length in (73, 95):
        assert compared(data[:length], tmp_path) == [f"the file: expected 96 bytes, found {length}"]
    assert compared(data + bytes(32), tmp_path) == ["the file: expected 96 bytes, found 128"]


def test_the_last_padding_is_part_of_it(tmp_path: Path) -> None:
    planned = [
        PlannedTensor(name, (count,), (Computed(4 * count, lambda n=count: [b"abcd" * n]),))  # type: ignore[misc]
        for name, count in (("one", 9), ("two", 1))
    ]
    tensors = [Tensor(each.name, each.shape, b"abcd" * each.shape[0]) for each in planned]
    data = Gguf([LLAMA], tensors).to_bytes()
    assert compared(data, tmp_path, *planned) == []
    for length in (len(data) - 28, len(data) - 1):  # 4 bytes of data and 28 of padding
        assert compared(data[:length], tmp_path, *planned) == [
            f"the file: expected {len(data)} bytes, found {length}"
        ]
