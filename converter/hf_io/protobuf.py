"""Protocol Buffers, as far as a SentencePiece model needs them.

The encoding: https://protobuf.dev/programming-guides/encoding/. The messages and the numbers of
their fields: ``sentencepiece_model.proto`` of SentencePiece.
"""

from __future__ import annotations

import struct
from enum import IntEnum


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
