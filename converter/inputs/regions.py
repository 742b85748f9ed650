"""The regions of a file in their order, for a map to scale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from converter.facts import Region, TensorFacts

_LABELS = {"tok_embeddings": "token embeddings", "norm": "last norm"}
_LAYER = re.compile(r"model\.layers\[(\d+)\]\.")


def file_regions(
    tensors: tuple[TensorFacts, ...],
    *,
    header: int,
    optimizer_header: int,
    length: int,
    damaged: bool,
) -> tuple[Region, ...]:
    """Return the regions of a file, without a hole; a record belongs to its tensor's region.

    Args:
        tensors: all tensors, in the order of the file.
        header: bytes in front of the first record.
        optimizer_header: bytes in front of the first record of the optimizer.
        length: bytes of the file.
        damaged: whether what follows the last tensor was not read.
    """
    found = [Region("header", "header", 0, header)]
    # The head of a tensor that does not exist is too small to see.
    there = (tensor for tensor in tensors if tensor.length)
    for (label, kind), group in groupby(there, key=_label_and_kind):
        members = tuple(group)
        start, stop = found[-1].stop, members[-1].offset + members[-1].length
        if kind == "optimizer" and found[-1].kind != "optimizer" and optimizer_header:
            found.append(Region("optimizer header", "numbers", start, start + optimizer_header))
            start += optimizer_header
        found.append(Region(label, kind, start, stop, members))
    found += _rest(found[-1].stop, length, damaged)
    return tuple(found)


def _rest(start: int, length: int, damaged: bool) -> Iterator[Region]:
    if start < length:
        label, kind = ("not read", "unread") if damaged else ("last numbers", "numbers")
        yield Region(label, kind, start, length)


def _label_and_kind(tensor: TensorFacts) -> tuple[str, str]:
    layer = _LAYER.match(tensor.path)
    if layer:
        return f"layer {layer[1]}", "layer"
    of_optimizer = tensor.path.startswith("optimizer.")
    name = tensor.path.split(".")[2 if of_optimizer else 1]
    label = _LABELS.get(name, name.replace("_", " "))
    if of_optimizer:
        return label, "optimizer"
    return label, "norm" if name == "norm" else "table"
