"""The checkpoints before GGUF: what the schema has parsed becomes facts, with words for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from construct import Struct

from converter.facts import Facts, Group, OptimizerFacts, TensorFacts
from converter.inputs.regions import file_regions
from converter.parts import elements
from converter.snapshot import Counters
from ggcp_schema import FormatError, Source, Span, printable
from ggcp_schema.checkpoint import ABORTED_SAVE, CHECKPOINT_FILE, MAGICLESS
from ggcp_schema.enums import HeaderLayout, Layout, OptimizerType
from ggcp_schema.history import (
    LORA_MULTIPLE,
    LORA_TRAINERS,
    LORA_WRITERS,
    MAGICLESS_WRITERS,
    NO_MEAN_LOSS,
    TRAINERS_OF,
    WRITERS,
    Trainer,
    dated,
    stores_mean_losses,
    sums_gradients,
)
from ggcp_schema.lora import Ranks
from ggcp_schema.model import Hyperparameters, Training
from ggcp_schema.optimizer import (
    AdamParams,
    AdamVersion1,
    Lbfgs,
    LbfgsParams,
    OptimizerVersion1,
    Params,
)
from ggcp_schema.places import place, stop

MOST_PAST_LOSSES = 10_000
"""How many of the past losses are read; the newest, should there be more."""

_KINDS = {
    b"pcgg": ("training", "training checkpoint", ""),
    b"lcgg": ("lora", "LoRA finetune checkpoint", LORA_WRITERS),
    MAGICLESS: (
        "magicless",
        "training checkpoint without a magic, and without optimizer state",
        MAGICLESS_WRITERS,
    ),
}
"""By magic: what it is, for scripts and in words, and who wrote it where one layout tells."""

_HEAD_DIMENSION = "Elements in the vector of each attention head: n_embd / n_head."
_COUNTERS = (
    "parameter_count",
    "iteration_count",
    "just_initialized",
    "convergence_past_count",
    "approx_hessian_count",
)


def records(part_of_file: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield path and content of each tensor record whose data are there, in the order of the file.

    The path is that inside the part, such as ``layers[0].attention.wq``.
    """
    listed = isinstance(part_of_file, list)
    for name, member in enumerate(part_of_file) if listed else part_of_file.items():
        here = f"{path}[{name}]" if listed else f"{path}.{name}".lstrip(".")
        if isinstance(member, Mapping) and isinstance(member.get("data"), Span):
            yield here, member
        elif isinstance(member, (Mapping, list)):
            yield from records(member, here)


def facts_of(container: Mapping[str, Any], source: Source, error: FormatError | None) -> Facts:
    """Return all that is known of a checkpoint that was parsed as far as it goes.

    Args:
        container: what was parsed.
        source: the file.
        error: what is wrong with it; None if nothing is.
    """
    lora = container["magic"] == b"lcgg"
    training = container.get("training", {})
    context = container.get("optimizer")
    tensors = tuple(_tensor(path, record) for path, record in records(container))
    optimizer = _optimizer(context, lora) if context else None
    header_layout = container.get("layout")
    kind_code, kind, written_by = _KINDS[container["magic"]]
    layout = _layout(context) if context else None
    if not written_by and layout:
        written_by = WRITERS[layout]
    return Facts(
        file=source.label or "",
        length=source.size,
        lora=lora,
        kind=kind,
        kind_code=kind_code,
        header_layout=header_layout.value if header_layout else "",
        header_note=_header_note(container),
        written_by=written_by,
        training=group(training, Training),
        hyperparameters=_hyperparameters(container),
        ranks=group(container.get("ranks", {}), Ranks),
        context_length=_context_length(training),
        parameter_count=container.get("parameter_count"),
        optimizer=optimizer,
        tensors=tensors,
        regions=file_regions(
            tensors,
            header=_header_length(container),
            optimizer_header=_optimizer_header_length(container),
            length=source.size,
            damaged=error is not None,
        ),
        error=error,
        aborted_save=error is not None and error.hint == ABORTED_SAVE,
        vocabulary_tokens=None,
        epsilon=None,
        converted=False,
    )


def _tensor(path: str, record: Mapping[str, Any]) -> TensorFacts:
    stored: bytes = record["name"]
    half = path.endswith((".a", ".b"))
    whole = (b".loraA", b".loraB", b"_a.weight", b"_b.weight") if half else (b".weight",)
    return TensorFacts(
        path=path,
        name=printable(stored.decode("ascii", "backslashreplace")),
        shape=tuple(record["shape"]),
        data=record["data"],
        name_cut=path.startswith("model.") and not stored.endswith(whole),
        padding_zero=not record["padding"].strip(b"\0"),
    )


