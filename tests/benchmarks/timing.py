"""Times commands in turns, so that whatever else the machine does hits all of them alike.

Only medians and their ratios mean anything: absolute times depend on the machine and the hour.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
RIVALS = Path(__file__).parent / "rivals.py"

# As for a user who installed the package: with the caches of compiled Python in place.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None)


@dataclass(frozen=True)
class Run:
    """One run of a command.

    Attributes:
        seconds: from start to end, by the clock on the wall.
        peak: most resident memory at once, in bytes.
        output: what it printed.
    """

    seconds: float
    peak: int
    output: str


def python(*arguments: str | Path) -> list[str]:
    """The command that runs this Python with these arguments."""
    return [sys.executable, *map(str, arguments)]


def run(command: Sequence[str]) -> Run:
    """Run a command to its end; it must succeed.

    The peak of a process is never below that of the one that started it: keep this one small.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(seconds, usage.ru_maxrss * unit, output)


def in_turns(
    commands: Mapping[str, Sequence[str]],
    rounds: int,
    before: Callable[[], object] = lambda: None,
) -> dict[str, list[Run]]:
    """Run each command once to warm up, then all of them in turns.

    Args:
        commands: the commands, by name.
        rounds: how often each is run and counted.
        before: done before each run, outside its time.
    """
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    names = list(commands)
    order = random.Random(1)  # nobody always comes after the same one
    for number in range(rounds + 1):
        order.shuffle(names)
        for name in names:
            before()
            result = run(commands[name])
            if number:
                runs[name].append(result)
    return runs


def seconds(runs: Sequence[Run]) -> float:
    """Return the median time."""
    return statistics.median(run.seconds for run in runs)


def peak(runs: Sequence[Run]) -> float:
    """Return the most resident memory of any run, in MiB."""
    return max(run.peak for run in runs) / 2**20


@dataclass(frozen=True)
class Figure:
    """A line of the result.

    Attributes:
        what: what was measured.
        found: the figure.
        target: the most that it should be; None where there is no target.
        unit: what follows the figure.
    """

    what: str
    found: float
    target: float | None = None
    unit: str = ""


def print_table(figures: Sequence[Figure]) -> None:
    """Print what was measured, the figures and their targets."""
    width = max(len(figure.what) for figure in figures)
    print(f"{'':{width}}  {'figure':>10}  {'target':>10}")
    for figure in figures:
        found = f"{figure.found:.2f}{figure.unit}"
        target = "" if figure.target is None else f"{figure.target:g}{figure.unit}"
        missed = figure.target is not None and figure.found > figure.target
        print(f"{figure.what:{width}}  {found:>10}  {target:>10}{'  missed' if missed else ''}")
