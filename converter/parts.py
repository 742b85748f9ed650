"""Where the bytes of an array come from: runs of files, or what is computed in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ggcp_schema import Span

ELEMENT_BYTES = 4
"""Of a float32, the type of all that a checkpoint trains."""


@dataclass(frozen=True)
class Computed:
    """Bytes that are in no file as they stand.

    Attributes:
        length: bytes.
        make: returns the bytes, in blocks of bounded size; may be called more than once.
    """

    length: int
    make: Callable[[], Iterable[bytes]]

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes in order."""
        yield from self.make()


Part = Span | Computed
"""Where a run of an array's bytes comes from."""


@dataclass(frozen=True)
class Array:
    """The elements of a tensor, float32 each.

    Attributes:
        shape: elements along each dimension, the fastest-varying first; none if it does not exist.
        parts: its bytes, one part after the other.
    """

    shape: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def span(self) -> Span:
        """The one run of a file that holds all of it, as where it was read.

        Raises:
            ValueError: it is put together from several runs, or computed.
        """
        (part,) = self.parts
        if not isinstance(part, Span):
            raise ValueError("a computed array is no span of a file")
        return part


def elements(span: Span, start: int, stop: int) -> Span:
    """Return the elements from ``start`` to ``stop`` of a run of float32, as a flat one."""
    offset = span.offset + ELEMENT_BYTES * start
    return Span(span.source, offset, ELEMENT_BYTES * (stop - start), (stop - start,))


class Pair(NamedTuple):
    """The two matrices that stand for the change of a tensor; see numeric/delta.py.

    Attributes:
        a: A, of the shape [rank, inputs].
        b: B, of the shape [rank, outputs]; outputs is 1 for a vector.
    """

    a: Array
    b: Array
