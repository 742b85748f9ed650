"""GGUF's container, version 2 or 3: header, keys with their values, tensor infos.

As in ggml's ``docs/gguf.md``, whose names stand beside the fields. Nothing is read, allocated or
looped over before it is certain that there is room for it and that it is within the limits, which
all stand here.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any

import numpy as np
from construct import Construct, Switch, Tell, this

from ggcp_schema.language.checks import ANOTHER, Check, one_of, shown, value
from ggcp_schema.language.errors import FormatError
from ggcp_schema.language.fields import U32, U64, NotANumber, Struct, field
from ggcp_schema.language.runs import Signature, read, require_bytes
from ggcp_schema.language.texts import Limit, read_texts

MOST_KEYS = 1 << 16
"""Models in use have fewer than a hundred."""

MOST_TENSORS = 1 << 16
"""The largest models in use have some two thousand."""

MOST_NAME_BYTES = (1 << 16) - 1
"""Bytes of the name of a key or tensor."""

MOST_TEXT_BYTES = 1 << 24
"""Bytes of a text that is no element of an array."""

MOST_ELEMENTS = 1 << 21
"""Elements of all arrays. The largest vocabularies in use have some 1,300,000."""

MOST_HEAD_BYTES = 1 << 26
"""Bytes of header, keys and tensor infos. The largest in use take some 20 MB."""

MOST_WIDE_BYTES = 1 << 23
"""Bytes of all names and texts that are not ASCII: Python may need four for each of them."""

MOST_DIMENSIONS = 4
"""ggml: ``GGML_MAX_DIMS``."""

MOST_ALIGNMENT = 1 << 16
"""Bytes that data are aligned to; 32 in all models in use. More would only blow up an output."""

DEFAULT_ALIGNMENT = 32
"""ggml: ``GGUF_DEFAULT_ALIGNMENT``."""

TOO_LARGE = "no GGUF in use is this large: the file is damaged or not a GGUF; give another copy"
DAMAGED = "the file is damaged, or not a GGUF; give another copy"

HEAD = Limit(MOST_HEAD_BYTES, "everything before the data", TOO_LARGE)


class ValueType(IntEnum):
    """The type of a value or of an array's elements; ggml: ``gguf_metadata_value_type``."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


class TensorType(IntEnum):
    """The type of a tensor's elements; ggml: ``ggml_type``, and its table ``type_traits``.

    Attributes:
        block_elements: elements of a block; a row is a whole number of blocks.
        block_bytes: bytes of a block.
    """

    block_elements: int
    block_bytes: int

    def __new__(cls, number: int, block_elements: int = 0, block_bytes: int = 0) -> TensorType:
        """Take a row of the table below; who looks a type up gives its number alone."""
        member = int.__new__(cls, number)
        member._value_ = number
        member.block_elements = block_elements
        member.block_bytes = block_bytes
        return member

    F32 = 0, 1, 4
    F16 = 1, 1, 2
    Q4_0 = 2, 32, 18
    Q4_1 = 3, 32, 20
    Q5_0 = 6, 32, 22
    Q5_1 = 7, 32, 24
    Q8_0 = 8, 32, 34
    Q8_1 = 9, 32, 40
    Q2_K = 10, 256, 84
    Q3_K = 11, 256, 110
    Q4_K = 12, 256, 144
    Q5_K = 13, 256, 176
    Q6_K = 14, 256, 210
    Q8_K = 15, 256, 292
    IQ2_XXS = 16, 256, 66
    IQ2_XS = 17, 256, 74
    IQ3_XXS = 18, 256, 98
    IQ1_S = 19, 256, 50
    IQ4_NL = 20, 32, 18
    IQ3_S = 21, 256, 110
    IQ2_S = 22, 256, 82
    IQ4_XS = 23, 256, 136
    I8 = 24, 1, 1
    I16 = 25, 1, 2
    I32 = 26, 1, 4
    I64 = 27, 1, 8
    F64 = 28, 1, 8
    IQ1_M = 29, 256, 56
    BF16 = 30, 1, 2
    TQ1_0 = 34, 256, 54
    TQ2_0 = 35, 256, 66
    MXFP4 = 39, 32, 17
    NVFP4 = 40, 64, 36
    Q1_0 = 41, 128, 18


