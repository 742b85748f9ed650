"""Runs all fuzz targets: ``python tests/fuzz/run.py --seconds N``.

Needs the extra ``fuzz`` (atheris). Exit code 1 if anything was found: the input is then kept in the
folder of --findings, and everything that the target said is shown.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
sys.path[:0] = [str(TESTS), str(ROOT)]
TARGETS = ("parse_checkpoint", "read_vocabulary", "convert_file", "read_gguf", "verify_folder")
SLOWEST_INPUT = 20  # seconds; libFuzzer reports an input that takes longer
MOST_MEMORY = 2048  # MiB
FEWEST_EDGES = 100  # that the seeds of a target reach; fewer show that nothing is instrumented

_EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_EDGES = re.compile(r" cov: (\d+) ")


def seed(name: str, corpus: Path, findings: Path) -> int:
    """Write the inputs to start from, and return the length of the longest."""
    corpus.mkdir(parents=True, exist_ok=True)
    module = importlib.import_module(f"fuzz.{name}")
    importlib.import_module("fuzz.common").strict()
    longest = 0
    inputs = [*module.seeds(), *(path.read_bytes() for path in sorted(findings.glob(f"{name}-*")))]
    for number, data in enumerate(inputs):
        (corpus / f"seed-{number:03}").write_bytes(data)
        longest = max(longest, len(data))
    return longest


def start(name: str, corpus: Path, found: Path, seconds: int, seed_number: int) -> Run:
    """Start a target."""
    longest = seed(name, corpus, Path(__file__).parent / "findings")
    found.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", f"fuzz.{name}",
        f"-max_total_time={seconds}", f"-max_len={longest}", "-len_control=0",
        f"-timeout={SLOWEST_INPUT}", f"-rss_limit_mb={MOST_MEMORY}",
        f"-artifact_prefix={found}/{name}-", "-print_final_stats=1", "-verbosity=1",
        f"-seed={seed_number}", str(corpus),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[:2])}
    log = corpus.with_suffix(".log")
    with log.open("wb") as file:  # in the project's folder, whose packages come first then
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, cwd=ROOT)
    return Run(name, process, log)


class Run:
    """A target that runs."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self._log = log

    def result(self) -> tuple[int, int, str]:
        """Wait for the end; return the numbers of executions and of edges, and what was said."""
        self.process.wait()
        said = self._log.read_text(encoding="utf-8", errors="replace")
        counted = _EXECUTIONS.search(said)
        edges = max(map(int, _EDGES.findall(said)), default=0)
        return int(counted[1]) if counted else 0, edges, said


def _what_happened(said: str) -> str:
    """Return the part of libFuzzer's output that is about the failure."""
    lines = [line for line in said.splitlines() if not line.startswith(("#", "INFO:"))]
    return "\n".join(line[:2000] for line in lines[-60:])


def waves(names: tuple[str, ...], size: int) -> Iterator[tuple[str, ...]]:
    """Yield the targets in groups that run at the same time."""
    for first in range(0, len(names), size):
        yield names[first : first + size]


def main() -> int:
    """Run the targets and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="time for all targets together")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--corpus", type=Path, help="keep what was learnt in this folder")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--seed", type=int, help="number for the random mutations")
    options = parser.parse_args()
    names = tuple(options.target or TARGETS)
    groups = list(waves(names, max(1, options.processes)))
    seconds = max(1, options.seconds // len(groups))
    number = options.seed or int(time.time()) % 2**31
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        corpora = (options.corpus or Path(temporary)).resolve()
        findings = options.findings.resolve()
        for group in groups:
            runs = [start(n, corpora / n, findings, seconds, number) for n in group]
            for run in runs:
                executions, edges, said = run.result()
                wrong = run.process.returncode != 0 or edges < FEWEST_EDGES
                failed += wrong
                print(
                    f"{run.name}: {executions} executions in {seconds} s, {edges} edges", flush=True
                )
                if wrong:
                    print(f"{_what_happened(said)}\n{run.name}: failed, see {findings}")
    print(f"{len(names) - failed} passed, {failed} failed (seed {number})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
