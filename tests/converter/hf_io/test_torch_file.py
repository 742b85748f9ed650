"""Files of torch, read without torch: by zipfile, and by the bytes themselves."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hf_folder import read_torch

from converter.hf_io.pickled import StoredTensor, pickled
from converter.hf_io.torch_file import torch_file
from converter.parts import Computed

NUMBERS = np.arange(6, dtype="<f4")


def stored(values: Any, *shape: int) -> StoredTensor:
    data = np.asarray(values, "<f4").tobytes()
    return StoredTensor(shape, (Computed(len(data), lambda: (data,)),))


def write(path: Path, value: Any) -> Path:
    planned = torch_file(path.name, value)
    data = b"".join(planned.blocks())
    assert len(data) == planned.length
    path.write_bytes(data)
    return path


def test_values_come_back(tmp_path: Path) -> None:
    value = {
        "numbers": [1, -1, 2**31 - 1, 2**31, -(2**40), 0.1, -0.0],
        3: (True, False, None, "é", ""),
        "empty": [{}, [], ()],
    }
    found = read_torch(write(tmp_path / "scheduler.pt", value))
    assert repr(found.value) == repr(value)


def test_tensors_come_back(tmp_path: Path) -> None:
    value = {"m": stored(NUMBERS, 2, 3), "step": stored(7.0), "none": stored([], 0, 4)}
    found = read_torch(write(tmp_path / "optimizer.pt", value)).value
    np.testing.assert_array_equal(found["m"], NUMBERS.reshape(2, 3))
    assert (found["step"].shape, float(found["step"])) == ((), 7.0)
    assert found["none"].shape == (0, 4)


def test_data_begin_at_multiples_of_64(tmp_path: Path) -> None:
    value = [stored(NUMBERS[:count], count) for count in range(7)]
    found = read_torch(write(tmp_path / "a.pt", value))
    for entry in found.entries:
        names, extra = struct.unpack_from("<HH", found.data, entry.header_offset + 26)
        start = entry.header_offset + 30 + names + extra
        assert start % 64 == 0
        assert entry.compress_type == zipfile.ZIP_STORED
        assert entry.filename.startswith("a/")
        if entry.filename == "a/data/3":
            assert found.data[start : start + 12] == NUMBERS[:3].tobytes()


def test_the_same_value_gives_the_same_bytes(tmp_path: Path) -> None:
    value = {"m": stored(NUMBERS, 6)}
    first, second = (b"".join(torch_file("a.pt", value).blocks()) for _ in range(2))
    assert first == second


def test_a_pickle_by_hand() -> None:
    assert pickled({"a": [1, 0.5, None, True]}) == (
        b"\x80\x02}(X\x01\0\0\0a](J\x01\0\0\0G\x3f\xe0\0\0\0\0\0\0N\x88eu.",
        (),
    )


def test_what_is_no_plain_data_is_a_defect() -> None:
    with pytest.raises(TypeError, match="no opcode for bytes"):
        pickled({"a": b"bytes"})


@pytest.mark.parametrize("before", [0, 2**32 - 512])
def test_beyond_4_gib(before: int, tmp_path: Path) -> None:
    """An entry that is larger, or only stands behind so much: the numbers have 64 bits then."""
    large = before or 2**32 + 64
    block = bytes(1 << 20)

    def zeros() -> Iterator[bytes]:
        for done in range(0, large, len(block)):
            yield block[: min(len(block), large - done)]

    tensor = StoredTensor((large // 4,), (Computed(large, zeros),))
    planned = torch_file("a.pt", [tensor, stored(NUMBERS, 6)])
    path = tmp_path / "a.pt"
    with path.open("wb") as file:  # with holes in place of the zeros
        for data in planned.blocks():
            file.seek(len(data), 1) if data is block else file.write(data)
    assert path.stat().st_size == planned.length
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("a/data/0").file_size == large
        assert archive.read("a/data/1") == NUMBERS.tobytes()
        assert archive.getinfo("a/data/1").header_offset > 2**32 - 1
        entry = archive.getinfo("a/data/0")
        assert entry.extract_version == (45 if before == 0 else 20)
