"""The page as HTML: one file, without scripts or anything from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from importlib import resources

from ggcp_schema.document.page import (
    Block,
    Box,
    Bullets,
    Dump,
    DumpLine,
    Heading,
    Paragraph,
    Picture,
    Table,
)


def html(blocks: Iterable[Block]) -> str:
    """Return the page as HTML."""
    page = tuple(blocks)
    headings = [block for block in page if isinstance(block, Heading)]
    title = escape(headings[0].words)
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8").rstrip()
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>",
        f"<style>\n{style}\n</style>",
        "</head>",
        "<body>",
    ]
    contents = [heading for heading in headings if heading.level == 2]
    for block in page:
        if block in contents[:1]:
            lines += _contents(contents)
        lines += _lines(block)
    return "\n".join([*lines, "</body>", "</html>"]) + "\n"


def _contents(headings: Iterable[Heading]) -> Iterator[str]:
    yield "<nav><ul>"
    for heading in headings:
        yield f'<li><a href="#{heading.anchor}">{escape(heading.words)}</a></li>'
    yield "</ul></nav>"


def _lines(block: Block) -> Iterator[str]:
    if isinstance(block, Heading):
        level = block.level
        yield f'<h{level} id="{block.anchor}">{escape(block.words)}</h{level}>'
    elif isinstance(block, Paragraph):
        yield f"<p>{inline(block.words)}</p>"
    elif isinstance(block, Bullets):
        yield "<ul>"
        yield from (f"<li>{inline(entry)}</li>" for entry in block.entries)
        yield "</ul>"
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Picture):
        yield '<div class="picture">'
        for box in block.boxes:
            yield from _box(box)
        yield "</div>"
    else:
        yield from _dump(block)


def _table(table: Table) -> Iterator[str]:
    yield '<div class="wide"><table>'
    header = "".join(f"<th>{inline(cell)}</th>" for cell in table.header)
    yield f"<thead><tr>{header}</tr></thead>"
    yield "<tbody>"
    for row in table.rows:
        yield "<tr>" + "".join(f"<td>{inline(cell)}</td>" for cell in row) + "</tr>"
    yield "</tbody></table></div>"


def _box(box: Box) -> Iterator[str]:
    place = f'<span class="at">{escape(box.offset)}</span>' if box.offset else ""
    size = f'<span class="size">{escape(box.size)}</span>' if box.size else ""
    words = f'<span class="words">{escape(box.words)}</span>'
    yield f'<div class="box{" dashed" if box.dashed else ""}">'
    yield f'<div class="label">{place}{words}{size}</div>'
    for inner in box.inner:
        yield from _box(inner)
    yield "</div>"


def _dump(dump: Dump) -> Iterator[str]:
    yield '<div class="wide dump"><table><tbody>'
    yield from map(_dump_line, dump.lines)
    yield "</tbody></table></div>"


def _dump_line(line: DumpLine) -> str:
    first = ' class="first"' if line.label else ""
    octets = "octets" if line.data else ""
    return (
        f'<tr{first}><td class="at">{line.offset:04x}</td>'
        f'<td class="{octets}">{line.data.hex(" ")}</td><td>{escape(line.label)}</td></tr>'
    )


def inline(words: str) -> str:
    """Return text with its marks for code, strong words and links as HTML."""
    text = escape(words)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
    return re.sub(r"\[([^][]+)\]\((#[^)]+)\)", r'<a href="\2">\1</a>', text)
