"""The command line's grammar. Loads nothing that takes time, so that --help is fast."""

from __future__ import annotations

import argparse
import textwrap
from argparse import SUPPRESS
from collections.abc import Callable

from converter.cli.developers import add_document_arguments, add_synth_arguments
from converter.cli.options import (
    ORDERS,
    add_epsilon_option,
    add_merge_option,
    add_output_options,
    add_talk_options,
    in_pytorch,
    quantized,
    whole,
)
from converter.cli.parsing import Parser, listed, one_of
from converter.version import __version__
from ggcp_schema.history import EPSILON_OF_BRANCHES, EPSILONS, dated

_EPSILONS = (
    "The epsilon of the RMS norms is not in the file; it was fixed in the trainer:\n"
    + "\n".join(f"  {era.words}  from {dated(era.commit)}" for era in EPSILONS)
    + ", and by the historical converter\n"
    + textwrap.fill(EPSILON_OF_BRANCHES, 78)
)

FORMATS = ("gguf", "hf")

OUTTYPES = ("f32", "f16", "bf16", "q8_0")

NOT_COMPARED = (
    "the version of GGUF, the padding between the data, and the version of ggcp that made the file"
)
"""By ``verify``: a file that differs in nothing else is as good."""

COMMANDS = {
    "inspect": "say what is in a checkpoint, and what can be done with it",
    "export": "make a GGUF that llama.cpp and others run",
    "convert": "make a GGUF with which the GGUF trainers resume",
    "verify": "compare a GGUF with the checkpoint it was made from",
}
"""The commands, and what each does."""

DEVELOPERS_COMMANDS = {
    "synth": "write a synthetic checkpoint, for tests",
    "document": "write the documentation of the format",
}
"""Likewise, those for developers of other tools."""

ALL_COMMANDS = (*COMMANDS, *DEVELOPERS_COMMANDS)


def parser(only: str | None = None) -> Parser:
    """Return the grammar of all commands.

    The parser of the command at hand is the attribute ``grammar`` of what is parsed.

    Args:
        only: the command whose options are wanted, which is faster; None for those of all.
    """
    root = Parser(
        prog="ggcp",
        usage="ggcp FILE, or ggcp COMMAND ...",
        description="Rescues models trained with llama.cpp's train-text-from-scratch and finetune "
        "before GGUF (checkpoints of mid-2023, magic ggcp or ggcl), and from their later GGUF "
        "checkpoints.",
        epilog=_overview(),
    )
    root.add_argument("--version", action="version", version=f"ggcp {__version__}")
    commands = root.add_subparsers(
        dest="command", prog="ggcp", metavar="COMMAND", parser_class=Parser, help=SUPPRESS
    )

    root.commands = commands.choices

    def add(
        fill: Callable[[argparse.ArgumentParser], None], name: str, names: str, *words: str
    ) -> None:
        if only in ALL_COMMANDS and only != name:
            return
        description, *epilog = words
        command = commands.add_parser(
            name,
            usage=f"ggcp {name} {names}",
            description=description,
            epilog="\n\n".join(epilog),
        )
        if only in (None, name):
            fill(command)

    add(
        _inspect,
        "inspect",
        "FILE… [options]",
        "Say what is in a checkpoint, and what can be done with it: a damaged one "
        "as far as it goes, with exit code 1. Without --stats the weights are not read, but "
        "for a sample that tells the order of the parameters.",
        """examples:
  # what is this file, and what can be done with it?
  ggcp inspect checkpoint.bin
  # a page for the browser, with a histogram of every tensor
  ggcp inspect checkpoint.bin --stats --html report.html""",
    )
    add(
        _export,
        "export",
        "IN OUT [--vocab FILE | --merge BASE.gguf] [options]",
        "Export the model of a training checkpoint to a GGUF that llama.cpp and "
        "others run. The vocabulary is not in the checkpoint: give the file that the trainer "
        "had as --vocab-model. A LoRA checkpoint becomes an adapter for llama.cpp's --lora, "
        "or, with --merge, a model of its own. With --format hf it becomes a folder for PyTorch, "
        "with the state of Adam in it, from which training goes on.",
        """examples:
  # a model, with the vocabulary it was trained with
  ggcp export checkpoint.bin model.gguf --vocab ggml-vocab.bin
  # of finetune: an adapter for llama.cpp's --lora, or a model of its own
  ggcp export chk-lora.bin adapter.gguf
  ggcp export chk-lora.bin merged.gguf --merge base.gguf
  # a folder to go on training in PyTorch
  ggcp export checkpoint.bin folder --format hf --vocab ggml-vocab.bin
  # smaller: export in 16 bits, then let llama.cpp quantize
  ggcp export checkpoint.bin model.gguf --vocab ggml-vocab.bin --outtype f16
  llama-quantize model.gguf small.gguf q4_k_m""",
        _EPSILONS,
    )
    add(
        _convert,
        "convert",
        "IN OUT [options]",
        "Convert a checkpoint to a GGUF with which the GGUF trainers resume: "
        "weights, counters and optimizer state, bit for bit.",
        """examples:
  # everything as it is stored
  ggcp convert checkpoint.bin checkpoint.gguf
  # so that a trainer of August 2023 to May 2024 goes on right
  ggcp convert checkpoint.bin checkpoint.gguf --resume-with flash
  # as the script of 2023 was called
  python -m converter -i checkpoint.bin -o checkpoint.gguf""",
        _EPSILONS,
    )
    add(
        _verify,
        "verify",
        "IN OUT [--merge BASE.gguf] [options]",
        "Compare a GGUF with the checkpoint it was made from: every key, every "
        "tensor, every byte of data. Says what differs; exit code 1 if anything does. Not compared "
        f"are {NOT_COMPARED}.",
        """examples:
  ggcp verify checkpoint.bin model.gguf
  # everything that differs, one by one
  ggcp verify checkpoint.bin model.gguf --verbose
  ggcp verify chk-lora.bin merged.gguf --merge base.gguf""",
    )
    add(
        add_synth_arguments,
        "synth",
        "OUT [options]",
        "Write a complete synthetic checkpoint of any size.",
        """examples:
  ggcp synth small.bin
  ggcp synth large.bin --n-vocab 32000 --n-embd 4096 --n-head 32 --n-layer 4
  ggcp synth lora.bin --lora --rank 8""",
    )
    add(
        add_document_arguments,
        "document",
        "[-o OUT | --check FILE] [options]",
        "Write the documentation of the checkpoints' format, generated from the "
        "structs that parse them: as a page, or as a Kaitai Struct schema.",
        """examples:
  ggcp document -o FORMAT.md
  ggcp document --format ksy -o checkpoint.ksy
  ggcp document --check FORMAT.md""",
    )
    return root


