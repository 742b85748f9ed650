"""The export of a checkpoint of 4 GB, its state included, to a Hugging Face folder.

- export ÷ ``cp`` of the checkpoint, which is as many bytes
- peak resident memory
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from timing import Figure, in_turns, peak, python, run, seconds

LARGE = "--n-vocab 32000 --n-embd 2048 --n-mult 256 --n-head 16 --n-layer 4 --optimizer-version 1"


def folder(place: Path, rounds: int) -> list[Figure]:
    """Measure the export of the model with the state of Adam."""
    source, target = place / "state.bin", place / "folder"
    words = ("--quiet", "--no-fsync")
    run(python("-m", "converter", "synth", source, *words, *LARGE.split()))

    def clean() -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.unlink(missing_ok=True)
        os.sync()

    # The order is found out from the second moments, which are read once more for that.
    ours = python("-m", "converter", "export", source, target, "--format", "hf", *words)
    size = source.stat().st_size
    runs = in_turns({"export": ours, "cp": ["cp", str(source), str(target)]}, rounds, clean)
    taken = seconds(runs["export"])
    source.unlink()
    clean()
    return [
        Figure(f"export {size / 1e9:.2f} GB to a folder", taken, unit=" s"),
        Figure("÷ cp", taken / seconds(runs["cp"])),
        Figure("peak resident memory", peak(runs["export"]), 100, " MiB"),
    ]
