"""The inputs of every command, as small as they can be, and command lines that write a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fuzz import corpus

from converter import cli
from converter.cli import commands
from converter.cli.grammar import parser

WRITING = {
    "convert": "convert {folder}/in.bin {out}",
    "convert, verified": "convert {folder}/in.bin {out} --verify",
    "resume": "convert {folder}/in.bin {out} --resume-with plain --batch 2",
    "export f32": "export {folder}/in.bin {out} --vocab {folder}/vocab.gguf",
    "export q8_0": "export {folder}/in.bin {out} --vocab {folder}/vocab.gguf --outtype q8_0",
    "adapter": "export {folder}/lora.bin {out}",
    "merge": "export {folder}/lora.bin {out} --merge {folder}/base.gguf",
    "merge f16": "export {folder}/lora.bin {out} --merge {folder}/base.gguf --outtype f16",
    "synth": "synth {out} --n-vocab 3 --n-embd 4 --n-head 1 --n-layer 1",
    "inspect": "inspect {folder}/in.bin --html {out}",
    "document": "document -o {out}",
}
"""A command line for each way to write a file."""


def write_inputs(folder: Path) -> None:
    """Write what the command lines read."""
    (folder / "in.bin").write_bytes(corpus.training())
    (folder / "lora.bin").write_bytes(corpus.lora())
    (folder / "base.gguf").write_bytes(next(corpus.models()))
    (folder / "vocab.gguf").write_bytes(corpus.vocabulary(3))
    (folder / "general.json").write_text('{"general.author": "Me"}')


def perform(line: str, *options: str, **places: Any) -> int:
    """Run a command line in this process; errors are raised, not turned into exit codes."""
    grammar = parser()
    arguments = [word.format(**places) for word in line.split()]
    chosen = grammar.parse_args([*arguments, "--quiet", *options])
    cli.take_names(grammar, chosen)
    return commands.COMMANDS[chosen.command](chosen)
