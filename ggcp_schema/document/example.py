"""A tiny checkpoint made by the schema, and its bytes with the name of the field beside them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from construct.core import FormatField

from ggcp_schema import build, parse
from ggcp_schema.document.page import Dump, DumpLine
from ggcp_schema.document.ranges import Range, ranges
from ggcp_schema.fields import AlignTo, Bytes
from ggcp_schema.synthetic import Synthetic
from ggcp_schema.tensor import Dimensions, TensorData

EXAMPLE = Synthetic(
    vocabulary_size=3,
    embedding_length=2,
    feed_forward_multiple=3,
    head_count=1,
    block_count=1,
    optimizer_version=1,
    iteration_count=5,
    context_length=4,
)
"""As small as it gets with every kind of record: Adam, version 1, an empty past_loss_values."""

_SHOWN_DATA = 32
"""How many bytes of a tensor's data are shown."""


def dump() -> Dump:
    """Return the annotated bytes of the example."""
    file = io.BytesIO()
    build(_counted(EXAMPLE.container()), file)
    data = file.getvalue()
    lines: list[DumpLine] = []
    with parse(file) as checkpoint:
        for part in ranges(checkpoint.container):
            lines.extend(_lines(part, data))
    return Dump(tuple(lines))


def _counted(part: Any) -> Any:
    """Return a container whose tensors hold 1, 2, 3 …: the same on every machine, and readable."""
    if isinstance(part, Mapping):
        return {name: _counted(member) for name, member in part.items()}
    if isinstance(part, list):
        return [_counted(member) for member in part]
    if isinstance(part, Iterable) and not isinstance(part, (bytes, str)):
        count = sum(memoryview(block).nbytes for block in part) // 4
        return [np.arange(1, count + 1, dtype="<f4").tobytes()]
    return part


def _lines(part: Range, data: bytes) -> Iterator[DumpLine]:
    shown = part.length
    label = part.path
    if isinstance(part.subcon, TensorData):
        shown = min(shown, _SHOWN_DATA)
        label += f": {part.length // 4} × f32"
        if shown < part.length:
            label += f", the first {shown // 4} of them"
    elif part.length:
        label += _value(part)
    elif isinstance(part.value, (int, str)):
        label += f" = {part.value} (takes no bytes)"
    else:
        return
    if not shown:
        yield DumpLine(part.offset, b"", label)
    for start in range(0, shown, 16):
        octets = data[part.offset + start : part.offset + min(start + 16, shown)]
        yield DumpLine(part.offset + start, octets, label if start == 0 else "")


def _value(part: Range) -> str:
    value: Any = part.value
    if isinstance(part.subcon, FormatField):
        return f" = {value:g}" if isinstance(value, float) else f" = {value}"
    if isinstance(part.subcon, Dimensions):
        return f" = [{', '.join(map(str, value))}]"
    if isinstance(part.subcon, AlignTo):
        return f": {part.length} bytes"
    if isinstance(part.subcon, Bytes):
        return f' = "{value.decode("ascii")}"'
    return ""
