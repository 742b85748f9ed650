"""The standard streams, which may be full, closed or broken."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from converter.cli.styles import Role, is_terminal, labelled


class UnheardError(Exception):
    """Standard output did not take the result; the cause says why."""


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Name standard output as what failed, if what is done here fails.

    Raises:
        UnheardError: it did not take all of it.
    """
    try:
        yield
    except OSError as error:
        raise UnheardError from error


def tell_that_unheard(error: UnheardError) -> None:
    """Say what standard output has against the result, and drop what it did not take."""
    _drop_what_is_left(sys.stdout)
    if not isinstance(error.__cause__, BrokenPipeError):  # where nobody reads is nobody to tell
        complain(
            f"expected standard output to take the result, found '{error.__cause__}'",
            "make room, or send it to another place",
        )


def _drop_what_is_left(stream: TextIO) -> None:
    """Let a stream lead nowhere: Python would fail with what it did not take when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class StandardError:
    """Standard error, which nobody fails for: what it does not take is lost."""

    def write(self, text: str) -> None:
        """Write a text, as far as that goes."""
        with contextlib.suppress(OSError, ValueError):
            if sys.stderr is not None:
                sys.stderr.write(text)

    def flush(self) -> None:
        """Write what was kept back, likewise."""
        with contextlib.suppress(OSError, ValueError):
            if sys.stderr is not None:
                sys.stderr.flush()

    def close(self) -> None:
        """End the run of the program, in which it may have taken not all."""
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
        except (OSError, ValueError):
            _drop_what_is_left(sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


def complain(text: str, hint: str = "") -> None:
    """Say what is wrong and what to do next: on a terminal apart, on a pipe in one plain line."""
    if not is_terminal(StandardError()):
        text, hint = "; ".join(filter(None, (text, hint))), ""
    notify("error", Role.ERROR, text)
    if hint:
        notify("hint", Role.HINT, hint)


def notify(label: str, role: Role, text: str) -> None:
    """Say something: on a terminal behind its label, on a pipe in one plain line.

    Args:
        label: what it is called, such as ``warning``.
        role: what the label looks like.
        text: what is said, whatever names are in it.
    """
    from ggcp_schema.language.errors import printable  # which --help does not need

    stream = StandardError()
    text = printable(text)
    stream.write(labelled(label, role, text, stream) if is_terminal(stream) else f"ggcp: {text}\n")
