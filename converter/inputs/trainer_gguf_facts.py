"""The GGUF files of the later trainers: what was read becomes facts, with words for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from construct import Struct
from gguf import Keys

from converter.facts import Facts, Group, OptimizerFacts, TensorFacts
from converter.gguf_io import keys
from converter.gguf_io.reader import Gguf
from converter.inputs.before_gguf_facts import group, past_losses
from converter.inputs.regions import file_regions
from converter.layouts.tables import STATE_TENSORS, tensor_name
from converter.snapshot import Optimizer, Snapshot
from ggcp_schema import FormatError, printable
from ggcp_schema.enums import OptimizerType
from ggcp_schema.history import GGUF_TRAINERS, gguf_writers
from ggcp_schema.lora import Ranks
from ggcp_schema.model import Hyperparameters, Training
from ggcp_schema.optimizer import AdamVersion1, Lbfgs, OptimizerVersion1

_COUNTERS = (
    "parameter_count",
    "iteration_count",
    "just_initialized",
    "convergence_past_count",
    "approx_hessian_count",
)
_SIZES = (
    "vocabulary_size",
    "embedding_length",
    "head_count",
    "block_count",
    "rope_dimension_count",
    "feed_forward_length",
    "head_dimension",
)


def facts_of(
    gguf: Gguf, snapshot: Snapshot | None, *, lora: bool, error: FormatError | None
) -> Facts:
    """Return all that is known of a GGUF.

    Args:
        gguf: what was read of the file.
        snapshot: what is in it; None if that could not be read.
        lora: whether it is one of finetune.
        error: what is wrong with it; None if nothing is.
    """
    tensors = tuple(sorted(_tensors(gguf, snapshot), key=lambda tensor: tensor.offset))
    optimizer = snapshot.optimizer if snapshot else None
    has_state = keys.OPTIMIZER_FILE_VERSION in gguf.keys
    kind = ("LoRA finetune" if lora else "training") + " checkpoint (GGUF)"
    converted = keys.GGCP_VERSION in gguf.keys
    if not lora and not has_state:
        kind = f"model {'that ggcp made' if converted else 'of a trainer'} (GGUF)"
    return Facts(
        file=gguf.source.label or "",
        length=gguf.source.size,
        lora=lora,
        kind=kind,
        kind_code="lora" if lora else "training" if has_state else "model",
        header_layout="",
        header_note="",
        written_by=gguf_writers(
            lora=lora,
            converted=converted,
            file_version=_number(gguf, keys.TRAINING_FILE_VERSION),
            container_version=gguf.version,
        ),
        training=group(vars(snapshot.counters) if snapshot and has_state else {}, Training),
        hyperparameters=_sizes(snapshot),
        ranks=group(snapshot.ranks or {} if snapshot else {}, Ranks),
        context_length=snapshot.context_length if snapshot else None,
        parameter_count=None
        if snapshot is None
        else sum(array.span.length // 4 for array in snapshot.weights.values()),
        optimizer=_optimizer(optimizer, snapshot.optimizer_version)
        if snapshot and optimizer
        else None,
        tensors=tensors,
        regions=file_regions(
            tensors,
            header=min(gguf.data_offset, gguf.source.size),
            optimizer_header=0,
            length=gguf.source.size,
            damaged=error is not None,
        ),
        error=error,
        aborted_save=False,
        vocabulary_tokens=_token_count(gguf),
        epsilon=snapshot.epsilon if snapshot else None,
        converted=converted,
    )


def _number(gguf: Gguf, key: str) -> int:
    value = gguf.value(key)
    return value if isinstance(value, int) else 0


def _token_count(gguf: Gguf) -> int | None:
    if Keys.Tokenizer.LIST not in gguf.keys:
        return None
    metadata = gguf.keys[Keys.Tokenizer.LIST].metadata
    return None if metadata.element_type is None else len(metadata.value)


def _tensors(gguf: Gguf, snapshot: Snapshot | None) -> Iterator[TensorFacts]:
    paths: dict[str, str] = {}
    if snapshot is not None:
        paths = {tensor_name(path): f"model.{path}" for path in snapshot.weights}
    for names in STATE_TENSORS.values():
        paths |= {name: f"optimizer.state.{member}" for member, name in names.items()}
    for name, tensor in gguf.tensors.items():
        yield TensorFacts(
            path=paths.get(name, f"model.{printable(name)}"),
            name=printable(name),
            shape=tensor.data.shape,
            data=tensor.data,
            name_cut=False,
            padding_zero=True,
        )


def _sizes(snapshot: Snapshot | None) -> Group:
    if snapshot is None:
        return Group()
    sizes: Mapping[str, Any] = {name: getattr(snapshot.hyperparameters, name) for name in _SIZES}
    return group(sizes, Hyperparameters)


def _optimizer(optimizer: Optimizer, version: int | None) -> OptimizerFacts:
    lbfgs = optimizer.type is OptimizerType.LBFGS
    done = int(optimizer.scalars["line_search_k"]) if lbfgs else optimizer.iteration_count
    losses = optimizer.vectors["past_loss_values"]
    state: Struct = Lbfgs if lbfgs else AdamVersion1
    return OptimizerFacts(
        layout="GGUF",
        type=optimizer.type,
        counters=group(
            {name: int(getattr(optimizer, name)) for name in _COUNTERS}, OptimizerVersion1
        ),
        params=None,
        adam=None,
        lbfgs=None,
        state=group(optimizer.scalars, state),
        past_losses=past_losses(losses.span if losses.parts else None, done),
        iterations_done=done,
        losses_are_means=version != 0,
        sums_gradients=optimizer.is_scaled,
        trainers=GGUF_TRAINERS,
    )
