"""What a command line means that does not begin with a command."""

from __future__ import annotations

_HISTORICAL = ("--input", "--output", "--help")
"""The long options of convert-train-checkpoint-to-gguf.py, which argparse let users abbreviate."""


def with_default_command(arguments: list[str]) -> list[str]:
    """Let ``-i IN -o OUT`` without a command convert, as the historical script did.

    There, and only there, its options can be abbreviated, as they could. ``help COMMAND`` becomes
    ``COMMAND --help``, and no words at all ``--help``.
    """
    arguments = _with_names_after_dashes(arguments)
    if not arguments or arguments == ["help"]:
        return ["--help"]
    if arguments[0] == "help":
        return [arguments[1], "--help"]
    if arguments[0] in ("-h", "--help", "--version") or not arguments[0].startswith("-"):
        return arguments
    return ["convert", *map(_unabbreviated, arguments)]


def _unabbreviated(word: str) -> str:
    name, equals, value = word.partition("=")
    if not name.startswith("--") or len(name) < 3:
        return word
    return next((whole for whole in _HISTORICAL if whole.startswith(name)), name) + equals + value


def _with_names_after_dashes(arguments: list[str]) -> list[str]:
    """Take everything after ``--`` for a name, also where it begins with a dash.

    argparse forgets about ``--`` when names and options are mixed.
    """
    if "--" not in arguments:
        return arguments
    at = arguments.index("--")
    names = (f"./{name}" if name.startswith("-") else name for name in arguments[at + 1 :])
    return [*arguments[:at], *names]
