"""The header and the metadata of a GGUF, version 2 or 3, as in ggml's ``docs/gguf.md``.

The gguf package's own reader loops as often as the file says, which can be 2^63 times. Here nothing
is read before it is certain that there is room for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from construct import Construct, Container, Switch, Tell, this
from gguf import GGUFValueType

from converter.gguf_io.limits import MOST_ELEMENTS, TOO_LARGE, read_texts, require
from ggcp_schema import FormatError, Source
from ggcp_schema.language.checks import Check, one_of, value
from ggcp_schema.language.fields import U32, U64, Struct, field
from ggcp_schema.language.runs import Signature, read

_SCALARS = {
    GGUFValueType.UINT8: "<u1",
    GGUFValueType.INT8: "<i1",
    GGUFValueType.UINT16: "<u2",
    GGUFValueType.INT16: "<i2",
    GGUFValueType.UINT32: "<u4",
    GGUFValueType.INT32: "<i4",
    GGUFValueType.FLOAT32: "<f4",
    GGUFValueType.BOOL: "<u1",
    GGUFValueType.UINT64: "<u8",
    GGUFValueType.INT64: "<i8",
    GGUFValueType.FLOAT64: "<f8",
}
"""Types of fixed size, as NumPy names them."""

_VALUE_TYPES = tuple(map(int, GGUFValueType))

_DAMAGED = "the file is damaged, or not a GGUF; give another copy"


class Text(Construct):  # type: ignore[misc]
    """A u64 length and as many bytes."""

    def _parse(self, stream: Source, context: Container, path: str) -> bytes:
        require(stream, 8)
        length = int.from_bytes(read(stream, 8), "little")
        require(stream, length)
        return read(stream, length)


class Scalars(Construct):  # type: ignore[misc]
    """``count`` values of one type of fixed size, in one read."""

    def __init__(self, kind: GGUFValueType) -> None:
        super().__init__()
        self.kind = kind
        self.element = np.dtype(_SCALARS[kind])

    def values(self, stream: Source, count: int) -> tuple[Any, ...]:
        """Read the values."""
        offset = stream.tell()
        size = count * self.element.itemsize
        require(stream, size)
        array = np.frombuffer(read(stream, size), self.element)
        if self.kind is not GGUFValueType.BOOL:
            return tuple(array.tolist())
        wrong = np.flatnonzero(array > 1)
        if wrong.size:
            raise FormatError(
                offset=offset + int(wrong[0]),
                expected="0 or 1",
                found=str(array[wrong[0]]),
                hint=_DAMAGED,
            )
        return tuple(map(bool, array.tolist()))

    def _parse(self, stream: Source, context: Container, path: str) -> Any:
        return self.values(stream, 1)[0]


class Elements(Construct):  # type: ignore[misc]
    """The elements of an array, whose type and count precede it."""

    def _parse(self, stream: Source, context: Container, path: str) -> tuple[Any, ...]:
        if context.element_type == GGUFValueType.STRING:
            return tuple(read_texts(stream, context.count, 8)[0])
        return SCALARS[context.element_type].values(stream, context.count)


SCALARS = {kind: Scalars(kind) for kind in _SCALARS}

# fmt: off
ARRAY = Struct(
    field("element_type", U32,
        "arr.type", "What the elements are.",
        Check(value != int(GGUFValueType.ARRAY), "an array of numbers or texts",
            "llama.cpp reads no arrays of arrays (type 9) either; give another vocabulary"),
        one_of(_VALUE_TYPES, "a GGUF value type, 0 to 12", _DAMAGED)),
    field("count", U64,
        "arr.n", "How many there are.",
        Check(value + this._._.elements_before <= MOST_ELEMENTS,
            f"at most {MOST_ELEMENTS} elements in all arrays", TOO_LARGE)),
    field("elements", Elements(),
        "arr.data", "The elements."),
)

METADATA = Struct(
    field("key", Text(),
        "key", "The name."),
    field("type", U32,
        "type", "What the value is.",
        one_of(_VALUE_TYPES, "a GGUF value type, 0 to 12", _DAMAGED)),
    field("offset", Tell,
        "-", "Where the value starts, for messages."),
    field("value", Switch(this.type, {
            **SCALARS,
            GGUFValueType.STRING: Text(),
            GGUFValueType.ARRAY: ARRAY,
        }),
        "value", "The value."),
)
"""Given ``elements_before``: how many elements the arrays before have."""

MOST_METADATA = 4096
"""Pairs of key and value. Models in use have fewer than a hundred."""

HEADER = Struct(
    field("magic", Signature(b"GGUF"),
        "magic", "What the file is."),
    field("version", U32,
        "version", "Version of the layout.",
        Check((value & 0xFFFF) != 0, "a little-endian GGUF",
            "the file is of a big-endian machine; turn it with gguf-convert-endian (package gguf)"),
        Check(value != 1, "GGUF version 2 or 3",
            "GGUF version 1 is of August 2023 and no current tool reads it; "
            "convert it again with a later llama.cpp, "
            "whose models/ggml-vocab-llama.gguf is LLaMA's vocabulary"),
        one_of((2, 3), "GGUF version 2 or 3",
            "the file is damaged, or newer than this program; convert it again to version 3")),
    field("tensor_count", U64,
        "n_tensors", "Tensors, of which a vocabulary needs none."),
    field("metadata_count", U64,
        "n_kv", "Pairs of key and value that follow.",
        Check(value <= MOST_METADATA, f"at most {MOST_METADATA} pairs of key and value", _DAMAGED)),
)
"""ggml, ``docs/gguf.md``: ``gguf_header_t`` up to the metadata."""
# fmt: on
