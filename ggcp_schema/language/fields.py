"""Numbers, named fields, and the structs of fields that the layouts are.

A field knows the path and the byte offset of what is wrong with it, when parsing and when building.
All conditions, counts and shapes are ``this`` expressions, which can be printed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from typing import Any

from construct import Container, Renamed
from construct import Struct as ConstructStruct
from construct.core import FormatField

from ggcp_schema.language.checks import ANOTHER, CUT, DAMAGED, Check, compiled, shown
from ggcp_schema.language.constructs import Computed, Described, Member
from ggcp_schema.language.errors import FormatError
from ggcp_schema.language.runs import read


class Number(Described, FormatField):  # type: ignore[misc]
    """A little-endian number of fixed size.

    Attributes:
        type_name: ``u32`` and the like.
        values: what it can hold, in words.
    """

    def __init__(self, code: str, type_name: str, values: str) -> None:
        super().__init__("<", code)
        self.type_name = type_name
        self.values = values
        self.size: int = self.length
        self._packer = struct.Struct(self.fmtstr)

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        return self._packer.unpack(read(stream, self.size))[0]

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        try:
            data = self._packer.pack(obj)
        except (struct.error, OverflowError, TypeError, ValueError) as error:
            raise FormatError(
                offset=stream.tell(), expected=self.values, found=shown(obj), hint=ANOTHER
            ) from error
        stream.write(data)


class Float(Number):
    """A floating-point number; building writes a NaN with the very bytes that were parsed."""

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        data = read(stream, self.size)
        (found,) = self._packer.unpack(data)
        return found if found == found else NotANumber(data)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        if isinstance(obj, NotANumber):
            stream.write(obj.payload)
        else:
            super()._build(obj, stream, context, path)


class NotANumber(float):
    """A NaN that remembers its bytes."""

    payload: bytes

    def __new__(cls, payload: bytes) -> NotANumber:
        """Keep the payload beside an ordinary NaN."""
        self = super().__new__(cls, "nan")
        self.payload = payload
        return self


U8 = Number("B", "u8", "a whole number from 0 to 255")
U32 = Number("L", "u32", "a whole number from 0 to 4294967295")
U64 = Number("Q", "u64", "a whole number from 0 to 18446744073709551615")
I32 = Number("l", "i32", "a whole number from -2147483648 to 2147483647")
I64 = Number("q", "i64", "a whole number of 64 bits")
F32 = Float("f", "f32", "a number that a float32 can hold")


class Field(Renamed):  # type: ignore[misc]
    """A named member of a Struct.

    Attributes:
        c_name: what the trainers' C++ source calls it.
        docs: one line that says what it means, with units.
        checks: facts that hold for its value, asserted when parsing and when building.
        derived: for a field that follows from others, an expression over ``this``. It is computed
            when building, and must agree when parsing.
        because: what a derived field follows from, in words.
    """

    def __init__(
        self,
        name: str,
        subcon: Any,
        c_name: str,
        docs: str,
        checks: tuple[Check, ...] = (),
        derived: Any = None,
        because: str = "",
    ) -> None:
        super().__init__(subcon, newname=name, newdocs=docs)
        self.c_name = c_name
        self.checks = checks
        self.derived = derived
        self.because = because
        self._derive = None if derived is None else compiled(derived)
        self.flagbuildnone |= derived is not None

    @property
    def parser(self) -> Callable[[Any, Any, str], Any]:
        """What parses it: where nothing is asserted, its construct, without a detour."""
        asserted = self.derived is not None or self.checks
        parse: Callable[[Any, Any, str], Any] = self._parse if asserted else self.subcon._parse
        return parse

    def _check(self, found: Any, scope: Mapping[str, Any], offset: int) -> None:
        """Raise FormatError unless the value agrees with the fields before it."""
        if self._derive is not None:
            wanted = self._derive(None, scope)
            if found != wanted:
                expected = shown(wanted) + (f" ({self.because})" if self.because else "")
                raise FormatError(
                    offset=offset, expected=expected, found=shown(found), hint=DAMAGED
                )
        for check in self.checks:
            check(found, scope, offset)

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        offset = stream.seek(0, os.SEEK_CUR)  # unlike tell(), without a system call
        found = context[self.name] = self.subcon._parse(stream, context, path)
        self._check(found, context, offset)
        return found

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        """Write what is derived, or else what was given; return what then stands there."""
        offset = stream.tell()
        given = obj if self._derive is None else self._derive(None, context)
        if not self.subcon.flagbuildnone:
            require_value(given, offset)
        context[self.name] = given
        built = self.subcon._build(given, stream, context, path)
        if given is not None:
            try:
                self._check(given, context, offset)
            except FormatError as error:
                if error.hint == DAMAGED:  # there is no file yet
                    error.hint = ANOTHER
                raise
        return given if built is None else built


def field(name: str, subcon: Any, c_name: str, docs: str, *checks: Check) -> Field:
    """Declare a member that carries information."""
    return Field(name, subcon, c_name, docs, checks)


def derived(
    name: str,
    subcon: Any,
    expression: Any,
    c_name: str,
    docs: str,
    *checks: Check,
    because: str = "",
) -> Field:
    """Declare a member that follows from others: computed on build, compared on parse."""
    return Field(name, subcon, c_name, docs, checks, expression, because)


def computed(name: str, expression: Any, c_name: str, docs: str) -> Field:
    """Declare a value that takes no bytes: it follows from the fields before it."""
    return Field(name, Computed(expression), c_name, docs)


def require_value(item: Any, offset: int) -> None:
    """Raise FormatError unless whoever builds gave a value."""
    if item is None:
        raise FormatError(
            offset=offset,
            expected="a value",
            found="none",
            hint="give the container a member of this name",
        )


def outer_scope(**members: Any) -> Container:
    """Return the scope outside structs that are parsed one by one, with ``members`` in it.

    Without the ``_root`` in it each of them would be its own: a cycle, which only the collector
    frees, so that many of them would take twice the memory.
    """
    return Container(members, _root=None)


class Struct(Described, ConstructStruct):  # type: ignore[misc]
    """construct's Struct, whose errors carry the path and the byte offset of the field.

    Members are Fields. The scope of ``this`` holds the members before, ``_`` (the scope outside),
    ``_root`` and ``_index``.

    Attributes:
        docs: what the whole is, and which function of the trainers writes it.
        least: bytes that it takes at least.
    """

    least = 0

    def __init__(self, *subcons: Field, docs: str = "") -> None:
        super().__init__(*subcons)
        self.docs = docs
        self.children = tuple(member.subcon for member in subcons)
        self.least = sum(getattr(child, "least", 0) for child in self.children)
        self._parsers = [(member.name, member.parser) for member in subcons]
        sizes: list[Any] = [getattr(child, "size", None) for child in self.children]
        self.size = None if None in sizes else sum(sizes)

    def members(self, value: Mapping[str, Any]) -> list[Member]:
        """Return the fields of a parsed value, up to the first that is missing."""
        found = []
        for member in self.subcons:
            if member.name not in value:
                break
            found.append(Member(member.name, member.subcon, value[member.name]))
        return found

    def offsets(self) -> dict[str, int]:
        """Return where fields stand from the start of the struct, up to one without a size."""
        offsets = {}
        offset = 0
        for member in self.subcons:
            offsets[member.name] = offset
            size = member.subcon.size
            if size is None:
                break
            offset += size
        return offsets

    def _scope(self, context: Any) -> Any:
        scope = Container(_=context, _index=context.get("_index"))
        scope["_root"] = context.get("_root", scope)
        return scope

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        obj = Container()
        scope = self._scope(context)
        try:
            for name, parse in self._parsers:
                obj[name] = scope[name] = parse(stream, scope, "")
        except FormatError as error:
            if error.partial is not None:
                obj[name] = error.partial
            elif error.hint == CUT and isinstance(self._subcons[name].subcon, Number):
                self._drop_numbers_at_the_end(obj)
            error.partial = obj
            error.within(name)
            raise
        return obj

    def _drop_numbers_at_the_end(self, obj: Any) -> None:
        """Leave out the neighbours of a number that is cut: readers find all of them or none."""
        while obj and isinstance(self._subcons[next(reversed(obj))].subcon, Number):
            obj.popitem()

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        if not isinstance(obj, Mapping):
            raise FormatError(
                offset=stream.tell(),
                expected="a mapping with " + ", ".join(f.name for f in self.subcons),
                found=type(obj).__name__,
                hint="give the members by name",
            )
        scope = self._scope(context)
        try:
            for member in self.subcons:
                name = member.name
                scope[name] = member._build(obj.get(name), stream, scope, "")
        except FormatError as error:
            error.within(name)
            raise
        return scope
