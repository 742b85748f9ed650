"""The folder of real files stays small, described and in use."""

from __future__ import annotations

import re

import pytest
from paths import FIXTURES, TESTS
from real_files import names, unpacked

MANIFEST = FIXTURES / "MANIFEST.md"
REAL = [name for name in names() if name != MANIFEST.name]


def test_the_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in FIXTURES.iterdir()) < 3_000_000


def test_the_manifest_names_every_file_and_no_other() -> None:
    cells = re.findall(r"^\| ([^|]+) \|", MANIFEST.read_text(encoding="utf-8"), re.MULTILINE)
    assert cells[0] == "File"
    described = {name for cell in cells[1:] for name in re.split(r", |: ", cell)}
    there = set()
    for path in FIXTURES.iterdir():
        inside = {name for name, _ in unpacked(path)}
        there |= {path.name} | (inside if path.name.endswith(".tar.xz") else set())
    assert described == there - {MANIFEST.name}


@pytest.fixture(scope="module")
def sources() -> str:
    return "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py"))


@pytest.mark.parametrize("name", REAL)
def test_a_test_asks_for_every_file(name: str, sources: str) -> None:
    assert f'"{name}"' in sources


def test_no_two_fixtures_hold_files_of_one_name() -> None:
    assert len(REAL) == len(set(REAL))
