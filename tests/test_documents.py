"""The page on how training goes on says what the folder of that checkpoint says."""

from __future__ import annotations

import ast
from pathlib import Path

from hf_folder import export, snippets
from paths import ROOT


def test_the_snippets_are_those_of_the_folder(fixtures: Path, folder: Path) -> None:
    """Which are run, and their weights compared, where there are torch and transformers."""
    path = export(fixtures / "v0_adam_one.bin", folder / "out", epsilon=1e-6, batch=2)
    wanted = trees(path / "README.md")
    assert len(wanted) == 3
    assert trees(ROOT / "docs" / "continue-training.md") == wanted
    assert trees(ROOT / "README.md")[-2:] == wanted[1:]  # the folder has another name there


def trees(page: Path) -> list[str]:
    return [ast.dump(ast.parse(each)) for each in snippets(page)]
