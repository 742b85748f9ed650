"""Measures the conversion of a checkpoint of 3.7 GB: ``python tests/benchmarks/convert.py``.

Prints a table of figures and targets. All but the memory are ratios of medians of runs in turns:

- convert ÷ (bare kernel copy of the same bytes + ``import gguf, construct``)
- convert ÷ (``cp`` of the output + that import)
- convert ÷ a loop of memmap and ``tofile``, as the historical converter wrote
- peak resident memory of that conversion
- parsing 9,003 and 36,003 tensors ÷ a bare ``struct`` loop, and how both grow
- converting a small file ÷ ``import gguf, construct``

Takes 9 GB in a temporary folder (``--folder``) and some minutes. Nothing is asserted: a machine
that is busy gives other figures.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from timing import Figure, in_turns, print_table, python, run, seconds

RIVALS = Path(__file__).parent / "rivals.py"
IMPORT = "import gguf, construct"
LARGE = "--n-vocab 32000 --n-embd 1024 --n-mult 256 --n-head 16 --n-layer 4"
TINY = "--n-vocab 4 --n-embd 2 --n-mult 2 --n-head 1 --optimizer-version 1"
SMALL = "--n-layer 2"


def synthetic(path: Path, options: str) -> Path:
    """Make a synthetic checkpoint."""
    run(python("-m", "converter", "synth", path, "--quiet", "--no-fsync", *options.split()))
    return path


def converting(source: Path, target: Path) -> list[str]:
    """Return the command that converts."""
    return python(
        *("-m", "converter", "convert", source, target, "--no-fsync", "--force", "--quiet")
    )


def copied_spans(source: Path, target: Path, spans: Path) -> None:
    """Find where each tensor's bytes in a GGUF come from, for the rivals to copy the same."""
    script = f"""
import json
from gguf import GGUFReader
from converter.use_cases.convert import plan_conversion
from ggcp_schema import parse
with parse({str(source)!r}) as checkpoint:
    plan = plan_conversion(checkpoint)
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
        },
        rounds,
        clean,
    )
    clean()
    ours = seconds(runs["convert"])
    peak = max(one.peak for one in runs["convert"]) / 2**20
    sizes = f"{source.stat().st_size / 1e9:.1f} GB in, {reference.stat().st_size / 1e9:.1f} GB out"
    for path in (source, reference):
        path.unlink()
    return [
        Figure(f"convert, {sizes}", ours, unit=" s"),
        Figure("÷ (bare kernel copy + import)", ours / seconds(runs["copy"]), 1.25),
        Figure("÷ (cp of the output + import)", ours / seconds(runs["cp"]), 0.95),
        Figure("÷ memmap and tofile", ours / seconds(runs["memmap"])),
        Figure("peak resident memory", peak, 64, " MiB"),
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
            "import": python("-c", IMPORT),
        },
        3 * rounds,
    )
    ratio = seconds(runs["convert"]) / seconds(runs["import"])
    return [Figure("convert a small file ÷ import", ratio, 1.6)]


PARTS = {"conversion": conversion, "parsing": parsing, "start-up": start_up}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", help="where to write 9 GB (default: the temporary folder)")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each (default: 7)")
    parser.add_argument("--only", choices=PARTS, help="measure only this")
    options = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name, part in PARTS.items():
            if options.only in (None, name):
                figures += part(Path(folder), options.rounds)
    print_table(figures)


if __name__ == "__main__":
    main()
