"""What a page of documentation is made of, before it is Markdown or HTML.

Text holds three marks only: `code`, **strong words** and [words](#anchor).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the page's title."""

    level: int
    words: str

    @property
    def anchor(self) -> str:
        """The name that links go to, as GitHub makes it from the words."""
        kept = (c for c in self.words.lower() if c.isalnum() or c in " -_")
        return "".join(kept).replace(" ", "-")


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text."""

    words: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    entries: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table, whose cells hold text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Box:
    """A part of the picture of a file.

    Attributes:
        offset: where it starts, or empty.
        words: what it is.
        size: how long it is, or empty.
        inner: the boxes inside.
        dashed: whether it is one of several that may stand here.
    """

    offset: str
    words: str
    size: str = ""
    inner: tuple[Box, ...] = ()
    dashed: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture of a file, from its first byte down."""

    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class DumpLine:
    """Up to 16 bytes of an example, all of one field.

    Attributes:
        offset: of the first byte.
        data: the bytes.
        label: path and value, on the first line of a field.
    """

    offset: int
    data: bytes
    label: str


@dataclass(frozen=True)
class Dump:
    """An annotated hex dump."""

    lines: tuple[DumpLine, ...]


Block = Heading | Paragraph | Bullets | Table | Picture | Dump
