"""The tensor record: a small header, alignment to 32 bytes of the file, the data."""

from __future__ import annotations

import functools
import math
import os
import struct
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from construct import Construct, Container, Subconstruct, len_, this

from ggcp_schema.enums import NameFamily
from ggcp_schema.language.checks import Check, compiled, shown, value
from ggcp_schema.language.constructs import Described, Member
from ggcp_schema.language.data import blocks_of
from ggcp_schema.language.errors import FormatError
from ggcp_schema.language.fields import U32, Struct, derived, field, require_value
from ggcp_schema.language.runs import AlignTo, Bytes, Repeated, Shape, require_bytes
from ggcp_schema.language.source import Span

ALIGNMENT = 32
"""Tensor data start at multiples of this in the file (llama.cpp: ``llama_file::write_tensor``)."""

_PADDINGS = tuple(bytes(-offset % ALIGNMENT) for offset in range(ALIGNMENT))

SHORTEST_CUT_NAME = 31
"""Writers before 4b81c32d5 (2023-05-29) cut names at 31 bytes."""

LONGEST_NAME = 64
"""GGML_MAX_NAME of the latest writers."""

UNKNOWN_NAME = (
    "its name is unknown, which does not say that the file is damaged; open an issue at the "
    "project and attach the file"
)
"""What to do about a name that no known trainer wrote."""

F32_TYPE = 0
"""GGML_TYPE_F32, the only type that the trainers wrote."""


def element_count(shape: tuple[int, ...]) -> int:
    """Return how many elements a tensor of this shape has; one without dimensions has none."""
    return math.prod(shape) if shape else 0


@functools.lru_cache(maxsize=64)
def _record_head(shape: tuple[int, ...], name_length: int) -> tuple[bytes, int]:
    """Return the numbers at the start of a record, and the bytes of its data.

    Layers have a dozen shapes in all, and there may be thousands of layers.

    Raises:
        struct.error: a dimension does not fit 32 bits.
    """
    numbers = (len(shape), name_length, F32_TYPE, *shape)
    return struct.pack(f"<{len(numbers)}L", *numbers), 4 * element_count(shape)


_BYTES = {2: "two", 4: "four"}


class TensorData(Described, Construct):  # type: ignore[misc]
    """The elements, left where they are: parsing gives a Span and skips them.

    Builds from a Span, a NumPy array or buffer of little-endian float32, or an iterable of byte
    blocks, one after the other, so that no tensor has to fit in memory.
    """

    def __init__(self, shape: Any, element_bytes: Any = 4) -> None:
        super().__init__()
        self.shape = shape
        self.element_bytes = element_bytes
        self.expressions = (shape, element_bytes)
        self._shape = compiled(shape)
        self._element_bytes = compiled(element_bytes)
        self.flagbuildnone = True  # of a tensor that does not exist

    def length_of(self, value: Any) -> int:
        """Return how many bytes the elements take."""
        length: int = value.length
        return length

    def _parse(self, stream: Any, context: Any, path: str) -> Span:
        shape = self._shape(None, context)
        length = self._element_bytes(None, context) * element_count(shape)
        require_bytes(stream, length)
        offset = stream.tell()
        stream.seek(offset + length)
        return Span(stream, offset, length, shape)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        shape = self._shape(None, context)
        length = self._element_bytes(None, context) * element_count(shape)
        offset = stream.tell()
        if shape:
            require_value(obj, offset)
        written = 0
        try:
            for block in blocks_of(obj, shape):
                written += len(block)
                if written > length:
                    break
                stream.write(block)
        except FormatError as error:
            if error.offset is None:
                error.offset = offset
            raise
        if written != length:
            raise FormatError(
                offset=offset,
                expected=f"{length} bytes for the shape {shown(shape)}",
                found=f"{written} bytes" + (" or more" if written > length else ""),
                hint="give as many elements as the shape says, "
                f"{_BYTES[self._element_bytes(None, context)]} bytes each",
            )


class BeginningOf:
    """Expression: the field is a beginning of the bytes that ``whole`` says.

    Attributes:
        name: the field.
        expressions: the one, over ``this``, that says them.
    """

    def __init__(self, name: str, whole: Any) -> None:
        self.name = name
        self.expressions = (whole,)
        self._whole = compiled(whole)

    def __call__(self, this: Any) -> bool:
        """Tell whether it is."""
        whole: bytes = self._whole(None, this)
        return whole.startswith(this[self.name])


