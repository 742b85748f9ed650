"""The GGUF with which the trainers of August 2023 to July 2024 resume: all keys, all tensors.

Keys, tensors and their order are those of convert-train-checkpoint-to-gguf.py, for a LoRA those of
examples/finetune at 0e76a8992 (2023-09-28). No float is touched.
"""

from __future__ import annotations

from collections.abc import Iterator

from gguf import Keys

from converter.gguf_io import keys
from converter.gguf_io.reader import Gguf
from converter.layouts.provenance import provenance
from converter.layouts.tables import (
    ARCHITECTURE,
    COUNTER_ROWS,
    F32,
    OPTIMIZER_ROWS,
    RANK_ROWS,
    RMS_EPSILON,
    SIZE_ROWS,
    STATE_ROWS,
    STATE_TENSORS,
    STRING,
    U32,
    U64,
    metadata,
    tensor_name,
)
from converter.plan import Metadata, Plan, PlannedTensor
from converter.snapshot import Optimizer, Resumption, Snapshot
from ggcp_schema.history import HISTORICAL_EPSILON
from ggcp_schema.order import Order

_NAMESPACES = ("training.", "optimizer.")


def recognises(finished: Gguf) -> bool:
    """Tell whether a GGUF is one to resume from."""
    return any(key.startswith(_NAMESPACES) for key in finished.keys)


def stored_epsilon(finished: Gguf) -> float | None:
    """Return the epsilon of the norms that a GGUF says; None if it does not, or wrongly."""
    epsilon = finished.value(RMS_EPSILON)
    return epsilon if isinstance(epsilon, float) else None


def stored_resumption(finished: Gguf) -> Resumption | None:
    """Return what a GGUF says was done to the optimizer's vectors; None for nothing."""
    orders = {order.value: order for order in Order}
    target = orders.get(str(finished.value(keys.GGCP_PARAMETER_ORDER)))  # also an array
    stored = orders.get(str(finished.value(keys.GGCP_STORED_PARAMETER_ORDER)))
    rows = finished.value(keys.GGCP_GRADIENT_ROWS)
    if target is None or stored is None or not isinstance(rows, int) or rows < 1:
        return None
    return Resumption(stored, target, rows)


def trainer_plan(snapshot: Snapshot, *, epsilon: float | None = None) -> Plan:
    """Return the plan of a GGUF with which the GGUF trainers resume.

    Args:
        snapshot: a whole checkpoint, with its optimizer.
        epsilon: the epsilon of the RMS norms; None for what the historical converter wrote.
    """
    optimizer = snapshot.required_optimizer
    if snapshot.kept is not None:
        return _kept_plan(snapshot, snapshot.kept)
    kind = "train_model" if snapshot.ranks is None else "finetune_lora"
    return Plan(
        ARCHITECTURE,
        (
            Metadata(Keys.General.FILE_TYPE, U32, 0),
            Metadata(RMS_EPSILON, F32, HISTORICAL_EPSILON if epsilon is None else epsilon),
            Metadata(keys.TRAINING_FILE_VERSION, U32, 0),
            Metadata(keys.TRAINING_TYPE, STRING, kind),
            *metadata(COUNTER_ROWS, snapshot),
            *metadata(SIZE_ROWS, snapshot),
            *metadata(() if snapshot.ranks is None else RANK_ROWS, snapshot),
            *metadata(OPTIMIZER_ROWS, snapshot),
            *metadata(STATE_ROWS[optimizer.type], snapshot),
            *_origin(snapshot, optimizer),
        ),
        (*_weights(snapshot), *_vectors(optimizer)),
    )


def _kept_plan(snapshot: Snapshot, kept: tuple[Metadata, ...]) -> Plan:
    """Return the plan of the same GGUF, all its keys kept, for another trainer."""
    optimizer = snapshot.required_optimizer
    added = {item.key: item for item in _origin(snapshot, optimizer)}
    return Plan(
        ARCHITECTURE,
        (*(added.pop(item.key, item) for item in kept), *added.values()),
        (*_weights(snapshot), *_vectors(optimizer)),
    )


def divided_rows(snapshot: Snapshot) -> int:
    """Return the rows by which the moments were divided before they were read; 1 for none."""
    said = (item.value for item in snapshot.kept or () if item.key == keys.GGCP_GRADIENT_ROWS)
    rows = next(said, 1)
    return rows if isinstance(rows, int) and rows > 0 else 1


def says_the_same(snapshot: Snapshot, finished: Gguf) -> bool:
    """Tell whether a GGUF says of its vectors what the one that was read says."""
    names = (keys.GGCP_PARAMETER_ORDER, keys.GGCP_STORED_PARAMETER_ORDER, keys.GGCP_GRADIENT_ROWS)
    said = {item.key: item.value for item in snapshot.kept or ()}
    return all(name in said and said[name] == finished.value(name) for name in names)


def _origin(snapshot: Snapshot, optimizer: Optimizer) -> Iterator[Metadata]:
    """Yield where the optimizer's vectors come from, and what was done to them."""
    yield from provenance(snapshot)
    yield Metadata(keys.GGCP_GRADIENTS, STRING, optimizer.gradients.value)
    resumption = snapshot.resumption
    if resumption is not None:
        yield Metadata(keys.GGCP_PARAMETER_ORDER, STRING, resumption.target.value)
        yield Metadata(keys.GGCP_STORED_PARAMETER_ORDER, STRING, resumption.stored.value)
        rows = resumption.rows * divided_rows(snapshot)
        yield Metadata(keys.GGCP_GRADIENT_ROWS, U64, rows)


def _weights(snapshot: Snapshot) -> Iterator[PlannedTensor]:
    for path, array in snapshot.weights.items():
        yield PlannedTensor(tensor_name(path), array.shape, array.parts)


def _vectors(optimizer: Optimizer) -> Iterator[PlannedTensor]:
    """Yield the optimizer's vectors; one that does not exist is left out."""
    for member, name in STATE_TENSORS[optimizer.type].items():
        array = optimizer.vectors[member]
        if array.shape:
            yield PlannedTensor(name, array.shape, array.parts)
