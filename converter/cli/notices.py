"""What is said on standard error: errors, warnings, hints and notes."""

from __future__ import annotations

import sys

from converter.cli.streams import StandardError, UnheardError, drop_what_is_left
from converter.cli.styles import Role, is_terminal, labelled
from converter.cli.ticker import clear_for


def tell_that_unheard(error: UnheardError) -> None:
    """Say what standard output has against the result, and drop what it did not take."""
    drop_what_is_left(sys.stdout)
    if not isinstance(error.__cause__, BrokenPipeError):  # where nobody reads is nobody to tell
        complain(
            f"expected standard output to take the result, found '{error.__cause__}'",
            "make room, or send it to another place",
        )


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
    clear_for(stream)
    stream.write(labelled(label, role, text, stream) if is_terminal(stream) else f"ggcp: {text}\n")
