"""The pages say what is so: what the folder says on how training goes on, and where files are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
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


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_project_are_where_they_are_said_to_be(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|docs|converter|ggcp_schema|fixtures)/[\w./-]*)", text)
    linked = re.findall(r"\]\((?!https?:)([^)#\s]+)", text)
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [name for name in linked if not (page.parent / name).exists()]
    missing += [name for name in re.findall(r"`(test_\w+\.py)`", text) if not any(ROOT.rglob(name))]
    assert missing == []


def tree(code: str) -> str:
    return ast.dump(ast.parse(code))
