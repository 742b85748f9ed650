"""What a layout hands to the writer: plain data, without I/O.

A Plan is one GGUF, which its writer lays out; a FolderPlan is several files, laid out already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from converter.assumptions import Assumption
from converter.parts import Computed, Part
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

    def value(self, key: str) -> Any:
        """Return the value of a key; None if it is not written."""
        return next((item.value for item in self.metadata if item.key == key), None)


@dataclass(frozen=True)
class PlannedFile:
    """One file of a folder.

    Attributes:
        name: its name in the folder.
        parts: its bytes, one part after the other.
        tensors: those of them that are weights, for messages.
    """

    name: str
    parts: tuple[Part, ...]
    tensors: tuple[PlannedTensor, ...] = ()

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return sum(part.length for part in self.parts)

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes in order, in blocks of bounded size."""
        for part in self.parts:
            yield from part.blocks()

    @classmethod
    def of(cls, name: str, content: bytes) -> PlannedFile:
        """Return a small file whose bytes are known."""
        return cls(name, (Computed(len(content), lambda: (content,)),))


@dataclass(frozen=True)
class FolderPlan:
    """A folder to be written.

    Attributes:
        files: its files, in the order in which they are written.
        choices: what the checkpoint does not say and is written down beside the files, so that the
            folder can be compared with its checkpoint: values of JSON.
    """

    files: tuple[PlannedFile, ...]
    choices: Mapping[str, Any]

    @property
    def tensors(self) -> tuple[PlannedTensor, ...]:
        """All weights."""
        return tuple(tensor for file in self.files for tensor in file.tensors)

    @property
    def length(self) -> int:
        """Bytes of all files."""
        return sum(file.length for file in self.files)
