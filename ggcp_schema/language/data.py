"""The bytes of whatever holds a tensor's data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ggcp_schema.language.checks import shown
from ggcp_schema.language.errors import FormatError
from ggcp_schema.language.source import Span, numpy_shape


def blocks_of(data: Any, shape: tuple[int, ...]) -> Iterator[Any]:
    """Yield the bytes of a tensor of this shape, in blocks.

    Args:
        data: a Span, a NumPy array of little-endian float32, a buffer, an iterable of these; or
            None, which holds nothing.
        shape: of the tensor, the fastest-varying dimension first.

    Raises:
        FormatError: it holds no data, or a span or array has another type or shape than the tensor.
    """
    if data is None:
        return
    if isinstance(data, Span):
        if tuple(data.shape) != shape:
            raise FormatError(
                expected=f"a span of the shape {shown(shape)}",
                found=shown(data.shape),
                hint="give the span of a tensor of the same shape",
            )
        yield from data.blocks()
        return
    dtype = getattr(data, "dtype", None)
    if dtype is not None:
        if getattr(dtype, "str", None) != "<f4" or tuple(data.shape) != numpy_shape(shape):
            raise FormatError(
                expected=f"an array of float32 (<f4) of the shape {shown(numpy_shape(shape))}",
                found=f"{getattr(dtype, 'str', dtype)} of the shape {shown(tuple(data.shape))}",
                hint="NumPy's shape is the checkpoint's, reversed",
            )
        yield data.tobytes()
        return
    try:
        yield _as_bytes(data)
        return
    except TypeError:  # not a buffer: its blocks are
        blocks_of_data = _iterated(data)
    for block in blocks_of_data:
        try:
            yield _as_bytes(block)
        except TypeError as error:
            raise _no_data(f"blocks of {type(block).__name__}") from error


def _as_bytes(buffer: Any) -> memoryview:
    view = memoryview(buffer)
    if view.contiguous and view.nbytes and view.format in ("B", "f"):
        return view.cast("B")
    return memoryview(view.tobytes())


def _iterated(data: Any) -> Iterator[Any]:
    try:
        return iter(data)
    except TypeError as error:
        raise _no_data(type(data).__name__) from error


def _no_data(found: str) -> FormatError:
    return FormatError(
        expected="a span, a NumPy array, a buffer, or an iterable of blocks of bytes",
        found=found,
        hint="give the elements as little-endian float32",
    )