_CODES = {
    ValueType.UINT8: "<B",
    ValueType.INT8: "<b",
    ValueType.UINT16: "<H",
    ValueType.INT16: "<h",
    ValueType.UINT32: "<I",
    ValueType.INT32: "<i",
    ValueType.FLOAT32: "<f",
    ValueType.BOOL: "<?",
    ValueType.UINT64: "<Q",
    ValueType.INT64: "<q",
    ValueType.FLOAT64: "<d",
}
"""The types of fixed size, as struct and NumPy name them."""


class Text(Construct):  # type: ignore[misc]
    """A u64 length and as many bytes."""

    def __init__(self, most: int, what: str) -> None:
        super().__init__()
        self.most = most
        self.what = what

    def _parse(self, stream: Any, context: Any, path: str) -> bytes:
        offset = HEAD.require(stream, 8)
        length = int.from_bytes(read(stream, 8), "little")
        if length > self.most:
            require_bytes(stream, length)
            raise self._too_long(offset, length)
        HEAD.require(stream, length)
        return read(stream, length)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> None:
        offset = stream.tell()
        if not isinstance(obj, bytes):
            found = type(obj).__name__
            raise FormatError(offset=offset, expected="bytes", found=found, hint=ANOTHER)
        if len(obj) > self.most:
            raise self._too_long(offset, len(obj))
        stream.write(len(obj).to_bytes(8, "little"))
        stream.write(obj)

    def _too_long(self, offset: int, length: int) -> FormatError:
        return FormatError(
            offset=offset,
            expected=f"a {self.what} of at most {self.most} bytes",
            found=f"{length} bytes",
            hint=TOO_LARGE,
        )


class Number(Construct):  # type: ignore[misc]
    """A value of one of the types of fixed size."""

    def __init__(self, kind: ValueType) -> None:
        super().__init__()
        self.kind = kind
        self.packer = struct.Struct(_CODES[kind])

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        offset = HEAD.require(stream, self.packer.size)
        data = read(stream, self.packer.size)
        if self.kind is ValueType.BOOL and data[0] > 1:
            raise _no_truth(offset, data[0])
        (found,) = self.packer.unpack(data)
        return found if found == found else NotANumber(data)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> None:
        try:
            kept = isinstance(obj, NotANumber) and len(obj.payload) == self.packer.size
            stream.write(obj.payload if kept else self.packer.pack(obj))
        except (struct.error, OverflowError, TypeError, ValueError) as error:
            expected, found = f"a {self.kind.name}", shown(obj)
            raise FormatError(
                offset=stream.tell(), expected=expected, found=found, hint=ANOTHER
            ) from error


def _no_truth(offset: int, found: int) -> FormatError:
    return FormatError(offset=offset, expected="0 or 1", found=str(found), hint=DAMAGED)


class Elements(Construct):  # type: ignore[misc]
    """The elements of an array, whose type and count precede it.

    Numbers are a read-only NumPy array of one dimension, texts are ``Texts``.
    """

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        kind, count = context.element_type, context.count
        if kind == ValueType.STRING:
            return read_texts(stream, count, 8, HEAD)[0]
        dtype = np.dtype(_CODES[kind])
        offset = HEAD.require(stream, count * dtype.itemsize)
        data = read(stream, count * dtype.itemsize)
        if kind == ValueType.BOOL:
            wrong = np.flatnonzero(np.frombuffer(data, np.uint8) > 1)
            if wrong.size:
                raise _no_truth(offset + int(wrong[0]), data[wrong[0]])
        return np.frombuffer(data, dtype)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> None:
        kind, count = ValueType(context.element_type), context.count
        if len(obj) != count:
            raise FormatError(
                offset=stream.tell(),
                expected=f"{count} elements, as the count says",
                found=str(len(obj)),
                hint=ANOTHER,
            )
        element = _TEXT if kind is ValueType.STRING else NUMBERS[kind]
        for index, item in enumerate(obj):
            try:
                element._build(item, stream, context, path)
            except FormatError as error:
                error.within(f"[{index}]")
                raise


