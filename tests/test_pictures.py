"""The picture of the terminal in the README is what is printed today."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from paths import ROOT

if sys.platform == "win32":
    pytest.skip("needs pseudo-terminals", allow_module_level=True)


def test_the_terminal(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("terminal", ROOT / "docs" / "terminal.py")
    assert spec is not None
    assert spec.loader is not None
    terminal = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(terminal)
    assert terminal.picture(terminal.printed(tmp_path)) == terminal.PICTURE.read_text("utf-8")
