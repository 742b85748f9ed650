"""All of a report as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from converter.facts import Region
from converter.report.advice import notes, steps, summary
from converter.report.report import Report
from converter.report.verdict import verdict_in_words
from converter.report.words import Section, number, sections

if TYPE_CHECKING:
    from converter.numeric.statistics import Statistics

_LEAST_CELLS, _MOST_CELLS = 10, 40  # of the map's bars
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_MOST_MAP_LINES = 24


def as_text(report: Report, *, tensors: bool = True, width: int = 100, plain: bool = False) -> str:
    """Return all of a report as text.

    Args:
        report: what to show.
        tensors: whether the table of all tensors is part of it.
        width: columns of the terminal; only the tables may be wider.
        plain: whether only ASCII characters are used for drawing.
    """
    file, *others = sections(report)
    blocks = [textwrap.fill(f"{verdict_in_words(report)}. {summary(report)}", width)]
    blocks += [_section(section, width) for section in (file, *others)]
    blocks.append(_map(report, width, plain))
    if notes(report):
        wrapped = (
            textwrap.fill(n, width, initial_indent="  ", subsequent_indent="  ")
            for n in notes(report)
        )
        blocks.append("\n".join(("Notes", *wrapped)))
    if tensors and report.tensors:
        blocks.append(tensor_table(report, plain=plain))
    if steps(report):
        lines = (f"  # {step.purpose}\n  {step.command}" for step in steps(report))
        blocks.append("\n".join(("What you can do next", *lines)))
    return "\n\n".join(blocks)


def _section(section: Section, width: int) -> str:
    label_width = max(len(fact.label) for fact in section.facts)
    margin = " " * (label_width + 4)
    lines = [section.title]
    for fact in section.facts:
        head = f"  {fact.label.ljust(label_width)}  "
        if fact.label == "name":  # wrapping would lose spaces of it
            lines.append(head + fact.value)
            continue
        lines.append(
            textwrap.fill(
                fact.value,
                max(width, len(margin) + 20),
                initial_indent=head,
                subsequent_indent=margin,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    return "\n".join(lines)


def _map(report: Report, width: int, plain: bool) -> str:
    regions = report.regions
    shown = list(regions)
    layers = [region for region in regions if region.kind == "layer"]
    if len(regions) > _MOST_MAP_LINES and len(layers) > 1:
        first, last = layers[0], layers[-1]
        name = f"layers 0 to {len(layers) - 1}"
        joined = Region(name, "layer", first.start, last.stop)
        start = regions.index(first)
        shown[start : start + len(layers)] = [joined]
    label_width = max(len(region.label) for region in shown)
    size_width = max(len(number(region.length)) for region in shown)
    left = width - label_width - size_width - 6
    cells = max(_LEAST_CELLS, min(_MOST_CELLS, left))
    lines = ["Map of the file, to scale (bytes)"]
    for region in shown:
        head = f"  {region.label.ljust(label_width)}  {number(region.length).rjust(size_width)}  "
        lines.append(f"{head}{_bar(region, report.length, cells, plain)}".rstrip())
    return "\n".join(lines)


def _bar(region: Region, length: int, cells: int, plain: bool) -> str:
    """Return a bar as long as the region and where it is; at least a sliver."""
    start = region.start * cells * 8 // max(length, 1)
    stop = max(region.stop * cells * 8 // max(length, 1), start + 1)
    drawn = []
    for cell in range(-(-stop // 8)):
        low, high = max(start, cell * 8), min(stop, cell * 8 + 8)
        filled = max(high - low, 0)
        if plain:
            drawn.append("#" if filled >= 4 or (filled and stop - start < 8) else " ")
        elif low > cell * 8 and filled:  # blocks are filled from the left only
            drawn.append("▐" if filled >= 3 else "▕")
        else:
            drawn.append(_EIGHTHS[filled])
    return "".join(drawn)


def tensor_table(report: Report, *, plain: bool = False) -> str:
    """Return the table of all tensors, with their statistics where they were taken.

    Args:
        report: what to show.
        plain: whether only ASCII characters are used for drawing.
    """
    return "\n".join(("Tensors", *_tensor_rows(report, plain)))


def _tensor_rows(report: Report, plain: bool) -> Iterator[str]:
    measured = bool(report.statistics)
    head = ("path", "name", "shape", "offset", "bytes", *_MEASURES * measured)
    rows: list[tuple[str, ...]] = [head]
    for tensor in report.tensors:
        shape = (" x " if plain else " × ").join(map(str, tensor.shape)) or "none"
        found = report.statistics.get(tensor.path)
        measures = _measures(found) if found else ("-",) * len(_MEASURES) * measured
        where = (f"{tensor.offset:#x}", number(tensor.length))
        rows.append((tensor.path, tensor.name or "-", shape, *where, *measures))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield f"  {'  '.join(cells)}".rstrip()


_MEASURES = ("min", "max", "mean", "std dev", "zeros", "NaN", "inf")


def _measures(found: Statistics) -> tuple[str, ...]:
    floats = (found.minimum, found.maximum, found.mean, found.deviation)
    counts = (found.zeros, found.nan, found.infinities)
    return (
        *("-" if value is None else f"{value:.5g}" for value in floats),
        *map(number, counts),
    )
