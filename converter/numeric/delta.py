"""What a LoRA pair changes: Δ[i, j] = Σ A[r, i]·B[r, j], times a factor, in bounded memory.

llama.cpp, examples/finetune, 1a5f0a30e: the weight in training is W + ggml_mul_mat(A, B). Only an
adapter of that time (ggla) has a factor that is not 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from converter.parts import Pair
from ggcp_schema import Span

F32Array = npt.NDArray[np.float32]
F64Array = npt.NDArray[np.float64]

BLOCK_ELEMENTS = 1 << 19
"""How many elements of a matrix are held at once; at least one row of it, whatever its length."""

_CACHED_ELEMENTS = 1 << 14
"""How many elements of Δ are summed up at once: they stay in the cache while the ranks pass."""


def row_blocks(rows: int, row_elements: int) -> Iterator[tuple[int, int]]:
    """Yield first and count of consecutive rows that together have about BLOCK_ELEMENTS."""
    step = max(1, BLOCK_ELEMENTS // max(row_elements, 1))
    for first in range(0, rows, step):
        yield first, min(step, rows - first)


def read_rows(span: Span, first: int, count: int) -> F32Array:
    """Return ``count`` rows of a matrix of float32: indices of its last dimension.

    Raises:
        FormatError: the file was cut or cannot be read.
    """
    columns = span.shape[0]
    data = span.source.read_at(span.offset + 4 * first * columns, 4 * count * columns)
    return np.frombuffer(data, "<f4").reshape(count, columns)


def _add_products(result: F64Array, b: F64Array, a: F64Array) -> None:
    product = np.empty_like(result)
    with np.errstate(all="ignore"):  # what is not finite is counted where it is written
        for rank in range(len(a)):
            np.multiply(b[:, rank : rank + 1], a[rank], out=product)
            np.add(result, product, out=result)


def _in_float64(values: F32Array) -> F64Array:
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        return np.ascontiguousarray(values, np.float64)


@dataclass(frozen=True)
class Delta:
    """The change of one tensor of the base model.

    Attributes:
        a: A, of the shape [rank, inputs].
        b: B, of the shape [rank, outputs]; outputs is 1 for a norm.
        scale: factor on their product.
    """

    a: Span
    b: Span
    scale: float = 1.0

    @classmethod
    def of(cls, pair: Pair, scale: float) -> Delta:
        """Return the change that a pair stands for."""
        return cls(pair.a.span, pair.b.span, scale)

    @property
    def rank(self) -> int:
        """The rank of the pair; with 0 nothing changes."""
        return self.a.shape[0]

    @property
    def inputs(self) -> int:
        """Elements along the tensor's first dimension."""
        return self.a.shape[1]

    @property
    def outputs(self) -> int:
        """Elements along the tensor's second dimension."""
        return self.b.shape[1] if len(self.b.shape) > 1 else 1

    def rows(self, first: int, count: int) -> F64Array:
        """Return Δ in float64 for ``count`` indices of the tensor's second dimension.

        The NumPy shape is (count, inputs). The sum runs over the ranks in their order, so that it
        is the same to the bit on every machine, which a BLAS library does not promise.
        """
        result = np.zeros((count, self.inputs))
        b = _in_float64(read_rows(self.b, first, count))
        # A rank may be any number: A is read in pieces as well.
        for start, length in row_blocks(self.inputs, self.rank):
            a = _in_float64(read_rows(self.a, start, length).T)
            height = max(1, _CACHED_ELEMENTS // length)
            for top in range(0, count, height):
                rows = slice(top, top + height)
                _add_products(result[rows, start : start + length], b[rows], a)
        with np.errstate(all="ignore"):
            return result if self.scale == 1 else result * self.scale

    def largest(self) -> float:
        """Return the largest |Δ|; NaN where an element is NaN."""
        largest = 0.0
        for first, count in row_blocks(self.outputs, max(self.inputs, self.rank)):
            largest = float(np.maximum(largest, np.abs(self.rows(first, count)).max()))
        return largest


def transposed(span: Span) -> Iterator[F32Array]:
    """Yield a matrix, transposed, in blocks of the NumPy shape (some rows, ``span.shape[1]``)."""
    ranks, length = span.shape
    for first, count in row_blocks(ranks, length):
        block = np.empty((count, length), np.float32)
        for start, rows in row_blocks(length, ranks):
            block[:, start : start + rows] = read_rows(span, start, rows)[
                :, first : first + count
            ].T
        yield block
