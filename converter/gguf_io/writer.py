"""Writes a plan as GGUF: the gguf package lays it out, the kernel copies the data."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BufferedWriter
from pathlib import Path
from typing import Any, cast

import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter, Keys
from gguf.gguf_writer import WriterState

from converter.disk.copying import Copier
from converter.disk.new_file import write_at
from converter.disk.output import Output
from converter.errors import ConversionError
from converter.plan import Plan
from ggcp_schema import Span, gguf
from ggcp_schema.language.fields import NotANumber


def write(plan: Plan, output: Output, progress: Callable[[int], object] = lambda _: None) -> int:
    """Write a plan into an open output and return the bytes of the whole file.

    Each span is copied from its own source. The output is not committed, so that it can be checked
    first.

    Args:
        plan: what to write.
        output: an open Output.
        progress: called with the number of bytes after each run of data.

    Raises:
        FormatError: a source was cut or written to in the meantime, or cannot be read.
        ConversionError: the output cannot be written, or could not be read again.
    """
    _require_readable(output, "keys", gguf.MOST_KEYS, len(plan.metadata) + 1)
    _require_readable(output, "tensors", gguf.MOST_TENSORS, len(plan.tensors))
    with output.writing():
        with output.file() as file:
            alignment = _write_head(plan, file)
            end = file.tell()
            _require_readable(output, "bytes before the data", gguf.MOST_HEAD_BYTES, end)
            offset = -(-end // alignment) * alignment
        end = offset + sum(-(-tensor.length // alignment) * alignment for tensor in plan.tensors)
        output.reserve(end)
    copier = Copier(output)
    for tensor in plan.tensors:
        start = offset
        for part in tensor.parts:
            if isinstance(part, Span):
                copier.copy(part, offset, progress)
                offset += part.length
                continue
            for block in part.blocks():
                with output.writing():
                    offset += write_at(output.descriptor, block, offset)
                progress(len(block))
        if offset - start != tensor.length:  # a plan that contradicts itself is a defect here
            raise RuntimeError(f"{tensor.name}: {offset - start} bytes, not {tensor.length}")
        offset = start + -(-tensor.length // alignment) * alignment
    copier.finish(progress)
    parts = (part for tensor in plan.tensors for part in tensor.parts)
    for source in dict.fromkeys(part.source for part in parts if isinstance(part, Span)):
        source.check_unchanged()
    return end


def _require_readable(output: Output, what: str, most: int, found: int) -> None:
    """Refuse what our own reader, which is bounded, would refuse afterwards."""
    if found > most:
        raise ConversionError(
            output.path,
            expected=f"at most {most} {what} to write, so that they can be read again",
            found=str(found),
            hint="no GGUF in use has as many; make sure that the input is the right file",
        )


class _HeadWriter(GGUFWriter):
    """Lays out a head in an open file, piece by piece.

    The package's own opens a file by its name, and holds the bytes of all keys, and of all tensor
    infos, before it writes them.
    """

    def __init__(self, file: BufferedWriter, architecture: str) -> None:
        super().__init__(None, architecture)
        self._file = file

    def open_output_file(self, path: Path | None = None) -> None:
        self.fout = [self._file]
        self.state = WriterState.EMPTY

    def write_kv_data_to_file(self) -> None:
        for key, item in self.kv_data[0].items():
            self._file.write(self._pack_val(key, GGUFValueType.STRING, add_vtype=False))
            if item.sub_type is None:
                self._file.write(self._pack_val(item.value, item.type, add_vtype=True))
                continue
            self._file.write(self._pack("I", item.type) + self._pack("I", item.sub_type))
            self._file.write(self._pack("Q", len(item.value)))
            for element in item.value:
                self._file.write(self._pack_val(element, item.sub_type, add_vtype=False))
        self.state = WriterState.KV_DATA

    def _pack(self, fmt: str, value: Any, skip_pack_prefix: bool = False) -> bytes:
        """Write a NaN with the very bytes that were read."""
        if isinstance(value, NotANumber) and len(value.payload) == struct.calcsize(fmt):
            return value.payload
        return super()._pack(fmt, value, skip_pack_prefix)


def _write_head(plan: Plan, file: BufferedWriter) -> int:
    """Write all but the data; return what the data are aligned to."""
    writer = _HeadWriter(file, plan.architecture)
    for item in plan.metadata:
        # The package wants sequences; that of an array's buffer makes one number at a time.
        value = item.value.data if isinstance(item.value, np.ndarray) else item.value
        element_type = None if item.element_type is None else GGUFValueType(item.element_type)
        writer.add_key_value(item.key, value, GGUFValueType(item.type), element_type)
        if item.key == Keys.General.ALIGNMENT:
            writer.data_alignment = item.value
    for tensor in plan.tensors:
        # The true shape and no uint8: gguf would take a shape of bytes, and divide it by four.
        shape = tensor.shape[::-1]
        writer.add_tensor_info(
            tensor.name,
            shape,
            np.dtype(np.float32),
            tensor.length,
            raw_dtype=cast(GGMLQuantizationType, tensor.type),  # of which it writes the number
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    alignment: int = writer.data_alignment
    return alignment
