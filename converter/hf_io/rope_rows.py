"""Rows of queries and keys as transformers wants them: moved, without arithmetic.

The trainers rotate neighbours, the elements 2j and 2j + 1 of a head; transformers rotates j and
j + D/2 (``rotate_half``), D being the elements that are rotated. The weights differ by where their
rows stand: new row j is old row 2j, new row D/2 + j is old row 2j + 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from converter.parts import Computed, Part
from ggcp_schema import Span
from ggcp_schema.language.source import BLOCK_BYTES

_MOST_HEAD_BYTES = 8 << 20
"""A head up to this size is held at once, one that is larger is read row by row."""


def halved(part: Part, row_bytes: int, head_rows: int, rotated_rows: int) -> Part:
    """Return a matrix whose rotated rows, in each head, stand as two halves.

    Args:
        part: its bytes, heads one after the other.
        row_bytes: bytes of a row, a multiple of 4.
        head_rows: rows of a head.
        rotated_rows: how many of them are rotated, the first ones; an even number.
    """
    head_bytes = row_bytes * head_rows
    if isinstance(part, Span) and head_bytes > _MOST_HEAD_BYTES:
        return Computed(part.length, _RowByRow(part, row_bytes, head_rows, rotated_rows))
    return Computed(part.length, _HeadByHead(part, row_bytes, head_rows, rotated_rows))


def _order(head_rows: int, rotated_rows: int) -> list[int]:
    """Return for each new row of a head its old one."""
    rows = range(rotated_rows)
    return [*rows[::2], *rows[1::2], *range(rotated_rows, head_rows)]


@dataclass(frozen=True)
class _HeadByHead:
    part: Part
    row_bytes: int
    head_rows: int
    rotated_rows: int

    def __call__(self) -> Iterator[bytes]:
        size = self.row_bytes * self.head_rows
        order = [row * self.row_bytes for row in _order(self.head_rows, self.rotated_rows)]
        several = max(1, BLOCK_BYTES // size) * size  # heads whose bytes go on together
        moved: list[bytes] = []
        for head in _pieces(self.part, size):
            moved += (head[start : start + self.row_bytes] for start in order)
            if len(moved) * self.row_bytes >= several:
                yield b"".join(moved)
                moved = []
        yield b"".join(moved)


@dataclass(frozen=True)
class _RowByRow:
    span: Span
    row_bytes: int
    head_rows: int
    rotated_rows: int

    def __call__(self) -> Iterator[bytes]:
        size = self.row_bytes * self.head_rows
        order = _order(self.head_rows, self.rotated_rows)
        for head in range(self.span.offset, self.span.offset + self.span.length, size):
            for row in order:
                offset = head + row * self.row_bytes
                yield from Span(self.span.source, offset, self.row_bytes, ()).blocks()


def _pieces(part: Part, size: int) -> Iterator[bytes]:
    """Yield the bytes of a part in pieces of one size."""
    gathered = bytearray()
    for block in part.blocks():
        gathered += block
        whole = len(gathered) // size * size
        for start in range(0, whole, size):
            yield bytes(gathered[start : start + size])
        del gathered[:whole]
