"""The charts of the page, as inline SVG that needs no script."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

from converter.numeric.statistics import Histogram, Statistics
from converter.report.report import Report
from converter.report.words import number

MOST_CELLS = 120
"""How many layers are drawn one by one; more are put together."""

IN_LAYER = re.compile(r"model\.layers\[(\d+)\]\.(.+)")
"""The path of a tensor of a layer: which layer, and where in it."""

_LEAST_COLUMNS = 16  # of few layers no bar gets as wide as a block
_WIDTH, _BASE, _HEIGHT = 168, 34, 49  # of a histogram, and where its axis is
_ZERO_BAR, _ZERO_GAP = 9, 12
_CHARACTER = 6.0  # pixels of a letter below a histogram
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def histogram(found: Statistics) -> str:
    """Return the histogram of a tensor with its axis; empty if no element is finite.

    Zero is marked on the axis of values; on that of magnitudes, where it has no place, all zeros
    have a bar of their own in front.
    """
    bins = found.histogram
    if bins is None:
        return ""
    return _magnitudes(bins, found.zeros) if bins.scale == "magnitude" else _values(bins)


def _values(bins: Histogram) -> str:
    low, high = bins.low, bins.low + len(bins.counts) * bins.width
    if len(bins.counts) == 1:  # all elements are the same, or nearly
        bar = f"M{_WIDTH / 2 - 5:g} {_BASE}v-{_BASE - 2}h10v{_BASE - 2}z"
        text = f"{bins.low:.3g}"
        return _svg("linear", f"all at {text}", [bar], [(_WIDTH / 2, text)])
    path = _bars(bins.counts, max(bins.counts), 0, _WIDTH)
    ends = [(0.0, f"{low:.3g}"), (float(_WIDTH), f"{high:.3g}")]
    zero = -low / (high - low) * _WIDTH
    inside = low < 0 < high
    marks = [(zero, "0")] if inside else []
    line = f'<path class="zero" d="M{zero:.1f} 0V{_BASE + 3}"/>' if inside else ""
    if inside and not _is_apart(zero, ends):
        marks = []
    return _svg("linear", f"from {low:.4g} to {high:.4g}", [path], [*ends, *marks], line)


def _is_apart(place: float, ends: Sequence[tuple[float, str]]) -> bool:
    """Tell whether a 0 below the axis does not touch the labels of its ends."""
    (_, first), (_, last) = ends
    left, right = (len(text) * _CHARACTER + _CHARACTER for text in (first, last))
    return left < place - _CHARACTER / 2 and place + _CHARACTER / 2 < _WIDTH - right


def _magnitudes(bins: Histogram, zeros: int) -> str:
    first, last = int(bins.low), int(bins.low) + len(bins.counts)
    tallest = max(*bins.counts, zeros)
    start, paths, marks = 0, [], []
    if zeros:
        start = _ZERO_BAR + _ZERO_GAP
        paths.append(_bars([zeros], tallest, 0, _ZERO_BAR))
        marks.append((_ZERO_BAR / 2, "0"))
    paths.append(_bars(bins.counts, tallest, start, _WIDTH))
    marks += [(float(start), _power(first)), (float(_WIDTH), _power(last))]
    reach = f"of the magnitudes, from 2^{first} to 2^{last}"
    reach += f", and {number(zeros)} zeros" if zeros else ""
    return _svg("logarithmic", reach, paths, marks, axis_from=start)


def _power(exponent: int) -> str:
    return f"2{str(exponent).translate(_RAISED)}"


def _svg(
    scale: str,
    reach: str,
    paths: Sequence[str],
    marks: Sequence[tuple[float, str]],
    extra: str = "",
    axis_from: int = 0,
) -> str:
    bars = "".join(f'<path class="bars" d="{path}"/>' for path in paths)
    texts = "".join(_mark(place, text) for place, text in marks)
    tag = ""
    if scale == "logarithmic":
        middle = (axis_from + _WIDTH) / 2
        tag = f'<text class="tag" x="{middle:g}" y="{_HEIGHT - 3}">log</text>'
    title = f"Histogram {reach}"
    return (
        f'<svg class="histogram {scale}" viewBox="-1 -1 {_WIDTH + 2} {_HEIGHT + 1}" '
        f'role="img" aria-label="{title}"><title>{title}</title>{bars}'
        f'<path class="axis" d="M{axis_from} {_BASE}H{_WIDTH}"/>{extra}{texts}'
        f"{tag}</svg>"
    )


def _mark(place: float, text: str) -> str:
    anchor = "start" if place < _WIDTH / 4 else "end" if place > 3 * _WIDTH / 4 else "middle"
    if text == "0":
        anchor = "middle"
    return f'<text x="{place:.1f}" y="{_HEIGHT - 3}" text-anchor="{anchor}">{escape(text)}</text>'


def _bars(counts: Sequence[float], tallest: float, left: float, right: float) -> str:
    """Return the path of bars of equal width on the axis; one that is not empty is visible."""
    step = (right - left) / len(counts)
    gap = 0.12 * step if step > 3 else 0.0
    bars = []
    for place, count in enumerate(counts):
        if count:
            top = max(count / tallest * (_BASE - 2), 1)
            x = left + place * step + gap / 2
            bars.append(f"M{x:.2f} {_BASE}v-{top:.3g}h{step - gap:.2f}v{top:.3g}z")
    return "".join(bars)


def norms(report: Report) -> str:
    """Return the norm of each kind of tensor by layer; empty without statistics or layers."""
    by_kind: dict[str, list[float]] = {}
    for path, measured in report.statistics.items():
        found = IN_LAYER.match(path)
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
    width = max(len(runs), _LEAST_COLUMNS)
    path = "".join(
        f"M{place + 0.06:g} 56v-{max(value / top * 54, 1):.3g}h.88v{max(value / top * 54, 1):.3g}z"
        for place, value in enumerate(runs)
        if value
    )
    last = len(values) - 1
    ends = f"<span>layer 0</span><span>{last}</span>"
    if len(runs) < _LEAST_COLUMNS:  # the bars end before the axis does
        ends = f"<span>layers 0 to {last}</span>" if last else "<span>layer 0</span>"
    return (
        f'<div><p class="path">{escape(kind)}</p>'
        f'<svg viewBox="0 0 {width} 56" preserveAspectRatio="none" role="img" '
        f'aria-label="Norms of {escape(kind)} by layer: {reach}"><path class="bars" d="{path}"/>'
        f'</svg><p class="quiet ends">{ends}</p><p class="quiet">{reach}</p></div>'
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
        f'<div class="plot"><div class="scale y"><span>{high:.6g}</span>'
        f"<span>{low:.6g}</span></div>"
        '<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" '
        f'aria-label="Losses of {len(values)} iterations, from {low:.6g} to {high:.6g}">'
        f'<path class="line" vector-effect="non-scaling-stroke" d="{line}"/>'
        f'<path class="dots" vector-effect="non-scaling-stroke" d="{dots}"/></svg>'
        f'<div class="scale x"><span>iteration {number(done - len(values) + 1)}</span>'
        f"<span>{number(done)}</span></div></div>"
    )
