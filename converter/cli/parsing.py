"""Command lines as people write them. Loads nothing that takes time: --help is fast."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

from converter.cli.notices import complain
from converter.cli.streams import StandardError, heard
from converter.cli.styles import MOST_COLUMNS, Role, is_styled, is_terminal, styled

_COLOURLESS: dict[str, Any] = {"color": False} if sys.version_info >= (3, 14) else {}
"""argparse of Python 3.14 has colours of its own, which are others and come on pipes as well."""

_HINT = "\n"
"""Between what is wrong with the value of an option and what to do, of which argparse makes one."""

_MOST_LETTERS = 80  # of a mistyped word that is compared with the known ones

_HISTORICAL = ("--input", "--output", "--help")
"""The long options of convert-train-checkpoint-to-gguf.py, which argparse let users abbreviate."""


def with_default_command(arguments: list[str], commands: Collection[str]) -> list[str]:
    """Let ``-i IN -o OUT`` without a command convert, as the historical script did.

    There, and only there, its options can be abbreviated, as they could. ``help COMMAND`` becomes
    ``COMMAND --help``, and no words at all ``--help``.
    """
    arguments = _with_names_after_dashes(arguments)
    if not arguments or arguments == ["help"]:
        return ["--help"]
    if arguments[0] == "help":
        return [arguments[1], "--help"]
    if arguments[0] in ("version", "-V"):
        return ["--version"]
    if not arguments[0].startswith("-") or arguments[0] == "-":
        named = arguments[0] not in commands and _is_a_file(arguments[0])
        return ["inspect", *arguments] if named else arguments
    if arguments[0] in ("-h", "--help", "--version"):
        return arguments
    return ["convert", *map(_unabbreviated, arguments)]


def _is_a_file(word: str) -> bool:
    """Tell whether a word is the name of a file, perhaps of none, and no mistyped command."""
    return word in ("", "-") or os.path.lexists(word) or any(mark in word for mark in "./\\")


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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question for a word that is not among the known ones; empty if none is near."""
    import difflib  # which only a mistake needs

    near = difflib.get_close_matches(word[:_MOST_LETTERS], list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""


def one_of(*names: str, others: Callable[[str], str] = lambda _: "") -> Callable[[str], str]:
    """Return a reader of one of some words, in letters of either case.

    Args:
        names: the words.
        others: says what to do instead of another word; an empty text if nobody knows.
    """
    *firsts, last = names

    def read(text: str) -> str:
        if text.lower() in names:
            return text.lower()
        expected = f"expected {', '.join(firsts)} or {last}, found {text!r}"
        advice = others(text) or did_you_mean(text.lower(), names)
        raise argparse.ArgumentTypeError(f"{expected}{_HINT}{advice}")

    return read


def listed(names: Sequence[str]) -> str:
    """Return words as argparse shows choices."""
    return "{" + ",".join(names) + "}"


class _Layout(argparse.HelpFormatter):
    """Wraps paragraphs at the width of the terminal; indented ones stay as they are."""

    def __init__(self, prog: str, **words: Any) -> None:
        width = min(shutil.get_terminal_size().columns, MOST_COLUMNS) - 2
        super().__init__(prog, **{"width": width, "max_help_position": 26, **words})

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip("\n").split("\n\n")
        return "\n\n".join(
            paragraph
            if "\n  " in paragraph or paragraph.startswith("  ")
            else textwrap.fill(
                paragraph,
                width,
                initial_indent=indent,
                subsequent_indent=indent,
                break_on_hyphens=False,
            )
            for paragraph in paragraphs
        )

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


def _who_has_it(commands: Sequence[str]) -> str:
    if not commands:
        return ""
    *others, last = commands
    return f"ggcp {', '.join(others)} and {last} have it" if others else f"ggcp {last} has it"


class Parser(argparse.ArgumentParser):
    """A parser that takes names before, after and between options: IN --eps 1e-6 OUT.

    argparse by itself settles names that may be missing at the first one it meets. Options are not
    abbreviated: a new one must not change what an old command line means.
    """

    commands: Mapping[str, Parser] = MappingProxyType({})
    _within = False
    _words: Sequence[str] = ()

    def __init__(self, **words: Any) -> None:
        words = {**words, **_COLOURLESS}  # the parser of all hands its own colour down
        super().__init__(formatter_class=_Layout, allow_abbrev=False, **words)
        self._positionals.title = "files"
        self.set_defaults(grammar=self)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse names wherever they stand."""
        self._words = args or self._words
        if self._within or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        self._within = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._within = False

    def print_help(self, file: Any = None) -> None:
        """Print the help; its headings are bold on a terminal."""
        stream = sys.stdout if file is None else file
        if stream is not None:
            with heard():
                stream.write(_headed(self.format_help(), stream))

    def error(self, message: str, hint: str | None = None) -> NoReturn:
        """Say how the command at hand is used and what is wrong, and end with exit code 2.

        Args:
            message: what is wrong.
            hint: what to do, empty for where to read of it; None if the message may have one, as
                those that argparse makes of what one_of says.
        """
        from ggcp_schema.language.errors import printable  # which --help does not need

        stream = StandardError()
        stream.write(_headed(self.format_usage(), stream))
        if hint is None:
            message, _, hint = message.partition(_HINT)
        message = message.replace("expected one argument", "expected a value after it, found none")
        hint = self._dashed() or hint or f"see {self.prog} --help"
        if is_terminal(stream):
            complain(message, hint)
        else:
            stream.write(f"{self.prog}: error: {printable(message)}; {printable(hint)}\n")
        self.exit(2)

    def _dashed(self) -> str:
        """Return what to do if a file was named whose name begins as those of options do."""
        files = (w for w in self._words if w[:1] == "-" and w != "-" and os.path.lexists(w))
        return next((f"the name of a file that begins with a dash: ./{file}" for file in files), "")

    def options(self) -> list[str]:
        """Return the options, in all their spellings."""
        return [option for action in self._actions for option in action.option_strings]

    def refuse_unknown(
        self, words: Sequence[str], owners: Callable[[str], Sequence[str]] = lambda _: ()
    ) -> NoReturn:
        """End with what is wrong with words that are neither options nor names of a command.

        Args:
            words: these words.
            owners: returns the other commands that have an option.
        """
        first = next((word for word in words if word.startswith("-")), words[0])
        name = first.partition("=")[0]
        if name.startswith("-"):
            hint = _who_has_it(owners(name)) or did_you_mean(name, self.options())
            self.error(f"no such option: {name}", hint)
        self.error(f"one name too many: {first}", "put a name with spaces in quotes")


def _headed(text: str, stream: Any) -> str:
    """Make bold what ends with a colon at the beginning of a line, where styles are shown."""
    if not is_styled(stream):
        return text
    lines = text.split("\n")
    for at, line in enumerate(lines):
        head, colon, rest = line.partition(":")
        if colon and head[:1].strip() and (not rest or head == "usage"):
            lines[at] = styled(f"{head}:", Role.HEADING, stream) + rest
        elif line.startswith("  # "):
            lines[at] = styled(line, Role.DETAIL, stream)
    return "\n".join(lines)
