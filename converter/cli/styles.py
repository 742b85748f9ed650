"""How what is said looks: styled and wrapped on a terminal, plain lines everywhere else."""

from __future__ import annotations

import contextlib
import os
import textwrap
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, NamedTuple

LEAST_COLUMNS, MOST_COLUMNS = 40, 100
"""Text is wrapped at the width of the terminal within these: longer lines are hard to read."""


class Role(Enum):
    """What a text is to its reader, and the parameters of ECMA-48's SGR that show it."""

    HEADING = "1"
    DETAIL = "2"
    ERROR = "1;31"
    WARNING = "1;33"
    HINT = "1;36"


class Line(NamedTuple):
    """A line of a result that is more than text.

    Attributes:
        text: what it says, as it came: whatever a terminal would obey is still in it.
        role: what it is; None for text like any other.
    """

    text: str
    role: Role | None = None


def is_terminal(stream: Any) -> bool:
    """Tell whether somebody looks at what is written to a stream, which may be none or closed."""
    try:
        return bool(stream.isatty())
    except (AttributeError, OSError, ValueError):
        return False


def is_overwritten(stream: Any) -> bool:
    """Tell whether a line of a stream can be written again, as progress is."""
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def is_styled(stream: Any) -> bool:
    """Tell whether a stream shows styles, and its user wants them (https://no-color.org)."""
    known = os.environ.get("TERM", "") not in ("", "dumb")
    return known and not os.environ.get("NO_COLOR") and is_terminal(stream)


def styled(text: str, role: Role | None, stream: Any) -> str:
    """Return a text in the style of its role.

    Args:
        text: what is said, in which nothing is left that a terminal would obey.
        role: what it is.
        stream: where it is written to.
    """
    if role is None or not text or not is_styled(stream):
        return text
    return f"\x1b[{role.value}m{text}\x1b[0m"


def columns(stream: Any) -> int:
    """Return the columns in which to write: COLUMNS, or those of the stream's terminal."""
    found = 0
    with contextlib.suppress(ValueError):
        found = int(os.environ.get("COLUMNS", ""))
    if found <= 0:
        found = MOST_COLUMNS
        with contextlib.suppress(AttributeError, OSError, ValueError):
            found = os.get_terminal_size(stream.fileno()).columns or MOST_COLUMNS
    return max(LEAST_COLUMNS, min(found, MOST_COLUMNS))


def wrapped(text: str, stream: Any, *, first: str = "", others: str = "") -> list[str]:
    """Return a text in lines as wide as a terminal, and in one line anywhere else.

    Args:
        text: what is said.
        stream: where it is written to.
        first: what the first line begins with.
        others: what all other lines begin with.
    """
    if not is_terminal(stream):
        return [first + text]
    return textwrap.wrap(
        text,
        columns(stream),
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first]


def labelled(label: str, role: Role, text: str, stream: Any) -> str:
    """Return a text behind a label such as ``error:``, which alone is styled.

    Args:
        label: what it is called.
        role: what the label looks like.
        text: what is said, in which nothing is left that a terminal would obey.
        stream: the terminal.
    """
    lines = wrapped(text, stream, first=f"{label}: ", others="  ")
    return styled(f"{label}:", role, stream) + "\n".join(lines)[len(label) + 1 :] + "\n"


def by_role(lines: Iterable[str]) -> Iterator[Line]:
    """Give the lines of a report roles: the first, and what follows an empty line, are headings.

    Those are not indented, and hold no colon but in the first. A line that only explains the one
    below it, behind a ``#``, is a detail.
    """
    before = ""
    for count, line in enumerate(lines):
        heading = line[:1].strip() and (not count or (not before and ":" not in line))
        detail = line.lstrip().startswith("# ")
        yield Line(line, Role.HEADING if heading else Role.DETAIL if detail else None)
        before = line
