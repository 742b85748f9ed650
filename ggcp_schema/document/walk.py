"""Walks the structs: their names, their parts, their sizes, and expressions for people.

What the formats of the documentation have in common. A construct that the walk does not know is an
error, so that nothing goes undocumented.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

from construct import Computed, IfThenElse, Switch
from construct.core import FormatField

from ggcp_schema import checkpoint, lora, model, optimizer, tensor
from ggcp_schema.checkpoint import CHECKPOINT_FILE
from ggcp_schema.document.expressions import Writer
from ggcp_schema.language.fields import Field, Struct
from ggcp_schema.language.runs import AlignTo, Bytes, End, Repeated, Signature
from ggcp_schema.lora import StoredFeedForwardLength, StoredHeaderLayout
from ggcp_schema.optimizer import OptimizerContext, StoredRecords
from ggcp_schema.tensor import Dimensions, Tensor, TensorData, TensorRecord

MODULES: tuple[ModuleType, ...] = (checkpoint, lora, model, optimizer, tensor)
"""Where the structs have their names."""

NUMBER_TYPES = {"B": "u8", "L": "u32", "l": "i32", "q": "i64", "f": "f32"}
"""What construct's formats are called in the documentation."""


class Alternative(NamedTuple):
    """One of the things that may stand in a place, and in which case.

    Attributes:
        label: the case, for people: ``0 (ADAM)``.
        key: the value that selects it; True and False for a condition.
        subcon: what stands there.
    """

    label: str
    key: Any
    subcon: Any


class UnknownConstructError(TypeError):
    """The schema uses a construct that the documentation does not know."""

    def __init__(self, subcon: Any) -> None:
        super().__init__(f"the documentation does not know {type(subcon).__name__}")


def struct_name(struct: Struct) -> str | None:
    """Return what the schema calls a struct; one without a name is part of the struct around it."""
    for module in MODULES:
        for name, candidate in vars(module).items():
            if candidate is struct and not name.startswith("_"):
                return name
    return None


def alternatives(subcon: Any) -> list[Alternative]:
    """Return what may stand in a place; empty where there is no choice."""
    if isinstance(subcon, Switch):
        return [Alternative(_case(key), key, case) for key, case in subcon.cases.items()]
    if isinstance(subcon, IfThenElse):
        condition = text(subcon.condfunc)
        return [
            Alternative(f"if `{condition}`", True, subcon.thensubcon),
            Alternative("otherwise", False, subcon.elsesubcon),
        ]
    if isinstance(subcon, OptimizerContext):
        return [Alternative(key.value, key, layout) for key, layout in subcon.layouts.items()]
    return []


def _case(key: Any) -> str:
    if isinstance(key, enum.Enum) and isinstance(key.value, int):
        return f"{key.value} ({key.name})"
    return str(key.value) if isinstance(key, enum.Enum) else str(key)


def parts(subcon: Any) -> list[Struct]:
    """Return the structs directly inside a field, in the order of the file."""
    if isinstance(subcon, Struct):
        return [subcon]
    if isinstance(subcon, Tensor):
        return [TensorRecord]
    if isinstance(subcon, Repeated):
        return parts(subcon.subcon)
    choice = alternatives(subcon)
    if choice:
        return [part for alternative in choice for part in parts(alternative.subcon)]
    if not isinstance(subcon, LEAVES):
        raise UnknownConstructError(subcon)
    return []


LEAVES = (
    FormatField,
    Computed,
    AlignTo,
    Bytes,
    Dimensions,
    End,
    Signature,
    StoredFeedForwardLength,
    StoredHeaderLayout,
    StoredRecords,
    TensorData,
)

FOUND_OUT = (StoredFeedForwardLength, StoredHeaderLayout, StoredRecords)
"""Values that are not stored where they are needed: found out from other bytes."""


def structs(*roots: Struct) -> list[Struct]:
    """Return each struct in and below the roots once, in the order in which a reader meets them.

    The tensor record, which is everywhere, comes last.
    """
    found: list[Struct] = []
    for root in roots or tuple(CHECKPOINT_FILE.layouts.values()):
        _collect(root, found)
    return sorted(found, key=lambda struct: struct is TensorRecord)


def _collect(struct: Struct, found: list[Struct]) -> None:
    if any(struct is other for other in found):
        return
    found.append(struct)
    for field in struct.subcons:
        for part in parts(field.subcon):
            _collect(part, found)


def undocumented(*roots: Struct) -> Iterator[str]:
    """Yield every field, as ``Struct.field``, that lacks a meaning or a C name."""
    for struct in structs(*roots):
        name = struct_name(struct)
        if name and not struct.docs:
            yield name
        for field in struct.subcons:
            if not isinstance(field, Field) or not field.docs or not field.c_name:
                yield f"{name or 'struct'}.{field.name}"


def fixed_size(subcon: Any) -> int | None:
    """Return how many bytes something takes, or None where that depends on the file."""
    if isinstance(subcon, FormatField):
        return int(subcon.length)
    if isinstance(subcon, (Computed, End, *FOUND_OUT)):
        return 0
    if isinstance(subcon, Signature):
        return len(subcon.signature)
    if isinstance(subcon, Bytes):
        return subcon.length if isinstance(subcon.length, int) else None
    if isinstance(subcon, Struct):
        sizes = [fixed_size(field.subcon) for field in subcon.subcons]
        return None if None in sizes else sum(size for size in sizes if size is not None)
    return None


def offsets(struct: Struct) -> list[int | None]:
    """Return for each field its fixed offset from the start of the struct, None if it has none."""
    result: list[int | None] = []
    offset: int | None = 0
    for field in struct.subcons:
        result.append(offset)
        size = fixed_size(field.subcon)
        offset = None if offset is None or size is None else offset + size
    return result


class _Plain(Writer):
    """Names as people write them: C names for the sizes of the whole file, else the field's."""

    def __init__(self, own: str) -> None:
        self.own = own

    def name(self, path: tuple[str, ...]) -> str:
        if path == ("value",):
            return self.own
        if path[1] == "_root":
            return c_name_of(path[2:])
        return ".".join(name for name in path[1:] if name != "_")

    def length(self, path: tuple[str, ...]) -> str:
        return f"length of {self.name(path)}"

    def constant(self, value: Any) -> str:
        return f'"{value}"' if isinstance(value, str) else str(value)


def c_name_of(path: tuple[str, ...]) -> str:
    """Return the C name of a field, by its path from the top of a file."""
    for root in CHECKPOINT_FILE.layouts.values():
        places: list[Any] = [root]
        for name in path:
            fields = [f for place in places for s in parts(place) for f in s.subcons]
            places = [f.subcon for f in fields if f.name == name]
            c_names = [f.c_name for f in fields if f.name == name]
        if c_names:
            return str(c_names[0])
    raise LookupError(".".join(path))


def text(expression: Any, own: str = "value") -> str:
    """Return an expression as text for people; ``own`` is the field that a check is about."""
    return _Plain(own).write(expression)
