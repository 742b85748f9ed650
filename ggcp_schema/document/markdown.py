"""The page as Markdown, for GitHub and for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from ggcp_schema.document.page import (
    Block,
    Box,
    Bullets,
    Dump,
    Heading,
    Paragraph,
    Picture,
    Table,
)

_WIDTH = 60
"""Characters between the outer lines of a picture."""


def markdown(blocks: Iterable[Block]) -> str:
    """Return the page as Markdown."""
    return "\n\n".join("\n".join(_lines(block)) for block in blocks) + "\n"


def _lines(block: Block) -> Iterator[str]:
    if isinstance(block, Heading):
        yield f"{'#' * block.level} {block.words}"
    elif isinstance(block, Paragraph):
        yield block.words
    elif isinstance(block, Bullets):
        yield from (f"- {entry}" for entry in block.entries)
    elif isinstance(block, Table):
        yield _row(block.header)
        yield "|" + "---|" * len(block.header)
        yield from map(_row, block.rows)
    elif isinstance(block, Picture):
        yield "```text"
        yield from picture(block)
        yield "```"
    else:
        yield "```text"
        yield from dump(block)
        yield "```"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def picture(block: Picture) -> Iterator[str]:
    """Yield the lines of boxes inside boxes."""
    lines: list[str] = []
    for index, box in enumerate(block.boxes):
        lines.append(f"{'':8}{'├' if index else '┌'}{'─' * _WIDTH}{'┤' if index else '┐'}")
        for offset, words, size in _box(box, _WIDTH):
            room = _WIDTH - 2 - len(size)
            lines.append(f"{offset:>7} │ {words:<{room}}{size} │")
    yield from lines
    yield f"{'':8}└{'─' * _WIDTH}┘"


def _box(box: Box, width: int) -> Iterator[tuple[str, str, str]]:
    room = width - 4 - len(box.size)
    first, *more = textwrap.wrap(box.words, room)
    yield box.offset, first, box.size
    yield from (("", line, "") for line in more)
    inner_width = width - 6
    for index, inner in enumerate(box.inner):
        line = "╌" if inner.dashed else "─"
        left, right = ("├", "┤") if index else ("┌", "┐")
        yield "", f"  {left}{line * inner_width}{right}", ""
        for _, words, size in _box(inner, inner_width):
            room = inner_width - 2 - len(size)
            yield "", f"  │ {words:<{room}}{size} │", ""
    if box.inner:
        line = "╌" if box.inner[-1].dashed else "─"
        yield "", f"  └{line * inner_width}┘", ""


def dump(block: Dump) -> Iterator[str]:
    """Yield the lines of an annotated hex dump."""
    digits = max(4, *(len(f"{line.offset:x}") for line in block.lines))
    for line in block.lines:
        yield f"{line.offset:0{digits}x}  {line.data.hex(' '):<47}  {line.label}".rstrip()
