"""The page on how training goes on says what the folder of that checkpoint says."""

from __future__ import annotations

import ast
from pathlib import Path

from hf_folder import export, snippets
from paths import ROOT


def test_the_snippets_are_those_of_the_folder(fixtures: Path, folder: Path) -> None:
    """Which are run, and their weights compared, where there are torch and transformers."""
    path = export(fixtures / "v0_adam_one.bin", folder / "out", epsilon=1e-6, batch=2)
    found = snippets(ROOT / "docs" / "continue-training.md")
    wanted = snippets(path / "README.md")
    assert [ast.dump(ast.parse(each)) for each in found] == [
        ast.dump(ast.parse(each)) for each in wanted
    ]
    assert len(found) == 3
