"""The map of a file, to scale, as inline SVG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import groupby

from converter.facts import Region, TensorFacts
from converter.report.html.charts import IN_LAYER, MOST_CELLS
from converter.report.report import Report
from converter.report.words import in_bytes

_ROW, _GAP, _LINE = 46, 30, 16
_LABEL_MARGIN, _CHARACTER = 14, 7.2  # pixels; no letter of the labels is wider on average
_SCREENS = {"narrow": 250, "medium": 620, "broad": 1000}
"""How wide, in pixels, the map is at least where labels of a class are shown (page.css)."""

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
    found = IN_LAYER.match(tensor.path)
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
    label = _label(part.label, width)
    return (
        f'<svg x="{x:.3f}%" y="{y}" width="{width:.3f}%" height="{_ROW}">'
        f"<title>{escape(f'{part.label}: {in_bytes(part.length)}, from byte {part.start:#x}')}"
        f'</title><rect class="{part.kind}" width="100%" height="100%"/>{label}</svg>'
    )


def _label(text: str, width: float) -> str:
    """Return the label of a cell as it fits on screens of each kind, if it does.

    Args:
        text: what it says.
        width: of the cell, in percent.
    """
    fitting: dict[tuple[str, ...], list[str]] = {}
    for kind, drawn in _SCREENS.items():
        room = drawn * width / 100 - _LABEL_MARGIN
        for lines in _broken(text):
            if max(map(len, lines)) * _CHARACTER <= room:
                fitting.setdefault(lines, []).append(kind)
                break
    return "".join(_lines(lines, " ".join(kinds)) for lines, kinds in fitting.items())


def _lines(lines: Sequence[str], kinds: str) -> str:
    first = _ROW // 2 + 4 - _LINE // 2 * (len(lines) - 1)
    return "".join(
        f'<text class="{kinds}" x="8" y="{first + place * _LINE}">{escape(line)}</text>'
        for place, line in enumerate(lines)
    )


def _broken(text: str) -> Iterator[tuple[str, ...]]:
    """Yield a text on one line, and on two in each way."""
    yield (text,)
    words = text.split(" ")
    for count in range(1, len(words)):
        yield " ".join(words[:count]), " ".join(words[count:])


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
