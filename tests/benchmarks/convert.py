"""The conversion of a checkpoint of 3.7 GB, and looking at it.

- convert ÷ (bare kernel copy of the same bytes + ``import gguf, construct``)
- convert ÷ (``cp`` of the output + that import)
- convert ÷ a loop of memmap and ``tofile``, as the historical converter wrote
- verify, and convert with another order of the parameters, ÷ convert
- statistics ÷ a NumPy loop of least, largest, mean and zeros of the same numbers
- inspect with statistics, which computes a SHA-256 as well, ÷ that loop, ÷ the SHA-256 alone, and
  ÷ one after the other
- peak resident memory of conversion and statistics
- parsing 9,003 and 36,003 tensors ÷ a bare ``struct`` loop, and how both grow
- converting a small file ÷ ``import gguf, construct``; looking at it likewise, and ÷
  ``import numpy, construct``, which is what it needs
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from timing import RIVALS, Figure, in_turns, peak, python, run, seconds

IMPORT = "import gguf, construct"
LARGE = "--n-vocab 32000 --n-embd 1024 --n-mult 256 --n-head 16 --n-layer 4"
TINY = "--n-vocab 4 --n-embd 2 --n-mult 2 --n-head 1 --optimizer-version 1"
SMALL = "--n-layer 2"


def synthetic(path: Path, options: str) -> Path:
    """Make a synthetic checkpoint."""
    run(python("-m", "converter", "synth", path, "--quiet", "--no-fsync", *options.split()))
    return path


def converting(source: Path, target: Path, *options: str) -> list[str]:
    """Return the command that converts."""
    command = ("-m", "converter", "convert", source, target, "--no-fsync", "--force", "--quiet")
    return python(*command, *options)


def copied_spans(source: Path, target: Path, spans: Path) -> None:
    """Find where each tensor's bytes in a GGUF come from, for the rivals to copy the same."""
    script = f"""
import json
from gguf import GGUFReader
from converter.inputs import open_checkpoint
from converter.use_cases.convert import planned_conversion
with open_checkpoint({str(source)!r}) as opened:
    plan = planned_conversion(opened.snapshot())
    tensors = GGUFReader({str(target)!r}).tensors
    print(json.dumps([
        [part.offset, part.length, int(tensor.data_offset)]
        for planned, tensor in zip(plan.tensors, tensors, strict=True)
        for part in planned.parts
    ]))
"""
    spans.write_text(run(python("-c", script)).output)


def conversion(folder: Path, rounds: int) -> list[Figure]:
    """Measure the large file."""
    source, reference, target = folder / "large.bin", folder / "large.gguf", folder / "out.gguf"
    spans = folder / "spans.json"
    synthetic(source, LARGE)
    run(converting(source, reference))
    copied_spans(source, reference, spans)

    def clean() -> None:
        target.unlink(missing_ok=True)
        os.sync()

    def rival(name: str) -> list[str]:
        return python(RIVALS, name, source, spans, target)

    copying = f'cp --reflink=never "{reference}" "{target}" && "$@"'
    runs = in_turns(
        {
            "convert": converting(source, target),
            "copy": rival("copy"),
            "cp": ["sh", "-c", copying, "sh", *python("-c", IMPORT)],
            "memmap": rival("memmap"),
            "verify": python("-m", "converter", "verify", source, reference),
            "resume": converting(source, target, "--resume-with", "flash"),
        },
        rounds,
        clean,
    )
    clean()
    ours = seconds(runs["convert"])
    sizes = f"{source.stat().st_size / 1e9:.1f} GB in, {reference.stat().st_size / 1e9:.1f} GB out"
    for path in (source, reference):
        path.unlink()
    return [
        Figure(f"convert, {sizes}", ours, unit=" s"),
        Figure("÷ (bare kernel copy + import)", ours / seconds(runs["copy"]), 1.25),
        Figure("÷ (cp of the output + import)", ours / seconds(runs["cp"]), 0.95),
        Figure("÷ memmap and tofile", ours / seconds(runs["memmap"])),
        Figure("peak resident memory", peak(runs["convert"]), 64, " MiB"),
        Figure("verify ÷ convert", seconds(runs["verify"]) / ours, 1.3),
        Figure("convert in another order ÷ convert", seconds(runs["resume"]) / ours, 1.3),
    ]


def statistics(folder: Path, rounds: int) -> list[Figure]:
    """Measure looking at each number of the large file."""
    source, spans = synthetic(folder / "large.bin", LARGE), folder / "spans.json"
    inspect = python("-m", "converter", "inspect", source, "--json")
    tensors = json.loads(run(inspect).output)["tensors"]
    spans.write_text(json.dumps([[tensor["offset"], tensor["bytes"], 0] for tensor in tensors]))
    alone = f"from converter.use_cases.inspect import inspect; inspect({str(source)!r}, stats=True)"
    runs = in_turns(
        {
            "inspect": [*inspect, "--stats"],
            "alone": python("-c", alone),
            "loop": python(RIVALS, "loop", source, spans),
            "digest": python(RIVALS, "digest", source),
        },
        rounds,
    )
    taken = {name: seconds(some) for name, some in runs.items()}
    size = source.stat().st_size
    source.unlink()
    both = taken["loop"] + taken["digest"]
    return [
        Figure(f"statistics of {size / 1e9:.1f} GB", taken["alone"], unit=" s"),
        Figure("÷ NumPy loop", taken["alone"] / taken["loop"], 2),
        Figure("inspect --stats, with SHA-256", taken["inspect"], unit=" s"),
        Figure("÷ NumPy loop", taken["inspect"] / taken["loop"]),
        Figure("÷ SHA-256 alone, the floor", taken["inspect"] / taken["digest"]),
        Figure("÷ (NumPy loop + SHA-256), as it does both", taken["inspect"] / both),
        Figure("peak resident memory", peak(runs["inspect"]), 64, " MiB"),
    ]


def parsing(folder: Path, rounds: int) -> list[Figure]:
    """Measure files of very many tensors."""
    figures, times = [], []
    for layers in (1000, 4000):
        source = synthetic(folder / "tensors.bin", f"{TINY} --n-layer {layers} --force")
        time = json.loads(run(python(RIVALS, "parse", source, str(rounds))).output)
        times.append(time["schema"])
        what = f"parse {3 + 9 * layers:,} tensors ÷ struct loop"
        figures.append(Figure(what, time["schema"] / time["struct"], 3))
    figures.append(Figure("parse: 4 times the tensors take times", times[1] / times[0]))
    return figures


def start_up(folder: Path, rounds: int) -> list[Figure]:
    """Measure a file that is nothing to convert."""
    source = synthetic(folder / "small.bin", SMALL)
    runs = in_turns(
        {
            "convert": converting(source, folder / "small.gguf"),
            "inspect": python("-m", "converter", "inspect", source),
            "import": python("-c", IMPORT),
            "least": python("-c", "import numpy, construct"),
        },
        3 * rounds,
    )
    taken = {name: seconds(some) for name, some in runs.items()}
    return [
        Figure("convert a small file ÷ import", taken["convert"] / taken["import"], 1.6),
        Figure("inspect a small file ÷ import", taken["inspect"] / taken["import"], 1.3),
        Figure("÷ import of what it needs", taken["inspect"] / taken["least"]),
    ]
