"""The tables of all tensors of the page, with a histogram of each where they were measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape

from converter.facts import Region, TensorFacts
from converter.numeric.statistics import Statistics
from converter.report.html.charts import histogram
from converter.report.report import Report
from converter.report.words import in_bytes, in_larger_unit, number

MOST_LAYERS = 100
"""How many layers have a table of their own; of more, the first and the last half."""

LEGEND = "Shapes have the fastest-varying dimension first."

_OPEN_LAYERS = 2
_DRAWN = ("Distribution",)
_MEASURES = ("Min", "Max", "Mean", "Std dev", "Zeros", "NaN, inf")
_LEFT = ' class="left"'
_CUE = '<p class="quiet cue">Tables that are wider than the screen scroll sideways.</p>'
_SCALES = {
    "linear": (
        "linear",
        "Values, on a linear axis: bars of equal width; zero is where the dashed line is.",
    ),
    "magnitude": (
        "logarithmic",
        "Magnitudes, on a logarithmic axis (<em>log</em>): a bar for each power of two, and in "
        "front, marked 0, one for the zeros.",
    ),
}


def tensor_tables(report: Report) -> str:
    """Return the tables of a report; empty if not a tensor is there."""
    regions, found = report.regions, report.statistics
    tables = []
    layers = [region for region in regions if region.kind == "layer"]
    outside = [t for region in regions if region.kind in ("table", "norm") for t in region.tensors]
    if outside:
        tables.append(_details("Outside the layers", outside, "model.", found, shown=True))
    tables += _layers(layers, found)
    vectors = [tensor for tensor in report.optimizer_tensors if tensor.length]
    if vectors:
        tables.append(_details("Optimizer", vectors, "optimizer.state.", found, shown=True))
    return f"{_CUE}{_scales(found)}{''.join(tables)}" if tables else ""


def _scales(found: Mapping[str, Statistics]) -> str:
    """Return how to read the histograms, of each kind that is there."""
    drawn = {measured.histogram.scale for measured in found.values() if measured.histogram}
    entries = "".join(
        f'<li><svg viewBox="0 0 1 1" aria-hidden="true"><rect class="{colour}" width="1" height="1"'
        f"/></svg><span>{text}</span></li>"
        for scale, (colour, text) in _SCALES.items()
        if scale in drawn
    )
    return f'<ul class="legend scales">{entries}</ul>' if entries else ""


def _layers(layers: list[Region], found: Mapping[str, Statistics]) -> Iterator[str]:
    half = MOST_LAYERS // 2
    shown = layers if len(layers) <= MOST_LAYERS else [*layers[:half], *layers[-half:]]
    for index, region in enumerate(shown):
        if len(shown) < len(layers) and index == half:
            first, last = layers[half].label, layers[-half - 1].label
            count = number(len(layers) - len(shown))
            yield (
                f'<p class="quiet between">{escape(first.capitalize())} to '
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
    every = [tensor for tensor in tensors if tensor.length]
    size = in_bytes(sum(tensor.length for tensor in every))
    measured = bool(found)
    heads = ("Tensor", *_DRAWN * measured, "Shape", "Offset", "Size", *_MEASURES * measured)
    head = "".join(f'<th scope="col"{_LEFT * (name in _DRAWN)}>{name}</th>' for name in heads)
    rows = "".join(
        _row(tensor, prefix, found.get(tensor.path), measured=measured) for tensor in every
    )
    count = f"{number(len(every))} tensor" + "s" * (len(every) != 1)
    label = escape(title)
    return (
        f"<details{' open' * shown}><summary><h3>{label}</h3> <small>{count}, {size}</small>"
        f'</summary><div class="scroll" tabindex="0" role="region" aria-label="Tensors: {label}">'
        f'<table class="tensors"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        "</details>\n"
    )


def _row(tensor: TensorFacts, prefix: str, found: Statistics | None, *, measured: bool) -> str:
    shape = " × ".join(map(str, tensor.shape)) or "none"
    path = escape(tensor.path.removeprefix(prefix))
    name = escape(tensor.name or tensor.path)
    cells = f'<th scope="row" class="path" title="{name}">{path}</th>'
    if measured:
        cells += f"<td>{histogram(found) if found else ''}</td>"
    size = in_larger_unit(tensor.length)
    cells += f"<td>{shape}</td><td>{tensor.offset:#x}</td>"
    cells += f'<td title="{in_bytes(tensor.length)}">{size}</td>'
    if measured:
        cells += "".join(_measures(found)) if found else f'<td colspan="{len(_MEASURES)}"></td>'
    return f"<tr>{cells}</tr>"


def _measures(found: Statistics) -> Iterator[str]:
    for value in (found.minimum, found.maximum, found.mean, found.deviation):
        yield f"<td>{'–' if value is None else f'{value:.4g}'}</td>"
    yield f"<td>{number(found.zeros)}</td>"
    bad = f"{number(found.nan)}, {number(found.infinities)}"
    yield f'<td class="alarm">{bad}</td>' if found.nan or found.infinities else "<td>0</td>"
