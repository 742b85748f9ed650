"""Walks the structs: their names, what may stand in them, and expressions for people.

What the formats of the documentation have in common. A construct that the walk does not know is an
error, so that nothing goes undocumented.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from ggcp_schema import checkpoint, ggla, lora, magicless, model, optimizer, tensor
from ggcp_schema.checkpoint import CHECKPOINT_FILE
from ggcp_schema.document.expressions import Writer
from ggcp_schema.language.constructs import Described, IfThenElse
from ggcp_schema.language.fields import Field, Struct
from ggcp_schema.tensor import TensorRecord

MODULES: tuple[ModuleType, ...] = (checkpoint, ggla, lora, magicless, model, optimizer, tensor)
"""Where the structs have their names."""

_Entry = TypeVar("_Entry")


class Alternative(NamedTuple):
    """One of the things that may stand in a place, and in which case.

    Attributes:
        label: the case, for people: ``0 (ADAM)``.
        key: the value that selects it; True and False for a condition.
        construct: what stands there.
    """

    label: str
    key: Any
    construct: Any


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


def alternatives(construct: Described) -> list[Alternative]:
    """Return what may stand in a place; empty where there is no choice."""
    return [Alternative(_label(construct, key), key, case) for key, case in construct.cases.items()]


def _label(construct: Described, key: Any) -> str:
    if isinstance(construct, IfThenElse):
        return f"if `{text(construct.condfunc)}`" if key else "otherwise"
    return name_of_case(key)


def name_of_case(key: Any) -> str:
    """Return what selects a case, for people."""
    if isinstance(key, enum.Enum) and isinstance(key.value, int):
        return f"{key.value} ({key.name})"
    return str(key.value) if isinstance(key, enum.Enum) else str(key)


def entry_for(table: Mapping[type, _Entry], construct: Any) -> _Entry:
    """Return what a table says of constructs of this type, or of the nearest type above it.

    Raises:
        UnknownConstructError: nothing.
    """
    for kind in type(construct).__mro__:
        if kind in table:
            return table[kind]
    raise UnknownConstructError(construct)


def structs_in(construct: Any) -> list[Struct]:
    """Return the outermost structs in a field, in the order of the file.

    Raises:
        UnknownConstructError: something in it does not say what it consists of.
    """
    if isinstance(construct, Struct):
        return [construct]
    if not isinstance(construct, Described):
        raise UnknownConstructError(construct)
    return [struct for child in construct.children for struct in structs_in(child)]


def structs(*roots: Struct) -> list[Struct]:
    """Return each struct in and below the roots once, in the order in which a reader meets them.

    The tensor record, which is everywhere, comes last.
    """
    found: list[Struct] = []
    for root in roots or tuple(CHECKPOINT_FILE.cases.values()):
        _collect(root, found)
    return sorted(found, key=lambda struct: struct is TensorRecord)


def _collect(struct: Struct, found: list[Struct]) -> None:
    if any(struct is other for other in found):
        return
    found.append(struct)
    for field in struct.subcons:
        for inner in structs_in(field.subcon):
            _collect(inner, found)


def undocumented(*roots: Struct) -> Iterator[str]:
    """Yield every field, as ``Struct.field``, that lacks a meaning or a C name."""
    for struct in structs(*roots):
        name = struct_name(struct)
        if name and not struct.docs:
            yield name
        for field in struct.subcons:
            if not isinstance(field, Field) or not field.docs or not field.c_name:
                yield f"{name or 'struct'}.{field.name}"


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
    for root in CHECKPOINT_FILE.cases.values():
        places: list[Any] = [root]
        for name in path:
            fields = [f for place in places for s in structs_in(place) for f in s.subcons]
            places = [f.subcon for f in fields if f.name == name]
            c_names = [f.c_name for f in fields if f.name == name]
        if c_names:
            return str(c_names[0])
    raise LookupError(".".join(path))


def text(expression: Any, own: str = "value") -> str:
    """Return an expression as text for people; ``own`` is the field that a check is about."""
    return _Plain(own).write(expression)
