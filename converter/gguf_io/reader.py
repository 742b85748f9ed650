"""Reads a GGUF in bounded time and memory: all keys, and where the data of each tensor are.

The gguf package's own reader believes every count in a file, which can keep it busy for years.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from gguf import Keys

from converter.plan import Metadata
from ggcp_schema import FormatError, Source, Span, gguf, printable
from ggcp_schema.gguf import TensorType, ValueType
from ggcp_schema.language.checks import shown
from ggcp_schema.language.fields import outer_scope

_MOST_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Value:
    """The value of a key.

    Attributes:
        metadata: key, type and value. A text is bytes unless it is UTF-8. Numbers of an array are a
            read-only NumPy array, texts of one are ``Texts``.
        offset: where the value stands in the file.
    """

    metadata: Metadata
    offset: int


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor of a GGUF.

    Attributes:
        name: its name.
        type: the type of its elements.
        data: where they are, and its shape, the fastest-varying dimension first.
    """

    name: str
    type: TensorType
    data: Span


@dataclass(frozen=True)
class Gguf:
    """A GGUF whose head was read.

    Attributes:
        source: the open file.
        version: of the layout, 2 or 3.
        keys: all keys, in order.
        tensors: all tensors, in order.
        alignment: bytes that the data of each tensor are aligned to.
        data_offset: where all data start; behind the end of a file that has none, perhaps.
        error: what is wrong with the data, of a file that was read as far as they go; None if
            nothing is.
    """

    source: Source
    version: int
    keys: dict[str, Value]
    tensors: dict[str, GgufTensor]
    alignment: int
    data_offset: int
    error: FormatError | None = None

    def value(self, key: str, default: Any = None) -> Any:
        """Return the value of a key that is no array, or ``default`` where there is no such key.

        Of an array it is the Metadata, which equals no number and no text.
        """
        if key not in self.keys:
            return default
        metadata = self.keys[key].metadata
        return metadata.value if metadata.element_type is None else metadata


def shown_name(name: str) -> str:
    """Return a name from a file as text for a message: on one line, and not longer than that."""
    cut = len(name) > _MOST_CHARACTERS
    return printable(f"{name[: _MOST_CHARACTERS - 3]}..." if cut else name)


