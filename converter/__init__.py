"""Converts the training checkpoints of llama.cpp before GGUF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from converter.version import __version__

if TYPE_CHECKING:
    from converter.carry_out import Writing, Written
    from converter.convert import convert
    from converter.errors import ConversionError
    from converter.report import Report, inspect

__all__ = [
    "ConversionError",
    "Report",
    "Writing",
    "Written",
    "__version__",
    "convert",
    "inspect",
]

_HOMES = {
    "ConversionError": "converter.errors",
    "Report": "converter.report",
    "Writing": "converter.carry_out",
    "Written": "converter.carry_out",
    "convert": "converter.convert",
    "inspect": "converter.report",
}


def __getattr__(name: str) -> Any:
    """Load numpy and gguf only when something is used that needs them: --help is fast."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
