"""The small vocabulary in which the layouts are written.

Every construct here parses and builds, knows the path and the byte offset of what is wrong, and
can be walked: a Struct has ``subcons``, a Field its name, C name, meaning and checks, and all
conditions, counts and shapes are ``this`` expressions that can be printed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from construct import Computed, Container, Renamed
from construct import Struct as ConstructStruct
from construct.core import FormatField

from ggcp_schema.language.checks import ANOTHER, CUT, DAMAGED, Check, compiled, shown
from ggcp_schema.language.errors import FormatError

U8 = FormatField("<", "B")
U32 = FormatField("<", "L")
I32 = FormatField("<", "l")
I64 = FormatField("<", "q")
U64 = FormatField("<", "Q")
F32 = FormatField("<", "f")

_NUMBERS = {
    "B": "a whole number from 0 to 255",
    "L": "a whole number from 0 to 4294967295",
    "l": "a whole number from -2147483648 to 2147483647",
    "q": "a whole number of 64 bits",
    "Q": "a whole number from 0 to 18446744073709551615",
    "f": "a number that a float32 can hold",
}


class NotANumber(float):
    """A NaN that remembers its four bytes, so that building writes the same NaN again."""

    payload: bytes

    def __new__(cls, payload: bytes) -> NotANumber:
        """Keep the payload beside an ordinary NaN."""
        self = super().__new__(cls, "nan")
        self.payload = payload
        return self


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
        self.derived = derived
        self.because = because
        self._derive = None if derived is None else compiled(derived)
        self.checks = checks
        if derived is not None:
            self.flagbuildnone = True

    def check(self, found: Any, scope: Mapping[str, Any], offset: int | None) -> None:
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

    @property
    def checked(self) -> bool:
        """Whether anything is asserted about the value."""
        return self._derive is not None or bool(self.checks)

    def check_given(self, given: Any, scope: Mapping[str, Any], offset: int) -> None:
        """Raise FormatError unless the value to build agrees with the fields before it."""
        try:
            self.check(given, scope, offset)
        except FormatError as error:
            if error.hint == DAMAGED:  # there is no file yet
                error.hint = ANOTHER
            raise

    def value_to_build(self, given: Any, scope: Mapping[str, Any]) -> Any:
        """Return what is to be written: the derived value, or the one that was given."""
        if self._derive is not None:
            return self._derive(None, scope)
        return given


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


class _Run:
    """Consecutive fields of fixed size: one read and one unpack for all of them."""

    def __init__(self, fields: list[Field]) -> None:
        self.fields = fields
        self.packer = struct.Struct("<" + "".join(f.subcon.fmtstr[1:] for f in fields))
        self.least = self.packer.size
        sizes = [f.subcon.length for f in fields]
        self.starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self._checked = [
            (f, index, start)
            for index, (f, start) in enumerate(zip(fields, self.starts, strict=True))
            if f.checked
        ]
        self._names = [f.name for f in fields]
        self._floats = any(f.subcon.fmtstr[1:] == "f" for f in fields)

    def parse(self, stream: Any, obj: Any, scope: Any) -> None:
        data = stream.read(self.least)
        if len(data) != self.least:
            self._cut(stream.tell() - len(data), len(data))
        values = self.packer.unpack(data)
        if self._floats:
            values = tuple(
                item if item == item else NotANumber(data[start : start + 4])
                for item, start in zip(values, self.starts, strict=True)
            )
        for name, item in zip(self._names, values, strict=True):
            obj[name] = item
            scope[name] = item
        for member, index, start in self._checked:
            try:
                member.check(values[index], scope, None)
            except FormatError as error:
                for name in self._names[index:]:
                    del obj[name]  # what is wrong, and what was not checked, was not parsed
                error.offset = stream.tell() - self.least + start
                error.within(member.name)
                raise

    def _cut(self, offset: int, found: int) -> None:
        starts = zip(self.fields, self.starts, strict=True)
        member, start = [pair for pair in starts if pair[1] <= found][-1]
        raise FormatError(
            path=member.name,
            offset=offset + start,
            expected=f"{member.subcon.length} bytes",
            found=f"{found - start} bytes and the end of the file",
            hint=CUT,
        )

    def build(self, obj: Any, stream: Any, scope: Any) -> None:
        for member in self.fields:
            item = member.value_to_build(obj.get(member.name), scope)
            offset = stream.tell()
            try:
                require_value(item, offset)
                packed = _packed(member.subcon, item, offset)
                member.check_given(item, scope, offset)
            except FormatError as error:
                error.within(member.name)
                raise
            scope[member.name] = item
            stream.write(packed)


def require_value(item: Any, offset: int) -> None:
    """Raise FormatError unless whoever builds gave a value."""
    if item is None:
        raise FormatError(
            offset=offset,
            expected="a value",
            found="none",
            hint="give the container a member of this name",
        )


def _packed(subcon: Any, item: Any, offset: int) -> bytes:
    kind = subcon.fmtstr[1:]
    if isinstance(item, NotANumber) and kind == "f":
        return item.payload
    try:
        return struct.pack(subcon.fmtstr, item)
    except (struct.error, OverflowError, TypeError) as error:
        raise FormatError(
            offset=offset, expected=_NUMBERS[kind], found=shown(item), hint=ANOTHER
        ) from error


class _Member:
    """One field that is not of fixed size."""

    def __init__(self, member: Field) -> None:
        self.field = member
        self.name = member.name
        self.subcon = member.subcon
        self.checked = member.checked
        self.least: int = getattr(member.subcon, "least", 0)

    def parse(self, stream: Any, obj: Any, scope: Any) -> None:
        offset = stream.tell() if self.checked else None
        try:
            item = self.subcon._parse(stream, scope, "")
            if self.checked:
                scope[self.name] = item
                self.field.check(item, scope, offset)
        except FormatError as error:
            if error.partial is not None:
                obj[self.name] = error.partial
            error.within(self.name)
            raise
        obj[self.name] = item
        scope[self.name] = item

    def build(self, obj: Any, stream: Any, scope: Any) -> None:
        try:
            item = self.field.value_to_build(obj.get(self.name), scope)
            scope[self.name] = item
            if not self.subcon.flagbuildnone:
                require_value(item, stream.tell())
            if item is not None:
                self.field.check_given(item, scope, stream.tell())
            built = self.subcon._build(item, stream, scope, "")
            if built is not None:
                scope[self.name] = built
        except FormatError as error:
            error.within(self.name)
            raise


class Struct(ConstructStruct):  # type: ignore[misc]
    """construct's Struct, whose errors carry the path and the byte offset of the field.

    Members are Fields. Neighbours of fixed size are read at once. The scope of ``this`` holds the
    members before, ``_`` (the scope outside), ``_root`` and ``_index``.

    Attributes:
        docs: what the whole is, and which function of the trainers writes it.
    """

    def __init__(self, *subcons: Field, docs: str = "") -> None:
        super().__init__(*subcons)
        self.docs = docs
        self._steps: list[_Run | _Member] = []
        run: list[Field] = []
        for member in subcons:
            if type(member.subcon) is FormatField:
                run.append(member)
                continue
            if run:
                self._steps.append(_Run(run))
                run = []
            self._steps.append(_Member(member))
        if run:
            self._steps.append(_Run(run))
        self.least = sum(step.least for step in self._steps)

    def _scope(self, context: Any) -> Any:
        scope = Container(_=context, _index=context.get("_index"))
        scope["_root"] = context.get("_root", scope)
        return scope

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        obj = Container()
        scope = self._scope(context)
        try:
            for step in self._steps:
                step.parse(stream, obj, scope)
        except FormatError as error:
            error.partial = obj
            raise
        return obj

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        if not isinstance(obj, Mapping):
            raise FormatError(
                offset=stream.tell(),
                expected="a mapping with " + ", ".join(f.name for f in self.subcons),
                found=type(obj).__name__,
                hint="give the members by name",
            )
        scope = self._scope(context)
        for step in self._steps:
            step.build(obj, stream, scope)
        return scope
