"""A report in words: facts in sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from construct import Struct

from converter.report.report import Optimizer, Report
from ggcp_schema import printable
from ggcp_schema.enums import Layout, OptimizerType
from ggcp_schema.history import TRAINERS
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
from ggcp_schema.order import Order, paths


class Fact(NamedTuple):
    """A line of a report: what it is, its value, and what that means."""

    label: str
    value: str
    meaning: str = ""


class Section(NamedTuple):
    """Facts that belong together."""

    title: str
    facts: tuple[Fact, ...]


KINDS = {False: "training checkpoint", True: "LoRA finetune checkpoint"}

_LORA_WRITERS = "finetune, development branch of llama.cpp, 2023-08-16 to 2023-08-29"
_WRITERS = {
    Layout.VERSION_0: "train-text-from-scratch, llama.cpp from 2023-06-13 (e32089b2c) to "
    "2023-08-28 (43033b7bb), or its branch from 2023-05-21 (42d9b4cfc) on",
    Layout.VERSION_1: "train-text-from-scratch, development branch of llama.cpp, d395b19c8 to "
    "4072f20bb (until August 2023)",
    Layout.VERSION_1_WITH_PARAMS: "train-text-from-scratch, one commit of llama.cpp's development "
    "branch, d39c8e686",
}
_TYPES = {OptimizerType.ADAM: "Adam", OptimizerType.LBFGS: "L-BFGS"}
_TRAINERS = {
    Layout.VERSION_0: TRAINERS[:2],
    Layout.VERSION_1_WITH_PARAMS: TRAINERS[1:2],
    Layout.VERSION_1: TRAINERS[2:4],
}
_DERIVED = {"head_dimension": "Elements in the vector of each attention head: n_embd / n_head."}
_LOSS_VERSION_0 = "Not a mean loss: this layout sums the loss of the last row over the threads."


def number(value: float) -> str:
    """Return a count with commas, or a float with the seven digits that a float32 holds."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.7g}"


def in_bytes(length: int) -> str:
    """Return a length in bytes, and in a larger unit where that is shorter."""
    text = f"{length:,} byte" + ("" if length == 1 else "s")
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if length >= 1 << power:
            return f"{text} ({length / (1 << power):.1f} {unit})"
    return text


def words(name: str) -> str:
    """Return the name of a member of the schema as words."""
    return name.replace("_", " ")


def writers(report: Report) -> str:
    """Return which trainers write such a file; empty if the file ends before that is known."""
    if report.lora:
        return _LORA_WRITERS
    known = optimizer_layout(report)
    return _WRITERS[known] if known else ""


def optimizer_layout(report: Report) -> Layout | None:
    """Return the layout of the optimizer context; None if the file ends before that is known."""
    return report.optimizer.layout if report.optimizer else None


def layout(report: Report) -> str:
    """Return the layout in words; empty if the file ends before that is known."""
    parts = []
    known = optimizer_layout(report)
    if known:
        parts.append(f"optimizer context {known.value}")
    if report.header_layout:
        parts.append(f"header {report.header_layout.value}")
    return ", ".join(parts)


def sections(report: Report) -> tuple[Section, ...]:
    """Return the facts of a report; a section of which nothing is known is left out."""
    file = [
        Fact("name", printable(report.file)),
        Fact("size", in_bytes(report.length)),
        Fact("kind", KINDS[report.lora]),
        Fact("layout", layout(report)),
        Fact("written by", writers(report)),
    ]
    training = [*_facts(report.training, Training)]
    if report.context_length:
        meaning = "Tokens in a sample: tokens / samples. The trainer's --ctx."
        training.append(Fact("context length", number(report.context_length), meaning))
    model = [*_facts(report.hyperparameters, Hyperparameters)]
    if report.parameter_count is not None:
        what = "Elements of all pairs." if report.lora else "Elements of all tensors of the model."
        model.append(Fact("parameters", number(report.parameter_count), what))
    titles = ("File", "Training", "Base model" if report.lora else "Model", "Ranks")
    groups = (file, training, model, [*_facts(report.ranks, Ranks)])
    found = [
        Section(t, tuple(f for f in g if f.value)) for t, g in zip(titles, groups, strict=True)
    ]
    of_optimizer = _optimizer_sections(report.optimizer) if report.optimizer else []
    order = Section("Order of the parameters", tuple(_order_facts(report)))
    found += [*of_optimizer[:1], order, *of_optimizer[1:]]
    return tuple(section for section in found if section.facts)


def _facts(values: Mapping[str, Any], struct: Struct) -> Iterator[Fact]:
    meanings = {member.name: f"{member.docs} C: {member.c_name}." for member in struct.subcons}
    for name, value in values.items():
        if not isinstance(value, Mapping):
            meaning = meanings.get(name) or _DERIVED.get(name, "")
            yield Fact(words(name), number(value), meaning.replace(" C: -.", "").replace("``", ""))


def _optimizer_sections(optimizer: Optimizer) -> list[Section]:
    facts = [Fact("type", _TYPES[optimizer.type])] if optimizer.type is not None else []
    facts += _facts(optimizer.counters, OptimizerVersion1)
    state = Lbfgs if optimizer.type is OptimizerType.LBFGS else AdamVersion1
    for fact in _facts(optimizer.state, state):
        misleading = fact.label.endswith("loss") and optimizer.layout is Layout.VERSION_0
        facts.append(fact._replace(meaning=_LOSS_VERSION_0) if misleading else fact)
    if optimizer.past_losses:
        shown = ", ".join(map(number, optimizer.past_losses[-8:]))
        count = len(optimizer.past_losses)
        meaning = f"The last {min(count, 8)} of {number(count)}, the newest at the end."
        facts.append(Fact("past losses", shown, meaning))
    params = optimizer.params or {}
    return [
        Section("Optimizer", tuple(facts)),
        Section("Settings", tuple(_facts(params, Params))),
        Section("Settings of Adam", tuple(_facts(params.get("adam", {}), AdamParams))),
        Section("Settings of L-BFGS", tuple(_facts(params.get("lbfgs", {}), LbfgsParams))),
    ]


def known_order(report: Report) -> Order | None:
    """Return the order of the parameters if it is certain."""
    if report.order is None or report.order.indifferent:
        return None
    blocks = report.hyperparameters["block_count"]
    distinct = {tuple(paths(order, blocks)): order for order in report.order.candidates}
    return report.order.candidates[0] if len(distinct) == 1 else None


def _order_facts(report: Report) -> Iterator[Fact]:
    finding, order = report.order, known_order(report)
    if finding is None:
        return
    if finding.indifferent:
        yield Fact("order", "any", "Every order gives the same bytes.")
    elif order is None:
        names = " or ".join(candidate.value for candidate in finding.candidates)
        yield Fact("order", names or "the signs exclude each other")
    else:
        yield Fact("order", order.value)
        for trainers, options in _TRAINERS[optimizer_layout(report) or Layout.VERSION_1]:
            if order in options:
                yield Fact("as written by", f"{trainers}: {options[order]}")
    how = "Everything was read." if report.thorough else "From a sample of each tensor."
    for sign in finding.evidence:
        yield Fact("evidence", sign, how)
