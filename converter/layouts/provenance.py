"""What a GGUF of ours says of where it comes from: keys ``ggcp.*``, which every reader ignores."""

from __future__ import annotations

from collections.abc import Iterator

from converter.gguf_io import keys
from converter.gguf_io.reader import Gguf
from converter.layouts.tables import STRING, U32, U64
from converter.plan import Metadata
from converter.snapshot import Snapshot
from converter.version import __version__

MADE_BY = Metadata(keys.GGCP_VERSION, STRING, __version__)
"""What made it."""


def provenance(snapshot: Snapshot) -> Iterator[Metadata]:
    """Yield what made the GGUF, and from what."""
    yield MADE_BY
    if snapshot.optimizer_version is not None:
        yield Metadata(keys.GGCP_OPTIMIZER_VERSION, U32, snapshot.optimizer_version)


def damage(snapshot: Snapshot) -> Iterator[Metadata]:
    """Yield that the checkpoint was damaged, and how many values of its model were missing."""
    if snapshot.missing is not None:
        yield Metadata(keys.GGCP_MISSING_VALUES, U64, snapshot.missing)


def is_rescued(finished: Gguf) -> bool:
    """Tell whether a GGUF says that its checkpoint was damaged."""
    return keys.GGCP_MISSING_VALUES in finished.keys
