"""The state of the optimizer in a GGUF of the later trainers."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from converter.gguf_io import keys
from converter.gguf_io.reader import Gguf
from converter.inputs.gguf_fields import GgufFields
from converter.layouts.tables import (
    CONTEXT_LENGTH,
    OPTIMIZER_ROWS,
    STATE_ROWS,
    STATE_TENSORS,
    Fixed,
)
from converter.parts import Array
from converter.snapshot import Gradients, Optimizer
from ggcp_schema.order import Order
from ggcp_schema.tensor import element_count

_TYPES = {row.value: kind for kind, (row, *_) in STATE_ROWS.items() if isinstance(row, Fixed)}

_LENGTHS = {
    "past_loss_values": ("convergence_past_count",),
    "memory_alpha": ("approx_hessian_count",),
    "memory_ys": ("approx_hessian_count",),
    "memory_s": ("parameter_count", "approx_hessian_count"),
    "memory_y": ("parameter_count", "approx_hessian_count"),
}
"""What gives each dimension of the optimizer's vectors; the parameter count for all others."""


def optimizer_of(
    gguf: Gguf, fields: GgufFields, weights: Mapping[str, Array], *, lora: bool
) -> Optimizer | None:
    """Return the state of the optimizer; None where not all of its vectors are whole.

    Args:
        gguf: what was read of the file.
        fields: the same, to read with errors.
        weights: the tensors that it trains.
        lora: whether these are pairs.

    Raises:
        FormatError: a key or tensor is missing, or contradicts the weights.
    """
    numbers = fields.numbers(OPTIMIZER_ROWS)
    count = sum(element_count(array.shape) for array in weights.values())
    if numbers["parameter_count"] != count:
        raise fields.wrong(keys.OPTIMIZER_PARAMETER_COUNT, f"{count} (the elements of all tensors)")
    kind = _TYPES.get(str(gguf.value(keys.OPTIMIZER_TYPE)))
    if kind is None:
        raise fields.wrong(keys.OPTIMIZER_TYPE, " or ".join(f"'{name}'" for name in _TYPES))
    scalars = fields.numbers(STATE_ROWS[kind])
    lengths = {"approx_hessian_count": scalars.pop("approx_hessian_count", 0), **numbers}
    vectors = {}
    for member, name in STATE_TENSORS[kind].items():
        shape = tuple(lengths[each] for each in _LENGTHS.get(member, ("parameter_count",)))
        if not prod(shape) and name not in gguf.tensors:
            vectors[member] = Array((), ())
        elif gguf.error is not None and name not in gguf.tensors:
            return None
        else:
            vectors[member] = fields.array(name, shape)
    gradients, orders = _origin(gguf, lora=lora)
    return Optimizer(
        type=kind,
        gradients=gradients,
        orders=orders,
        parameter_count=count,
        convergence_past_count=numbers["convergence_past_count"],
        approx_hessian_count=lengths["approx_hessian_count"],
        iteration_count=numbers["iteration_count"],
        just_initialized=bool(numbers["just_initialized"]),
        iteration_limit=None,
        adam=None,
        scalars=scalars,
        vectors=vectors,
    )


def _origin(gguf: Gguf, *, lora: bool) -> tuple[Gradients, tuple[Order, ...]]:
    """Return what the vectors are of, and in which orders they may stand.

    A trainer took the mean loss; a converter left them as the ``.bin`` had them.
    """
    said = {order.value: order for order in Order}.get(str(gguf.value(keys.GGCP_PARAMETER_ORDER)))
    if CONTEXT_LENGTH in gguf.keys:
        newer = bool(gguf.value(keys.TRAINING_FILE_VERSION))
        written = tuple(Order) if newer else (Order.FLASH, Order.PLAIN)
        return Gradients.MEAN, (said,) if said else written
    orders = (said,) if said else (Order.SCRATCH, Order.FLASH, Order.PLAIN)
    if lora:
        return Gradients.MEAN, (said,) if said else (Order.FLASH, Order.PLAIN)
    stated = {gradients.value: gradients for gradients in Gradients}.get(
        str(gguf.value(keys.GGCP_GRADIENTS))
    )
    if stated is not None:
        return stated, orders
    rows, version = gguf.value(keys.GGCP_GRADIENT_ROWS), gguf.value(keys.GGCP_OPTIMIZER_VERSION)
    if isinstance(rows, int) and rows > 1:  # they were divided already
        return Gradients.MEAN, orders
    return (Gradients.SUMMED if version == 0 else Gradients.UNKNOWN), orders
