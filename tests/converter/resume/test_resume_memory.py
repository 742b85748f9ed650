"""Finding the order, reordering and scaling hold a few blocks at once, however large the file."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from converter.inputs import open_checkpoint
from converter.layouts.trainer import trainer_plan
from converter.parts import Computed
from converter.resume.detect import find_order
from converter.resume.rearrange import rearranged
from converter.snapshot import Resumption
from ggcp_schema.enums import OptimizerType
from ggcp_schema.order import Order
from ggcp_schema.synthetic import Synthetic

MIB = 1 << 20
# 300 MB and more, each: nx is 8 to 25 million.
LARGE = {
    "version 1 with params": Synthetic(48000, 256, 256, optimizer_version=1, with_params=True),
    "L-BFGS": Synthetic(
        16000, 256, 256, optimizer_type=OptimizerType.LBFGS, approx_hessian_count=1
    ),
}


@pytest.fixture(scope="module", params=LARGE)
def path(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("large") / "large.bin"
    with path.open("wb") as file:
        LARGE[request.param].write(file)
    assert path.stat().st_size > 300e6
    yield path
    path.unlink()


def test_blocks_are_all_that_is_held(path: Path) -> None:
    tracemalloc.start()
    try:
        with open_checkpoint(path) as opened:
            snapshot = opened.snapshot()
            finding = find_order(snapshot, thorough=True)
            resumption = Resumption(Order.SCRATCH, Order.FLASH, rows=64)
            plan = trainer_plan(rearranged(snapshot, resumption))
            made = 0
            for tensor in plan.tensors:
                for part in tensor.parts:
                    if isinstance(part, Computed):
                        made += sum(len(block) for block in part.blocks())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert finding.candidates == (Order.SCRATCH,)
    optimizer = snapshot.required_optimizer
    adam = optimizer.type == OptimizerType.ADAM
    assert made == (8 * optimizer.parameter_count if adam else 0)
    assert peak < 16 * MIB


PEAK = """
import sys
from pathlib import Path
from converter.cli import main
assert main(sys.argv[1:]) == 0
# Unlike ru_maxrss, this does not begin with what the parent process held.
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak so")
def test_the_whole_command_stays_small(path: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    options = ["--resume-with", "plain", "--batch", "2", "--no-fsync", "--verify", "--quiet"]
    process = subprocess.run(
        [sys.executable, "-c", PEAK, "convert", str(path), str(output), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert output.stat().st_size > path.stat().st_size / 4
    output.unlink()
    assert int(process.stdout) * 1024 < 64 * MIB
