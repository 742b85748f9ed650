"""The command ``ggcp``: runs one command and turns what happens into messages and exit codes.

Exit codes: 0 done; 1 bad input or failed check; 2 usage; 128 + n stopped by signal n.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from converter.cli.developers import check_synth
from converter.cli.grammar import ALL_COMMANDS, commands_with, parser
from converter.cli.notices import complain, notify, tell_that_unheard
from converter.cli.parsing import Parser, did_you_mean, with_default_command
from converter.cli.signals import Signals, StoppedError
from converter.cli.streams import StandardError, UnheardError, heard
from converter.cli.styles import Role
from converter.disk.stopping import PLACED, discard_unfinished

if TYPE_CHECKING:
    from converter.errors import ConversionError


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return the exit code.

    Args:
        arguments: the words after the name of the program; None for those of this process, which
            ends with the exit code: signals that come after the work is done change nothing.
    """
    PLACED.clear()
    signals = Signals()
    try:
        signals.listen()
        code = _told(sys.argv[1:] if arguments is None else arguments)
        signals.over = True
    except StoppedError as stopped:
        code = _stopped(stopped.number)
    except KeyboardInterrupt:  # it came before they were listened to
        signals.over = True
        code = _stopped(signal.SIGINT)
    finally:
        signals.over = True
        StandardError().close()
        if arguments is None:
            signals.ignore()
        else:
            signals.restore()
    return code


def _told(arguments: list[str]) -> int:
    """Run a command line; say so if standard output does not take the result."""
    try:
        try:
            return _run(arguments)
        finally:
            if sys.stdout is not None:
                with heard():
                    sys.stdout.flush()
    except UnheardError as error:
        tell_that_unheard(error)
        return 1


def _stopped(number: int) -> int:
    if not discard_unfinished():
        complain("stopped; an unfinished file could not be removed")
    elif PLACED:
        notify(
            "note", Role.DETAIL, f"stopped; {', '.join(PLACED)} was written before, and is whole"
        )
    else:
        notify("note", Role.DETAIL, "stopped; no unfinished file was kept")
    return 128 + number


def _run(arguments: list[str]) -> int:
    arguments = with_default_command(arguments, ALL_COMMANDS)
    word = arguments[0]
    grammar = parser(only=word)
    if word not in ALL_COMMANDS and not word.startswith("-"):
        hint = did_you_mean(word, ALL_COMMANDS)
        if not hint and os.path.lexists(word):
            hint = f"to know what this file is: ggcp inspect {shlex.quote(word)}"
        grammar.error(f"no such command: {word}", hint)
    options, unknown = grammar.parse_known_args(arguments)
    grammar = getattr(options, "grammar", grammar)
    if unknown:
        grammar.refuse_unknown(unknown, commands_with)
    take_names(grammar, options)
    if options.command == "synth":
        check_synth(grammar, options)

    from converter.cli import commands, terminal  # they take the time that --help does not have
    from converter.errors import ConversionError, OptionsError
    from ggcp_schema.language.errors import FormatError

    terminal.set_up(
        quiet=getattr(options, "quiet", False), verbose=getattr(options, "verbose", False)
    )
    try:
        with terminal.ticking("Writing" if options.command == "synth" else "Reading"):
            return commands.COMMANDS[options.command](options)
    except OptionsError as error:
        grammar.error(error.usage)
    except (FormatError, ConversionError) as error:
        complain(error.statement, error.hint)
    except (MemoryError, OSError) as error:
        refused = _refused(options, error)
        complain(refused.statement, refused.hint)
    return 1


def _refused(options: Namespace, error: MemoryError | OSError) -> ConversionError:
    """Return the error for what the system refuses where nobody expects it."""
    from converter.errors import ConversionError

    inputs = [getattr(options, "input", None), *getattr(options, "inputs", ())]
    file = next(filter(None, inputs), None) or getattr(options, "output", None) or "ggcp"
    if isinstance(error, MemoryError) or error.errno == errno.ENOMEM:
        return ConversionError(
            file,
            expected="more memory",
            found="the limit of this system or shell",
            hint="close other programs, or allow this one more (ulimit -v)",
        )
    hint = "try again, or on another disk"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        hint = "close other programs, or allow more open files (ulimit -n)"
    return ConversionError(
        error.filename or file,
        expected="the system to do what was asked of it",
        found=f"'{error.strerror or error}'",
        hint=hint,
    )


def take_names(grammar: Parser, options: Namespace) -> None:
    """Take each file name from its place or its option, whichever was used."""
    if getattr(options, "input_option", None) and options.output is None:
        options.input, options.output = None, options.input  # -i IN OUT
    names = ("input", "output", "vocab", "merge", "html", "input_option", "output_option")
    if "" in (*(getattr(options, name, None) for name in names), *getattr(options, "inputs", ())):
        grammar.error("a name is empty", "look at the quotes, and at variables that are not set")
    for name in ("input", "output"):
        if hasattr(options, f"{name}_option"):
            given = [n for n in (getattr(options, name), getattr(options, f"{name}_option")) if n]
            if len(given) == 2:
                grammar.error(f"{name} was given twice: {given[0]!r} and {given[1]!r}")
            setattr(options, name, given[0] if given else None)
    for name in ("batch", "order"):
        if getattr(options, name, None) is None:
            continue
        if getattr(options, "resume_with", "") is None:
            grammar.error(f"--{name} only goes with --resume-with")
        if getattr(options, "format", "") == "gguf":
            grammar.error(f"--{name} only goes with --format hf")
    needs_output = not getattr(options, "dry_run", False)
    if hasattr(options, "input") and options.input is None:
        grammar.error("name the checkpoint: ggcp convert IN OUT")
    if hasattr(options, "output_option") and options.output is None and needs_output:
        grammar.error("name the file to write: ggcp convert IN OUT")
