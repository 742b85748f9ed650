"""The benchmarks run; what they measure is not asserted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent / "benchmarks"


def test_start_up(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS, "--only", "start-up", "--rounds", "1", "--folder", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    head, *figures = done.stdout.splitlines()
    assert head.split() == ["figure", "target"]
    assert [figure.split("  ")[0] for figure in figures] == [
        "convert a small file ÷ import",
        "inspect a small file ÷ import",
        "÷ import of what it needs",
    ]
    assert list(folder.iterdir()) == []