def _overview() -> str:
    """Return the commands in groups, of which argparse knows only one."""
    groups = {
        "commands": COMMANDS,
        "for developers of other tools": DEVELOPERS_COMMANDS,
        "examples": {
            "ggcp FILE": "what is this file?",
            "ggcp help export": "all options of a command",
        },
    }
    blocks = (
        [f"{title}:", *(f"  {name:<20}{words}" for name, words in rows.items())]
        for title, rows in groups.items()
    )
    return "\n\n".join("\n".join(block) for block in blocks)


def _add_gguf_options(command: argparse.ArgumentParser) -> None:
    """Add what all commands that write a GGUF have in common."""
    command.add_argument(
        "--dry-run", action="store_true", help="print metadata and tensors, write nothing"
    )
    command.add_argument(
        "--verify", action="store_true", help="read OUT back and compare it before it is kept"
    )
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    add_output_options(command, more="say also what was decided, and from what")


def _add_resumption_options(command: argparse._ActionsContainer, when: str = "") -> None:
    """Add what makes the state of the optimizer fit, where it is not found out."""
    command.add_argument(
        "--batch",
        type=whole(1),
        metavar="N",
        help=f"{when}batch size (-b) of the trainer that wrote IN (default: estimated)",
    )
    command.add_argument(
        "--order",
        type=one_of(*ORDERS),
        metavar=listed(ORDERS),
        help=f"{when}order of the parameters in IN (default: found out)",
    )


def _convert(command: argparse.ArgumentParser) -> None:
    command.add_argument("input", metavar="IN", nargs="?", help="the checkpoint")
    command.add_argument("output", metavar="OUT", nargs="?", help="the GGUF to write")
    command.add_argument("-i", "--input", dest="input_option", metavar="IN", help="the checkpoint")
    command.add_argument(
        "-o", "--output", dest="output_option", metavar="OUT", help="the GGUF to write"
    )
    add_epsilon_option(command)
    resume = command.add_argument_group(
        "resuming", "make the optimizer state fit the trainer that will read it"
    )
    resume.add_argument(
        "--resume-with",
        type=one_of(*ORDERS, others=in_pytorch),
        metavar=listed(ORDERS),
        help="order of the trainer's parameters: flash (August 2023 to May 2024), plain (with "
        "--no-flash, or July 2024); where it evaluates from right to left, flash-rtl and scratch "
        "for these two; also scales the moments",
    )
    _add_resumption_options(resume)
    _add_gguf_options(command)


def _export(command: argparse.ArgumentParser) -> None:
    command.add_argument("input", metavar="IN", help="the checkpoint")
    command.add_argument(
        "output",
        metavar="OUT",
        help="the GGUF to write, {ftype} in it stands for the outtype; or a folder, in which the "
        "file is named after model, size and outtype; with --format hf a folder that is new",
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
    add_epsilon_option(command)
    command.add_argument(
        "--format",
        type=one_of(*FORMATS, others=in_pytorch),
        metavar=listed(FORMATS),
        default="gguf",
        help="what OUT is: a GGUF, or a Hugging Face folder to go on training in PyTorch, with the "
        "state of Adam where IN holds one (default: gguf)",
    )
    _add_resumption_options(command, "with --format hf: ")
    command.add_argument(
        "--outtype",
        type=one_of(*OUTTYPES, others=quantized),
        metavar=listed(OUTTYPES),
        help="type of the matrices (default: f32; with --merge as in BASE.gguf)",
    )
    add_merge_option(command)
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
        "of the last tensor, which becomes zero; a LoRA if all of its pairs are there",
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
        "NaN and infinities of each tensor; of a folder made by export whether it is unchanged",
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
    command.add_argument("output", metavar="OUT", help="the GGUF or folder that was made from it")
    add_merge_option(command)
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    add_talk_options(command, more="say all that differs, and what was not compared")


def commands_with(option: str) -> list[str]:
    """Return which of the commands have an option."""
    grammars = parser().commands
    return [name for name in COMMANDS if option in grammars[name].options()]