_expected_length = len_(this._.expected_name)


def _expected_length_in_words(this: Any) -> str:
    name: bytes = this["_"]["expected_name"]
    return f"{len(name)} ({shown(name) if name else 'no name'})"


# fmt: off
TensorRecord = Struct(
    derived("n_dims", U32, len_(this._.expected_shape),
        "n_dims", "Number of dimensions; 0 in the empty record."),
    field("name_length", U32,
        "name_len", "Bytes in the name; the optimizer's tensors have none.",
        Check((value == _expected_length)
            | ((value >= SHORTEST_CUT_NAME) & (value < _expected_length)),
            _expected_length_in_words)),
    derived("type", U32, F32_TYPE,
        "type", "Type of the elements: 0, which is F32, the only one that was ever written.",
        because="F32"),
    derived("shape", Shape(this.n_dims), this._.expected_shape,
        "ne", "Elements along each dimension, the fastest-varying first.",
        because="by the counts before it in the file"),
    field("name", Bytes(this.name_length),
        "name", "The tensor's name, without a NUL; an old writer cut it at 31 bytes or more.",
        Check(BeginningOf("name", this._.expected_name),
            lambda this: shown(this["_"]["expected_name"]))),
    field("padding", AlignTo(ALIGNMENT),
        "(seek)", "Zeros up to the next multiple of 32 of the absolute offset in the file."),
    field("data", TensorData(this.shape),
        "data", "The elements, four bytes each. The next record starts right behind them."),
    docs="A tensor. llama.cpp, examples/train-text-from-scratch and examples/finetune: "
        "write_tensor, the same in every trainer from 42d9b4cfc (2023-05-21) to 2023-08-29.",
)
# fmt: on


class Tensor(Described, Subconstruct):  # type: ignore[misc]
    """A tensor record whose name and shape the schema knows.

    Builds from a mapping with ``data`` (and ``name``, ``padding`` to write them as they were), or
    from the data alone.

    Args:
        name: the name in the file, where ``{layer}`` stands for the layer's index; the optimizer's
            tensors have none.
        shape: one ``this`` expression for each dimension, seen from the struct that holds the
            tensor. Without any, it is the empty record of a tensor that does not exist.
        other_names: the names of other families, where the file says in ``names`` which it has;
            None for a tensor that is called the same in all files of its kind.
    """

    least = 0
    children = (TensorRecord,)

    def __init__(
        self, name: str, *shape: Any, other_names: Mapping[NameFamily, str] | None = None
    ) -> None:
        super().__init__(TensorRecord)
        self.tensor_name = name
        self.other_names = other_names
        self.shape = shape
        self._shape = compiled(shape)
        others = other_names or {}
        self._name = _template(name)
        self._others = {family: _template(other) for family, other in others.items()}
        self._in_layer = "{layer}" in name
        self.expressions = (
            shape,
            *((this._index,) if self._in_layer else ()),
            *((this._root.names,) if others else ()),
        )
        shortest = min(len(n.replace("{layer}", "0")) for n in (name, *others.values()))
        self.least = 12 + 4 * len(shape) + min(shortest, SHORTEST_CUT_NAME)
        self.flagbuildnone = not shape

    def members(self, value: Any) -> list[Member]:
        """Return the fields of a record."""
        return TensorRecord.members(value)

    def expected_shape(self, scope: Any) -> tuple[int, ...]:
        """Return the shape that the fields before demand; ``scope`` is the struct's around it."""
        shape: tuple[int, ...] = self._shape(None, scope)
        return shape

    def _expected_name(self, context: Any) -> bytes:
        name = self._name
        if self._others:
            name = self._others.get(context["_root"].get("names"), name)
        return name % context["_index"] if self._in_layer else name

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        shape, name = self._shape(None, context), self._expected_name(context)
        start = stream.seek(0, os.SEEK_CUR)  # unlike tell(), without a system call
        try:
            numbers, length = _record_head(shape, len(name))
        except struct.error:  # hyperparameters that lead to a dimension above 32 bits
            return self._parse_fields(stream, context, shape, name)
        # Nearly every record is to the byte what this schema would write. Then nothing is left to
        # check, and all its fields are known; field by field would take three times as long.
        header = numbers + name
        behind = start + len(header)
        padding = _PADDINGS[behind % ALIGNMENT]
        offset = behind + len(padding)
        if stream.read(offset - start) == header + padding and offset + length <= stream.size:
            stream.seek(length, os.SEEK_CUR)
            return Container(
                {
                    "n_dims": len(shape),
                    "name_length": len(name),
                    "type": F32_TYPE,
                    "shape": shape,
                    "name": name,
                    "padding": padding,
                    "data": Span(stream, offset, length, shape),
                }
            )
        stream.seek(start)
        return self._parse_fields(stream, context, shape, name)

    def _parse_fields(self, stream: Any, context: Any, shape: tuple[int, ...], name: bytes) -> Any:
        start = stream.tell()
        try:
            return TensorRecord._parse(stream, self._expectations(context, shape, name), "")
        except FormatError as error:
            if self.other_names is not None and error.path in ("name_length", "name"):
                stream.seek(start)
                _say_that_the_name_is_unknown(error, stream, shape, name)
            raise

    def _expectations(self, context: Any, shape: tuple[int, ...], name: bytes) -> Container:
        return Container(_root=context["_root"], expected_shape=shape, expected_name=name)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        expected = self._expected_name(context)
        given = obj if isinstance(obj, Mapping) else {"data": obj}
        name = given.get("name", expected)
        if not isinstance(name, bytes):
            raise FormatError(
                path="name",
                offset=stream.tell(),
                expected=shown(expected),
                found=type(name).__name__,
                hint="give the name as bytes, or leave it out",
            )
        record = {**given, "name": name, "name_length": len(name)}
        scope = self._expectations(context, self._shape(None, context), expected)
        return TensorRecord._build(record, stream, scope, path)


