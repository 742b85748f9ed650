"""Values as ``torch.save`` pickles them (protocol 2), written without torch.

A pickle names classes of torch, and Python's own pickler writes no names that it cannot import.
What is written here is plain data and tensors, so that ``torch.load(weights_only=True)`` reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from converter.parts import Part


@dataclass(frozen=True)
class StoredTensor:
    """A float32 tensor in a file of torch, with a storage of its own.

    Attributes:
        shape: elements along each dimension, the slowest-varying first; none for a single number.
        parts: its bytes, one part after the other.
    """

    shape: tuple[int, ...]
    parts: tuple[Part, ...]


def pickled(value: Any) -> tuple[bytes, tuple[StoredTensor, ...]]:
    """Return the pickle of a value, and the tensors in it in the order of their storages.

    Args:
        value: mappings, lists, tuples, texts, numbers, truth values, None and StoredTensor, in any
            nesting.
    """
    tensors: list[StoredTensor] = []
    return b"\x80\x02" + b"".join(_opcodes(value, tensors)) + b".", tuple(tensors)


# pickletools.py names and describes the opcodes.
def _opcodes(value: Any, tensors: list[StoredTensor]) -> Iterator[bytes]:
    if value is None:
        yield b"N"
    elif isinstance(value, bool):
        yield b"\x88" if value else b"\x89"
    elif isinstance(value, int):
        yield _integer(value)
    elif isinstance(value, float):
        yield b"G" + struct.pack(">d", value)
    elif isinstance(value, str):
        text = value.encode()
        yield b"X" + struct.pack("<I", len(text)) + text
    elif isinstance(value, tuple):
        yield from (b"(", *_all(value, tensors), b"t")
    elif isinstance(value, list):
        yield from (b"](", *_all(value, tensors), b"e")
    elif isinstance(value, Mapping):
        yield b"}("
        for pair in value.items():
            yield from _all(pair, tensors)
        yield b"u"
    elif isinstance(value, StoredTensor):
        yield from _tensor(value, tensors)
    else:
        raise TypeError(f"no opcode for {type(value).__name__}")


def _all(values: Any, tensors: list[StoredTensor]) -> Iterator[bytes]:
    for value in values:
        yield from _opcodes(value, tensors)


def _integer(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + struct.pack("B", len(data)) + data


def _tensor(tensor: StoredTensor, tensors: list[StoredTensor]) -> Iterator[bytes]:
    """Call what rebuilds a tensor from its storage, which another file holds (``data/K``)."""
    key = str(len(tensors))
    tensors.append(tensor)
    strides = tuple(prod(tensor.shape[axis + 1 :]) for axis in range(len(tensor.shape)))
    yield b"ctorch._utils\n_rebuild_tensor_v2\n("
    yield b"("
    yield from _opcodes("storage", tensors)
    yield b"ctorch\nFloatStorage\n"
    yield from _all((key, "cpu", prod(tensor.shape)), tensors)
    yield b"tQ"
    yield from _all((0, tensor.shape, strides, False), tensors)
    yield b"ccollections\nOrderedDict\n)RtR"
