"""What the options of several commands have in common. Loads nothing that takes time."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable

from ggcp_schema.history import READERS

ORDERS = tuple(order.value for order in READERS)


def epsilon(text: str) -> float:
    """Return an epsilon: a number above 0 and below 1."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 1e-38 < number < 1:
        expected = "expected a number above 0 and below 1, such as 1e-5"
        raise argparse.ArgumentTypeError(f"{expected}, found {text!r}")
    return number


def whole(least: int, most: int = 2**32 - 1) -> Callable[[str], int]:
    """Return a reader of whole numbers from ``least`` to ``most``."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {least} to {most}, found {text!r}"
            )
        return number

    return read


def add_epsilon_option(command: argparse.ArgumentParser) -> None:
    """Add the epsilon of the norms, which a checkpoint before GGUF does not hold."""
    command.add_argument(
        "--eps",
        type=epsilon,
        metavar="E",
        help="epsilon of the RMS norms, see below (default: 1e-5)",
    )


def add_merge_option(command: argparse.ArgumentParser) -> None:
    """Add the option that names the base model of a LoRA checkpoint."""
    command.add_argument(
        "--merge",
        metavar="BASE.gguf",
        help="for a LoRA checkpoint: the model it was trained on, to which its changes are added",
    )


def add_output_options(command: argparse.ArgumentParser, more: str = "") -> None:
    """Add what all commands that write a file have in common; see add_talk_options."""
    command.add_argument("--force", action="store_true", help="replace OUT if it exists")
    command.add_argument(
        "--no-fsync",
        dest="sync",
        action="store_false",
        help="do not wait until the data are on the disk; a power cut may then lose OUT",
    )
    add_talk_options(command, more)


def add_talk_options(command: argparse.ArgumentParser, more: str = "") -> None:
    """Add how much a command says.

    Args:
        command: the command.
        more: what it says with --verbose; empty for one that has no more to say.
    """
    talk = command.add_mutually_exclusive_group()
    talk.add_argument("--quiet", "-q", action="store_true", help="only say what goes wrong")
    if more:
        talk.add_argument("--verbose", "-v", action="store_true", help=more)


def quantized(outtype: str) -> str:
    """Say what to do for a type that only llama.cpp makes."""
    if not re.fullmatch(r"(i?q|tq|mxfp)\d\w*", outtype.lower()):
        return ""
    return f"take f16, and then llama.cpp's: llama-quantize OUT SMALLER.gguf {outtype}"


def in_pytorch(word: str) -> str:
    """Say what to do for what is no trainer of llama.cpp, and no format, but of PyTorch's world."""
    if not re.search(r"torch|^pth?$|^hugg|transformers|safetensors", word.lower()):
        return ""
    return "for PyTorch and transformers: ggcp export IN FOLDER --format hf"
