"""Weights as a safetensors file, laid out without the package, which wants all data in memory.

The length of the header in 8 bytes, the header as JSON, padded with spaces to a multiple of 8, then
the tensors one after the other (huggingface/safetensors, README: Format). transformers 4 refuses a
file whose metadata do not say ``"format": "pt"``.
"""

from __future__ import annotations

import json
import struct
from typing import Any

from converter.parts import Computed, Part
from converter.plan import PlannedFile, PlannedTensor
from ggcp_schema.gguf import TensorType

TYPES = {TensorType.F32: "F32", TensorType.F16: "F16", TensorType.BF16: "BF16"}
"""The types that weights may have, and their names."""


def safetensors(name: str, tensors: tuple[PlannedTensor, ...]) -> PlannedFile:
    """Return the file of some tensors.

    Args:
        name: its name.
        tensors: each of one of TYPES; shapes are the fastest-varying first, and reversed here.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": TYPES[tensor.type],
            "shape": list(tensor.shape[::-1]),
            "data_offsets": [start, start + tensor.length],
        }
        start += tensor.length
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = struct.pack("<Q", len(text)) + text
    parts: tuple[Part, ...] = (Computed(len(head), lambda: (head,)),)
    return PlannedFile(
        name, parts + tuple(part for tensor in tensors for part in tensor.parts), tensors
    )
