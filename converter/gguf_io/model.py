"""A model in GGUF, read in bounded time and memory: all keys, and where the data of each tensor is.

The gguf package's own reader believes every count in a file, which can keep it busy for years.
"""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass
from math import prod
from typing import Any

from construct import Construct, Container, this
from gguf import (
    GGML_QUANT_SIZES,
    GGUF_DEFAULT_ALIGNMENT,
    GGMLQuantizationType,
    GGUFValueType,
    Keys,
)

from converter.gguf_io.layout import HEADER, METADATA, Text
from converter.gguf_io.limits import require
from converter.plan import Metadata
from ggcp_schema import FormatError, Source, Span, printable
from ggcp_schema.language.checks import Check, one_of, shown, value
from ggcp_schema.language.fields import U32, U64, Struct, field
from ggcp_schema.language.runs import read

MOST_TENSORS = 1 << 16
"""Tensors of a model. The largest in use have some two thousand."""

MOST_ALIGNMENT = 1 << 16
"""Bytes that data are aligned to; 32 in all models in use. More would only blow up the output."""

_DAMAGED = "the file is damaged, or not a model that this program can read; give another copy"
_GIVE = "give the base model as a GGUF; llama.cpp's converters make one of older or other files"


class Dimensions(Construct):  # type: ignore[misc]
    """The number of elements along each dimension, u64 each, the fastest-varying first."""

    def _parse(self, stream: Source, context: Container, path: str) -> tuple[int, ...]:
        count = context.dimension_count
        require(stream, 8 * count)
        return struct.unpack(f"<{count}Q", read(stream, 8 * count))


# fmt: off
TENSOR = Struct(
    field("name", Text(),
        "name", "The tensor's name."),
    field("dimension_count", U32,
        "n_dimensions", "Number of dimensions.",
        Check((value >= 1) & (value <= 4), "1 to 4 dimensions", _DAMAGED)),
    field("shape", Dimensions(),
        "dimensions", "Elements along each dimension, the fastest-varying first."),
    field("type", U32,
        "type", "Type of the elements.",
        one_of(GGMLQuantizationType, "a type of tensor that the gguf package knows", _DAMAGED)),
    field("offset", U64,
        "offset", "Where the data start, counted from the first byte of all data.",
        Check(value % this._.alignment == 0, lambda scope: f"a multiple of {scope._.alignment}",
            _DAMAGED)),
    docs="ggml, docs/gguf.md: gguf_tensor_info_t.",
)
"""Given ``alignment``: what the data of all tensors are aligned to."""
# fmt: on


@dataclass(frozen=True)
class Value:
    """The value of a key.

    Attributes:
        metadata: key, type and value. Texts in arrays are bytes, as are others unless they are
            UTF-8.
        offset: where the value stands in the file.
    """

    metadata: Metadata
    offset: int


@dataclass(frozen=True)
class ModelTensor:
    """A tensor of a model.

    Attributes:
        name: its name.
        type: the type of its elements.
        data: where they are, and its shape, the fastest-varying dimension first.
    """

    name: str
    type: GGMLQuantizationType
    data: Span


@dataclass(frozen=True)
class Model:
    """A parsed GGUF.

    Attributes:
        source: the open file.
        keys: all keys, in order.
        tensors: all tensors, in order.
    """

    source: Source
    keys: dict[str, Value]
    tensors: dict[str, ModelTensor]

    def value(self, key: str, default: Any = None) -> Any:
        """Return the value of a key that is no array, or ``default`` where there is no such key."""
        return self.keys[key].metadata.value if key in self.keys else default


def read_model(source: Source) -> Model:
    """Read keys and tensor infos of a GGUF, version 2 or 3, open at its first byte.

    Raises:
        FormatError: the file is no GGUF, is cut short or damaged.
    """
    try:
        header = HEADER._parse(source, Container(), "")
    except FormatError as error:
        error.file, error.hint = source.label, _GIVE
        raise
    try:
        values = _keys(source, header.metadata_count)
        return Model(source, values, _tensors(source, header.tensor_count, _alignment(values)))
    except FormatError as error:
        error.file, error.hint = source.label, _DAMAGED
        raise


