"""Rounds float32 to F16, BF16 and Q8_0: the bytes of the gguf package, in vector instructions.

NumPy's own conversion to F16 is not vectorised, and takes 20 times as long where a result is
subnormal, as in the weights of a LoRA adapter; the package's BF16 is rounded in 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, quants

from ggcp_schema.gguf import TensorType

F32Array = npt.NDArray[np.float32]
U16Array = npt.NDArray[np.uint16]

LARGEST = {
    TensorType.F32: float(np.finfo(np.float32).max),
    TensorType.F16: 65504.0,
    TensorType.BF16: 3.3895313892515355e38,
    TensorType.Q8_0: 65504.0 * 127,  # each block has its largest value / 127 as F16
}
"""Where nothing is larger than this, everything stays finite."""

_CACHED_ELEMENTS = 1 << 16
"""How many elements are rounded at once: what is computed on the way stays in the cache."""

_BLOCK = 32
"""Elements that share a scale in Q8_0 (C: ``QK8_0``)."""


def quantized(values: F32Array, kind: TensorType) -> npt.NDArray[Any]:
    """Return values as the gguf package stores them as another type, whatever they are."""
    return quants.quantize(values, GGMLQuantizationType(kind))


def widened(data: npt.NDArray[Any], kind: TensorType) -> F32Array:
    """Return what is stored as another type as float32."""
    return quants.dequantize(data, GGMLQuantizationType(kind))


def rounded(values: F32Array, kind: TensorType) -> bytes:
    """Return the bytes of values as F16, BF16 or Q8_0, as ``gguf.quants.quantize`` does.

    Args:
        values: one dimension of numbers up to ``LARGEST[kind]``; whole blocks for Q8_0.
        kind: the type.
    """
    into = _ROUNDING[kind]
    starts = range(0, values.size, _CACHED_ELEMENTS)
    return b"".join(into(values[at : at + _CACHED_ELEMENTS]).data for at in starts)


def _f16(values: F32Array) -> U16Array:
    """Let the addition of a power of two round: its last bit is that of the F16."""
    bits = values.view(np.uint32)
    powers = bits & 0x7F800000
    np.maximum(powers, 113 << 23, out=powers)  # 2**-14: what is smaller is subnormal
    powers += 13 << 23  # so many bits of a float32 are not in an F16
    sums = np.abs(values)
    sums += powers.view(np.float32)
    # The low bits of a sum are the mantissa with its leading 1, which adds 1 to the exponent. That
    # has another bias and 13 bits more in front of it: 0x800 is what remains of both in 16 bits.
    powers >>= 13
    powers += sums.view(np.uint32)
    powers += 0x800
    signs = np.right_shift(bits, 16, out=sums.view(np.uint32))
    signs &= 0x8000
    powers |= signs
    return powers.astype(np.uint16)


def _bf16(values: F32Array) -> U16Array:
    """Round to the nearest, and to even between two."""
    bits = values.view(np.uint32)
    result = bits >> 16
    result &= 1
    result += 0x7FFF
    result += bits
    result >>= 16
    return result.astype(np.uint16)


def _q8_0(values: F32Array) -> npt.NDArray[np.uint8]:
    """Give each block the scale that makes its largest value 127; halves go away from zero."""
    count = values.size // _BLOCK
    # NumPy compares blocks that stand side by side faster than the elements of each.
    columns = np.abs(values).reshape(count, _BLOCK).T.copy()
    scales = columns.max(axis=0) / 127
    with np.errstate(divide="ignore", over="ignore"):
        doubled = np.where(scales == 0, 0, 1 / scales) * 2
    if not doubled.max() < np.inf:  # a scale so small that it has no inverse
        return quantized(values, TensorType.Q8_0)
    products = np.multiply(
        values.reshape(count, _BLOCK), doubled[:, np.newaxis], out=columns.reshape(count, _BLOCK)
    )
    twice = products.astype(np.int16)  # towards zero
    twice += twice >> 15
    twice += 1
    twice >>= 1
    result = np.empty(count, [("scale", np.uint16), ("values", np.int8, _BLOCK)])
    result["scale"] = _f16(scales)
    np.copyto(result["values"], twice, casting="unsafe")
    return result.view(np.uint8)


_ROUNDING: dict[TensorType, Callable[[F32Array], npt.NDArray[Any]]] = {
    TensorType.F16: _f16,
    TensorType.BF16: _bf16,
    TensorType.Q8_0: _q8_0,
}
