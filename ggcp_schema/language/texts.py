"""Many texts, each after its length: read in one pass, within a limit, and held as one buffer."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple, overload

from ggcp_schema.language.checks import CUT
from ggcp_schema.language.errors import FormatError
from ggcp_schema.language.runs import require_bytes
from ggcp_schema.language.source import BLOCK_BYTES

_LENGTHS = {4: struct.Struct("<I"), 8: struct.Struct("<Q")}


class Limit(NamedTuple):
    """How far into a file is read, whatever the file claims.

    Attributes:
        end: bytes from the start of the file.
        expected: what should lie within them, in words.
        hint: what to do with a file of which more would have to be read.
    """

    end: int
    expected: str
    hint: str

    def require(self, stream: Any, length: int) -> int:
        """Make sure that ``length`` bytes may be read next, and return the offset of the first.

        Raises:
            FormatError: fewer are left, or they lie beyond the part that is read.
        """
        offset: int = stream.tell()
        end = offset + length
        if end <= self.end and end <= stream.size:
            return offset
        require_bytes(stream, length)
        raise FormatError(
            offset=offset,
            expected=f"{self.expected} in the first {self.end} bytes",
            found=f"{length} bytes at {offset}",
            hint=self.hint,
        )


class Texts(Sequence[bytes]):
    """An immutable sequence of texts, as bytes: one buffer, and where in it each of them starts.

    It takes the bytes that the texts take in their file and four for each, where a tuple takes some
    fifty more for each.
    """

    __slots__ = ("_between", "_buffer", "_starts")

    def __init__(self, buffer: bytearray, starts: array[int], between: int) -> None:
        """Take over a buffer.

        Args:
            buffer: the texts, and between two of them bytes that belong to neither.
            starts: where each text starts, and where one more would.
            between: how many bytes lie between two texts.
        """
        self._buffer = memoryview(buffer).toreadonly()
        self._starts = starts
        self._between = between

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[bytes, ...]: ...

    def __getitem__(self, index: int | slice) -> bytes | tuple[bytes, ...]:
        place = range(len(self))[index]
        if isinstance(place, range):
            return tuple(map(self.__getitem__, place))
        return bytes(self._buffer[self._starts[place] : self._starts[place + 1] - self._between])

    def __iter__(self) -> Iterator[bytes]:
        for start, following in pairwise(self._starts):
            yield bytes(self._buffer[start : following - self._between])

    def __eq__(self, other: object) -> bool:
        """Tell whether another sequence holds the same texts."""
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(text == text_of_other for text, text_of_other in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment] # equal to tuples and lists

    def __repr__(self) -> str:
        return f"<{len(self)} texts>"


def read_texts(
    stream: Any, count: int, length_bytes: int, limit: Limit, trailer_bytes: int = 0
) -> tuple[Texts, bytes]:
    """Read ``count`` texts, each after its length in ``length_bytes`` (4 or 8) bytes.

    Returns:
        The texts, and the ``trailer_bytes`` bytes that follow each of them, joined.

    Raises:
        FormatError: there is no room for so many, a text goes past the end of the file or of what
            is read of it, or the file has shrunk since it was opened.
    """
    around = length_bytes + trailer_bytes
    first = limit.require(stream, count * around)
    room = min(stream.size, limit.end) - first
    number = _LENGTHS[length_bytes].unpack_from
    buffer = bytearray()
    starts = array("I", [length_bytes])
    place = 0
    last = _fill(buffer, stream, count * around) - length_bytes  # where a length may stand
    for index in range(count):
        (length,) = number(buffer, place)
        place += around + length
        if place > last:
            certain = place + (count - index - 1) * around  # so far they reach at least
            if certain > room:
                # The first text behind which the others have no place; it may have been read.
                reached = chain((start - length_bytes for start in starts[1:]), [place])
                behind = ((n, end, (count - n - 1) * around) for n, end in enumerate(reached))
                n, end, least = next(row for row in behind if row[1] + row[2] > room)
                stream.seek(first + starts[n])
                try:
                    limit.require(stream, end - trailer_bytes - starts[n])
                    limit.require(stream, end + least - starts[n])
                except FormatError as error:
                    error.within(f"[{n}]")
                    raise
            last = _fill(buffer, stream, certain) - length_bytes
        starts.append(place + length_bytes)
    trailers = b""
    if trailer_bytes:
        places = (start - around for start in starts[1:])
        trailers = b"".join(buffer[place : place + trailer_bytes] for place in places)
    return Texts(buffer, starts, around), trailers


def _fill(buffer: bytearray, stream: Any, length: int) -> int:
    """Read until the buffer holds ``length`` bytes, a block at a time, and return that."""
    while len(buffer) < length:
        block = stream.read(min(length - len(buffer), BLOCK_BYTES))
        if not block:
            raise FormatError(
                offset=stream.tell(), expected="more bytes", found="the end of the file", hint=CUT
            )
        buffer += block
    return length
