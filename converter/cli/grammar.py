"""The command line's grammar. Loads nothing that takes time, so that --help is fast."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any, NoReturn

from converter.cli.developers import add_document_arguments, add_synth_arguments
from converter.cli.options import ORDERS, add_output_options, add_talk_options, epsilon, whole
from converter.version import __version__
from ggcp_schema.history import EPSILON_OF_BRANCHES, EPSILONS, dated

_EPSILONS = (
    "The epsilon of the RMS norms is not in the file; it was fixed in the trainer:\n"
    + "\n".join(f"  {era.words}  from {dated(era.commit)}" for era in EPSILONS)
    + ", and what the historical converter always wrote\n"
    + f"{EPSILON_OF_BRANCHES}\n"
)

OUTTYPES = ("f32", "f16", "bf16", "q8_0")

NOT_COMPARED = (
    "the version of GGUF, the padding between the data, and the version of ggcp that made the file"
)
"""By ``verify``: a file that differs in nothing else is as good."""

COMMANDS = ("convert", "export", "inspect", "verify", "synth", "document")


def with_default_command(arguments: list[str]) -> list[str]:
    """Let ``-i IN -o OUT`` without a command convert, as the historical script did.

    The name of a file without a command is inspected.
    """
    arguments = _with_names_after_dashes(arguments)
    if any(a in COMMANDS or a in ("-h", "--help", "--version") for a in arguments[:1]):
        return arguments
    if arguments and arguments[0].startswith("-"):
        return ["convert", *arguments]
    if arguments and _is_a_file(arguments[0]):
        return ["inspect", *arguments]
    return arguments


def _is_a_file(word: str) -> bool:
    """Tell whether a word is the name of a file, perhaps of none, and no mistyped command."""
    return os.path.lexists(word) or any(mark in word for mark in "./\\")


def _with_names_after_dashes(arguments: list[str]) -> list[str]:
    """Take everything after ``--`` for a name, also where it begins with a dash.

    argparse forgets about ``--`` when names and options are mixed.
    """
    if "--" not in arguments:
        return arguments
    at = arguments.index("--")
    names = (f"./{name}" if name.startswith("-") else name for name in arguments[at + 1 :])
    return [*arguments[:at], *names]


class _Printable(argparse.ArgumentParser):
    """A parser whose complaints are safe for a terminal, whatever words it was given."""

    def error(self, message: str) -> NoReturn:
        from ggcp_schema.language.errors import printable  # which --help does not need

        super().error(printable(message))


class _AnyOrder(_Printable):
    """A parser that takes names before, after and between options: IN --eps 1e-6 OUT.

    argparse by itself settles names that may be missing at the first one it meets.
    """

    _within = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._within:
            return super().parse_known_args(args, namespace)
        self._within = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._within = False


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """Return the grammar of all commands.

    Args:
        only: the command whose options are wanted, which is faster; None for those of all.
    """
    root = _Printable(
        prog="ggcp",
        description="Rescues models trained with llama.cpp's train-text-from-scratch and finetune "
        "before GGUF (checkpoints of mid-2023, magic ggcp or ggcl).",
        epilog="Not sure what a file is? Start with: ggcp FILE",
    )
    root.add_argument("--version", action="version", version=f"ggcp {__version__}")
    commands = root.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_AnyOrder
    )

    def add(fill: Callable[[argparse.ArgumentParser], None], name: str, **words: Any) -> None:
        command = commands.add_parser(name, **words)
        if only in (None, name):
            fill(command)

    add(
        _convert,
        "convert",
        help="make a GGUF with which the GGUF trainers resume",
        description="Convert a checkpoint to a GGUF with which the GGUF trainers resume: "
        "weights, counters and optimizer state, bit for bit.",
        epilog=_EPSILONS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add(
        _export,
        "export",
        help="make a GGUF that llama.cpp and others run",
        description="Export the model of a training checkpoint to a GGUF that llama.cpp and "
        "others run. The vocabulary is not in the checkpoint: give the file that the trainer "
        "had as --vocab-model. A LoRA checkpoint becomes an adapter for llama.cpp's --lora, "
        "or, with --merge, a model of its own.",
        epilog=_EPSILONS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add(
        _inspect,
        "inspect",
        help="say what is in a checkpoint, and what can be done with it",
        description="Say what is in a checkpoint, and what can be done with it: a damaged one "
        "as far as it goes, with exit code 1. Of several files, or those of a folder, each gets a "
        "line; the exit code is 1 if one is damaged or cannot be read, or none is a checkpoint. "
        "Without --stats the weights are not read, but for a sample that tells the order of the "
        "parameters. 'ggcp FILE' is the same.",
    )
    add(
        _verify,
        "verify",
        help="compare a GGUF with the checkpoint it was made from",
        description="Compare a GGUF with the checkpoint it was made from: every key, every "
        "tensor, every byte of data. Says what differs; exit code 1 if anything does. Not compared "
        f"are {NOT_COMPARED}.",
    )
    add(
        add_synth_arguments,
        "synth",
        help="write a synthetic checkpoint, for tests",
        description="Write a complete synthetic checkpoint of any size.",
    )
    add(
        add_document_arguments,
        "document",
        help="write the documentation of the format",
        description="Write the documentation of the checkpoints' format, generated from the "
        "structs that parse them: as a page, or as a Kaitai Struct schema.",
    )
    return root


def _add_gguf_options(command: argparse.ArgumentParser) -> None:
    """Add what all commands that write a GGUF have in common."""
    command.add_argument(
        "--dry-run", action="store_true", help="print metadata and tensors, write nothing"
    )
    command.add_argument(
        "--verify", action="store_true", help="read OUT back and compare it before it is kept"
    )
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    add_output_options(command)


def _add_epsilon_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--eps",
        type=epsilon,
        metavar="E",
        help="epsilon of the RMS norms, see below (default: 1e-5)",
    )


def _convert(command: argparse.ArgumentParser) -> None:
    command.add_argument("input", metavar="IN", nargs="?", help="the checkpoint")
    command.add_argument("output", metavar="OUT", nargs="?", help="the GGUF to write")
    command.add_argument("-i", "--input", dest="input_option", metavar="IN", help="the checkpoint")
    command.add_argument(
        "-o", "--output", dest="output_option", metavar="OUT", help="the GGUF to write"
    )
    _add_epsilon_option(command)
    resume = command.add_argument_group(
        "resuming", "make the optimizer state fit the trainer that will read it"
    )
    resume.add_argument(
        "--resume-with",
        choices=ORDERS,
        help="order of the trainer's parameters: flash (August 2023 to May 2024), plain (with "
        "--no-flash, or July 2024); where it evaluates from right to left, flash-rtl and scratch "
        "for these two; also scales the moments",
    )
    resume.add_argument(
        "--batch",
        type=whole(1),
        metavar="N",
        help="batch size (-b) of the trainer that wrote IN (default: estimated)",
    )
    resume.add_argument(
        "--order", choices=ORDERS, help="order of the parameters in IN (default: found out)"
    )
    _add_gguf_options(command)


def _add_merge_option(command: argparse.ArgumentParser) -> None:
    """Add the option that names the base model of a LoRA checkpoint."""
    command.add_argument(
        "--merge",
        metavar="BASE.gguf",
        help="for a LoRA checkpoint: the model it was trained on, to which its changes are added",
    )


def _export(command: argparse.ArgumentParser) -> None:
    command.add_argument("input", metavar="IN", help="the checkpoint")
    command.add_argument(
        "output",
        metavar="OUT",
        help="the GGUF to write, {ftype} in it stands for the outtype; or a folder, in which the "
        "file is named after model, size and outtype",
    )
    command.add_argument(
        "--vocab",
        metavar="FILE",
        help="the vocabulary, which a LoRA checkpoint does without: a GGUF, a llama model .bin of "
        "2023 or a SentencePiece tokenizer.model",
    )
    command.add_argument(
        "-c",
        "--context-length",
        type=whole(1),
        metavar="N",
        help="tokens that the model takes at once (default: as it was trained, from the counters)",
    )
    _add_epsilon_option(command)
    command.add_argument(
        "--outtype",
        choices=OUTTYPES,
        help="type of the matrices (default: f32; with --merge as in BASE.gguf)",
    )
    _add_merge_option(command)
    command.add_argument("--model-name", metavar="NAME", help="default: the checkpoint's file name")
    command.add_argument(
        "--metadata",
        metavar="FILE.json",
        help='author, license and so on: {"general.author": "...", "general.tags": ["..."]}',
    )
    command.add_argument(
        "--rescue",
        action="store_true",
        help="take the model from a damaged checkpoint if all of it is there, or all but the end "
        "of the last tensor, which becomes zero",
    )
    _add_gguf_options(command)


def _inspect(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "inputs", metavar="FILE", nargs="+", help="the checkpoint; several or a folder: a line each"
    )
    command.add_argument(
        "--all", dest="everything", action="store_true", help="say everything that is in the file"
    )
    command.add_argument(
        "--tensors", dest="table", action="store_true", help="add the table of all tensors"
    )
    command.add_argument(
        "--stats",
        action="store_true",
        help="read everything: SHA-256, and smallest, largest, mean, standard deviation, zeros, "
        "NaN and infinities of each tensor",
    )
    command.add_argument(
        "--no-tensors",
        dest="tensors",
        action="store_false",
        help="leave the tensors out, of --json and --html too",
    )
    command.add_argument("--json", action="store_true", help="print the report as JSON")
    command.add_argument(
        "--html", metavar="OUT.html", help="write the report as a page for the browser"
    )
    command.add_argument("--force", action="store_true", help="replace OUT.html if it exists")
    add_talk_options(command)


def _verify(command: argparse.ArgumentParser) -> None:
    command.add_argument("input", metavar="IN", help="the checkpoint")
    command.add_argument("output", metavar="OUT", help="the GGUF that was made from it")
    _add_merge_option(command)
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    add_talk_options(command)
