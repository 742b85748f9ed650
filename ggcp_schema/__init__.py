"""The training checkpoints of llama.cpp before GGUF, as Construct structs.

``parse`` reads a file, ``build`` writes one, both through the same structs; ``FormatError`` is all
that either raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ggcp_schema.checkpoint import Checkpoint, build, parse
    from ggcp_schema.language.errors import FormatError, printable
    from ggcp_schema.language.source import Source, Span

__all__ = ["Checkpoint", "FormatError", "Source", "Span", "build", "parse", "printable"]

_HOMES = {
    "Checkpoint": "ggcp_schema.checkpoint",
    "FormatError": "ggcp_schema.language.errors",
    "Source": "ggcp_schema.language.source",
    "Span": "ggcp_schema.language.source",
    "build": "ggcp_schema.checkpoint",
    "parse": "ggcp_schema.checkpoint",
    "printable": "ggcp_schema.language.errors",
}
"""Where each name is defined. No module has the name of a function: it would take its place."""


def __getattr__(name: str) -> Any:
    """Load construct only when something is used that needs it: enums and history do not."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
