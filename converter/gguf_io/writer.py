"""Writes a plan as GGUF: the gguf package lays it out, the kernel copies the data."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import numpy as np
from gguf import GGUFWriter, Keys

from converter.disk.copying import Copier, write_at
from converter.disk.output import Output, retried
from converter.plan import Plan
from ggcp_schema import Source, Span

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def write(
    plan: Plan, source: Source, output: Output, progress: Callable[[int], object] = lambda _: None
) -> int:
    """Write a plan into an open output and return the bytes of the whole file.

    The output is not committed, so that it can be checked first.

    Args:
        plan: what to write.
        source: the file that the plan's spans are of.
        output: an open Output.
        progress: called with the number of bytes after each run of data.

    Raises:
        FormatError: the source was written to in the meantime.
        ConversionError: the output cannot be written.
    """
    with output.writing():
        alignment = _write_head(plan, output.temporary)
        offset = -(-os.fstat(output.descriptor).st_size // alignment) * alignment
        end = offset + sum(-(-tensor.length // alignment) * alignment for tensor in plan.tensors)
        _allocate(output.descriptor, end)
        copier = Copier(source, output.descriptor)
        for tensor in plan.tensors:
            start = offset
            for part in tensor.parts:
                if isinstance(part, Span):
                    copier.copy(part.offset, part.length, offset, progress)
                    offset += part.length
                    continue
                for block in part.blocks():
                    offset += write_at(output.descriptor, block, offset)
                    progress(len(block))
            if offset - start != tensor.length:  # a plan that contradicts itself is a defect here
                raise RuntimeError(f"{tensor.name}: {offset - start} bytes, not {tensor.length}")
            offset = start + -(-tensor.length // alignment) * alignment
        copier.finish(progress)
    source.check_unchanged()
    return end


def _write_head(plan: Plan, path: str) -> int:
    """Write all but the data; return what the data are aligned to."""
    writer = GGUFWriter(path, plan.architecture)
    for item in plan.metadata:
        # The package wants sequences; that of an array's buffer makes one number at a time.
        value = item.value.data if isinstance(item.value, np.ndarray) else item.value
        writer.add_key_value(item.key, value, item.type, item.element_type)
        if item.key == Keys.General.ALIGNMENT:
            writer.data_alignment = item.value
    for tensor in plan.tensors:
        # The true shape and no uint8: gguf would take a shape of bytes, and divide it by four.
        shape = tensor.shape[::-1]
        writer.add_tensor_info(
            tensor.name, shape, np.dtype(np.float32), tensor.length, raw_dtype=tensor.type
        )
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()
    alignment: int = writer.data_alignment
    return alignment


def _allocate(descriptor: int, size: int) -> None:
    """Reserve the whole file, so that a full disk is noticed before anything is copied."""
    try:
        retried(os.posix_fallocate, descriptor, 0, size)
    except (OSError, AttributeError) as error:
        if getattr(error, "errno", None) in _FULL:
            raise
        retried(os.ftruncate, descriptor, size)  # a disk or system that cannot reserve