class Shape(Construct):  # type: ignore[misc]
    """The number of elements along each dimension, u64 each, the fastest-varying first."""

    def _parse(self, stream: Any, context: Any, path: str) -> tuple[int, ...]:
        count = context.dimension_count
        HEAD.require(stream, 8 * count)
        return struct.unpack(f"<{count}Q", read(stream, 8 * count))

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> None:
        try:
            stream.write(struct.pack(f"<{context.dimension_count}Q", *obj))
        except (struct.error, TypeError) as error:
            raise FormatError(
                offset=stream.tell(),
                expected=f"{context.dimension_count} whole numbers of 64 bits",
                found=shown(obj),
                hint=ANOTHER,
            ) from error


_NAME = Text(MOST_NAME_BYTES, "name")
_TEXT = Text(MOST_TEXT_BYTES, "text")

NUMBERS = {kind: Number(kind) for kind in _CODES}

# fmt: off
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
        "tensor_count", "Tensor infos behind the keys; a vocabulary needs none."),
    field("metadata_count", U64,
        "metadata_kv_count", "Pairs of key and value that follow.",
        Check(value <= MOST_KEYS, f"at most {MOST_KEYS} pairs of key and value", TOO_LARGE)),
    docs="gguf_header_t up to the keys.",
)

ARRAY = Struct(
    field("element_type", U32,
        "array.type", "What the elements are.",
        Check(value != int(ValueType.ARRAY), "an array of numbers or texts",
            "llama.cpp reads no arrays of arrays (type 9) either; give another file"),
        one_of(ValueType, "a GGUF value type, 0 to 12", DAMAGED)),
    field("count", U64,
        "array.len", "How many there are.",
        Check(value + this._._.elements_before <= MOST_ELEMENTS,
            f"at most {MOST_ELEMENTS} elements in all arrays", TOO_LARGE)),
    field("elements", Elements(),
        "array.array", "The elements."),
)

KEY_VALUE = Struct(
    field("key", _NAME,
        "key", "The name."),
    field("type", U32,
        "value_type", "What the value is.",
        one_of(ValueType, "a GGUF value type, 0 to 12", DAMAGED)),
    field("offset", Tell,
        "-", "Where the value starts."),
    field("value", Switch(this.type, {
            **NUMBERS,
            ValueType.STRING: _TEXT,
            ValueType.ARRAY: ARRAY,
        }),
        "value", "The value."),
    docs="gguf_metadata_kv_t.",
)
"""Given ``elements_before``: how many elements the arrays before have."""

TENSOR_INFO = Struct(
    field("name", _NAME,
        "name", "The tensor's name."),
    field("dimension_count", U32,
        "n_dimensions", "Number of dimensions.",
        Check((value >= 1) & (value <= MOST_DIMENSIONS), f"1 to {MOST_DIMENSIONS} dimensions",
            DAMAGED)),
    field("shape", Shape(),
        "dimensions", "Elements along each dimension, the fastest-varying first."),
    field("type", U32,
        "type", "Type of the elements.",
        one_of(TensorType, "a type of tensor that ggml has", DAMAGED)),
    field("offset", U64,
        "offset", "Where the data start, counted from the first byte of all data.",
        Check(value % this._.alignment == 0, lambda scope: f"a multiple of {scope._.alignment}",
            DAMAGED)),
    docs="gguf_tensor_info_t.",
)
"""Given ``alignment``: what the data of all tensors are aligned to."""
# fmt: on