def _keys(source: Source, count: int) -> dict[str, Value]:
    values: dict[str, Value] = {}
    elements = 0
    for index in range(count):
        offset = source.tell()
        try:
            pair = METADATA._parse(source, Container(elements_before=elements), "")
            key = _name(pair.key, offset, values)
        except FormatError as error:
            error.within(f"metadata[{index}]")
            raise
        kind, found, element_type = GGUFValueType(pair.type), pair.value, None
        if kind is GGUFValueType.ARRAY:
            elements += found.count
            found, element_type = found.elements, GGUFValueType(found.element_type)
        elif kind is GGUFValueType.STRING:
            with contextlib.suppress(UnicodeDecodeError):
                found = found.decode("utf-8")
        values[key] = Value(Metadata(key, kind, found, element_type), pair.offset)
    return values


def _name(name: bytes, offset: int, taken: dict[str, Any]) -> str:
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(
            offset=offset, expected="a name in UTF-8", found=shown(name), hint=_DAMAGED
        ) from error
    if not text or text in taken:
        found = f"«{printable(text)}» again" if text else "no name"
        raise FormatError(
            offset=offset, expected="a name that no other has", found=found, hint=_DAMAGED
        )
    return text


def _alignment(values: dict[str, Value]) -> int:
    if Keys.General.ALIGNMENT not in values:
        return GGUF_DEFAULT_ALIGNMENT
    given = values[Keys.General.ALIGNMENT]
    alignment = given.metadata.value
    known = given.metadata.type is GGUFValueType.UINT32
    if not known or not 0 < alignment <= MOST_ALIGNMENT or alignment & (alignment - 1):
        raise FormatError(
            path=Keys.General.ALIGNMENT,
            offset=given.offset,
            expected=f"a power of two as UINT32, at most {MOST_ALIGNMENT}",
            found=f"{shown(alignment)} as {given.metadata.type.name}",
            hint=_DAMAGED,
        )
    return int(alignment)


def _tensors(source: Source, count: int, alignment: int) -> dict[str, ModelTensor]:
    if count > MOST_TENSORS:
        raise FormatError(
            path="tensor_count",
            offset=8,
            expected=f"at most {MOST_TENSORS} tensors",
            found=str(count),
            hint=_DAMAGED,
        )
    infos: dict[str, tuple[int, Container]] = {}
    for index in range(count):
        offset = source.tell()
        try:
            info = TENSOR._parse(source, Container(alignment=alignment), "")
            infos[_name(info.name, offset, infos)] = offset, info
        except FormatError as error:
            error.within(f"tensors[{index}]")
            raise
    # A file without any data may end within the padding before them.
    start = min(-(-source.tell() // alignment) * alignment, source.size)
    tensors = {name: _tensor(source, name, start, *info) for name, info in infos.items()}
    length = sum(tensor.data.length for tensor in tensors.values())
    if length > source.size - start:  # a small file could become a huge one
        raise FormatError(
            path="tensors",
            offset=start,
            expected=f"{length} bytes of data, if no two tensors overlap",
            found=f"{source.size - start} bytes to the end of the file",
            hint=_DAMAGED,
        )
    return tensors


def _tensor(source: Source, name: str, start: int, offset: int, info: Container) -> ModelTensor:
    kind = GGMLQuantizationType(info.type)
    block, size = GGML_QUANT_SIZES[kind]
    length = prod(info.shape) // block * size  # without dimensions it is one element
    left = max(source.size - start - info.offset, 0)
    if info.shape[0] % block or length > left:
        raise FormatError(
            path=f"tensor {printable(name)}",
            offset=offset,
            expected=f"{length} bytes of {kind.name} in rows of whole blocks of {block}",
            found=f"the dimensions {shown(info.shape)} and {left} bytes to the end of the file",
            hint=_DAMAGED,
        )
    return ModelTensor(name, kind, Span(source, start + info.offset, length, info.shape))
