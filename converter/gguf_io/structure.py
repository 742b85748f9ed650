"""Follows the structure of a GGUF within the bytes of the file, before the gguf package reads it.

That package's reader believes every count in a file: one damaged length of an array keeps it busy
for years.
"""

from __future__ import annotations

import os
import struct
from math import prod

from gguf import GGML_QUANT_SIZES, GGUF_DEFAULT_ALIGNMENT, GGMLQuantizationType, GGUFValueType, Keys

from converter.gguf_io.limits import MOST_ELEMENTS
from converter.gguf_io.model import MOST_TENSORS
from ggcp_schema import FormatError, Source, printable
from ggcp_schema.language.checks import shown
from ggcp_schema.language.runs import read, require_bytes

_VERSIONS = (2, 3)
_MOST_DIMENSIONS = 4  # ggml: GGML_MAX_DIMS
_DAMAGED = "the file is damaged or no GGUF; convert the checkpoint again"
_SIZES = {
    GGUFValueType.UINT8: 1,
    GGUFValueType.INT8: 1,
    GGUFValueType.UINT16: 2,
    GGUFValueType.INT16: 2,
    GGUFValueType.UINT32: 4,
    GGUFValueType.INT32: 4,
    GGUFValueType.FLOAT32: 4,
    GGUFValueType.BOOL: 1,
    GGUFValueType.UINT64: 8,
    GGUFValueType.INT64: 8,
    GGUFValueType.FLOAT64: 8,
}


def require_structure(source: Source) -> int:
    """Make sure that all counts and lengths in a GGUF are those of what is there.

    Returns:
        Bytes before the data: header, keys and tensor infos.

    Raises:
        FormatError: the file is no GGUF, is cut short, or its structure is damaged.
    """
    source.seek(0)
    walk = _Walk(source)
    try:
        return walk.file()
    except FormatError as error:
        error.file, error.path, error.hint = source.label, walk.path, _DAMAGED
        raise


class _Walk:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.path = "magic"
        self.alignment = GGUF_DEFAULT_ALIGNMENT
        self.elements = 0

    def file(self) -> int:
        magic = self.source.read(4)
        if magic != b"GGUF":
            raise self._error(0, "'GGUF'", shown(magic))
        self.path = "header"
        version, tensor_count, key_count = self._numbers("<IQQ")
        if version not in _VERSIONS:
            raise self._error(4, "version 2 or 3", str(version))
        self._keys(key_count)
        return self._tensors(tensor_count)

    def _keys(self, count: int) -> None:
        seen = set()
        for index in range(count):
            self.path = f"keys[{index}]"
            start = self.source.tell()
            key = self._text()
            if not key or key in seen:
                raise self._error(start, "a name of its own", f"«{printable(key)}», again or empty")
            seen.add(key)
            self.path = f"key {printable(key)}"
            self._value(key)

    def _value(self, key: bytes) -> None:
        kind = self._type()
        if kind is GGUFValueType.STRING:
            self._text()
        elif kind is GGUFValueType.ARRAY:
            self._array()
        elif key == Keys.General.ALIGNMENT.encode() and kind is GGUFValueType.UINT32:
            start = self.source.tell()
            (self.alignment,) = self._numbers("<I")
            if not self.alignment or self.alignment & (self.alignment - 1):
                raise self._error(start, "a power of two", str(self.alignment))
        else:
            self._skip(_SIZES[kind])

    def _array(self) -> None:
        start = self.source.tell()
        kind = self._type()
        (count,) = self._numbers("<Q")
        if kind is GGUFValueType.ARRAY:
            raise self._error(start, "elements that are no arrays", "an array of arrays")
        require_bytes(self.source, count * _SIZES.get(kind, 8))  # a text has a length of 8 bytes
        self.elements += count
        if self.elements > MOST_ELEMENTS:  # the gguf package makes several objects of each
            most = f"at most {MOST_ELEMENTS} elements in all arrays"
            raise self._error(start + 4, most, str(self.elements))
        if kind is not GGUFValueType.STRING:
            self._skip(count * _SIZES[kind])
            return
        for _ in range(count):
            self._text()

    def _tensors(self, count: int) -> int:
        extents = []
        for index in range(count):
            self.path = f"tensors[{index}]"
            start = self.source.tell()
            name = self._text()
            if index == MOST_TENSORS:
                raise self._error(start, f"at most {index} tensors", str(count))
            if not name:  # as everywhere in a hole of the file
                raise self._error(start, "a name", "none")
            self.path = f"tensor {printable(name)}"
            extents.append((self.path, *self._tensor()))
        end = self.source.tell()
        start = -(-end // self.alignment) * self.alignment
        for self.path, offset, length in extents:
            left = max(self.source.size - start - offset, 0)
            if length > left:
                there = f"{left} bytes and the end of the file"
                raise self._error(start + offset, f"{length} bytes of data", there)
        return end

    def _tensor(self) -> tuple[int, int]:
        """Return offset and length of the data."""
        start = self.source.tell()
        (n_dims,) = self._numbers("<I")
        if n_dims > _MOST_DIMENSIONS:
            raise self._error(start, f"at most {_MOST_DIMENSIONS} dimensions", str(n_dims))
        elements = prod(self._numbers(f"<{n_dims}Q"))
        start = self.source.tell()
        kind, offset = self._numbers("<IQ")
        try:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except ValueError:
            raise self._error(start, "a type of tensor", str(kind)) from None
        return offset, elements // block * size

    def _type(self) -> GGUFValueType:
        start = self.source.tell()
        (number,) = self._numbers("<I")
        try:
            return GGUFValueType(number)
        except ValueError:
            raise self._error(start, "a type of value, 0 to 12", str(number)) from None

    def _text(self) -> bytes:
        (length,) = self._numbers("<Q")
        require_bytes(self.source, length)
        return self.source.read(length)

    def _numbers(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, read(self.source, struct.calcsize(layout)))

    def _skip(self, length: int) -> None:
        require_bytes(self.source, length)
        self.source.seek(length, os.SEEK_CUR)

    @staticmethod
    def _error(offset: int, expected: str, found: str) -> FormatError:
        return FormatError(offset=offset, expected=expected, found=found, hint=_DAMAGED)
