"""Reads one key or tensor of a GGUF at a time, or says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from converter.gguf_io.reader import Gguf
from converter.layouts.tables import Fixed, Row
from converter.parts import Array
from ggcp_schema import FormatError, Span
from ggcp_schema.gguf import TensorType, ValueType
from ggcp_schema.language.checks import shown

DAMAGED = "the file is damaged, or none that a trainer of llama.cpp wrote; look for another copy"

_WHOLE_NUMBERS = (ValueType.UINT32, ValueType.UINT64)


class GgufFields:
    """The keys and tensors of a GGUF, by their names.

    Args:
        gguf: what was read of the file.
    """

    def __init__(self, gguf: Gguf) -> None:
        self._gguf = gguf

    def offset(self, path: str) -> int | None:
        """Return where the value of a key stands; None if there is no such key."""
        value = self._gguf.keys.get(path)
        return value.offset if value else None

    def wrong(self, key: str, expected: str) -> FormatError:
        """Return the error that a key has another value than expected, or is missing."""
        value = self._gguf.keys.get(key)
        found = "no such key"
        if value is not None:
            kind = value.metadata.type
            text = shown(value.metadata.value) if kind is not ValueType.ARRAY else "an array"
            found = f"{text} as {kind.name}"
        return FormatError(
            file=self._gguf.source.label,
            path=key,
            offset=value.offset if value else None,
            expected=expected,
            found=found,
            hint=DAMAGED,
        )

    def number(self, key: str) -> int:
        """Return a whole number; counters are of 32 bits until 0e76a8992, then of 64.

        Raises:
            FormatError: there is no such key, or it is of another type.
        """
        value = self._gguf.keys.get(key)
        if value is None or value.metadata.type not in _WHOLE_NUMBERS:
            raise self.wrong(key, "a whole number (UINT32 or UINT64)")
        number: int = value.metadata.value
        return number

    def single(self, key: str) -> float | None:
        """Return a float32; None if there is no such key.

        Raises:
            FormatError: it is of another type.
        """
        value = self._gguf.keys.get(key)
        if value is None:
            return None
        if value.metadata.type is not ValueType.FLOAT32:
            raise self.wrong(key, "a number (FLOAT32)")
        number: float = value.metadata.value
        return number

    def numbers(self, rows: tuple[Row | Fixed, ...]) -> dict[str, Any]:
        """Return what the rows of a table say, by the last name of their paths.

        Raises:
            FormatError: a key is missing, or of another type.
        """
        return {name: value for row in rows for name, value in self._row(row)}

    def _row(self, row: Row | Fixed) -> Iterator[tuple[str, Any]]:
        if isinstance(row, Fixed):
            return
        name = row.path.rpartition(".")[2]
        if row.type in _WHOLE_NUMBERS:
            yield name, self.number(row.key)
            return
        value = self._gguf.keys.get(row.key)
        if value is None or value.metadata.type is not row.type:
            raise self.wrong(row.key, f"a value of the type {row.type.name}")
        yield name, value.metadata.value

    def tensor(self, name: str) -> Span:
        """Return where the data of a tensor are.

        Raises:
            FormatError: there is no such tensor, it is cut, or no F32.
        """
        if name not in self._gguf.tensors:
            if self._gguf.error is not None:  # it is one of those that are cut
                raise self._gguf.error
            raise FormatError(
                file=self._gguf.source.label,
                path=f"tensor {name}",
                expected="a tensor of this name",
                found="none",
                hint=DAMAGED,
            )
        tensor = self._gguf.tensors[name]
        if tensor.type is not TensorType.F32:
            raise FormatError(
                file=self._gguf.source.label,
                path=f"tensor {name}",
                offset=tensor.data.offset,
                expected="F32, in which trainers write",
                found=tensor.type.name,
                hint="a quantized or half-precision model is none to rescue: llama.cpp runs it as "
                "it is",
            )
        return tensor.data

    def array(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return a tensor of the expected shape, but for trailing dimensions of 1.

        Raises:
            FormatError: there is none.
        """
        data = self.tensor(name)
        if _without_ones(data.shape) != _without_ones(shape):
            raise self.shape_error(name, f"the dimensions {shown(shape)}", data.shape)
        return Array(data.shape, (data,))

    def shape_error(self, name: str, expected: str, shape: tuple[int, ...]) -> FormatError:
        """Return the error that a tensor has other dimensions than expected."""
        return FormatError(
            file=self._gguf.source.label,
            path=f"tensor {name}",
            offset=self._gguf.tensors[name].data.offset,
            expected=expected,
            found=shown(shape),
            hint=DAMAGED,
        )


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the trailing ones that trainers from cafcd4f89 on left out."""
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