def _template(name: str) -> bytes:
    return name.encode().replace(b"{layer}", b"%d")


def _say_that_the_name_is_unknown(
    error: FormatError, stream: Any, shape: tuple[int, ...], expected: bytes
) -> None:
    """Change what is said of a record that is right but for its name."""
    start = stream.tell()
    head = stream.read(12 + 4 * len(shape))
    if len(head) < 12 + 4 * len(shape):
        return
    dimension_count, length, kind, *found = struct.unpack(f"<{len(head) // 4}L", head)
    name = stream.read(length) if length <= LONGEST_NAME else b""
    if (dimension_count, kind, tuple(found)) == (len(shape), F32_TYPE, shape) and name.isascii():
        error.path, error.offset = "name", start + len(head)
        error.expected, error.found = shown(expected), shown(name)
        error.hint = UNKNOWN_NAME


def tensors(construct: Any, times: Any = 1) -> Iterator[tuple[Any, Tensor]]:
    """Yield each tensor in a part of the schema, with the expression for how often it comes."""
    if isinstance(construct, Tensor):
        yield times, construct
        return
    for child in construct.children:
        yield from tensors(child, construct.count if isinstance(construct, Repeated) else times)


class ElementCount:
    """Expression: the elements of all tensors in a part of the schema, from their shapes.

    Attributes:
        terms: how often each tensor comes, and its shape, as expressions over ``this._root``.
        expressions: all of these.
    """

    def __init__(self, part: Any) -> None:
        self.terms = [(times, tensor.shape) for times, tensor in tensors(part)]
        self.expressions = tuple(chain.from_iterable(self.terms))
        self._terms = [(compiled(times), compiled(shape)) for times, shape in self.terms]

    def __call__(self, this: Any) -> int:
        """Return the count; ``this`` is the scope of the whole file."""
        return sum(
            times(None, this) * element_count(shape(None, this)) for times, shape in self._terms
        )


def slots(construct: Any, scope: Any, path: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield path and expected shape of each tensor in a part of the schema, in file order."""
    if isinstance(construct, Tensor):
        yield path, construct.expected_shape(scope)
    elif isinstance(construct, Repeated):
        for index in range(construct.repetitions(scope)):
            yield from slots(construct.subcon, scope, f"{path}[{index}]")
    else:
        for member in construct.subcons:
            inner = f"{path}.{member.name}" if path else member.name
            yield from slots(member.subcon, scope, inner)
