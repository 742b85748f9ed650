"""Compares a GGUF with what it should be."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from converter.gguf_io import keys
from converter.gguf_io.reader import Gguf, GgufTensor, read_gguf, shown_name
from converter.plan import Metadata, Plan, PlannedTensor
from converter.roles import Role, refused
from ggcp_schema import Source, printable
from ggcp_schema.foreign import recognised
from ggcp_schema.gguf import ValueType
from ggcp_schema.language.checks import shown
from ggcp_schema.language.fields import NotANumber
from ggcp_schema.language.source import BLOCK_BYTES

_DAMAGED = "the file is damaged or no GGUF; convert the checkpoint again"
_MOST_BYTES_SHOWN = 1 << 8  # of a text, of which 60 characters are shown
_FLOATS = (ValueType.FLOAT32, ValueType.FLOAT64)


def read_made(source: Source) -> Gguf:
    """Read a GGUF that was made from a checkpoint.

    Raises:
        FormatError: the file cannot be read, is no GGUF, or is damaged.
    """
    source.seek(0)
    magic = source.read(4)
    source.seek(0)
    if magic != b"GGUF":
        error = refused(Role.MADE, recognised(source), shown(magic))
        error.file = source.label
        raise error
    return read_gguf(source, damaged=_DAMAGED, other=_DAMAGED)


class Subject(Enum):
    """What a difference is of."""

    KEY = "key"
    WEIGHTS = "tensor of weights"
    TYPE = "type of the weights"
    OPTIMIZER = "tensor of the optimizer"
    FILE = "order or size"
    MEMBER = "file of a folder"


class Difference(NamedTuple):
    """What differs between a GGUF or a folder and its plan.

    Attributes:
        subject: what it is of.
        words: which it is, what should be there, and what is.
    """

    subject: Subject
    words: str


def count_compared(plan: Plan, found: Gguf) -> int:
    """Return of how many things differences can be: keys, tensors, the order of each, the size."""
    keys = found.keys.keys() | set(_keys(plan))
    tensors = found.tensors.keys() | {tensor.name for tensor in plan.tensors}
    return len(keys) + len(tensors) + 3


def differences(
    plan: Plan, found: Gguf, progress: Callable[[int], object] = lambda _: None
) -> Iterator[str]:
    """Yield one line for each difference between a GGUF and its plan; none if it is right.

    See ``compared``.
    """
    return (difference.words for difference in compared(plan, found, progress))


def compared(
    plan: Plan, found: Gguf, progress: Callable[[int], object] = lambda _: None
) -> Iterator[Difference]:
    """Yield each difference between a GGUF and its plan; none if it is right.

    Keys, their order, types and values, tensors, their order, types and dimensions, and every byte
    of data are compared.

    Args:
        plan: what should be in the file.
        found: the GGUF.
        progress: called with the number of bytes after each block of data.

    Raises:
        FormatError: the file was cut in the meantime.
    """
    yield from (Difference(Subject.KEY, words) for words in _metadata_differences(plan, found))
    if list(found.keys) != _keys(plan) and found.keys.keys() == set(_keys(plan)):
        yield Difference(Subject.FILE, "the keys stand in another order")
    yield from _tensors_differences(plan, found, progress)
    yield from (Difference(Subject.FILE, words) for words in _size_differences(found))


def as_made_by_its_version(plan: Plan, found: Gguf) -> Plan:
    """Return the plan as the version of ggcp that made the GGUF, maybe an earlier one, had it.

    1.0.0 did not say which gradients the optimizer's vectors are of.
    """
    version = found.value(keys.GGCP_VERSION)
    if not isinstance(version, str):
        return plan
    unsaid = {keys.GGCP_GRADIENTS} - found.keys.keys() if version == "1.0.0" else set()
    metadata = (
        replace(item, value=version) if item.key == keys.GGCP_VERSION else item
        for item in plan.metadata
        if item.key not in unsaid
    )
    return replace(plan, metadata=tuple(metadata))


def _metadata_differences(plan: Plan, found: Gguf) -> Iterator[str]:
    architecture = Metadata("general.architecture", ValueType.STRING, plan.architecture)
    expected = {item.key: item for item in (architecture, *plan.metadata)}
    for key, item in expected.items():
        if key not in found.keys:
            yield f"key {shown_name(key)}: missing"
        else:
            yield from _value_differences(item, found.keys[key].metadata)
    for key in found.keys:
        if key not in expected:
            yield f"key {shown_name(key)}: not expected"


def _keys(plan: Plan) -> list[str]:
    return ["general.architecture", *(item.key for item in plan.metadata)]


def _value_differences(item: Metadata, found: Metadata) -> Iterator[str]:
    name = f"key {shown_name(item.key)}"
    types = [_type_name(metadata) for metadata in (item, found)]
    if types[0] != types[1]:
        yield f"{name}: expected the type {types[0]}, found {types[1]}"
        return
    expected, actual, kind = item.value, found.value, item.type
    if item.element_type is not None:
        if len(actual) != len(expected):
            yield f"{name}: expected {len(expected)} elements, found {len(actual)}"
            return
        kind = item.element_type
        at = _first_difference(expected, actual, kind)
        if at is None:
            return
        name, expected, actual = f"{name}[{at}]", expected[at], actual[at]
    if isinstance(expected, NotANumber) and isinstance(actual, NotANumber):
        expected, actual = (f"nan ({nan.payload.hex(' ')})" for nan in (expected, actual))
    else:
        expected, actual = _comparable(expected, kind), _comparable(actual, kind)
    if actual != expected:
        yield f"{name}: expected {_short(expected)}, found {_short(actual)}"


def _type_name(item: Metadata) -> str:
    return " of ".join(kind.name for kind in (item.type, item.element_type) if kind is not None)


def _first_difference(expected: Any, found: Any, kind: ValueType) -> int | None:
    """Return the index of the first element that differs in two arrays of the same length."""
    if kind is ValueType.STRING:
        pairs = enumerate(zip(expected, found, strict=True))
        differing = (i for i, (one, other) in pairs if _comparable(one, kind) != other)
        return next(differing, None)
    wanted = np.asarray(expected, found.dtype)
    differ = wanted != found
    if kind in _FLOATS:  # as _comparable does it: NaN equals itself, and 0.0 not -0.0
        differ |= np.signbit(wanted) != np.signbit(found)
        differ &= ~(np.isnan(wanted) & np.isnan(found))
    places = np.flatnonzero(differ)
    return int(places[0]) if places.size else None


def _comparable(value: Any, kind: ValueType) -> Any:
    """Return a text as bytes, a float as its shortest digits, anything else as it is."""
    if isinstance(value, str):
        return value.encode()
    if kind is ValueType.FLOAT32:
        (value,) = struct.unpack("<f", struct.pack("<f", value))
    return repr(float(value)) if kind in _FLOATS else value


def _short(value: Any) -> str:
    text = printable(str(value[:_MOST_BYTES_SHOWN] if isinstance(value, bytes) else value))
    return text if len(text) <= 60 else text[:57] + "..."


def _tensors_differences(
    plan: Plan, found: Gguf, progress: Callable[[int], object]
) -> Iterator[Difference]:
    expected = {tensor.name: tensor for tensor in plan.tensors}
    for name, planned in expected.items():
        if name not in found.tensors:
            yield Difference(_subject(name), f"tensor {shown_name(name)}: missing")
        else:
            yield from _tensor_differences(planned, found.tensors[name], progress)
    for name in found.tensors:
        if name not in expected:
            yield Difference(_subject(name), f"tensor {shown_name(name)}: not expected")
    if list(found.tensors) != list(expected) and found.tensors.keys() == expected.keys():
        yield Difference(Subject.FILE, "the tensors stand in another order")


def _subject(name: str) -> Subject:
    return Subject.OPTIMIZER if name.startswith("optimizer.") else Subject.WEIGHTS


def _tensor_differences(
    planned: PlannedTensor, found: GgufTensor, progress: Callable[[int], object]
) -> Iterator[Difference]:
    name, subject = f"tensor {shown_name(planned.name)}", _subject(planned.name)
    if found.type != planned.type:
        subject = Subject.TYPE if subject is Subject.WEIGHTS else subject
        words = f"{name}: expected {planned.type.name}, found {found.type.name}"
        yield Difference(subject, words)
        return
    if found.data.shape != planned.shape:
        words = f"{name}: expected the dimensions {planned.shape}, found {found.data.shape}"
        yield Difference(subject, words)
        return
    offset = found.data.offset
    for block in _planned_blocks(planned):
        actual = found.data.source.read_at(offset, len(block))
        if actual != block:
            pairs = enumerate(zip(block, actual, strict=True))
            at = next(index for index, (one, other) in pairs if one != other)
            words = f"{name}: the data differ from byte {offset + at:#x} of the file on"
            yield Difference(subject, words)
            return
        offset += len(block)
        progress(len(block))


def _planned_blocks(planned: PlannedTensor) -> Iterable[bytes]:
    for part in planned.parts:
        for block in part.blocks():
            for start in range(0, len(block), BLOCK_BYTES):
                yield bytes(block[start : start + BLOCK_BYTES])


def _size_differences(found: Gguf) -> Iterator[str]:
    spans = (tensor.data for tensor in found.tensors.values())
    end = max((span.offset + span.length for span in spans), default=found.data_offset)
    end = -(-end // found.alignment) * found.alignment
    if found.source.size != end:
        yield f"the file: expected {end} bytes, found {found.source.size}"
