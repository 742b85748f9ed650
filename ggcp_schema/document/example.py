"""Tiny checkpoints made by the schema, and their bytes with the name of the field beside them."""

from __future__ import annotations

import enum
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ggcp_schema.checkpoint import build, parse
from ggcp_schema.document.page import Dump, DumpLine
from ggcp_schema.enums import OptimizerType
from ggcp_schema.language.fields import Number
from ggcp_schema.language.runs import AlignTo, Bytes, Shape
from ggcp_schema.lora import Ranks
from ggcp_schema.places import Place
from ggcp_schema.synthetic.adapter import SyntheticAdapter
from ggcp_schema.synthetic.base import SyntheticFile
from ggcp_schema.synthetic.lora import SyntheticLora
from ggcp_schema.synthetic.magicless import SyntheticMagicless
from ggcp_schema.synthetic.training import Synthetic
from ggcp_schema.tensor import SHORTEST_CUT_NAME, TensorData


@dataclass(frozen=True, eq=False)
class Example:
    """A checkpoint, and which of its bytes are shown.

    Attributes:
        title: the heading.
        words: what is to be seen.
        synthetic: makes the checkpoint.
        paths: the fields that are shown, with all that is in them; all of them where empty.
        longest_name: bytes at which the writer cuts names.
    """

    title: str
    words: str
    synthetic: SyntheticFile
    paths: tuple[str, ...] = ()
    longest_name: int | None = None


_RANKS = {member.name: 1 for member in Ranks.subcons}

EXAMPLES = (
    Example(
        "A whole training checkpoint",
        "Version 1 of the optimizer context, Adam, past 0. n_embd and n_mult are 2, so n_ff is 6: "
        "`((((2 * (4 * 2)) div 3) + 2 - 1) div 2) * 2`. (Divided by 3 too early, it would be 4.)",
        Synthetic(
            vocabulary_size=3,
            embedding_length=2,
            feed_forward_multiple=2,
            head_count=1,
            block_count=1,
            optimizer_version=1,
            iteration_count=5,
            context_length=4,
        ),
    ),
    Example(
        "Version 0, L-BFGS, past 2, a cut name",
        "As an old trainer, patched to save L-BFGS, would have left it. The model has 11 layers, "
        f"and names are cut at {SHORTEST_CUT_NAME} bytes: here that of the last layer's w1.",
        Synthetic(
            vocabulary_size=3,
            embedding_length=2,
            feed_forward_multiple=2,
            head_count=1,
            block_count=11,
            optimizer_type=OptimizerType.LBFGS,
            convergence_past_count=2,
            approx_hessian_count=4,
            iteration_count=5,
            context_length=4,
        ),
        (
            "model.layers[10].feed_forward.w1",
            "parameter_count",
            "optimizer.version",
            "optimizer.params",
            "optimizer.parameter_count",
            "optimizer.iteration_count",
            "optimizer.just_initialized",
            "optimizer.type",
            "optimizer.convergence_past_count",
            "optimizer.approx_hessian_count",
            "optimizer.state.past_loss_values",
            "optimizer.state.memory_alpha",
            "optimizer.state.memory_s",
            "optimizer.state.best_loss",
            "optimizer.state.line_search_step",
            "optimizer.state.line_search_j",
            "optimizer.state.line_search_k",
            "optimizer.state.line_search_end",
            "optimizer.state.no_improvement_count",
        ),
        SHORTEST_CUT_NAME,
    ),
    Example(
        "A LoRA checkpoint",
        "With n_mult in the header. The pairs have rank 1, but that of tok_embeddings has 2 and "
        "that of output 0. n_ff is 5, which stands nowhere before the first w1.b.",
        SyntheticLora(
            vocabulary_size=3,
            embedding_length=2,
            feed_forward_length=5,
            head_count=1,
            block_count=1,
            ranks={**_RANKS, "tok_embeddings": 2, "output": 0},
            iteration_count=5,
            context_length=4,
        ),
        (
            "magic",
            "version",
            "training",
            "layout",
            "hyperparameters",
            "ranks",
            "feed_forward_length",
            "model.tok_embeddings",
            "model.norm.b",
            "model.output.a",
            "model.layers[0].feed_forward.w1.b",
            "parameter_count",
            "optimizer.version",
            "optimizer.convergence_past_count",
            "optimizer.approx_hessian_count",
            "optimizer.parameter_count",
            "optimizer.iteration_count",
            "optimizer.just_initialized",
            "optimizer.type",
        ),
    ),
    Example(
        "A checkpoint without a magic",
        "Its first record's name, at 52, tells it. Nothing follows the model.",
        SyntheticMagicless(
            vocabulary_size=3,
            embedding_length=2,
            feed_forward_multiple=2,
            head_count=1,
            block_count=1,
            iteration_count=5,
        ),
        ("training", "hyperparameters", "model.tok_embeddings", "parameter_count"),
    ),
    Example(
        "A LoRA adapter",
        "Of finetune. Every change is multiplied by lora_alpha / lora_r, here by 2.",
        SyntheticAdapter(
            vocabulary_size=3,
            embedding_length=2,
            feed_forward_length=5,
            head_count=1,
            block_count=1,
            ranks=1,
            lora_r=1,
            lora_alpha=2,
        ),
        ("magic", "version", "lora_r", "lora_alpha", *(f"tensors[{i}]" for i in range(4))),
    ),
)
"""As small as it gets with every kind of record."""

