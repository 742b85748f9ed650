"""What a layout hands to the writer: plain data, without I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from converter.assumptions import Assumption
from converter.parts import Part
from ggcp_schema.gguf import TensorType, ValueType


@dataclass(frozen=True, slots=True)
class Metadata:
    """One key of a GGUF and its value.

    Attributes:
        key: the name of the key, such as ``llama.context_length``.
        type: the type under which the value is written.
        value: a number, a text or, for an array, a sequence of them or a NumPy array of numbers.
        element_type: the type of an array's elements; None for every other type.
    """

    key: str
    type: ValueType
    value: Any
    element_type: ValueType | None = None

    def __eq__(self, other: object) -> bool:
        """Compare all members; elements one by one, whatever sequence they are in."""
        if not isinstance(other, Metadata):
            return NotImplemented
        if (self.key, self.type, self.element_type) != (other.key, other.type, other.element_type):
            return False
        if isinstance(self.value, np.ndarray) or isinstance(other.value, np.ndarray):
            return np.array_equal(self.value, other.value)
        return bool(self.value == other.value)


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """One tensor of a GGUF.

    Attributes:
        name: the name in the GGUF.
        shape: elements along each dimension, the fastest-varying first, as in the checkpoint.
        parts: its bytes, one part after the other.
        type: the type of the elements.
    """

    name: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    type: TensorType = TensorType.F32

    @property
    def length(self) -> int:
        """Bytes of data, from shape and type."""
        return prod(self.shape) // self.type.block_elements * self.type.block_bytes


@dataclass(frozen=True)
class Plan:
    """A GGUF to be written.

    Attributes:
        architecture: the value of ``general.architecture``, which is the first key.
        metadata: all other keys, in order.
        tensors: all tensors, in order.
        assumptions: what the values rest on that was decided; no part of the file.
    """

    architecture: str
    metadata: tuple[Metadata, ...]
    tensors: tuple[PlannedTensor, ...]
    assumptions: tuple[Assumption, ...] = field(default=(), compare=False)

    @property
    def length(self) -> int:
        """Bytes of data of all tensors, without padding."""
        return sum(tensor.length for tensor in self.tensors)
