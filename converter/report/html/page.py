"""A report as one page for the browser: nothing is loaded, and no script is needed."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
from collections.abc import Iterable, Iterator
from html import escape
from importlib import resources
from typing import NamedTuple

from converter.report.advice import notes, steps, summary
from converter.report.html.charts import losses, norms
from converter.report.html.file_map import file_map
from converter.report.html.tensor_tables import LEGEND, tensor_tables
from converter.report.report import Report
from converter.report.verdict import Verdict, verdict, verdict_in_words
from converter.report.vocabulary_advice import vocabulary_advice
from converter.report.words import (
    TYPES,
    Fact,
    Section,
    in_date,
    in_larger_unit,
    in_short,
    loss_kind,
    number,
    sections,
)
from converter.version import __version__
from ggcp_schema import printable
from ggcp_schema.history import ONLY_THE_TREND

_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_SETTINGS = "Settings"
_WORDY = ("File", "Order of the parameters")
_IN_HEAD = ("modified", "SHA-256")  # and not a second time in the table
_SIGNS = {
    Verdict.WHOLE: "M6.5 12.5l4 4 7-8.5",
    Verdict.RESCUABLE: "M12 6.5v7M12 17.2v.1",
    Verdict.LOST: "M8 8l8 8M16 8l-8 8",
}


def as_html(report: Report, *, tensors: bool = True) -> str:
    """Return a report as an HTML page. All text from the file is escaped.

    Args:
        report: what to show.
        tensors: whether the tables of all tensors are part of it.
    """
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    name = printable(os.path.basename(report.file) or report.file)  # noqa: PTH119 - as given
    body = [
        _section(
            "Map of the file",
            f'<figure class="card">{file_map(report)}</figure>',
            "To scale: the whole file above, the model in it below. Names and sizes of the small "
            "parts appear under the pointer.",
        ),
        _next(report),
        _vocabulary(report),
        _notes(report),
        _facts(report),
        _losses(report),
        _norms(report),
        _section("Tensors", tensor_tables(report), LEGEND) if tensors else "",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(name)}: {escape(report.kind)}</title>\n"
        f'<style>{style}</style>\n</head>\n<body>\n<div class="page">\n{_head(report, name)}\n'
        f"<main>\n{chr(10).join(filter(None, body))}\n</main>\n"
        f'<footer class="quiet">Made by ggcp {escape(__version__)}.</footer>\n'
        "</div>\n</body>\n</html>\n"
    )


def _policy(style: str) -> str:
    """Return what the browser lets the page do: nothing but show itself in this style."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _section(title: str, content: str, lead: str = "") -> str:
    if not content:
        return ""
    text = f'<p class="quiet">{escape(lead)}</p>' if lead else ""
    return f"<section>\n<h2>{escape(title)}</h2>\n{text}{content}\n</section>"


def _head(report: Report, name: str) -> str:
    figures = "".join(
        f"<div><dt>{escape(figure.label)}</dt><dd>{escape(figure.value)}"
        f"{_small(figure.detail)}</dd></div>"
        for figure in _figures(report)
    )
    return (
        f"<header>\n{_verdict(report)}\n<h1>{escape(name)}</h1>\n"
        f'<p class="kind">{escape(report.kind[:1].upper() + report.kind[1:])}</p>\n'
        f'<p class="lede">{escape(summary(report))}</p>\n'
        f'<dl class="figures">{figures}</dl>\n{_identity(report)}</header>'
    )


def _small(text: str) -> str:
    return f"<small>{_text(text)}</small>" if text else ""


def _verdict(report: Report) -> str:
    found, error = verdict(report), report.error
    why = ""
    if error is not None:
        where = escape(error.path or "file").replace(".", ".<wbr>")
        offset = f", byte {error.offset:#x}" if error.offset is not None else ""
        why = (
            f"<p><code>{where}</code>{offset}: expected "
            f"{escape(error.expected)}, found {escape(error.found)}; {_text(error.hint)}.</p>"
            "<p>All that could be read before the damage is shown.</p>"
        )
    return (
        f'<div class="verdict {found.value}"><svg viewBox="0 0 24 24" aria-hidden="true">'
        f'<circle cx="12" cy="12" r="11"/><path d="{_SIGNS[found]}"/></svg>'
        f"<div><p><strong>{escape(verdict_in_words(report))}</strong></p>{why}</div></div>"
    )


class _Figure(NamedTuple):
    """A number that everybody looks for first, and what it is of."""

    label: str
    value: str
    detail: str = ""


def _figures(report: Report) -> Iterator[_Figure]:
    yield from _progress(report)
    sizes, optimizer = report.hyperparameters, report.optimizer
    if report.parameter_count is not None:
        yield _counted("Parameters", report.parameter_count)
    for label, name in (("Layers", "block_count"), ("Embedding", "embedding_length")):
        if name in sizes:
            yield _counted(label, sizes[name])
    if "vocabulary_size" in sizes:
        advice = vocabulary_advice(report)
        held = "in the file" if report.vocabulary_tokens is not None else ""
        where = "not in the file" if advice else held
        yield _Figure("Vocabulary", number(sizes["vocabulary_size"]), where)
    if report.context_length:
        yield _Figure("Context", number(report.context_length), "tokens")
    if optimizer and optimizer.type is not None:
        yield _Figure("Optimizer", TYPES[optimizer.type])
    exact = number(report.length) + " bytes" if report.length >= 1 << 10 else ""
    yield _Figure("File", in_larger_unit(report.length), exact)


