"""An adapter that today's llama.cpp takes with ``--lora``.

What its loader wants: llama.cpp, src/llama-adapter.cpp, ``llama_adapter_lora_init_impl``,
c392e5094. Its scale is alpha / rank for each pair, or 1 where alpha is 0: what finetune trained
with, whatever the ranks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gguf import GGUFType, Keys

from converter.errors import ConversionError
from converter.gguf_io.reader import Gguf
from converter.layouts.provenance import MADE_BY, damage
from converter.layouts.tables import ARCHITECTURE, F32, STRING, U32, tensor_name
from converter.numeric.delta import Delta, transposed
from converter.numeric.encode import OUTTYPES, encoded
from converter.numeric.scale import multiplied
from converter.parts import Computed
from converter.plan import Metadata, Plan, PlannedTensor
from converter.progress import LOGGER
from converter.snapshot import Snapshot
from ggcp_schema import Span
from ggcp_schema.gguf import TensorType

ADAPTER_OUTTYPES = ("f32", "f16")
"""Types in which llama.cpp takes the pairs of an adapter, whatever their ranks."""


def recognises(finished: Gguf) -> bool:
    """Tell whether a GGUF is an adapter."""
    return bool(finished.value(Keys.General.TYPE) == GGUFType.ADAPTER)


def stored_outtype(finished: Gguf) -> str:
    """Return the type of the pairs that an adapter says; F32 if it does not, or wrongly."""
    file_type = finished.value(Keys.General.FILE_TYPE)
    types = [name for name in ADAPTER_OUTTYPES if OUTTYPES[name].file_type == file_type]
    return types[0] if types else "f32"


def adapter_plan(snapshot: Snapshot, *, outtype: str = "f32") -> Plan:
    """Return the plan of an adapter: the pairs of all matrices whose rank is not 0.

    An adapter cannot carry the pairs of norms; see ``warn_of_norms``.

    Args:
        snapshot: a LoRA.
        outtype: one of ADAPTER_OUTTYPES.

    Raises:
        ConversionError: there is no such pair: llama.cpp does not take an empty adapter.
    """
    stored = OUTTYPES[outtype]
    tensors = tuple(_tensors(snapshot, stored.type))
    if not tensors:
        raise ConversionError(
            snapshot.file,
            expected="a matrix that the training could change",
            found="rank 0 for all of them",
            hint="an adapter would be empty; changes of norms can be merged into the base model "
            "(--merge BASE.gguf)",
        )
    return Plan(
        ARCHITECTURE,
        (
            Metadata(Keys.General.TYPE, STRING, GGUFType.ADAPTER),
            Metadata(Keys.General.FILE_TYPE, U32, int(stored.file_type)),
            Metadata(Keys.Adapter.TYPE, STRING, "lora"),
            Metadata(Keys.Adapter.LORA_ALPHA, F32, 0.0),
            MADE_BY,
            *damage(snapshot),
        ),
        tensors,
    )


def warn_of_norms(snapshot: Snapshot) -> None:
    """Warn the user if the training changed norms, which an adapter leaves out."""
    largest, where = 0.0, ""
    for path, pair in snapshot.pairs():
        delta = Delta.of(pair, snapshot.delta_scale)
        if _is_norm(path) and delta.rank:
            change = delta.largest()
            if change > largest or math.isnan(change):
                largest, where = change, path
    if where:
        LOGGER.warning(
            "an adapter cannot carry what the training changed in the norms: up to %.3g where the "
            "weights are about 1 (%s); nothing is left out if you merge it into the base model: "
            "--merge BASE.gguf",
            largest,
            where,
        )


def _is_norm(path: str) -> bool:
    return path.endswith("norm")


def _tensors(snapshot: Snapshot, kind: TensorType) -> Iterator[PlannedTensor]:
    for path, (a, b) in snapshot.pairs():
        if _is_norm(path) or not a.shape[0]:
            continue
        name_a, name_b = tensor_name(f"{path}.a"), tensor_name(f"{path}.b")
        parts_b = tuple(multiplied(part, snapshot.delta_scale) for part in b.parts)
        if path == "tok_embeddings":  # llama.cpp takes rows of lora_a, then multiplies by lora_b
            yield encoded(name_a, b.shape, parts_b, kind)
            yield encoded(name_b, a.shape, a.parts, kind)
        else:
            turned = Computed(a.span.length, _Transposed(a.span))
            yield encoded(name_a, a.shape[::-1], (turned,), kind)
            yield encoded(name_b, b.shape, parts_b, kind)


@dataclass(frozen=True)
class _Transposed:
    """The elements of a matrix, transposed."""

    span: Span

    def __call__(self) -> Iterator[bytes]:
        for block in transposed(self.span):
            yield block.tobytes()
