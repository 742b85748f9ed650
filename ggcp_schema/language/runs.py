"""Constructs for runs of bytes, repetitions, alignment and the end of the file."""

from __future__ import annotations

import struct
from itertools import islice
from typing import Any

from construct import Construct, ListContainer, Subconstruct

from ggcp_schema.language.checks import ANOTHER, CUT, DAMAGED, compiled, shown
from ggcp_schema.language.constructs import Described, Member
from ggcp_schema.language.errors import FormatError


def read(stream: Any, length: int) -> bytes:
    """Read exactly ``length`` bytes; the end of the file is a FormatError."""
    data: bytes = stream.read(length)
    if len(data) != length:
        raise _cut(stream.tell() - len(data), length, len(data))
    return data


def require_bytes(stream: Any, length: int) -> None:
    """Make sure that ``length`` bytes are left before they are allocated, looped over or skipped.

    Raises:
        FormatError: fewer are left.
    """
    offset = stream.tell()
    left = max(stream.size - offset, 0)
    if length > left:
        raise _cut(offset, length, left)


def _cut(offset: int, length: int, left: int) -> FormatError:
    found = f"{left} bytes and the end of the file"
    return FormatError(offset=offset, expected=f"{length} bytes", found=found, hint=CUT)


def _as_bytes(item: Any, offset: int) -> bytes:
    """Return what a buffer holds, whose length in elements may be another than that in bytes."""
    if not isinstance(item, (bytes, bytearray, memoryview)):
        raise FormatError(
            offset=offset, expected="bytes", found=type(item).__name__, hint="give a bytes object"
        )
    return bytes(item)


class Repeated(Described, Subconstruct):  # type: ignore[misc]
    """As many of the same as ``count`` says; each knows its index as ``this._index``."""

    def __init__(self, count: Any, subcon: Any) -> None:
        super().__init__(subcon)
        self.count = count
        self.children = (subcon,)
        self.expressions = (count,)
        self._count = compiled(count)

    def members(self, value: Any) -> list[Member]:
        """Return the entries."""
        return [Member(f"[{index}]", self.subcon, item) for index, item in enumerate(value)]

    def repetitions(self, scope: Any) -> int:
        """Return how many there are; ``scope`` is that of the struct around them."""
        count: int = self._count(None, scope)
        return count

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        count = self.repetitions(context)
        offset = stream.tell()
        least = count * self.subcon.least
        if least > stream.size - offset:
            raise FormatError(
                offset=offset,
                expected=f"{count} entries, which take at least {least} bytes",
                found=f"{max(stream.size - offset, 0)} bytes and the end of the file",
                hint="the file is cut short, or the count is damaged; look for a whole copy of it",
            )
        items = ListContainer()
        outer = context.get("_index")
        for index in range(count):
            context["_index"] = index
            try:
                items.append(self.subcon._parse(stream, context, path))
            except FormatError as error:
                if error.partial is not None:
                    items.append(error.partial)
                error.partial = items
                error.within(f"[{index}]")
                raise
        context["_index"] = outer
        return items

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        count = self.repetitions(context)
        try:
            given = list(islice(obj, count + 1))  # it need not end
        except TypeError as error:
            raise FormatError(
                offset=stream.tell(),
                expected=f"a list with {count} entries",
                found=type(obj).__name__,
                hint="give a list",
            ) from error
        if len(given) != count:
            raise FormatError(
                offset=stream.tell(),
                expected=f"{count} entries",
                found=f"{len(given)} or more" if len(given) > count else str(len(given)),
                hint="give as many as the count says",
            )
        outer = context.get("_index")
        for index, item in enumerate(given):
            context["_index"] = index
            try:
                self.subcon._build(item, stream, context, path)
            except FormatError as error:
                error.within(f"[{index}]")
                raise
        context["_index"] = outer
        return given


class Bytes(Described, Construct):  # type: ignore[misc]
    """A run of bytes whose length another field says."""

    def __init__(self, length: Any) -> None:
        super().__init__()
        self.length = length
        self.size = length if isinstance(length, int) else None
        self.expressions = (length,)
        self._length = compiled(length)

    def _parse(self, stream: Any, context: Any, path: str) -> bytes:
        length = self._length(None, context)
        require_bytes(stream, length)
        return read(stream, length)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        given = _as_bytes(obj, stream.tell())
        length = self._length(None, context)
        if len(given) != length:
            raise FormatError(
                offset=stream.tell(),
                expected=f"{length} bytes",
                found=f"{len(given)} bytes",
                hint=ANOTHER,
            )
        stream.write(given)


class Shape(Described, Construct):  # type: ignore[misc]
    """The number of elements along each dimension, u32 each, the fastest-varying first."""

    def __init__(self, count: Any) -> None:
        super().__init__()
        self.count = count
        self.expressions = (count,)
        self._count = compiled(count)

    def length_of(self, value: Any) -> int:
        """Return how many bytes there are."""
        return 4 * len(value)

    def _parse(self, stream: Any, context: Any, path: str) -> tuple[int, ...]:
        count = self._count(None, context)
        require_bytes(stream, 4 * count)
        return struct.unpack(f"<{count}L", stream.read(4 * count))

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        try:
            stream.write(struct.pack(f"<{len(obj)}L", *obj))
        except struct.error as error:
            raise FormatError(
                offset=stream.tell(),
                expected="dimensions below 4294967296",
                found=shown(obj),
                hint="give smaller hyperparameters",
            ) from error


class Signature(Described, Construct):  # type: ignore[misc]
    """Constant bytes."""

    def __init__(self, signature: bytes) -> None:
        super().__init__()
        self.signature = signature
        self.size = len(signature)
        self.flagbuildnone = True

    def _parse(self, stream: Any, context: Any, path: str) -> bytes:
        offset = stream.tell()
        found = stream.read(len(self.signature))
        if found != self.signature:
            raise FormatError(
                offset=offset, expected=shown(self.signature), found=shown(found), hint=DAMAGED
            )
        return self.signature

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        stream.write(self.signature)
        return self.signature


class AlignTo(Described, Construct):  # type: ignore[misc]
    """Bytes up to the next multiple of ``alignment`` of the absolute offset in the file.

    The writer seeks over them, so they are zero; another tool may have left something else, which
    is kept. Building writes what was kept, or zeros where nothing was or its length is another.
    """

    def __init__(self, alignment: int) -> None:
        super().__init__()
        self.alignment = alignment
        self.flagbuildnone = True

    def _parse(self, stream: Any, context: Any, path: str) -> bytes:
        return read(stream, -stream.tell() % self.alignment)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        length = -stream.tell() % self.alignment
        given = b"" if obj is None else _as_bytes(obj, stream.tell())
        stream.write(given if len(given) == length else bytes(length))


class End(Described, Construct):  # type: ignore[misc]
    """The end of the file: nothing may follow."""

    size = 0

    def __init__(self) -> None:
        super().__init__()
        self.flagbuildnone = True

    def _parse(self, stream: Any, context: Any, path: str) -> None:
        offset = stream.tell()
        if stream.read(1):
            raise FormatError(
                offset=offset,
                expected="the end of the file",
                found=f"{stream.size - offset} bytes more",
                hint="something was appended, or the file is damaged; look for another copy",
            )

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        return None
