"""Files of every kind, read into one neutral snapshot, and into facts for reports.

A new kind of file is a new module here, which ``open_checkpoint`` names.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Protocol

from converter.facts import Facts
from converter.inputs.before_gguf import CheckpointBeforeGguf
from converter.snapshot import Snapshot
from ggcp_schema import FormatError, Source, parse

__all__ = ["Opened", "open_checkpoint"]


class Opened(Protocol):
    """An open file that was read as far as it goes; use it in a ``with`` statement.

    Attributes:
        source: the file.
        lora: whether it holds the change of a model, not a model.
        error: what is wrong with it; None if nothing is.
    """

    source: Source
    lora: bool
    error: FormatError | None

    def snapshot(self) -> Snapshot:
        """Return all that is in it.

        Raises:
            FormatError: it is damaged.
        """

    def model(self, *, rescue: bool) -> Snapshot:
        """Return its model or pairs, where ``rescue`` is set also from a damaged file.

        Raises:
            FormatError: it is damaged; with ``rescue``, in a way that takes some of them.
        """

    def partial_snapshot(self) -> Snapshot | None:
        """Return what is in it as far as it was read; None if not even all of the model is."""

    def facts(self) -> Facts:
        """Return all that is known of it."""

    def __enter__(self) -> Opened: ...

    def __exit__(self, *exception: object) -> None: ...


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
