"""Reads a GGUF back with the gguf package's reader and compares it with what it should be."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from typing import Any

from gguf import GGUFReader, GGUFValueType, ReaderField, ReaderTensor

from converter.errors import ConversionError
from converter.plan import Metadata, Plan, PlannedTensor
from ggcp_schema import FormatError, Source
from ggcp_schema.source import BLOCK_BYTES

_BUILT_IN = "GGUF."
"""The reader's own fields, which are no keys, begin like this."""


def differences(
    plan: Plan, path: str | os.PathLike[str], progress: Callable[[int], object] = lambda _: None
) -> Iterator[str]:
    """Yield one line for each difference between a GGUF and its plan; none if it is right.

    Keys, their order, types and values, tensors, their order, types and dimensions, and every byte
    of data are compared.

    Args:
        plan: what should be in the file.
        path: the GGUF.
        progress: called with the number of bytes after each block of data.

    Raises:
        FormatError: the file is no GGUF, or is damaged.
        ConversionError: the gguf package cannot read it.
    """
    with Source.open(path) as source:
        reader = open_reader(path)
        yield from _metadata_differences(plan, reader)
        for planned, found in zip_longest(plan.tensors, reader.tensors):
            if planned is None:
                yield f"tensor {found.name}: not expected"
            elif found is None:
                yield f"tensor {planned.name}: missing"
            else:
                yield from _tensor_differences(planned, found, source, progress)
        yield from _size_differences(plan, reader, source)


def open_reader(path: str | os.PathLike[str]) -> GGUFReader:
    """Open a GGUF with the gguf package's reader.

    Raises:
        ConversionError: it cannot read the file.
    """
    try:
        return GGUFReader(path)
    except (ValueError, KeyError, IndexError, TypeError, OSError) as error:
        raise ConversionError(
            path,
            expected="a GGUF that the gguf package can read",
            found=f"«{error}»",
            hint="the file is damaged or no GGUF; convert the checkpoint again",
        ) from error


def _metadata_differences(plan: Plan, reader: GGUFReader) -> Iterator[str]:
    architecture = Metadata("general.architecture", GGUFValueType.STRING, plan.architecture)
    expected = {item.key: item for item in (architecture, *plan.metadata)}
    found = {key: f for key, f in reader.fields.items() if not key.startswith(_BUILT_IN)}
    for key, item in expected.items():
        if key not in found:
            yield f"key {key}: missing"
        else:
            yield from _value_differences(item, found[key])
    for key in found:
        if key not in expected:
            yield f"key {key}: not expected"
    if list(found) != list(expected) and found.keys() == expected.keys():
        yield "the keys stand in another order"


def _value_differences(item: Metadata, field: ReaderField) -> Iterator[str]:
    types = [item.type] if item.element_type is None else [item.type, item.element_type]
    if field.types != types:
        names = [" of ".join(t.name for t in some) for some in (types, field.types)]
        yield f"key {item.key}: expected the type {names[0]}, found {names[1]}"
        return
    value = _contents(field)
    expected = _comparable(item.value, types[-1])
    if value != expected:
        yield f"key {item.key}: expected {_short(expected)}, found {_short(value)}"


def _contents(field: ReaderField) -> Any:
    """Return a value as bytes and numbers; texts need not be UTF-8, and NaN equals itself."""
    if field.types[-1] is GGUFValueType.STRING:
        values = [field.parts[index].tobytes() for index in field.data]
    else:
        values = [_bits(v, field.types[-1]) for i in field.data for v in field.parts[i].tolist()]
    return values if field.types[0] is GGUFValueType.ARRAY else values[0]


def _comparable(value: Any, element_type: GGUFValueType) -> Any:
    if isinstance(value, (tuple, list)):
        return [_comparable(element, element_type) for element in value]
    if isinstance(value, str):
        return value.encode()
    return _bits(value, element_type)


def _bits(value: Any, element_type: GGUFValueType) -> Any:
    """Return a float32 as its bits' hexadecimal digits and value, anything else as it is."""
    if element_type is not GGUFValueType.FLOAT32:
        return value
    single = struct.pack("<f", value)
    return f"{struct.unpack('<f', single)[0]!r}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _tensor_differences(
    planned: PlannedTensor, found: ReaderTensor, source: Source, progress: Callable[[int], object]
) -> Iterator[str]:
    name = planned.name
    if found.name != name:
        yield f"tensor {name}: in its place stands {found.name}"
        return
    if found.tensor_type != planned.type:
        yield f"tensor {name}: expected {planned.type.name}, found {found.tensor_type.name}"
        return
    shape = tuple(int(dimension) for dimension in found.shape)
    if shape != planned.shape:
        yield f"tensor {name}: expected the dimensions {planned.shape}, found {shape}"
        return
    offset = int(found.data_offset)
    try:
        for block in _planned_blocks(planned):
            actual = source.read_at(offset, len(block))
            if actual != block:
                at = next(
                    i
                    for i, pair in enumerate(zip(block, actual, strict=True))
                    if pair[0] != pair[1]
                )
                yield f"tensor {name}: the data differ from byte {offset + at:#x} of the file on"
                return
            offset += len(block)
            progress(len(block))
    except FormatError as error:
        if error.file != source.label:
            raise
        yield f"tensor {name}: expected {planned.length} bytes of data, the file ends before"


def _planned_blocks(planned: PlannedTensor) -> Iterable[bytes]:
    for part in planned.parts:
        for block in part.blocks():
            for start in range(0, len(block), BLOCK_BYTES):
                yield bytes(block[start : start + BLOCK_BYTES])


def _size_differences(plan: Plan, reader: GGUFReader, source: Source) -> Iterator[str]:
    offset = reader.data_offset
    alignment = reader.alignment
    for tensor in plan.tensors:
        offset += -(-tensor.length // alignment) * alignment
    if len(plan.tensors) == len(reader.tensors) and source.size != offset:
        yield f"the file: expected {offset} bytes, found {source.size}"
