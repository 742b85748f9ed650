"""Files of every kind, read into one neutral snapshot, and into facts for reports.

A new kind of file is a new module here, which ``open_checkpoint`` names.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from converter.inputs.before_gguf import CheckpointBeforeGguf
from converter.inputs.opened import Opened
from ggcp_schema import Source, parse

__all__ = ["Opened", "open_checkpoint"]


def open_checkpoint(file: str | os.PathLike[str] | BinaryIO) -> Opened:
    """Open a file of any kind that holds training state or a model of the trainers.

    Args:
        file: a name, or a seekable binary file, which is read from its first byte.

    Raises:
        FormatError: it cannot be read, or is none; a damaged one raises nothing.
    """
    named = isinstance(file, (str, os.PathLike))
    source = Source.open(file) if named else Source.over(file)  # type: ignore[arg-type]
    try:
        magic = source.read(4)
        source.seek(0)
        if magic == b"GGUF":
            from converter.inputs.trainer_gguf import TrainerGguf  # takes the gguf package

            return TrainerGguf(source)
        checkpoint = parse(source, partial=True)
        if checkpoint.magic == b"algg":
            from converter.inputs.lora_adapter import LoraAdapterFile

            return LoraAdapterFile(checkpoint)
        return CheckpointBeforeGguf(checkpoint)
    except BaseException:
        source.close()
        raise
