"""Command lines that can be pasted, and names of files as words of them."""

from __future__ import annotations

import os
import shlex

from ggcp_schema import printable

_PROMPT = "Once upon a time"
_SHORT_PROMPT = "O"
_SHORT_CONTEXT = 64
"""Below it the prompt may not fit: a token for each letter where a vocabulary is small."""


def completion(model: str, context_length: int | None) -> str:
    """Return the command with which llama.cpp completes a text.

    Args:
        model: the words that name the model, as a shell takes them.
        context_length: tokens that the model takes at once; None if it is not known.
    """
    short = context_length is not None and context_length < _SHORT_CONTEXT
    return f'llama-completion -m {model} -p "{_SHORT_PROMPT if short else _PROMPT}" -n 32'


def shell_word(name: str) -> str:
    """Return a file name as one word for a shell, on one line and never an option."""
    name = f"./{name}" if name.startswith("-") else name
    if printable(name) == name:
        return shlex.quote(name)
    # Only this kind of quotes holds newlines and bytes that are no characters; bash and zsh
    # have it.
    return "$'" + "".join(_ansi_c(byte) for byte in os.fsencode(name)) + "'"


def _ansi_c(byte: int) -> str:
    character = chr(byte)
    if character in "'\\":
        return f"\\{character}"
    return character if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"
