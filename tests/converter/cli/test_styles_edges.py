"""Streams and surroundings of any kind: what is styled, and how wide lines are."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest

from converter.cli.styles import (
    Role,
    by_role,
    columns,
    is_overwritten,
    is_styled,
    is_terminal,
    styled,
    wrapped,
)


class Terminal(io.StringIO):
    """A terminal, of which nothing but that is known."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


class Broken(io.StringIO):
    def isatty(self) -> bool:
        raise OSError("no such device")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize("stream", [None, io.StringIO(), closed(), Broken(), object()])
def test_nobody_looks_at_it(stream: Any) -> None:
    """Under pythonw standard error is None, and it may be closed by whoever starts the command."""
    assert not is_terminal(stream)
    assert not is_styled(stream)
    assert not is_overwritten(stream)
    assert styled("text", Role.ERROR, stream) == "text"
    assert wrapped("x " * 100, stream, first="a: ", others="  ") == ["a: " + "x " * 100]
    assert columns(stream) == 100


@pytest.mark.parametrize(
    ("term", "no_color", "shows_styles", "is_rewritten"),
    [
        ("xterm", None, True, True),
        ("xterm", "", True, True),
        ("xterm", "0", False, True),
        ("dumb", None, False, False),
        ("", None, False, True),
        (None, None, False, True),
    ],
)
def test_terminals(
    term: str | None,
    no_color: str | None,
    shows_styles: bool,
    is_rewritten: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("TERM", term), ("NO_COLOR", no_color)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert is_styled(Terminal()) == shows_styles
    assert is_overwritten(Terminal()) == is_rewritten
    expected = "\x1b[1;31mtext\x1b[0m" if shows_styles else "text"  # ECMA-48: bold, red
    assert styled("text", Role.ERROR, Terminal()) == expected
    assert styled("text", None, Terminal()) == "text"
    assert styled("", Role.ERROR, Terminal()) == ""


@pytest.mark.parametrize(
    ("said", "width"),
    [("39", 40), ("40", 40), ("41", 41), ("100", 100), ("101", 100), ("0", 77), ("-5", 77),
     ("wide", 77), ("", 77)],
)  # fmt: skip
def test_the_width(said: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """COLUMNS goes before the terminal, if it is a number of columns."""

    class Real(Terminal):
        def fileno(self) -> int:
            return 9

    sizes = {9: os.terminal_size((77, 20))}
    monkeypatch.setattr(os, "get_terminal_size", sizes.__getitem__)
    monkeypatch.setenv("COLUMNS", said)
    assert columns(Real()) == width
    sizes[9] = os.terminal_size((0, 0))  # of a serial line, which does not know it
    monkeypatch.delenv("COLUMNS")
    assert columns(Real()) == 100


def test_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    name = "a-name-with-hyphens-" * 4
    assert wrapped(f"see {name} there", Terminal(), first="- ", others="  ") == [
        "- see",
        f"  {name}",
        "  there",
    ]
    assert wrapped("", Terminal(), first="error: ") == ["error: "]


def test_roles_of_lines() -> None:
    lines = ["A: title", "  fact", "", "Heading", "no heading", "", "x: no heading", "  # detail",
             "#none", ""]  # fmt: skip
    roles = [Role.HEADING, None, None, Role.HEADING, None, None, None, Role.DETAIL, None, None]
    assert [(line.text, line.role) for line in by_role(lines)] == list(
        zip(lines, roles, strict=True)
    )
    assert next(iter(by_role(["  indented"]))).role is None
