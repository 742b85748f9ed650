"""How much of a vocabulary file is read, whatever the file claims."""

from __future__ import annotations

from ggcp_schema import FormatError, Source
from ggcp_schema.language.checks import CUT
from ggcp_schema.language.runs import require_bytes

MOST_BYTES = 1 << 26
"""Bytes from the start of the file. The largest vocabularies in use take some 20 MB of metadata."""

MOST_ELEMENTS = 1 << 21
"""Elements of all arrays. The largest vocabularies in use have some 1,300,000."""

TOO_LARGE = "no vocabulary is this large: the file is damaged or not a vocabulary; give another"


def require(stream: Source, length: int) -> None:
    """Make sure that ``length`` bytes may be read next.

    Raises:
        FormatError: fewer are left, or they lie beyond the part that is read.
    """
    require_bytes(stream, length)
    offset = stream.tell()
    if offset + length > MOST_BYTES:
        raise FormatError(
            offset=offset,
            expected=f"a vocabulary in the first {MOST_BYTES} bytes",
            found=f"{length} bytes at {offset}",
            hint=TOO_LARGE,
        )


def read_texts(
    stream: Source, count: int, length_bytes: int, trailer_bytes: int = 0
) -> tuple[list[bytes], bytes]:
    """Read ``count`` texts, each after its length in ``length_bytes`` bytes, in a tight loop.

    Returns:
        The texts, and the ``trailer_bytes`` bytes that follow each of them, joined.

    Raises:
        FormatError: there is no room for so many, or a text goes past the end of the file.
    """
    around = length_bytes + trailer_bytes
    require(stream, count * around)
    texts: list[bytes] = []
    trailers: list[bytes] = []
    position = stream.tell()
    # What is left for texts once every length and trailer has its place.
    left = min(stream.size, MOST_BYTES) - position - count * around
    take, number = stream.read, int.from_bytes
    for index in range(count):
        length = number(take(length_bytes), "little")
        if length > left:
            stream.seek(position + length_bytes)
            try:
                require(stream, length)
                require(stream, length + trailer_bytes + (count - index - 1) * around)
            except FormatError as error:
                error.within(f"[{index}]")
                raise
        left -= length
        position += around + length
        texts.append(take(length))
        if trailer_bytes:
            trailers.append(take(trailer_bytes))
    if stream.tell() != position:  # a short read: the file has shrunk since it was opened
        raise FormatError(
            offset=stream.tell(), expected="more bytes", found="the end of the file", hint=CUT
        )
    return texts, b"".join(trailers)
