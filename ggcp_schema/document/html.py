"""The page as HTML: one file, without scripts or anything from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape

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

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --dim: #5b6475; --paper: #ffffff;
  --panel: #f4f6fa; --line: #ccd3df; --accent: #1c5bb8; --mark: #e8effb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e7ef; --dim: #9aa5b8; --paper: #14181f;
  --panel: #1c222c; --line: #39424f; --accent: #86b4f5; --mark: #1f2c42; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.8rem; line-height: 1.2; }
h2 { margin-top: 2.5rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { margin-top: 1.8rem; }
p, li { max-width: 48rem; }
a { color: var(--accent); }
code, pre, .box { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
code { font-size: .88em; background: var(--panel); padding: .05em .25em; border-radius: 3px; }
nav { background: var(--panel); border: 1px solid var(--line); border-radius: 6px;
  padding: .6rem 1rem; }
nav ul { margin: 0; padding-left: 1.1rem; columns: 18rem; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: .35rem .6rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); min-width: 4rem; }
th { background: var(--panel); }
tr:last-child td { border-bottom: 0; }
td:nth-child(n+5) { min-width: 13rem; }
.picture { max-width: 44rem; margin: 1rem 0; }
.box { border: 1px solid var(--line); border-radius: 4px; background: var(--paper);
  padding: .3rem .5rem; margin: .25rem 0; font-size: .85rem; }
.box .box { background: var(--panel); } .box .box .box { background: var(--paper); }
.dashed { border-style: dashed; border-color: var(--dim); }
.label { display: flex; gap: .8rem; } .label .words { flex: 1; }
.label .at, .label .size { color: var(--dim); white-space: nowrap; }
.dump { font-size: .8rem; } .dump table { font-family: ui-monospace, Menlo, Consolas, monospace; }
.dump td { border: 0; padding: .1rem .6rem; white-space: nowrap; min-width: 0; }
.dump .first td { border-top: 1px solid var(--line); }
.dump .octets { background: var(--mark); } .dump .at { color: var(--dim); }
@media print { nav { display: none; } .wide { overflow: visible; } }
""".strip()


def html(blocks: Iterable[Block]) -> str:
    """Return the page as HTML."""
    page = tuple(blocks)
    headings = [block for block in page if isinstance(block, Heading)]
    title = escape(headings[0].words)
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>",
        f"<style>\n{_STYLE}\n</style>",
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
