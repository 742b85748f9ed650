"""The fields of a protocol buffer, which a SentencePiece model is."""

from __future__ import annotations

from collections.abc import Iterator

from ggcp_schema import FormatError

PIECES = 1
"""sentencepiece_model.proto: ``ModelProto.pieces``, one for each token."""

_VARINT, _DELIMITED = 0, 2
_FIXED_SIZES = {1: 8, 5: 4}


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
        if wire_type == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire_type == _DELIMITED:
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
        if wire_type == _DELIMITED:
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
