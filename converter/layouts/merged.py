"""From a LoRA checkpoint and its base model to the plan of a model with the changes added in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gguf import GGML_QUANT_VERSION, Keys

from converter.gguf_io.reader import Gguf, GgufTensor, read_gguf
from converter.layouts.provenance import MADE_BY, damage, is_rescued
from converter.layouts.tables import (
    ARCHITECTURE,
    BLOCK_COUNT,
    EMBEDDING_LENGTH,
    FEED_FORWARD_LENGTH,
    HEAD_COUNT,
    HEAD_COUNT_KV,
    ROPE_DIMENSION_COUNT,
    U32,
    tensor_name,
)
from converter.numeric.delta import Delta, F32Array, row_blocks
from converter.numeric.encode import OUTTYPES, encoded, stored_type
from converter.numeric.rounding import widened
from converter.parts import Computed
from converter.plan import Metadata, Plan, PlannedTensor
from converter.progress import LOGGER
from converter.roles import ANOTHER_BASE, Role, refused
from converter.snapshot import Hyperparameters, SizesOfBase, Snapshot
from ggcp_schema import FormatError, Source
from ggcp_schema.foreign import Kind, recognised
from ggcp_schema.gguf import TensorType, ValueType
from ggcp_schema.language.checks import shown

_ELEMENT_BYTES = {
    TensorType.F32: 4,
    TensorType.F16: 2,
    TensorType.BF16: 2,
}
"""Types of the base to which a change can be added."""

# fmt: off
_SIZES = (
    (BLOCK_COUNT, "block_count", "n_layer"),
    (EMBEDDING_LENGTH, "embedding_length", "n_embd"),
    (FEED_FORWARD_LENGTH, "feed_forward_length", "n_ff"),
    (HEAD_COUNT, "head_count", "n_head"),
    (HEAD_COUNT_KV, "key_value_head_count", "n_head; finetune of that time knew no others for "
        "keys and values"),
    (ROPE_DIMENSION_COUNT, "rope_dimension_count", "n_rot"),
)
"""Sizes in which base and checkpoint agree: key, hyperparameter, what it is called in C."""
# fmt: on


_BASES = (Kind.GGUF_MODEL, Kind.GGUF, Kind.DAMAGED_GGUF)
"""Kinds of files of which a merge says more itself: what is missing or damaged."""


def recognises(finished: Gguf) -> bool:
    """Tell whether a GGUF is a whole model."""
    return tensor_name("tok_embeddings") in finished.tensors


def read_base(source: Source) -> Gguf:
    """Read the base model of a merge.

    Raises:
        FormatError: it is no model, no GGUF, or is damaged.
    """
    found = recognised(source)
    if found is None or found.kind not in _BASES:
        source.seek(0)
        error = refused(Role.BASE, found, shown(source.read(4)))
        error.file = source.label
        raise error
    source.seek(0)
    return read_gguf(
        source,
        damaged="the file is damaged, or not a model that this program can read; give another copy",
        other=Role.BASE.hint,
    )


def stored_outtype(finished: Gguf, snapshot: Snapshot, base: Gguf) -> str | None:
    """Return the ``--outtype`` with which a merged model was made; None for the base's types.

    Raises:
        FormatError: base and checkpoint do not fit.
    """
    plan = merge_plan(snapshot, base)
    types = {name: tensor.type for name, tensor in finished.tensors.items()}
    file_type = finished.value(Keys.General.FILE_TYPE)
    same_types = all(types.get(tensor.name, tensor.type) == tensor.type for tensor in plan.tensors)
    same_word = any(
        item.key == Keys.General.FILE_TYPE and item.value == file_type for item in plan.metadata
    )
    names = (name for name, outtype in OUTTYPES.items() if outtype.file_type == file_type)
    return None if same_types and same_word else next(names, None)


def merge_plan(snapshot: Snapshot, base: Gguf, *, outtype: str | None = None) -> Plan:
    """Return the plan of the base model with the change of each of its tensors added.

    All keys and all other tensors of the base stay as they are; only ``general.file_type`` follows
    ``outtype``, and ``ggcp.version`` is added; from a damaged checkpoint also
    ``ggcp.missing_values``.

    Args:
        snapshot: a LoRA.
        base: the model that it was trained on.
        outtype: one of OUTTYPES for the matrices, where vectors become F32; None for the types of
            the base.

    Raises:
        FormatError: base and checkpoint do not fit, or the base is quantized.
    """
    deltas = {
        tensor_name(path): Delta.of(pair, snapshot.delta_scale) for path, pair in snapshot.pairs()
    }
    try:
        _require_fit(snapshot.sizes, base, deltas)
    except FormatError as error:
        error.file = base.source.label
        raise
    tensors = tuple(_planned(t, deltas.get(t.name), outtype) for t in base.tensors.values())
    return Plan(ARCHITECTURE, tuple(_metadata(snapshot, base, outtype)), tensors)


def _require_fit(sizes: SizesOfBase, base: Gguf, deltas: dict[str, Delta]) -> None:
    architecture = base.value(Keys.General.ARCHITECTURE)
    if architecture != ARCHITECTURE:
        found = "none" if architecture is None else shown(architecture)
        raise _misfit(base, Keys.General.ARCHITECTURE, f"'{ARCHITECTURE}'", found, ANOTHER_BASE)
    parts = base.value(Keys.Split.LLM_KV_SPLIT_COUNT, 0)
    if parts not in (0, 1):
        hint = "join its files first: llama-gguf-split --merge"
        raise _misfit(base, Keys.Split.LLM_KV_SPLIT_COUNT, "a whole model", f"one of {parts}", hint)
    # As llama.cpp takes them where the key is missing.
    defaults = {HEAD_COUNT_KV: base.value(HEAD_COUNT)}
    if isinstance(sizes, Hyperparameters):
        defaults[ROPE_DIMENSION_COUNT] = sizes.head_dimension
    for key, name, c_name in _SIZES:
        wanted: int | None = getattr(sizes, name)
        if wanted is None:
            continue
        if name == "feed_forward_length" and not sizes.block_count:
            continue  # a model without layers has none
        found = base.value(key, defaults.get(key))
        if found != wanted:
            words = f"{wanted}, as in the checkpoint ({c_name})"
            raise _misfit(base, key, words, _number(found), ANOTHER_BASE)
    for name, delta in deltas.items():
        _require_tensor(base, name, delta)


def _number(found: Any) -> str:
    if found is None:
        return "no such key"
    return f"{len(found.value)} numbers" if isinstance(found, Metadata) else shown(found)


def _misfit(base: Gguf, key: str, expected: str, found: str, hint: str) -> FormatError:
    offset = base.keys[key].offset if key in base.keys else None
    return FormatError(path=key, offset=offset, expected=expected, found=found, hint=hint)


def _require_tensor(base: Gguf, name: str, delta: Delta) -> None:
    vector = name.endswith("norm.weight")
    wanted = (delta.inputs,) if vector else (delta.inputs, delta.outputs)
    if name not in base.tensors:
        raise FormatError(
            path=name,
            expected=f"a tensor of the dimensions {shown(wanted)}",
            found="no such tensor",
            hint=ANOTHER_BASE,
        )
    tensor = base.tensors[name]
    if tensor.data.shape != wanted:
        raise FormatError(
            path=name,
            expected=f"the dimensions {shown(wanted)}, as in the checkpoint",
            found=shown(tensor.data.shape),
            hint=ANOTHER_BASE,
        )
    if tensor.type not in _ELEMENT_BYTES:
        raise FormatError(
            path=name,
            expected="F32, F16 or BF16",
            found=tensor.type.name,
            hint="nothing can be added to quantized weights: give the F32, F16 or BF16 model that "
            "this one was made from, or make an adapter (without --merge), which runs with it",
        )


def _metadata(snapshot: Snapshot, base: Gguf, outtype: str | None) -> Iterator[Metadata]:
    changed = {MADE_BY.key: MADE_BY}
    if not is_rescued(base):  # what is missing of the base is missing of the result
        changed |= {item.key: item for item in damage(snapshot)}
    if outtype is not None:
        file_type = OUTTYPES[outtype].file_type
        changed[Keys.General.FILE_TYPE] = Metadata(Keys.General.FILE_TYPE, U32, int(file_type))
        if OUTTYPES[outtype].type is TensorType.Q8_0:
            key = Keys.General.QUANTIZATION_VERSION
            changed[key] = Metadata(key, U32, GGML_QUANT_VERSION)
    for key, entry in base.keys.items():
        if key == Keys.General.ARCHITECTURE:
            continue  # a plan names it by itself
        if entry.metadata.type is ValueType.ARRAY and not len(entry.metadata.value):
            LOGGER.warning("%s of the base model is left out: an array without elements", key)
            continue
        yield changed.pop(key, entry.metadata)
    yield from changed.values()


def _planned(tensor: GgufTensor, delta: Delta | None, outtype: str | None) -> PlannedTensor:
    shape, kind = tensor.data.shape, tensor.type
    if delta is not None and outtype is not None:
        kind = stored_type(shape, OUTTYPES[outtype])
    if delta is None or (not delta.rank and kind is tensor.type):
        return PlannedTensor(tensor.name, shape, (tensor.data,), kind)
    merged = Computed(4 * delta.inputs * delta.outputs, _Merged(tensor, delta))
    return encoded(tensor.name, shape, (merged,), kind)


@dataclass(frozen=True)
class _Merged:
    """The elements of a tensor of the base in F32, its change added in float64, rounded once."""

    tensor: GgufTensor
    delta: Delta

    def __call__(self) -> Iterator[bytes]:
        columns = self.delta.inputs
        for first, count in row_blocks(self.delta.outputs, max(columns, self.delta.rank)):
            base = self._base(first * columns, count * columns).reshape(count, columns)
            with np.errstate(all="ignore"):  # what is not finite is counted where it is encoded
                yield (base + self.delta.rows(first, count)).astype("<f4").tobytes()

    def _base(self, first: int, count: int) -> F32Array:
        span, kind = self.tensor.data, self.tensor.type
        size = _ELEMENT_BYTES[kind]
        data = span.source.read_at(span.offset + first * size, count * size)
        return widened(np.frombuffer(data, np.uint8), kind)
