"""Reads a GGUF back with the gguf package's reader and compares it with what it should be."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from gguf import GGUFReader, GGUFValueType, ReaderField, ReaderTensor

from converter.errors import ConversionError
from converter.gguf_io import keys
from converter.gguf_io.structure import require_structure
from converter.plan import Metadata, Plan, PlannedTensor
from ggcp_schema import Source, printable
from ggcp_schema.language.source import BLOCK_BYTES

_BUILT_IN = ("GGUF.version", "GGUF.tensor_count", "GGUF.kv_count")
"""The reader's own fields, which are no keys."""


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
        yield from differences_in(plan, source, progress)


def differences_in(
    plan: Plan, source: Source, progress: Callable[[int], object] = lambda _: None
) -> Iterator[str]:
    """Yield the same of a GGUF that is open."""
    reader = reader_of(source)
    yield from _metadata_differences(plan, reader)
    yield from _tensors_differences(plan, reader, source, progress)
    yield from _size_differences(reader, source)


def open_reader(path: str | os.PathLike[str]) -> GGUFReader:
    """Open a GGUF with the gguf package's reader.

    Raises:
        FormatError: the file is no GGUF, or is damaged.
        ConversionError: that reader cannot read it.
    """
    with Source.open(path) as source:
        return reader_of(source)


def reader_of(source: Source) -> GGUFReader:
    """Return the gguf package's reader of a GGUF that is open; see ``open_reader``."""
    head = source.read_at(0, require_structure(source))
    try:
        with _unnamed_file() as copy:
            copy.write(head)
            copy.truncate(source.size)
            return GGUFReader(copy)  # type: ignore[arg-type] # NumPy maps an open file as well
    except (ValueError, KeyError, IndexError, TypeError, OSError) as error:
        raise ConversionError(
            source.label or "output",
            expected="a GGUF that the gguf package can read",
            found=f"«{printable(str(error))}»",
            hint="the file is damaged or no GGUF; convert the checkpoint again",
        ) from error


def _unnamed_file() -> BinaryIO:
    """Return an empty file that nobody else can reach.

    That reader maps its file into memory, and who reads from a map of a file that somebody cuts is
    killed by the system. So it gets a copy of the head; the data, which it only maps, are a hole.
    """
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("ggcp"), "w+b")  # noqa: PTH123 - it has no name
    return tempfile.TemporaryFile("w+b")


def value_of(reader: GGUFReader, key: str) -> Any:
    """Return the value of a key; None if it is not there or is no text though it should be."""
    field = reader.get_field(key)
    try:
        return None if field is None else field.contents()
    except UnicodeDecodeError:
        return None


def as_made_by_its_version(plan: Plan, reader: GGUFReader) -> Plan:
    """Return the plan with the version of ggcp that made the GGUF, which may be an earlier one."""
    version = value_of(reader, keys.GGCP_VERSION)
    if not isinstance(version, str):
        return plan
    metadata = (
        replace(item, value=version) if item.key == keys.GGCP_VERSION else item
        for item in plan.metadata
    )
    return replace(plan, metadata=tuple(metadata))


def _metadata_differences(plan: Plan, reader: GGUFReader) -> Iterator[str]:
    architecture = Metadata("general.architecture", GGUFValueType.STRING, plan.architecture)
    expected = {item.key: item for item in (architecture, *plan.metadata)}
    found = {key: f for key, f in reader.fields.items() if key not in _BUILT_IN}
    for key, item in expected.items():
        if key not in found:
            yield f"key {key}: missing"
        else:
            yield from _value_differences(item, found[key])
    for key in found:
        if key not in expected:
            yield f"key {printable(key)}: not expected"
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
    name = item.key
    if isinstance(expected, list) and len(value) != len(expected):
        yield f"key {name}: expected {len(expected)} elements, found {len(value)}"
        return
    if isinstance(expected, list) and value != expected:
        at = next(i for i, one in enumerate(expected) if one != value[i])
        name, expected, value = f"{name}[{at}]", expected[at], value[at]
    if value != expected:
        yield f"key {name}: expected {_short(expected)}, found {_short(value)}"


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
    text = printable(str(value))
    return text if len(text) <= 60 else text[:57] + "..."


def _tensors_differences(
    plan: Plan, reader: GGUFReader, source: Source, progress: Callable[[int], object]
) -> Iterator[str]:
    expected = {tensor.name: tensor for tensor in plan.tensors}
    found = {tensor.name: tensor for tensor in reader.tensors}
    for name, planned in expected.items():
        if name not in found:
            yield f"tensor {name}: missing"
        else:
            yield from _tensor_differences(planned, found[name], source, progress)
    for name in found:
        if name not in expected:
            yield f"tensor {printable(name)}: not expected"
    if list(found) != list(expected) and found.keys() == expected.keys():
        yield "the tensors stand in another order"


def _tensor_differences(
    planned: PlannedTensor, found: ReaderTensor, source: Source, progress: Callable[[int], object]
) -> Iterator[str]:
    name = planned.name
    if found.tensor_type != planned.type:
        yield f"tensor {name}: expected {planned.type.name}, found {found.tensor_type.name}"
        return
    shape = tuple(int(dimension) for dimension in found.shape)
    if shape != planned.shape:
        yield f"tensor {name}: expected the dimensions {planned.shape}, found {shape}"
        return
    offset = int(found.data_offset)
    for block in _planned_blocks(planned):
        actual = source.read_at(offset, len(block))
        if actual != block:
            pairs = enumerate(zip(block, actual, strict=True))
            at = next(index for index, (one, other) in pairs if one != other)
            yield f"tensor {name}: the data differ from byte {offset + at:#x} of the file on"
            return
        offset += len(block)
        progress(len(block))


def _planned_blocks(planned: PlannedTensor) -> Iterable[bytes]:
    for part in planned.parts:
        for block in part.blocks():
            for start in range(0, len(block), BLOCK_BYTES):
                yield bytes(block[start : start + BLOCK_BYTES])


def _size_differences(reader: GGUFReader, source: Source) -> Iterator[str]:
    end = int(reader.data_offset)
    for tensor in reader.tensors:
        end = max(end, int(tensor.data_offset) + int(tensor.n_bytes))
    alignment = int(reader.alignment)  # a NumPy scalar if the file says it
    end = -(-end // alignment) * alignment
    if source.size != end:
        yield f"the file: expected {end} bytes, found {source.size}"
