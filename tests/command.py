"""Runs the command in a process of its own, as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from paths import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
ENVIRONMENT.pop("PYTHONUNBUFFERED", None)  # hides what is only noticed when a buffer is flushed
COMMAND = [sys.executable, "-m", "converter"]


def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `python -m converter` with these arguments to its end."""
    options = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "env": ENVIRONMENT,
        **options,
    }
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, text=True, encoding="utf-8", check=False, **options)