def _progress(report: Report) -> Iterator[_Figure]:
    """Yield how far the training got, and with which loss."""
    training, optimizer = report.training, report.optimizer
    # With L-BFGS the trainers left the counter at 0.
    done = max(training.get("iteration_count", 0), optimizer.iterations_done if optimizer else 0)
    if done or "iteration_count" in training:
        tokens = training.get("token_count", 0)
        seen = f"{in_short(tokens)} token" + "s" * (tokens != 1)
        yield _Figure("Iterations", in_short(done), seen if tokens else "")
    if optimizer and not optimizer.counters.get("just_initialized"):
        for label, name in (("Last loss", "previous_loss"), ("Best loss", "best_loss")):
            loss = optimizer.state.get(name)
            if loss is not None and math.isfinite(loss):
                yield _Figure(label, f"{loss:.5g}", loss_kind(optimizer))
                break


def _counted(label: str, count: int) -> _Figure:
    short = in_short(count)
    return _Figure(label, short, number(count) if short != number(count) else "")


def _identity(report: Report) -> str:
    """Return which file it is; empty where that was not asked."""
    rows = []
    if report.modified is not None:
        moment = report.modified.isoformat()
        rows.append(("Modified", f'<time datetime="{moment}">{in_date(report.modified)}</time>'))
    if report.sha256 is not None:
        first, second = report.sha256[:32], report.sha256[32:]
        rows.append(("SHA-256", f'<code tabindex="0">{first}<wbr>{second}</code>'))
    items = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in rows)
    return f'<dl class="identity">{items}</dl>\n' if items else ""


def _next(report: Report) -> str:
    items = "".join(
        f"<li><p>{_text(step.purpose)}:</p>"
        f'<code class="command" tabindex="0">{_text(step.command)}</code></li>'
        for step in steps(report)
    )
    lead = "Commands for a terminal. One click selects the whole command."
    return _section("What you can do next", f'<ul class="steps">{items}</ul>' * bool(items), lead)


def _vocabulary(report: Report) -> str:
    advice = vocabulary_advice(report)
    if advice is None:
        return ""
    tokens = number(advice.token_count)
    paragraphs = "".join(f"<p>{_text(sentence)}</p>" for sentence in advice.advice)
    link = ""
    if advice.link:
        shown = escape(advice.link)
        link = f'<p><a href="{shown}" rel="noreferrer">{shown.replace("/", "/<wbr>")}</a></p>'
    return _section(
        "The vocabulary it needs",
        f'<div class="card advice"><p><strong>{tokens} tokens: {escape(advice.kind)}.</strong></p>'
        f"{paragraphs}{link}</div>",
        "The checkpoint does not hold its vocabulary, and without it the model is numbers that "
        "nobody can read.",
    )


def _text(text: str) -> str:
    """Return text, escaped, in which no option is broken at its hyphens."""
    return _OPTION.sub(r'<span class="option">\g<0></span>', escape(text))


def _notes(report: Report) -> str:
    items = "".join(f"<li>{_text(note)}</li>" for note in notes(report))
    return _section("Worth knowing", f'<ul class="notes">{items}</ul>' if items else "")


def _facts(report: Report) -> str:
    found = [_without(section, _IN_HEAD) for section in sections(report)]
    long = [section for section in found if section.title in _WORDY]
    settings = [section for section in found if section.title.startswith(_SETTINGS)]
    short = [section for section in found if section not in (*long, *settings)]
    content = "".join(f'<div class="card wide-card">{_table(section)}</div>' for section in long)
    if short:
        content += f'<div class="cards">{_cards(short)}</div>'
    if settings:
        content += (
            "<details><summary><h3>All settings of the optimizer</h3> <small>as the trainer stored "
            f'them</small></summary><div class="cards">{_cards(settings)}</div></details>'
        )
    return _section("What the file says", content)


def _without(section: Section, labels: tuple[str, ...]) -> Section:
    return Section(section.title, tuple(f for f in section.facts if f.label not in labels))


def _cards(found: Iterable[Section]) -> str:
    return "".join(f'<div class="card">{_table(section)}</div>' for section in found)


def _table(section: Section) -> str:
    wordy = " long" if section.title in _WORDY else ""
    rows = "".join(map(_fact, section.facts))
    title = escape(section.title)
    return (
        f'<table class="facts{wordy}"><caption><h3>{title}</h3></caption>'
        f"<tbody>{rows}</tbody></table>"
    )


def _fact(fact: Fact) -> str:
    meaning = _small(fact.meaning.replace(" C: ", " C:\u00a0"))
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
        "The root of the sum of squares of each tensor. The bars start at zero.",
    )
