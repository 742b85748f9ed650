"""What fuzzing found stays fixed; and each target takes its seeds and some thousand mutations.

Coverage-guided, with atheris and for as long as one likes: python tests/fuzz/run.py --seconds N
"""

from __future__ import annotations

import importlib
import os
import random
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import ROOT
from fuzz import common
from fuzz.mutation import mutated
from fuzz.run import TARGETS

from converter.progress import LOGGER

if not hasattr(os, "memfd_create"):
    pytest.skip("needs files in memory", allow_module_level=True)

EXECUTIONS = {
    "parse_checkpoint": 3000,
    "read_vocabulary": 3000,
    "convert_file": 300,
    "read_gguf": 300,
    "verify_folder": 300,
}


@pytest.fixture(autouse=True)
def _strict() -> Iterator[None]:
    handlers, level, propagate = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate
    with warnings.catch_warnings():
        common.strict()
        yield
    LOGGER.handlers[:] = handlers
    LOGGER.setLevel(level)
    LOGGER.propagate = propagate


def target(name: str) -> Callable[[bytes], None]:
    found: Callable[[bytes], None] = importlib.import_module(f"fuzz.{name}").target
    return found


def findings() -> list[Path]:
    return sorted(path for path in common.FINDINGS.iterdir() if path.is_file())


@pytest.mark.parametrize("path", findings(), ids=lambda path: path.name)
def test_finding(path: Path) -> None:
    target(path.name.partition("-")[0])(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_target(name: str) -> None:
    module = importlib.import_module(f"fuzz.{name}")
    changed = getattr(module, "mutated", mutated)
    seeds = list(module.seeds())
    run = target(name)
    for data in seeds:
        run(data)
    chance = random.Random(name)
    small = [data for data in seeds if len(data) < 12000]
    for _ in range(EXECUTIONS[name]):
        run(changed(chance.choice(small), chance))


def test_the_command_runs_a_target(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    command = [sys.executable, str(ROOT / "tests" / "fuzz" / "run.py"), "--seconds", "3"]
    done = subprocess.run(
        [*command, "--target", "parse_checkpoint", "--findings", str(tmp_path / "found")],
        capture_output=True,
        text=True,
        check=False,
    )
    first, last = done.stdout.splitlines()
    assert done.returncode == 0
    assert re.fullmatch(r"parse_checkpoint: [1-9]\d+ executions in 3 s, [1-9]\d{2,} edges", first)
    assert re.fullmatch(r"1 passed, 0 failed \(seed \d+\)", last)
    assert list((tmp_path / "found").iterdir()) == []
