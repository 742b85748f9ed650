"""A training checkpoint of 2.2 GB that is a GGUF, as the later trainers wrote.

- convert with another order of the parameters ÷ (``cp`` of the output + ``import gguf, construct``)
- export of its model as f32, likewise
- peak resident memory of both
"""

from __future__ import annotations

import os
from pathlib import Path

from convert import IMPORT, converting
from export import TOKENS, exporting, vocabulary
from timing import Figure, in_turns, peak, python, run, seconds

LARGE = f"--n-vocab {TOKENS} --n-embd 1024 --n-mult 256 --n-head 16 --optimizer-version 1"


def trainer_gguf(folder: Path, rounds: int) -> list[Figure]:
    """Measure what becomes of it."""
    before, source = folder / "before.bin", folder / "trained.gguf"
    run(
        python(
            *("-m", "converter", "synth", before, "--quiet", "--no-fsync"),
            *(*LARGE.split(), "--n-layer", "9"),
        )
    )
    run(converting(before, source))
    before.unlink()
    words = vocabulary(folder / "vocabulary.gguf", TOKENS)
    reference, target = folder / "reference.gguf", folder / "out.gguf"

    def clean() -> None:
        target.unlink(missing_ok=True)
        os.sync()

    figures = []
    for what, command in {
        "convert --resume-with": lambda path: converting(source, path, "--resume-with", "plain"),
        "export": lambda path: exporting(source, path, words, "f32"),
    }.items():
        run(command(reference))
        copying = f'cp --reflink=never "{reference}" "{target}" && "$@"'
        cp = ["sh", "-c", copying, "sh", *python("-c", IMPORT)]
        runs = in_turns({"ours": command(target), "cp": cp}, rounds, clean)
        taken, size = seconds(runs["ours"]), reference.stat().st_size
        figures += [
            Figure(f"{what} of a GGUF, {size / 1e9:.2f} GB out", taken, unit=" s"),
            Figure("÷ (cp of the output + import)", taken / seconds(runs["cp"])),
            Figure("peak resident memory", peak(runs["ours"]), 64, " MiB"),
        ]
    for path in (source, reference):
        path.unlink()
    clean()
    return figures
