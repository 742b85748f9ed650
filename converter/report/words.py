"""A report in words: facts in sections."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from converter.facts import Group, OptimizerFacts
from converter.report.report import Report
from ggcp_schema import printable
from ggcp_schema.enums import OptimizerType


class Fact(NamedTuple):
    """A line of a report: what it is, its value, and what that means."""

    label: str
    value: str
    meaning: str = ""


class Section(NamedTuple):
    """Facts that belong together."""

    title: str
    facts: tuple[Fact, ...]


_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
TYPES = {OptimizerType.ADAM: "Adam", OptimizerType.LBFGS: "L-BFGS"}


def number(value: float) -> str:
    """Return a count with commas, or a float with the seven digits that a float32 holds."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.7g}"


def counted(count: int, what: str) -> str:
    """Return a count with what is counted, in the plural unless it is one."""
    return f"{count:,} {what}" + "s" * (count != 1)


def in_bytes(length: int) -> str:
    """Return a length in bytes, and in a larger unit where that is shorter."""
    text = counted(length, "byte")
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if length >= 1 << power:
            return f"{text} ({length / (1 << power):.1f} {unit})"
    return text


def in_larger_unit(length: int) -> str:
    """Return a length in the largest unit of which it has one: ``280.9 KiB``, ``12 bytes``."""
    return in_bytes(length).rpartition("(")[2].rstrip(")")


def in_short(count: int) -> str:
    """Return a count of a million or more with three digits: ``35.2 M``, and others whole."""
    rounded = round(count, 3 - len(str(count)))
    for power, unit in ((12, "T"), (9, "B"), (6, "M")):
        if rounded >= 10**power and count >= 10**6:
            return f"{rounded / 10**power:.3g}\u00a0{unit}"
    return number(count)


def loss_kind(optimizer: OptimizerFacts) -> str:
    """Return in a few words what the losses in a file are."""
    return "mean of a batch" if optimizer.losses_are_means else "a sum, not a mean"


def in_date(moment: datetime) -> str:
    """Return a moment in UTC in words: ``7 August 2023, 09:05 UTC``."""
    # Not strftime, whose months are in the language of the machine.
    month = _MONTHS[moment.month - 1]
    return f"{moment.day} {month} {moment.year}, {moment.hour:02}:{moment.minute:02} UTC"


def _layout(report: Report) -> str:
    """Return the layout in words; empty if the file ends before that is known."""
    known = report.optimizer.layout if report.optimizer else ""
    parts = [f"optimizer context {known}"] if known else []
    if report.header_layout:
        parts.append(f"header {report.header_layout}")
    return ", ".join(parts)


def sections(report: Report) -> tuple[Section, ...]:
    """Return the facts of a report; a section of which nothing is known is left out."""
    file = [
        Fact("name", printable(report.file)),
        Fact("size", in_bytes(report.length)),
        Fact("kind", report.kind),
        Fact("layout", _layout(report)),
        Fact("written by", report.written_by),
        Fact("modified", in_date(report.modified) if report.modified else ""),
        Fact("SHA-256", report.sha256 or ""),
    ]
    training, model = [*_facts(report.training)], [*_facts(report.hyperparameters)]
    if report.context_length:
        meaning = "Tokens in a sample: tokens / samples. The trainer's --ctx."
        if not training:  # of a model alone
            meaning = "Tokens that the model was trained with at once."
        section = training or model
        section.append(Fact("context length", number(report.context_length), meaning))
    if report.parameter_count is not None:
        what = "Elements of all pairs." if report.lora else "Elements of all tensors of the model."
        model.append(Fact("parameters", number(report.parameter_count), what))
    titles = ("File", "Training", "Base model" if report.lora else "Model", "Ranks")
    groups = (file, training, model, [*_facts(report.ranks)])
    found = [
        Section(t, tuple(f for f in g if f.value)) for t, g in zip(titles, groups, strict=True)
    ]
    of_optimizer = _optimizer_sections(report.optimizer) if report.optimizer else []
    order = Section("Order of the parameters", tuple(_order_facts(report)))
    found += [*of_optimizer[:1], order, *of_optimizer[1:]]
    return tuple(section for section in found if section.facts)


def _facts(group: Group | None) -> Iterator[Fact]:
    group = group or Group()
    for name, value in group.items():
        yield Fact(name.replace("_", " "), number(value), group.meaning(name))


def _optimizer_sections(optimizer: OptimizerFacts) -> list[Section]:
    facts = [Fact("type", TYPES[optimizer.type])] if optimizer.type is not None else []
    facts += [*_facts(optimizer.counters), *_facts(optimizer.state)]
    if optimizer.past_losses:
        shown = ", ".join(map(number, optimizer.past_losses[-8:]))
        count = len(optimizer.past_losses)
        meaning = f"The last {min(count, 8)} of {number(count)}, the newest at the end."
        facts.append(Fact("past losses", shown, meaning))
    return [
        Section("Optimizer", tuple(facts)),
        Section("Settings", tuple(_facts(optimizer.params))),
        Section("Settings of Adam", tuple(_facts(optimizer.adam))),
        Section("Settings of L-BFGS", tuple(_facts(optimizer.lbfgs))),
    ]


def _order_facts(report: Report) -> Iterator[Fact]:
    finding, order = report.order, report.known_order
    if finding is None or report.optimizer is None:
        return
    how = "Everything was read." if report.thorough else "From a sample of each tensor."
    if finding.indifferent:
        yield Fact("order", "any", f"Every order gives the same bytes. {how}")
    elif order is None:
        names = " or ".join(candidate.value for candidate in finding.candidates)
        yield Fact("order", names or "the signs exclude each other")
    else:
        yield Fact("order", order.value)
        for trainer in report.optimizer.trainers:
            if order in trainer.options:
                yield Fact("as written by", f"{trainer.name}: {trainer.options[order]}")
    for sign in finding.evidence:
        yield Fact("evidence", sign, how)
