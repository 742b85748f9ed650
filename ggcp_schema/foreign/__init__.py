"""What a file is, told by its first bytes: what people take for a checkpoint, and checkpoints."""

from __future__ import annotations

from ggcp_schema.foreign.kinds import NO_CHECKPOINT, Foreign, Kind
from ggcp_schema.foreign.recognise import SIGNATURES, gguf_kind, recognised
from ggcp_schema.foreign.refusal import ForeignFileError

__all__ = [
    "NO_CHECKPOINT",
    "SIGNATURES",
    "Foreign",
    "ForeignFileError",
    "Kind",
    "gguf_kind",
    "recognised",
]