def read_gguf(
    source: Source,
    *,
    damaged: str | None = None,
    other: str | None = None,
    partial: bool = False,
) -> Gguf:
    """Read header, keys and tensor infos of a GGUF, version 2 or 3, open at its first byte.

    At most 64 MiB are read, and held in less than 200 MB; see the limits in ``ggcp_schema.gguf``.

    Args:
        source: the file.
        damaged: what to do with a file that is damaged; None for what the schema says.
        other: what to do with a file that is no GGUF of these versions; None likewise.
        partial: whether a file whose data are cut is read as far as they go: tensors that are not
            whole are left out, and ``error`` is what is wrong with the first of them.

    Raises:
        FormatError: the file is no GGUF, is cut short or damaged.
    """
    with _told(source, other):
        header = gguf.HEADER._parse(source, outer_scope(), "")
    with _told(source, damaged):
        names = _Names(source)
        keys = _keys(names, header.metadata_count)
        alignment = _alignment(keys)
        infos = _infos(names, header.tensor_count, alignment)
        start = -(-source.tell() // alignment) * alignment
        tensors, error = _tensors(source, infos, start)
        if error is not None and not partial:
            raise error
    if error is not None:
        error.file = source.label
    return Gguf(source, header.version, keys, tensors, alignment, start, error)


def read_keys(source: Source) -> dict[str, Value]:
    """Read header and keys only, whatever the tensor infos behind them are; see ``read_gguf``.

    Raises:
        FormatError: the file is no GGUF, is cut short or damaged.
    """
    with _told(source, None):
        header = gguf.HEADER._parse(source, outer_scope(), "")
        return _keys(_Names(source), header.metadata_count)


@contextmanager
def _told(source: Source, hint: str | None) -> Iterator[None]:
    """Put the name of the file and what to do with it into an error."""
    try:
        yield
    except FormatError as error:
        error.file, error.hint = source.label, hint or error.hint
        raise


class _Names:
    """The names and texts of a file as Python's texts, which takes memory of its own."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._wide = 0

    def text(self, data: bytes, offset: int) -> str:
        """Decode a name or a text."""
        if not data.isascii():
            self._wide += len(data)
            if self._wide > gguf.MOST_WIDE_BYTES:
                raise FormatError(
                    offset=offset,
                    expected=f"at most {gguf.MOST_WIDE_BYTES} bytes of text that is not ASCII",
                    found=f"{self._wide} bytes",
                    hint=gguf.TOO_LARGE,
                )
        return data.decode("utf-8")

    def name(self, data: bytes, offset: int, taken: Collection[str]) -> str:
        """Decode a name, and make sure that it is one of its own."""
        try:
            text = self.text(data, offset)
        except UnicodeDecodeError as error:
            raise FormatError(
                offset=offset, expected="a name in UTF-8", found=shown(data), hint=gguf.DAMAGED
            ) from error
        if not text or text in taken:
            found = f"'{shown_name(text)}' again" if text else "no name"
            raise FormatError(
                offset=offset, expected="a name that no other has", found=found, hint=gguf.DAMAGED
            )
        return text


def _keys(names: _Names, count: int) -> dict[str, Value]:
    values: dict[str, Value] = {}
    scope = outer_scope(elements_before=0)
    for index in range(count):
        offset = names.source.tell()
        try:
            pair = gguf.KEY_VALUE._parse(names.source, scope, "")
            key = names.name(pair.key, offset, values)
            kind, found, element_type = ValueType(pair.type), pair.value, None
            if kind is ValueType.ARRAY:
                scope.elements_before += found.count
                found, element_type = found.elements, ValueType(found.element_type)
            elif kind is ValueType.STRING:
                with suppress(UnicodeDecodeError):
                    found = names.text(found, pair.offset)
        except FormatError as error:
            error.within(f"metadata[{index}]")
            raise
        values[key] = Value(Metadata(key, kind, found, element_type), pair.offset)
    return values


def _alignment(values: dict[str, Value]) -> int:
    if Keys.General.ALIGNMENT not in values:
        return gguf.DEFAULT_ALIGNMENT
    given = values[Keys.General.ALIGNMENT]
    found, kind = given.metadata.value, given.metadata.type
    known = kind is ValueType.UINT32 and 0 < found <= gguf.MOST_ALIGNMENT
    if not known or found & (found - 1):
        number = f"{shown(found)} as " if given.metadata.element_type is None else ""
        raise FormatError(
            path=Keys.General.ALIGNMENT,
            offset=given.offset,
            expected=f"a power of two as UINT32, at most {gguf.MOST_ALIGNMENT}",
            found=f"{number}{kind.name}",
            hint=gguf.DAMAGED,
        )
    return int(found)


def _infos(names: _Names, count: int, alignment: int) -> dict[str, _Info]:
    if count > gguf.MOST_TENSORS:
        raise FormatError(
            path="tensor_count",
            offset=8,
            expected=f"at most {gguf.MOST_TENSORS} tensors",
            found=str(count),
            hint=gguf.TOO_LARGE,
        )
    source, scope = names.source, outer_scope(alignment=alignment)
    infos: dict[str, _Info] = {}
    for index in range(count):
        offset = source.tell()
        try:
            info = gguf.TENSOR_INFO._parse(source, scope, "")
            name = names.name(info.name, offset, infos)
            infos[name] = _Info(offset, info.shape, TensorType(info.type), info.offset)
        except FormatError as error:
            error.within(f"tensors[{index}]")
            raise
    return infos


def _tensors(
    source: Source, infos: dict[str, _Info], start: int
) -> tuple[dict[str, GgufTensor], FormatError | None]:
    """Return the tensors that are whole, and what is wrong with the first other one."""
    tensors: dict[str, GgufTensor] = {}
    first: FormatError | None = None
    for name, info in infos.items():
        found = _tensor(source, name, info, start)
        if isinstance(found, GgufTensor):
            tensors[name] = found
        else:
            first = first or found
    length = sum(tensor.data.length for tensor in tensors.values())
    left = max(source.size - start, 0)
    if length > left:  # a small file could become a huge one
        raise FormatError(
            path="tensors",
            offset=start,
            expected=f"{length} bytes of data, if no two tensors overlap",
            found=f"{left} bytes to the end of the file",
            hint=gguf.DAMAGED,
        )
    return tensors, first


class _Info(NamedTuple):
    """A tensor info: where it stands, and what it says."""

    place: int
    shape: tuple[int, ...]
    type: TensorType
    offset: int


def _tensor(source: Source, name: str, info: _Info, start: int) -> GgufTensor | FormatError:
    """Return a tensor, or what is wrong if the file ends before its data do."""
    kind = info.type
    if info.shape[0] % kind.block_elements:
        raise FormatError(
            path=f"tensor {shown_name(name)}",
            offset=info.place,
            expected=f"rows of whole blocks of {kind.block_elements} ({kind.name})",
            found=f"the dimensions {shown(info.shape)}",
            hint=gguf.DAMAGED,
        )
    length = prod(info.shape) // kind.block_elements * kind.block_bytes
    offset = start + info.offset
    left = max(source.size - offset, 0)
    if length > left:
        return FormatError(
            path=f"tensor {shown_name(name)}",
            offset=offset,
            expected=f"{length} bytes of data",
            found=f"{left} bytes and the end of the file",
            hint=gguf.DAMAGED,
        )
    return GgufTensor(name, info.type, Span(source, offset, length, info.shape))
