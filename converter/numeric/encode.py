"""Weights as F32, F16, BF16 or Q8_0: in blocks of bounded size, on several cores, counted.

Every value passes through here, also where it stays F32, so that no NaN or infinity goes by without
being counted. In blocks that stay in the cache that takes no more time than a copy in the kernel,
and the file is read once; copying in the kernel and counting apart would read it twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import LlamaFileType

from converter.numeric.rounding import LARGEST, quantized, rounded, widened
from converter.parts import Computed, Part
from converter.plan import PlannedTensor
from converter.threads import in_order
from ggcp_schema import Span
from ggcp_schema.gguf import TensorType
from ggcp_schema.language.source import BLOCK_BYTES


@dataclass(frozen=True)
class Outtype:
    """A type in which a model is stored.

    Attributes:
        name: as on the command line.
        file_type: the value of ``general.file_type`` (llama.h: ``llama_ftype``).
        type: the type of the matrices; vectors stay F32.
    """

    name: str
    file_type: LlamaFileType
    type: TensorType


# fmt: off
OUTTYPES = {
    outtype.name: outtype
    for outtype in (
        Outtype("f32", LlamaFileType.ALL_F32, TensorType.F32),
        Outtype("f16", LlamaFileType.MOSTLY_F16, TensorType.F16),
        Outtype("bf16", LlamaFileType.MOSTLY_BF16, TensorType.BF16),
        Outtype("q8_0", LlamaFileType.MOSTLY_Q8_0, TensorType.Q8_0),
    )
}
# fmt: on


@dataclass
class Tally:
    """What of a tensor is not a finite number.

    Attributes:
        nans: values that are NaN in the checkpoint.
        infinities: values that are infinite in the checkpoint.
        lost: values that are finite there, but not in the type that they are stored in.
    """

    nans: int = 0
    infinities: int = 0
    lost: int = 0

    def add(self, other: Tally) -> None:
        """Add the counts of another part of the tensor."""
        self.nans += other.nans
        self.infinities += other.infinities
        self.lost += other.lost


def stored_type(shape: tuple[int, ...], outtype: Outtype) -> TensorType:
    """Return the type of a tensor.

    Vectors stay F32, and rows that Q8_0 cannot hold become F16, as in llama.cpp's own
    ``convert_hf_to_gguf.py``.
    """
    if len(shape) == 1:
        return TensorType.F32
    return TensorType.F16 if shape[0] % outtype.type.block_elements else outtype.type


def encoded(
    name: str, shape: tuple[int, ...], parts: tuple[Part, ...], kind: TensorType
) -> PlannedTensor:
    """Return a tensor whose F32 ``parts`` are stored as another type."""
    encoding = Encoding(parts, kind)
    tensor = PlannedTensor(name, shape, (), kind)
    return PlannedTensor(name, shape, (Computed(tensor.length, encoding),), kind)


class Encoding:
    """The bytes of a tensor in the type that it is stored in.

    Attributes:
        tally: what was not finite when the bytes were last made.
    """

    def __init__(self, parts: tuple[Part, ...], kind: TensorType) -> None:
        self._parts = parts
        self._kind = kind
        self.tally = Tally()

    def __call__(self) -> Iterator[bytes]:
        """Yield the bytes in order."""
        self.tally = Tally()
        # F32 is bound by the memory, not by the cores: threads would only take turns.
        each = map if self._kind is TensorType.F32 else in_order
        for block, tally in each(self._encode, _blocks(self._parts)):
            self.tally.add(tally)
            yield block

    def _encode(self, block: bytes) -> tuple[bytes, Tally]:
        values = np.frombuffer(block, "<f4")
        largest = LARGEST[self._kind]
        with np.errstate(all="ignore"):  # what overflows is counted instead
            # NaN is neither below nor above anything, and min and max give it on.
            finite = values.max() <= largest and values.min() >= -largest
            if self._kind is TensorType.F32:
                return block, Tally() if finite else _tally(values, values, self._kind)
            if finite:
                return rounded(values, self._kind), Tally()
            made = quantized(values.reshape(1, -1), self._kind)
            return made.tobytes(), _tally(values, made, self._kind)


def _tally(values: npt.NDArray[np.float32], made: npt.NDArray[Any], kind: TensorType) -> Tally:
    finite = np.isfinite(values)
    nans = int(np.isnan(values).sum())
    still = np.isfinite(widened(made, kind).reshape(-1))
    return Tally(nans, int((~finite).sum()) - nans, int((finite & ~still).sum()))


def _blocks(parts: tuple[Part, ...]) -> Iterator[bytes]:
    """Yield the bytes of all parts in blocks of BLOCK_BYTES; only the last is shorter."""
    if len(parts) == 1 and isinstance(parts[0], Span):
        yield from parts[0].blocks()
        return
    gathered = bytearray()
    for part in parts:
        for block in part.blocks():
            gathered += block
            while len(gathered) >= BLOCK_BYTES:
                yield bytes(gathered[:BLOCK_BYTES])
                del gathered[:BLOCK_BYTES]
    if gathered:
        yield bytes(gathered)
