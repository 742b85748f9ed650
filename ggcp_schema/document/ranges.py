"""Which bytes of a file hold which field: a parsed checkpoint laid beside the structs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from construct import Computed
from construct.core import FormatField

from ggcp_schema.checkpoint import CHECKPOINT_FILE
from ggcp_schema.document.walk import FOUND_OUT, UnknownConstructError, alternatives
from ggcp_schema.language.fields import Struct
from ggcp_schema.language.runs import AlignTo, Bytes, End, Repeated, Signature
from ggcp_schema.optimizer import OptimizerContext
from ggcp_schema.tensor import Dimensions, Tensor, TensorData, TensorRecord


class Range(NamedTuple):
    """The bytes of one field.

    Attributes:
        path: the field's path, such as ``model.layers[0].attention.wq.data``.
        offset: where it starts in the file.
        length: how many bytes it takes; 0 for a value that is not stored.
        value: what was parsed.
        subcon: the construct that parsed it.
    """

    path: str
    offset: int
    length: int
    value: Any
    subcon: Any


def ranges(container: Mapping[str, Any]) -> Iterator[Range]:
    """Yield every field of a parsed checkpoint in the order of the file, without a gap."""
    yield from _fields(CHECKPOINT_FILE.layouts[container["magic"]], container, 0, "")


def _fields(struct: Struct, members: Mapping[str, Any], offset: int, path: str) -> Iterator[Range]:
    for field in struct.subcons:
        inner = f"{path}.{field.name}" if path else field.name
        for found in _field(field.subcon, members[field.name], offset, inner):
            yield found
            offset = found.offset + found.length


def _field(subcon: Any, value: Any, offset: int, path: str) -> Iterator[Range]:
    struct = _struct(subcon, value)
    if struct is not None:
        yield from _fields(struct, value, offset, path)
    elif isinstance(subcon, Repeated):
        for index, item in enumerate(value):
            for found in _field(subcon.subcon, item, offset, f"{path}[{index}]"):
                yield found
                offset = found.offset + found.length
    else:
        yield Range(path, offset, _length(subcon, value), value, subcon)


def _struct(subcon: Any, value: Any) -> Struct | None:
    """Return the struct that a parsed value is of, None where it is none."""
    if isinstance(subcon, Struct):
        return subcon
    if isinstance(subcon, Tensor):
        return TensorRecord
    if isinstance(subcon, OptimizerContext):
        return subcon.layouts[value["layout"]]
    names = [name for name in value if name != "_io"] if isinstance(value, Mapping) else []
    for alternative in alternatives(subcon):
        candidate = _struct(alternative.subcon, value)
        if candidate is not None and [field.name for field in candidate.subcons] == names:
            return candidate
    return None


def _length(subcon: Any, value: Any) -> int:
    if isinstance(subcon, FormatField):
        return int(subcon.length)
    if isinstance(subcon, (AlignTo, Bytes, Signature)):
        return len(value)
    if isinstance(subcon, Dimensions):
        return 4 * len(value)
    if isinstance(subcon, TensorData):
        return int(value.length)
    if isinstance(subcon, (Computed, End, *FOUND_OUT)):
        return 0
    raise UnknownConstructError(subcon)
