"""Converts the training checkpoints of llama.cpp before GGUF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from converter.version import __version__

if TYPE_CHECKING:
    from converter.errors import ConversionError
    from converter.report.report import Report
    from converter.use_cases.carry_out import Writing, Written
    from converter.use_cases.convert import ResumeWith, convert
    from converter.use_cases.export import export, export_lora
    from converter.use_cases.export_folder import export_folder
    from converter.use_cases.export_options import ExportOptions, FolderOptions
    from converter.use_cases.inspect import inspect
    from converter.use_cases.verify import verify

__all__ = [
    "ConversionError",
    "ExportOptions",
    "FolderOptions",
    "Report",
    "ResumeWith",
    "Writing",
    "Written",
    "__version__",
    "convert",
    "export",
    "export_folder",
    "export_lora",
    "inspect",
    "verify",
]

_HOMES = {
    "ConversionError": "converter.errors",
    "ExportOptions": "converter.use_cases.export_options",
    "FolderOptions": "converter.use_cases.export_options",
    "Report": "converter.report.report",
    "ResumeWith": "converter.use_cases.convert",
    "Writing": "converter.use_cases.carry_out",
    "Written": "converter.use_cases.carry_out",
    "convert": "converter.use_cases.convert",
    "export": "converter.use_cases.export",
    "export_folder": "converter.use_cases.export_folder",
    "export_lora": "converter.use_cases.export",
    "inspect": "converter.use_cases.inspect",
    "verify": "converter.use_cases.verify",
}
"""Where each name is defined. No module has the name of a function: it would take its place."""


def __getattr__(name: str) -> Any:
    """Load numpy and gguf only when something is used that needs them: --help is fast."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
