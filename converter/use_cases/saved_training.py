"""What a trainer saved cannot be made again: it is never replaced, whatever the user forces."""

from __future__ import annotations

import contextlib
import os

from converter.disk.identity import status_of
from converter.errors import ConversionError
from converter.gguf_io.keys import GGCP_VERSION
from ggcp_schema import FormatError, Source
from ggcp_schema.foreign import Foreign, Kind, recognised

_BEFORE_GGUF = (Kind.TRAINING, Kind.LORA, Kind.GGLA, Kind.MAGICLESS)
_OF_A_GGUF_TRAINER = (Kind.GGUF_TRAINING, Kind.GGUF_LORA)
"""Or of ggcp, which writes its version into its own."""


def refuse_to_replace_it(
    path: str | os.PathLike[str], inputs: tuple[str | os.PathLike[str] | Source, ...]
) -> None:
    """Make sure that a file to be written does not take the place of a trainer's.

    Such a name is a slip, as of IN and OUT in the wrong order.

    Args:
        path: the file to be written, which need not exist.
        inputs: the files that are read, by name or open; of these the output says so itself.

    Raises:
        ConversionError: a file of that name is a checkpoint, or an adapter of before GGUF.
    """
    if not os.path.lexists(path):
        return
    found = None
    with contextlib.suppress(FormatError, OSError), Source.open(path) as source:
        status = os.fstat(source.fileno())
        others = filter(None, map(status_of, inputs))
        if not any(os.path.samestat(status, other) for other in others):
            found = _saved_by_a_trainer(source)
    if found is not None:
        raise ConversionError(
            path,
            expected="the name of a new file",
            found=found.what,
            hint="what a trainer saved is not replaced, not with --force either; name the "
            "checkpoint to read first, and a new file to write second",
        )


def _saved_by_a_trainer(source: Source) -> Foreign | None:
    found = recognised(source)
    if found is not None and found.kind in _OF_A_GGUF_TRAINER:
        from converter.gguf_io.reader import read_keys  # with the package, which is slow to load

        source.seek(0)
        return None if GGCP_VERSION in read_keys(source) else found
    return found if found is not None and found.kind in _BEFORE_GGUF else None
