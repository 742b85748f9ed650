"""A report as one page for the browser: nothing is loaded, and no script is needed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib import resources

from converter.facts import Region, TensorFacts
from converter.numeric.statistics import Statistics
from converter.report.advice import notes, steps, summary
from converter.report.charts import file_map, histogram, losses, norms
from converter.report.report import Report
from converter.report.words import TYPES, Fact, Section, in_bytes, number, sections
from converter.version import __version__
from ggcp_schema import printable
from ggcp_schema.history import ONLY_THE_TREND

MOST_LAYERS = 100
"""How many layers have a table of their own; of more, the first and the last half."""

_OPEN_LAYERS = 2
_SETTINGS = "Settings"
_WORDY = ("File", "Order of the parameters")


def as_html(report: Report, *, tensors: bool = True) -> str:
    """Return a report as an HTML page. All text from the file is escaped.

    Args:
        report: what to show.
        tensors: whether the tables of all tensors are part of it.
    """
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    name = printable(os.path.basename(report.file) or report.file)  # noqa: PTH119 - as given
    body = [
        _head(report, name),
        _section(
            "Map of the file",
            f'<figure class="card">{file_map(report)}</figure>',
            "To scale: the whole file above, the model in it below. Names and sizes of the small "
            "parts appear under the pointer.",
        ),
        _next(report),
        _notes(report),
        _facts(report),
        _losses(report),
        _norms(report),
        _tensors(report) if tensors else "",
        f'<footer class="quiet">Made by ggcp {escape(__version__)}.</footer>',
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(name)}: {escape(report.kind)}</title>\n"
        f'<style>\n{style}</style>\n</head>\n<body>\n<div class="page">\n'
        + "\n".join(part for part in body if part)
        + "\n</div>\n</body>\n</html>\n"
    )


def _section(title: str, content: str, lead: str = "") -> str:
    if not content:
        return ""
    text = f'<p class="quiet">{escape(lead)}</p>' if lead else ""
    return f"<section>\n<h2>{escape(title)}</h2>\n{text}{content}\n</section>"


def _head(report: Report, name: str) -> str:
    error = report.error
    alarm = ""
    if error is not None:
        where = error.path or "file"
        offset = f", byte {error.offset:#x}" if error.offset is not None else ""
        alarm = (
            '<div class="error" role="note"><p><strong>This file is damaged.</strong> '
            f"All that could be read before the damage is shown.</p><p><code>{escape(where)}</code>"
            f"{offset}: expected {escape(error.expected)}, found {escape(error.found)}; "
            f"{escape(error.hint)}.</p></div>"
        )
    figures = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>"
        for label, value in _figures(report)
    )
    return (
        f'<header>\n<p class="kind">{escape(report.kind[:1].upper() + report.kind[1:])}</p>\n'
        f'<h1>{escape(name)}</h1>\n<p class="lede">{escape(summary(report))}</p>\n{alarm}'
        f'<dl class="figures">{figures}</dl>\n</header>'
    )


def _figures(report: Report) -> Iterator[tuple[str, str]]:
    sizes, optimizer = report.hyperparameters, report.optimizer
    if report.parameter_count is not None:
        yield "Parameters", number(report.parameter_count)
    for label, name in (
        ("Layers", "block_count"),
        ("Embedding", "embedding_length"),
        ("Vocabulary", "vocabulary_size"),
    ):
        if name in sizes:
            yield label, number(sizes[name])
    if report.context_length:
        yield "Context", number(report.context_length)
    if optimizer and optimizer.type is not None:
        yield "Optimizer", TYPES[optimizer.type]
    yield "File", _short_size(report.length)


def _short_size(length: int) -> str:
    return in_bytes(length).rpartition("(")[2].rstrip(")")


def _next(report: Report) -> str:
    items = "".join(
        f"<li><p>{escape(step.purpose)}:</p>"
        f'<code class="command" tabindex="0">{_command(step.command)}</code></li>'
        for step in steps(report)
    )
    lead = "Commands for a terminal. One click selects the whole command."
    return _section("What you can do next", f'<ul class="steps">{items}</ul>' * bool(items), lead)


def _command(command: str) -> str:
    """Return a command whose options are not broken at their hyphens."""
    marked = (
        f"<span>{escape(word)}</span>" if word.startswith("--") else escape(word)
        for word in command.split(" ")
    )
    return " ".join(marked)


def _notes(report: Report) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes(report))
    return _section("Worth knowing", f'<ul class="notes">{items}</ul>' if items else "")


def _facts(report: Report) -> str:
    found = sections(report)
    long = [section for section in found if section.title in _WORDY]
    settings = [section for section in found if section.title.startswith(_SETTINGS)]
    short = [section for section in found if section not in (*long, *settings)]
    content = "".join(
        f'<div class="card" style="margin-top: .75rem">{_table(section)}</div>' for section in long
    )
    content += f'<div class="cards">{_cards(short)}</div>'
    if settings:
        content += (
            "<details><summary>All settings of the optimizer <small>as the trainer stored them"
            f'</small></summary><div class="cards">{_cards(settings)}</div></details>'
        )
    return _section("What the file says", content)


def _cards(found: Iterable[Section]) -> str:
    return "".join(f'<div class="card">{_table(section)}</div>' for section in found)


def _table(section: Section) -> str:
    wordy = " long" if section.title in _WORDY else ""
    rows = "".join(map(_fact, section.facts))
    title = escape(section.title)
    return f'<h3>{title}</h3><table class="facts{wordy}"><tbody>{rows}</tbody></table>'


def _fact(fact: Fact) -> str:
    meaning = f"<small>{escape(fact.meaning)}</small>" if fact.meaning else ""
    label = fact.label[:1].upper() + fact.label[1:]
    kind = ' class="list"' if ", " in fact.value else ""
    value = escape(fact.value)
    return f'<tr><th scope="row">{escape(label)}{meaning}</th><td{kind}>{value}</td></tr>'


def _losses(report: Report) -> str:
    optimizer = report.optimizer
    if optimizer is None:
        return ""
    plot = losses(optimizer.past_losses, optimizer.iterations_done)
    lead = (
        f"Of the last {number(len(optimizer.past_losses))} iterations, as the optimizer kept them."
    )
    lead += "" if optimizer.losses_are_means else f" {ONLY_THE_TREND}"
    return _section("Past losses", f'<figure class="card">{plot}</figure>' if plot else "", lead)


def _norms(report: Report) -> str:
    panels = norms(report)
    content = f'<figure class="card"><div class="panels">{panels}</div></figure>' if panels else ""
    return _section(
        "Weight norms by layer",
        content,
        "The root of the sum of squares of each tensor, the first layer at the left.",
    )


def _tensors(report: Report) -> str:
    regions, found = report.regions, report.statistics
    tables = []
    layers = [region for region in regions if region.kind == "layer"]
    outside = [t for region in regions if region.kind in ("table", "norm") for t in region.tensors]
    if outside:
        tables.append(_details("Outside the layers", outside, "model.", found, shown=True))
    tables += _layers(layers, found)
    if report.optimizer_tensors:
        tables.append(
            _details("Optimizer", report.optimizer_tensors, "optimizer.state.", found, shown=True)
        )
    lead = "Shapes have the fastest-varying dimension first."
    if found:
        lead += (
            " The distribution shows how often which value occurs; for gradients and moments how "
            "often which magnitude, in powers of two."
        )
    return _section("Tensors", "".join(tables), lead)


def _layers(layers: list[Region], found: Mapping[str, Statistics]) -> Iterator[str]:
    half = MOST_LAYERS // 2
    shown = layers if len(layers) <= MOST_LAYERS else [*layers[:half], *layers[-half:]]
    for index, region in enumerate(shown):
        if len(shown) < len(layers) and index == half:
            first, last = layers[half].label, layers[-half - 1].label
            count = number(len(layers) - len(shown))
            yield (
                f'<p class="quiet" style="margin: 1rem 0">{escape(first.capitalize())} to '
                f"{escape(last)}: {count} more, which ggcp inspect --json lists.</p>"
            )
        few = len(layers) <= _OPEN_LAYERS
        label = region.label.capitalize()
        prefix = f"model.layers[{region.label.rpartition(' ')[2]}]."
        yield _details(label, region.tensors, prefix, found, shown=few)


def _details(
    title: str,
    tensors: Iterable[TensorFacts],
    prefix: str,
    found: Mapping[str, Statistics],
    *,
    shown: bool,
) -> str:
    every = list(tensors)
    size = in_bytes(sum(tensor.length for tensor in every))
    measured = bool(found)
    heads = ("Tensor", *_DRAWN * measured, "Shape", "Offset", "Size", *_MEASURES * measured)
    head = "".join(f'<th scope="col"{_LEFT * (name in _DRAWN)}>{name}</th>' for name in heads)
    rows = "".join(_row(tensor, prefix, found.get(tensor.path)) for tensor in every)
    count = f"{number(len(every))} tensor" + "s" * (len(every) != 1)
    return (
        f"<details{' open' * shown}><summary>{escape(title)} <small>{count}, {size}</small>"
        f'</summary><div class="scroll"><table class="tensors"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>\n"
    )


_MEASURES = ("Min", "Max", "Mean", "Std dev", "Zeros", "NaN, inf")
_DRAWN = ("Distribution",)
_LEFT = ' class="left"'


def _row(tensor: TensorFacts, prefix: str, found: Statistics | None) -> str:
    shape = " × ".join(map(str, tensor.shape)) or "none"
    path = escape(tensor.path.removeprefix(prefix))
    cells = f'<td class="path" title="{escape(tensor.name or tensor.path)}">{path}</td>'
    if found:
        cells += f"<td>{histogram(found.histogram) if found.histogram else ''}</td>"
    size = _short_size(tensor.length)
    cells += f"<td>{shape}</td><td>{tensor.offset:#x}</td>"
    cells += f'<td title="{in_bytes(tensor.length)}">{size}</td>'
    if found:
        cells += "".join(_measures(found))
    return f"<tr>{cells}</tr>"


def _measures(found: Statistics) -> Iterator[str]:
    for value in (found.minimum, found.maximum, found.mean, found.deviation):
        yield f"<td>{'–' if value is None else f'{value:.4g}'}</td>"
    yield f"<td>{number(found.zeros)}</td>"
    bad = f"{number(found.nan)}, {number(found.infinities)}"
    yield f'<td class="alarm">{bad}</td>' if found.nan or found.infinities else "<td>0</td>"