_SHOWN_DATA = 32
"""How many bytes of a tensor's data are shown."""


@cache
def dump(example: Example) -> Dump:
    """Return the annotated bytes of an example."""
    data = written(example)
    lines: list[DumpLine] = []
    with parse(io.BytesIO(data)) as checkpoint:
        places = tuple(checkpoint.places())
    left_out = None
    for place in places:
        if not _is_shown(place.path, example.paths):
            left_out = place.offset if left_out is None else left_out
            continue
        if left_out is not None and left_out < place.offset:
            lines.append(DumpLine(left_out, b"", "…"))
        left_out = None
        lines.extend(_lines(place, data))
    return Dump(tuple(lines))


def written(example: Example) -> bytes:
    """Return the whole file of an example."""
    file = io.BytesIO()
    build(_counted(example.synthetic.container()), file)
    if example.longest_name is None:
        return file.getvalue()
    cut = io.BytesIO()
    with parse(file) as checkpoint:
        _cut_names(checkpoint.container.model, example.longest_name)
        build(checkpoint, cut)
    return cut.getvalue()


def _is_shown(path: str, shown: tuple[str, ...]) -> bool:
    return not shown or any(path == name or path.startswith(f"{name}.") for name in shown)


def _cut_names(part: Any, length: int) -> None:
    if isinstance(part, dict) and "name_length" in part:
        part["name"] = part["name"][:length]
    elif isinstance(part, (dict, list)):
        for member in part.values() if isinstance(part, dict) else part:
            _cut_names(member, length)


def _counted(part: Any) -> Any:
    """Return a container whose tensors hold 1, 2, 3 …: the same on every machine, and readable."""
    if isinstance(part, Mapping):
        return {name: _counted(member) for name, member in part.items()}
    if isinstance(part, list):
        return [_counted(member) for member in part]
    if isinstance(part, Iterable) and not isinstance(part, (bytes, str, tuple)):  # a shape
        count = sum(memoryview(block).nbytes for block in part) // 4
        return [np.arange(1, count + 1, dtype="<f4").tobytes()]
    return part


def _lines(place: Place, data: bytes) -> Iterator[DumpLine]:
    shown = place.length
    label = place.path
    if isinstance(place.construct, TensorData):
        shown = min(shown, _SHOWN_DATA)
        label += f": {place.length // 4} × f32"
        if shown < place.length:
            label += f", the first {shown // 4} of them"
    elif place.length:
        label += _value(place)
    elif isinstance(place.value, (int, str, enum.Enum)):
        value = place.value.value if isinstance(place.value, enum.Enum) else place.value
        label += f" = {value} (takes no bytes)"
    else:
        return
    if not shown:
        yield DumpLine(place.offset, b"", label)
    for start in range(0, shown, 16):
        octets = data[place.offset + start : place.offset + min(start + 16, shown)]
        yield DumpLine(place.offset + start, octets, label if start == 0 else "")


def _value(place: Place) -> str:
    value: Any = place.value
    if isinstance(place.construct, Number):
        return f" = {value:g}" if isinstance(value, float) else f" = {value}"
    if isinstance(place.construct, Shape):
        return f" = [{', '.join(map(str, value))}]"
    if isinstance(place.construct, AlignTo) or value == bytes(place.length):
        return f": {place.length} byte" + ("s" if place.length > 1 else "")
    if isinstance(place.construct, Bytes):
        return f' = "{value.decode("ascii")}"'
    return ""