def group(values: Mapping[str, Any], struct: Struct, **more: str) -> Group:
    """Return the numbers of a part of the file, with the meanings that the schema gives."""
    meanings = {
        member.name: f"{member.docs} C: {member.c_name}.".replace(" C: -.", "").replace("``", "")
        for member in struct.subcons
    }
    numbers = {name: v for name, v in values.items() if isinstance(v, (int, float))}
    return Group(numbers, {**meanings, **more})


def _header_note(container: Mapping[str, Any]) -> str:
    if container.get("layout") is HeaderLayout.WITHOUT_MULTIPLE:
        return (
            "The header is that of a few commits of 2023-08-29 (5ce92aed3 to ecb1b20c8), without "
            "n_mult. The feed-forward length was read off the tensors."
        )
    multiple = container.get("hyperparameters", {}).get("feed_forward_multiple")
    if container["magic"] == b"lcgg" and multiple == LORA_MULTIPLE:
        return (
            f"n_mult is 4, a constant in finetune from {dated('0564f4ed1')} on. The feed-forward "
            "length was read off the tensors."
        )
    return ""


def _hyperparameters(container: Mapping[str, Any]) -> Group:
    found = dict(container.get("hyperparameters", {}))
    if "feed_forward_length" in container:
        found["feed_forward_length"] = container["feed_forward_length"]
    if found.get("head_count"):
        found["head_dimension"] = found["embedding_length"] // found["head_count"]
    return group(found, Hyperparameters, head_dimension=_HEAD_DIMENSION)


def _context_length(training: Mapping[str, int]) -> int | None:
    counts = (training.get(name, 0) for name in ("iteration_count", "sample_count", "token_count"))
    return Counters(*counts).tokens_per_sample


def _layout(context: Mapping[str, Any]) -> Layout | None:
    return context.get("layout") if context.get("version") in (0, 1) else None


def _optimizer(context: Mapping[str, Any], lora: bool) -> OptimizerFacts:
    state = context.get("state") or {}
    params = context.get("params")
    layout, kind = _layout(context), context.get("type")
    # Both optimizers write iteration i to place i mod past; L-BFGS counts in k.
    done = context.get("iteration_count", 0)
    if kind == OptimizerType.LBFGS:
        done = state.get("line_search_k", done)
    means = layout is None or stores_mean_losses(layout)
    losses = () if means else ("best_loss", "previous_loss")
    return OptimizerFacts(
        layout=layout.value if layout else "",
        type=OptimizerType(kind) if kind in tuple(OptimizerType) else None,
        counters=group({n: context[n] for n in _COUNTERS if n in context}, OptimizerVersion1),
        params=None if params is None else group(params, Params),
        adam=_settings(params, "adam", AdamParams),
        lbfgs=_settings(params, "lbfgs", LbfgsParams),
        state=group(
            state,
            Lbfgs if kind == OptimizerType.LBFGS else AdamVersion1,
            **dict.fromkeys(losses, NO_MEAN_LOSS),
        ),
        past_losses=past_losses(state.get("past_loss_values", {}).get("data"), done),
        iterations_done=done,
        losses_are_means=means,
        sums_gradients=layout is not None and sums_gradients(layout),
        trainers=_trainers(layout, lora),
    )


def _trainers(layout: Layout | None, lora: bool) -> tuple[Trainer, ...]:
    if layout is None:
        return ()
    return LORA_TRAINERS if lora else TRAINERS_OF[layout]


def _settings(params: Mapping[str, Any] | None, name: str, struct: Struct) -> Group | None:
    return group(params[name], struct) if params is not None and name in params else None


def past_losses(data: Span | None, done: int) -> tuple[float, ...]:
    """Return the losses of the last iterations, the oldest first, of which ``done`` were done."""
    if data is None or not data.length:
        return ()
    past = data.length // 4
    done = max(0, done)
    count = min(past, done, MOST_PAST_LOSSES)
    stop = done % past
    runs = [elements(data, max(stop - count, 0), stop)]
    if count > stop:
        runs.insert(0, elements(data, past - (count - stop), past))
    return tuple(float(loss) for run in runs for loss in run.array())


def offset_of(container: Mapping[str, Any], path: str) -> int | None:
    """Return at which byte of the file a field stands; None if it was not parsed."""
    try:
        return place(CHECKPOINT_FILE, container, path)
    except LookupError:
        return None


def _header_length(container: Mapping[str, Any]) -> int:
    model = offset_of(container, "model")
    return stop(CHECKPOINT_FILE, container) if model is None else model


def _optimizer_header_length(container: Mapping[str, Any]) -> int:
    start, state = offset_of(container, "optimizer"), offset_of(container, "optimizer.state")
    return 0 if start is None or state is None else state - start
