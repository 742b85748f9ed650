"""Converts the training checkpoints of llama.cpp before GGUF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from converter.version import __version__

if TYPE_CHECKING:
    from converter.carry_out import Writing, Written
    from converter.conversion import ResumeWith, convert
    from converter.errors import ConversionError
    from converter.lora_export import export_lora
    from converter.model_export import ExportOptions, export
    from converter.report import Report, inspect
    from converter.verification import verify

__all__ = [
    "ConversionError",
    "ExportOptions",
    "Report",
    "ResumeWith",
    "Writing",
    "Written",
    "__version__",
    "convert",
    "export",
    "export_lora",
    "inspect",
    "verify",
]

_HOMES = {
    "ConversionError": "converter.errors",
    "ExportOptions": "converter.model_export",
    "Report": "converter.report",
    "ResumeWith": "converter.conversion",
    "Writing": "converter.carry_out",
    "Written": "converter.carry_out",
    "convert": "converter.conversion",
    "export": "converter.model_export",
    "export_lora": "converter.lora_export",
    "inspect": "converter.report",
    "verify": "converter.verification",
}
"""Where each name is defined. No module has the name of a function: it would take its place."""


def __getattr__(name: str) -> Any:
    """Load numpy and gguf only when something is used that needs them: --help is fast."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
