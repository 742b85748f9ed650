"""The export of a checkpoint of 4 GB, its state included, to a Hugging Face folder.

- export until it is on the disk ÷ ``cp`` of the folder, and ``sync``
- what is left without the disk: export ÷ ``cp`` of the folder
- export ÷ the floor: its bytes copied in the kernel, and meanwhile their SHA-256 in a thread
- verify of the folder ÷ export
- peak resident memory of both
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from timing import RIVALS, Figure, in_turns, peak, python, run, seconds

LARGE = "--n-vocab 32000 --n-embd 2048 --n-mult 256 --n-head 16 --n-layer 4 --optimizer-version 1"


def folder(place: Path, rounds: int) -> list[Figure]:
    """Measure the export of the model with the state of Adam."""
    source, reference, target = place / "state.bin", place / "reference", place / "folder"
    words = ("--quiet", "--no-fsync")
    run(python("-m", "converter", "synth", source, *words, *LARGE.split()))
    copying = ["cp", "-r", "--reflink=never", str(reference), str(target)]

    def exporting(path: Path, *words: str) -> list[str]:
        return python("-m", "converter", "export", source, path, "--format", "hf", *words)

    def clean() -> None:
        shutil.rmtree(target, ignore_errors=True)
        os.sync()

    run(exporting(reference, *words))
    runs = in_turns(
        {
            # The order is found out from the second moments, which are read once more for that.
            "export": exporting(target, *words),
            "cp": copying,
            "export to disk": exporting(target, "--quiet"),
            "cp to disk": ["sh", "-c", '"$@" && sync', "sh", *copying],
            "floor": python(RIVALS, "hashed", reference, target),
            "verify": python("-m", "converter", "verify", source, reference, "--quiet"),
        },
        rounds,
        clean,
    )
    taken, on_disk = seconds(runs["export"]), seconds(runs["export to disk"])
    size = sum(path.stat().st_size for path in reference.iterdir())
    source.unlink()
    shutil.rmtree(reference)
    clean()
    return [
        Figure(f"export {size / 1e9:.2f} GB to a folder, on the disk", on_disk, unit=" s"),
        Figure("÷ (cp of the folder and sync)", on_disk / seconds(runs["cp to disk"])),
        Figure("the same, in memory alone (--no-fsync)", taken, unit=" s"),
        Figure("÷ cp of the folder", taken / seconds(runs["cp"])),
        Figure("÷ (kernel copy beside SHA-256), the floor", taken / seconds(runs["floor"])),
        Figure("verify the folder ÷ export", seconds(runs["verify"]) / taken),
        Figure("peak resident memory", peak([*runs["export"], *runs["verify"]]), 100, " MiB"),
    ]
