"""Protocol Buffers, as far as a SentencePiece model needs them.

The encoding: https://protobuf.dev/programming-guides/encoding/. The messages and the numbers of
their fields: ``sentencepiece_model.proto`` of SentencePiece.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

from ggcp_schema import FormatError


class WireType(IntEnum):
    """How a value is laid out: the low three bits of its key."""

    VARINT = 0
    FIXED64 = 1
    DELIMITED = 2
    FIXED32 = 5


class Model(IntEnum):
    """Fields of ``ModelProto``."""

    PIECES = 1
    TRAINER_SPEC = 2
    NORMALIZER_SPEC = 3


class Piece(IntEnum):
    """Fields of ``ModelProto.SentencePiece``; the numbers of its types are those of GGUF."""

    TEXT = 1
    SCORE = 2
    TYPE = 3


class TrainerSpec(IntEnum):
    """Fields of ``TrainerSpec`` that a reader of the model needs."""

    MODEL_TYPE = 3
    VOCABULARY_SIZE = 4
    BYTE_FALLBACK = 35
    UNKNOWN_ID = 40
    BEGIN_ID = 41
    END_ID = 42
    PADDING_ID = 43
    UNKNOWN_TEXT = 45
    BEGIN_TEXT = 46
    END_TEXT = 47
    PADDING_TEXT = 48


class NormalizerSpec(IntEnum):
    """Fields of ``NormalizerSpec``."""

    NAME = 1
    ADD_DUMMY_PREFIX = 3
    REMOVE_EXTRA_WHITESPACES = 4
    ESCAPE_WHITESPACES = 5


_FIXED_SIZES: dict[int, int] = {WireType.FIXED64: 8, WireType.FIXED32: 4}


def varint(value: int) -> bytes:
    """Encode a number, seven bits to a byte; a negative one as its 64-bit two's complement."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def number(field: int, value: int) -> bytes:
    """Encode a field that is an integer, a truth value or an enumeration."""
    return varint(field << 3 | WireType.VARINT) + varint(value)


def fixed32(field: int, value: float) -> bytes:
    """Encode a field that is a ``float``."""
    return varint(field << 3 | WireType.FIXED32) + struct.pack("<f", value)


def delimited(field: int, value: bytes) -> bytes:
    """Encode a field that is a text or a message."""
    return varint(field << 3 | WireType.DELIMITED) + varint(len(value)) + value


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each number and message in a protocol buffer.

    Fields of fixed size are left out, whatever their number.

    Raises:
        FormatError: it holds a field of a type that models do not have.
        IndexError: it ends within a number.
    """
    position = 0
    while position < len(message):
        start = position
        key, position = _varint(message, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == WireType.VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire_type == WireType.DELIMITED:
            size, position = _varint(message, position)
        elif wire_type in _FIXED_SIZES:
            size = _FIXED_SIZES[wire_type]
        else:
            raise FormatError(
                offset=start,
                expected="fields of a SentencePiece model",
                found=f"a field of wire type {wire_type}",
                hint="the file is damaged; look for another copy of it",
            )
        if wire_type == WireType.DELIMITED:
            yield number, message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Return the number at ``position``, seven bits to a byte, and the position after it."""
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
