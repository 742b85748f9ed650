"""The drawings of the page, as inline SVG that needs no script."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby

from converter.facts import Region, TensorFacts
from converter.numeric.statistics import Histogram
from converter.report.report import Report
from converter.report.words import in_bytes, number

MOST_CELLS = 120
"""How many layers are drawn one by one; more are put together."""

_ROW, _GAP = 46, 30
_LEAST_LABELLED, _LEAST_LABELLED_ON_PHONE = 7.0, 20.0  # percent of the width
_LEAST_COLUMNS = 16  # of few layers no bar gets as wide as a block
_IN_LAYER = re.compile(r"model\.layers\[(\d+)\]\.(.+)")
_ATTENTION = ("attention_norm", "attention")
_GROUPS = (
    (("table",), "table", "Token embeddings and output"),
    (("attention",), "attention", "Layers: attention"),
    (("feed",), "feed", "Layers: feed-forward"),
    (("even", "odd"), "even", "Optimizer vectors"),
    (("numbers", "norm"), "numbers", "Header, last norm, numbers"),
    (("unread",), "unread", "Not read"),
)


def file_map(report: Report) -> str:
    """Return the map of the file to scale, and below it that of the model, with a legend."""
    parts = report.regions
    cells = [cell for part in parts for cell in _split(part)]
    whole = [_joined(group) for group in _layers_together(parts)]
    model = [cell for cell in cells if cell.kind not in ("even", "odd", "numbers", "unread")]
    drawn = [_row(_coloured(whole), 0, report.length, 0)]
    height = _ROW
    if model:
        start, stop = model[0].start, model[-1].stop
        drawn.append(_funnel(start, stop, report.length))
        drawn.append(_row(_fewer(model), start, stop - start, _ROW + _GAP))
        height += _GAP + _ROW
    svg = (
        f'<svg class="map" width="100%" height="{height}" role="img" '
        f'aria-label="Map of the file to scale: {escape(_in_words(whole))}">{"".join(drawn)}</svg>'
    )
    return f'{svg}<ul class="legend">{_legend(cells, report.length)}</ul>'


def _in_words(parts: Iterable[Region]) -> str:
    return ", ".join(f"{part.label} {in_bytes(part.length)}" for part in parts)


def _layers_together(parts: Sequence[Region]) -> list[list[Region]]:
    groups = groupby(enumerate(parts), key=lambda p: "layer" if p[1].kind == "layer" else p[0])
    return [[part for _, part in group] for _, group in groups]


def _joined(group: Sequence[Region]) -> Region:
    first, last = group[0], group[-1]
    if len(group) == 1:
        return first
    label = f"{first.label.replace('layer', 'layers')} to {last.label.rpartition(' ')[2]}"
    return Region(label, first.kind, first.start, last.stop)


def _coloured(parts: Iterable[Region]) -> list[Region]:
    """Return the parts with the names of their colours for a kind; vectors take turns."""
    colours = {"header": "numbers"}
    coloured, turn = [], 0
    for part in parts:
        colour = colours.get(part.kind, part.kind)
        if colour == "optimizer":
            colour, turn = ("even", "odd")[turn % 2], turn + 1
        coloured.append(Region(part.label, colour, part.start, part.stop))
    return coloured


def _split(part: Region) -> list[Region]:
    """Return the attention and the feed-forward network of a layer, or the part as it is."""
    if part.kind != "layer":
        return _coloured([part])
    halves = []
    start = part.start
    inside = {True: ("attention", "attention"), False: ("feed-forward", "feed")}
    for first, group in groupby(part.tensors, key=_in_attention):
        *_, last = group
        label, colour = inside[first]
        halves.append(Region(f"{part.label} {label}", colour, start, last.offset + last.length))
        start = last.offset + last.length
    return halves


def _in_attention(tensor: TensorFacts) -> bool:
    found = _IN_LAYER.match(tensor.path)
    return found is not None and found[2].split(".")[0] in _ATTENTION


def _fewer(cells: Sequence[Region]) -> list[Region]:
    """Put layers together where there are too many to draw."""
    layers = [cell for cell in cells if cell.kind in ("attention", "feed")]
    if len(layers) <= 2 * MOST_CELLS:
        return list(cells)
    others = [cell for cell in cells if cell.kind not in ("attention", "feed")]
    step = 2 * -(-len(layers) // (2 * MOST_CELLS))
    runs = [layers[at : at + step] for at in range(0, len(layers), step)]
    colours = ("attention", "feed")
    return others + [
        Region(f"{run[0].label} to {run[-1].label}", colours[i % 2], run[0].start, run[-1].stop)
        for i, run in enumerate(runs)
    ]


def _row(parts: Iterable[Region], start: int, length: int, y: int) -> str:
    return "".join(_cell(part, start, max(length, 1), y) for part in parts)


def _cell(part: Region, start: int, length: int, y: int) -> str:
    x = 100 * (part.start - start) / length
    width = 100 * part.length / length
    label = ""
    if width >= _LEAST_LABELLED:
        hidden = ' class="wide"' if width < _LEAST_LABELLED_ON_PHONE else ""
        label = f'<text x="8" y="{_ROW // 2 + 4}"{hidden}>{escape(part.label)}</text>'
    return (
        f'<svg x="{x:.3f}%" y="{y}" width="{width:.3f}%" height="{_ROW}">'
        f"<title>{escape(f'{part.label}: {in_bytes(part.length)}, from byte {part.start:#x}')}"
        f'</title><rect class="{part.kind}" width="100%" height="100%"/>{label}</svg>'
    )


def _funnel(start: int, stop: int, length: int) -> str:
    left, right = (1000 * at / max(length, 1) for at in (start, stop))
    return (
        f'<svg y="{_ROW}" width="100%" height="{_GAP}" viewBox="0 0 1000 10" '
        'preserveAspectRatio="none"><polygon class="funnel" '
        f'points="{left:.2f},0 {right:.2f},0 1000,10 0,10"/></svg>'
    )


def _legend(cells: Iterable[Region], length: int) -> str:
    every = list(cells)
    entries = []
    for kinds, colour, label in _GROUPS:
        size = sum(cell.length for cell in every if cell.kind in kinds)
        if size:
            share = 100 * size / length
            percent = f"{share:.1f}" if share >= 0.1 else "under 0.1"
            entries.append(
                f'<li><svg viewBox="0 0 1 1" aria-hidden="true"><rect class="{colour}" width="1" '
                f'height="1"/></svg><span>{label}</span>'
                f"<small>{in_bytes(size).rpartition('(')[2].rstrip(')')}, {percent}\u2009%"
                "</small></li>"
            )
    return "".join(entries)


def histogram(found: Histogram) -> str:
    """Return a histogram small enough for a cell of a table."""
    tallest = max(found.counts)
    first, last = found.low, found.low + len(found.counts) * found.width
    reach = f"from {first:.4g} to {last:.4g}"
    if found.scale == "magnitude":
        reach = f"of the magnitudes, from 2^{first:.0f} to 2^{last:.0f}"
    path = _bars([count / tallest for count in found.counts], 26)
    return (
        f'<svg class="histogram" viewBox="0 0 {len(found.counts)} 26" preserveAspectRatio="none" '
        f'role="img" aria-label="Histogram {reach}"><title>Histogram {reach}</title>'
        f'<path class="bars" d="{path}"/></svg>'
    )


def _bars(heights: Sequence[float], height: int, gap: float = 0.12) -> str:
    """Return the path of bars one unit wide; a bar that is not empty is visible."""
    bars = []
    for place, share in enumerate(heights):
        if share > 0:
            top = max(share * height, 1)
            bars.append(f"M{place + gap / 2:g} {height}v-{top:.3g}h{1 - gap:g}v{top:.3g}z")
    return "".join(bars)


def norms(report: Report) -> str:
    """Return the norm of each kind of tensor by layer; empty without statistics or layers."""
    by_kind: dict[str, list[float]] = {}
    for path, measured in report.statistics.items():
        found = _IN_LAYER.match(path)
        if found and measured.norm is not None:
            by_kind.setdefault(found[2], []).append(measured.norm)
    alone = all(len(values) == 1 for values in by_kind.values())
    largest = max((value for values in by_kind.values() for value in values), default=0.0)
    return "".join(
        _panel(kind, values, largest if alone else max(values)) for kind, values in by_kind.items()
    )


def _panel(kind: str, values: Sequence[float], top: float) -> str:
    step = -(-len(values) // MOST_CELLS)
    runs = [max(values[at : at + step]) for at in range(0, len(values), step)]
    reach = " to ".join(dict.fromkeys(f"{value:.4g}" for value in (min(values), max(values))))
    path = _bars([value / top if top else 0.0 for value in runs], 56)
    width = max(len(runs), _LEAST_COLUMNS)
    return (
        f'<div><p class="path">{escape(kind)}</p><svg viewBox="0 0 {width} 56" '
        f'preserveAspectRatio="none" role="img" aria-label="Norms of {escape(kind)} by layer: '
        f'{reach}"><path class="bars" d="{path}"/></svg><p class="quiet">{reach}</p></div>'
    )


def losses(values: Sequence[float], done: int) -> str:
    """Return a plot of losses, the oldest first; empty if fewer than two are finite.

    Args:
        values: the losses.
        done: the number of the last iteration.
    """
    finite = [(place, loss) for place, loss in enumerate(values) if math.isfinite(loss)]
    if len(finite) < 2:
        return ""
    low, high = min(loss for _, loss in finite), max(loss for _, loss in finite)
    points = [
        (
            1000 * place / (len(values) - 1),
            100 - 100 * ((loss - low) / (high - low) if high > low else 0.5),
        )
        for place, loss in finite
    ]
    line = "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points)
    dots = "".join(f"M{x:.2f} {y:.2f}h0" for x, y in points) if len(points) <= 60 else ""
    return (
        f'<div class="plot"><div class="axis y"><span>{high:.6g}</span><span>{low:.6g}</span></div>'
        '<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" '
        f'aria-label="Losses of {len(values)} iterations, from {low:.6g} to {high:.6g}">'
        f'<path class="line" vector-effect="non-scaling-stroke" d="{line}"/>'
        f'<path class="dots" vector-effect="non-scaling-stroke" d="{dots}"/></svg>'
        f'<div class="axis x"><span>iteration {number(done - len(values) + 1)}</span>'
        f"<span>{number(done)}</span></div></div>"
    )
