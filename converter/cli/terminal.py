"""What a person sees: progress, notes on standard error, results on standard output."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

from converter.cli.streams import StandardError, heard
from converter.progress import LOGGER
from ggcp_schema import printable


class _Printable(logging.Formatter):
    """Makes a note of one line, without control characters, whatever names are in it."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def set_up(*, quiet: bool, verbose: bool) -> None:
    """Send notes to standard error, as many as the user wants."""
    handler = logging.StreamHandler(StandardError())
    handler.setFormatter(_Printable("ggcp: %(message)s"))
    LOGGER.handlers[:] = [handler]
    LOGGER.propagate = False
    LOGGER.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)


@contextlib.contextmanager
def bar(description: str, total: int) -> Iterator[Callable[[int], object]]:
    """Show a progress bar in bytes if standard error is a terminal, and nothing otherwise."""
    if sys.stderr is None or not sys.stderr.isatty() or LOGGER.level >= logging.ERROR:
        yield lambda _count: None
        return
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread that could take the signals of this one
    with tqdm(
        total=total, desc=description, unit="B", unit_scale=True, file=StandardError()
    ) as shown:
        yield shown.update


def shape() -> tuple[int, bool]:
    """Return the columns of the terminal, and whether it only shows ASCII characters."""
    try:
        "█×".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return _columns(), True
    return _columns(), False


def _columns() -> int:
    return max(40, min(shutil.get_terminal_size((100, 24)).columns, 100))


def say(*lines: str) -> None:
    """Print lines of a result; what a terminal cannot show, or would obey, as escapes."""
    if sys.stdout is not None:
        encoding = sys.stdout.encoding or "ascii"
        text = "\n".join(map(printable, lines))
        with heard():
            print(text.encode(encoding, "backslashreplace").decode(encoding))


def say_json(result: Any) -> None:
    """Print a result for a script."""
    say(*json.dumps(result, indent=2, allow_nan=False).split("\n"))
