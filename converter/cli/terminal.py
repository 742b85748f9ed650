"""What a person sees: progress, notes on standard error, results on standard output."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from converter.cli.notices import notify
from converter.cli.streams import StandardError, heard
from converter.cli.styles import Line, Role, columns, is_overwritten, styled, wrapped
from converter.cli.ticker import DELAY, TICKER, clear_for
from converter.progress import LOGGER
from ggcp_schema import printable


class _Notes(logging.Handler):
    """Says notes on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        warning = record.levelno >= logging.WARNING
        label, role = ("warning", Role.WARNING) if warning else ("note", Role.DETAIL)
        notify(label, role, record.getMessage())


def set_up(*, quiet: bool, verbose: bool) -> None:
    """Send notes to standard error, as many as the user wants."""
    LOGGER.handlers[:] = [_Notes()]
    LOGGER.propagate = False
    LOGGER.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)


def ticking(description: str) -> AbstractContextManager[None]:
    """Say from half a second on that something is done, wherever no bar says how far it is."""
    return contextlib.nullcontext() if _is_quiet() else TICKER.running(description)


@contextlib.contextmanager
def bar(description: str, total: int) -> Iterator[Callable[[int], object]]:
    """Show how far something is if standard error is a terminal, and it takes half a second.

    Args:
        description: what is done.
        total: how many bytes that is; 0 if nobody knows.
    """
    if _is_quiet() or not is_overwritten(sys.stderr):
        yield lambda _count: None
    elif not total:
        with TICKER.doing(description):
            yield TICKER.count
    else:
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread that could take the signals of this one
        with (
            TICKER.doing(""),
            tqdm(
                total=total,
                desc=description,
                unit="B",
                unit_scale=True,
                file=StandardError(),
                delay=DELAY,
                leave=False,
            ) as shown,
        ):
            yield shown.update


def _is_quiet() -> bool:
    return LOGGER.level >= logging.ERROR


def shape() -> tuple[int, bool]:
    """Return the columns of the terminal, and whether it only shows ASCII characters."""
    try:
        "█×".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return columns(sys.stdout), True
    return columns(sys.stdout), False


def say(*lines: str | Line) -> None:
    """Print lines of a result; what a terminal cannot show, or would obey, as escapes.

    Styles are put around what is left, so that no name from a file can end or begin one.
    """
    if sys.stdout is not None:
        encoding = sys.stdout.encoding or "ascii"
        shown = []
        for line in lines:
            text, role = line if isinstance(line, Line) else (line, None)
            text = printable(text).encode(encoding, "backslashreplace").decode(encoding)
            shown.append(styled(text, role, sys.stdout))
        clear_for(sys.stdout)
        with heard():
            print("\n".join(shown))


def say_wrapped(text: str, *, indent: str = "", role: Role | None = None) -> None:
    """Print a sentence of a result: on a terminal wrapped at its width."""
    lines = wrapped(printable(text), sys.stdout, first=indent, others=f"{indent}  ")
    say(*(Line(line, role) for line in lines))


def say_json(result: Any) -> None:
    """Print a result for a script."""
    import json  # which texts do not need

    say(*json.dumps(result, indent=2, allow_nan=False).split("\n"))
