"""The pages on how training goes on say what the folder of that checkpoint says."""

from __future__ import annotations

import ast
from pathlib import Path

from hf_folder import export, snippets
from paths import ROOT


def test_the_snippets_are_those_of_the_folder(fixtures: Path, folder: Path) -> None:
    """Which are run, and their weights compared, where there are torch and transformers."""
    path = export(fixtures / "v0_adam_one.bin", folder / "out", epsilon=1e-6, batch=2)
    wanted = snippets(path / "README.md")
    assert len(wanted) == 3
    found = snippets(ROOT / "docs" / "continue-training.md")
    assert [tree(each) for each in found] == [tree(each) for each in wanted]


def test_the_readme_has_them(fixtures: Path, folder: Path) -> None:
    """That of PyTorch in one piece, which runs beside the folder instead of in it."""
    path = export(fixtures / "v0_adam_one.bin", folder / "out", epsilon=1e-6, batch=2)
    samples, pytorch, trainer = snippets(path / "README.md")
    beside = {'folder = "."': 'folder = "FOLDER"', '"../text.txt"': '"text.txt"'}
    for within, without in beside.items():
        assert samples.count(within) == 1
        samples = samples.replace(within, without)
    imports = "import math, torch\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n"
    wanted = [line for line in (samples + pytorch).splitlines() if "import" not in line]
    found = snippets(ROOT / "README.md")[-2:]
    assert [tree(each) for each in found] == [tree(imports + "\n".join(wanted)), tree(trainer)]


def tree(code: str) -> str:
    return ast.dump(ast.parse(code))
