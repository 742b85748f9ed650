"""What ``import converter`` and ``import ggcp_schema`` give."""

from __future__ import annotations

import subprocess
import sys

import pytest
from paths import ROOT

import converter

FUNCTIONS = {"convert", "export", "export_folder", "export_lora", "inspect", "verify"}
CLASSES = {"ConversionError", "Report", "ResumeWith", "Writing", "Written"}
CLASSES |= {"ExportOptions", "FolderOptions"}


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_names() -> None:
    assert set(converter.__all__) == FUNCTIONS | CLASSES | {"__version__"}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_is_no_module(name: str) -> None:
    """Importing the module that defines a function must not put the module in its place."""
    code = (
        f"from converter import {name}; import converter.cli.commands, converter.use_cases.verify; "
        f"from converter import {name} as again; print(type({name}).__name__, again is {name})"
    )
    assert run(code) == "function True\n"


def test_importing_is_cheap() -> None:
    code = "import sys, converter; print(sorted({'numpy', 'gguf', 'construct'} & set(sys.modules)))"
    assert run(code) == "[]\n"


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError) as caught:
        _ = converter.nothing
    assert str(caught.value) == "module 'converter' has no attribute 'nothing'"
