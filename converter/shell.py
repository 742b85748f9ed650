"""Names of files as words of a command line that can be pasted."""

from __future__ import annotations

import os
import shlex

from ggcp_schema import printable


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
