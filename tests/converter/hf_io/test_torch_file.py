"""Files of torch, read without torch: by zipfile, and by the bytes themselves."""

from __future__ import annotations

import struct
import zipfile
import zlib
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


def test_the_check_sum_is_that_of_all_blocks(tmp_path: Path) -> None:
    """As zipfile computes it: of the parts of a tensor, each in several blocks."""
    data = NUMBERS.tobytes()
    halves = (
        Computed(24, lambda: (data[:8], data[8:])),
        Computed(24, lambda: (data[:20], data[20:])),
    )
    found = read_torch(write(tmp_path / "a.pt", [StoredTensor((2, 6), halves)]))
    np.testing.assert_array_equal(found.value[0], [NUMBERS, NUMBERS])
    [entry] = [entry for entry in found.entries if entry.filename == "a/data/0"]
    assert zlib.crc32(data + data) == entry.CRC


def test_data_begin_at_multiples_of_64(tmp_path: Path) -> None:
    value = [stored(NUMBERS[:count], count) for count in range(7)]
    found = read_torch(write(tmp_path / "a.pt", value))
    for entry in found.entries:
        names, extra = struct.unpack_from("<HH", found.data, entry.header_offset + 26)
        start = entry.header_offset + 30 + names + extra
        assert start % 64 == 0
        assert entry.compress_type == zipfile.ZIP_STORED
        assert entry.flag_bits == 8  # sizes and check sum are behind the data, too
        assert struct.unpack_from("<H", found.data, entry.header_offset + 6) == (8,)
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)
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
    planned = torch_file("a.pt", [tensor, stored(NUMBERS, 6), tensor])
    path = tmp_path / "a.pt"
    with path.open("wb") as file:  # with holes in place of the zeros
        for data in planned.blocks():
            file.seek(len(data), 1) if data is block else file.write(data)
    assert path.stat().st_size == planned.length
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("a/data/0").file_size == large
        assert archive.read("a/data/1") == NUMBERS.tobytes()
        assert archive.getinfo("a/data/1").header_offset > 2**32 - 1
        last = archive.getinfo("a/data/2")
        assert (last.file_size, last.compress_size) == (large, large)
        assert archive.open(last).read(4) == bytes(4)
        entry = archive.getinfo("a/data/0")
        assert entry.extract_version == (45 if before == 0 else 20)
        count = len(archive.infolist())
    with path.open("rb") as file:
        file.seek(entry.header_offset + 26)
        names, extra = struct.unpack("<HH", file.read(4))
        assert (entry.header_offset + 30 + names + extra) % 64 == 0
        file.seek(-(END + 4096), 2)
        start, tail = file.tell(), file.read()
    directory = tail.index(b"PK\x01\x02")
    require_end_in_64_bits(tail[directory:], start + directory, count)


END = 56 + 20 + 22  # bytes of the three records at the end of a zip


def require_end_in_64_bits(tail: bytes, start: int, count: int) -> None:
    """The directory, which starts there, and the records behind it (APPNOTE.TXT, 4.3.14 to 4.3.16).

    zipfile looks at none of them but for the length of the directory.
    """
    length = len(tail) - END
    most = min(count, 0xFFFF)
    numbers = (44, 45, 45, 0, 0, count, count, length, start)
    assert tail[length:] == (
        struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", *numbers)
        + struct.pack("<4sIQI", b"PK\x06\x07", 0, start + length, 1)
        + struct.pack(
            "<4sHHHHIIH", b"PK\x05\x06", 0, 0, most, most, length, min(start, 2**32 - 1), 0
        )
    )


def test_as_many_entries_as_16_bits_do_not_count(tmp_path: Path) -> None:
    """65,535 stands for another number, which is elsewhere."""
    count = 2**16 - 1
    path = write(tmp_path / "a.pt", [stored([], 0)] * (count - 3))
    with zipfile.ZipFile(path) as archive:
        assert len(archive.infolist()) == count
        start = archive.start_dir
    data = path.read_bytes()
    require_end_in_64_bits(data[start:], start, count)
