"""The checkpoints before GGUF: what the schema has parsed becomes a snapshot.

This is the thin mapper. Names are those of the schema on both sides: where a snapshot has a field
of some name, the container has a member of that name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any, TypeVar

from converter.facts import Facts
from converter.inputs.before_gguf_facts import facts_of, offset_of, records
from converter.inputs.opened import Opened
from converter.inputs.rescue import last_w3
from converter.parts import Array
from converter.snapshot import (
    AdamSettings,
    Counters,
    Gradients,
    Hyperparameters,
    Optimizer,
    Rope,
    Snapshot,
)
from ggcp_schema import Checkpoint, FormatError
from ggcp_schema.checkpoint import ABORTED_SAVE, MAGICLESS
from ggcp_schema.enums import OptimizerType
from ggcp_schema.history import (
    LORA_TRAINERS,
    MAGICLESS_EPSILON,
    TRAINERS_OF,
    orders_of,
    sums_gradients,
)

KINDS = {
    b"pcgg": "a training checkpoint (ggcp)",
    b"lcgg": "a LoRA checkpoint (ggcl)",
    MAGICLESS: "a checkpoint of May 2023 without a magic",
}

T = TypeVar("T")

_LAST_VECTOR = {
    OptimizerType.ADAM: "past_loss_values",
    OptimizerType.LBFGS: "memory_y",
}
"""The last record of each optimizer: where it was read, all were."""


class CheckpointBeforeGguf(Opened):
    """A file with the magic ``ggcp`` or ``ggcl``, or without any, parsed as far as it goes.

    Attributes:
        source: the open file.
        lora: whether it is one of finetune.
        error: what is wrong with it; None if nothing is.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.source = checkpoint.source
        self.error = checkpoint.error
        self._container: Mapping[str, Any] = checkpoint.container
        self.lora: bool = checkpoint.container["magic"] == b"lcgg"

    def facts(self) -> Facts:
        """Return all that is known of it."""
        return facts_of(self._container, self.source, self.error)

    def partial_snapshot(self) -> Snapshot | None:
        """Return what is in it as far as it was read; None if not even all of the model is."""
        model_is_whole = "parameter_count" in self._container  # which stands behind the model
        return self._snapshot() if model_is_whole else None

    def _filled(self, error: FormatError) -> Snapshot:
        if error.hint != ABORTED_SAVE:
            return super()._filled(error)
        snapshot = self._snapshot()
        w3, missing = last_w3(self.source, error, snapshot.hyperparameters)
        path = f"layers[{snapshot.hyperparameters.block_count - 1}].feed_forward.w3"
        return replace(snapshot, weights={**snapshot.weights, path: w3}, missing=missing)

    def _snapshot(self) -> Snapshot:
        container = self._container
        counters = _of_same_names(Counters, {"token_count": None, **container["training"]})
        context = container.get("optimizer") or {}
        sizes = {**container["hyperparameters"]}
        sizes["key_value_head_count"] = sizes["head_count"]
        if self.lora:
            sizes["feed_forward_length"] = container["feed_forward_length"]
        return Snapshot(
            source=self.source,
            kind=KINDS[container["magic"]],
            counters=counters,
            sizes=_of_same_names(Hyperparameters, sizes),
            weights=dict(_arrays(container["model"])),
            ranks=dict(container["ranks"]) if self.lora else None,
            optimizer=_optimizer(context, self.lora),
            optimizer_version=context.get("version"),
            context_length=counters.tokens_per_sample,
            epsilon=MAGICLESS_EPSILON if container["magic"] == MAGICLESS else None,
            rope=Rope(),
            vocabulary=None,
            kept=None,
            delta_scale=1.0,
            missing=None,
            resumption=None,
            locate=partial(offset_of, container),
        )


def _of_same_names(kind: type[T], members: Mapping[str, Any]) -> T:
    return kind(**{field.name: members[field.name] for field in fields(kind)})  # type: ignore[arg-type] # a dataclass


def _arrays(part_of_file: Any) -> Iterator[tuple[str, Array]]:
    for path, record in records(part_of_file):
        yield path, Array(tuple(record["shape"]), (record["data"],))


def _optimizer(context: Mapping[str, Any], lora: bool) -> Optimizer | None:
    """Return the state of an optimizer; None if not all of its vectors were read."""
    state = context.get("state") or {}
    kind = context.get("type")
    if kind not in tuple(OptimizerType) or "data" not in state.get(_LAST_VECTOR[kind], {}):
        return None
    params = context.get("params")
    trainers = LORA_TRAINERS if lora else TRAINERS_OF[context["layout"]]
    return Optimizer(
        type=OptimizerType(context["type"]),
        orders=orders_of(trainers),
        gradients=Gradients.SUMMED if sums_gradients(context["layout"]) else Gradients.MEAN,
        parameter_count=context["parameter_count"],
        convergence_past_count=context["convergence_past_count"],
        approx_hessian_count=context["approx_hessian_count"],
        iteration_count=context["iteration_count"],
        just_initialized=bool(context["just_initialized"]),
        iteration_limit=None if params is None else params["adam"]["iteration_limit"],
        adam=None if params is None else _of_same_names(AdamSettings, params["adam"]),
        scalars={name: member for name, member in state.items() if _is_number(member)},
        vectors=dict(_arrays(state)),
    )


def _is_number(member: Any) -> bool:
    return isinstance(member, (int, float))
