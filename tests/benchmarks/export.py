"""Measures the export of a model of 0.9 GB: ``python tests/benchmarks/export.py``.

Prints a table of figures and targets. All but the memory are ratios of medians of runs in turns:

- export as f32 ÷ (bare kernel copy of the same bytes + ``import gguf, construct``)
- export as f16, bf16 and q8_0 ÷ ``gguf.quants.quantize`` of each whole matrix, written to a file
- peak resident memory of each

The vocabulary has 32,000 tokens, as LLaMA's. Takes 4 GB in a temporary folder (``--folder``) and
some minutes. Nothing is asserted: a machine that is busy gives other figures.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
import tempfile
from pathlib import Path

from timing import Figure, in_turns, print_table, python, run, seconds

RIVALS = Path(__file__).parent / "rivals.py"
TOKENS = 32_000
LARGE = f"--n-vocab {TOKENS} --n-embd 1024 --n-mult 256 --n-head 16 --optimizer-version 1"
OUTTYPES = ("f32", "f16", "bf16", "q8_0")


def vocabulary(path: Path, tokens: int) -> Path:
    """Make a GGUF of a vocabulary and nothing else."""

    def text(data: bytes) -> bytes:
        return struct.pack("<Q", len(data)) + data

    def array(name: bytes, element: int, data: bytes) -> bytes:
        return text(b"tokenizer.ggml." + name) + struct.pack("<IIQ", 9, element, tokens) + data

    texts = b"".join(text(b"token%d" % index) for index in range(tokens))
    path.write_bytes(
        b"GGUF"
        + struct.pack("<IQQ", 3, 0, 4)
        + text(b"tokenizer.ggml.model")
        + struct.pack("<I", 8)
        + text(b"llama")
        + array(b"tokens", 8, texts)
        + array(b"scores", 6, bytes(4 * tokens))
        + array(b"token_type", 5, struct.pack("<i", 1) * tokens)
    )
    return path


def spans(source: Path, target: Path, path: Path) -> Path:
    """Find where each weight is in the checkpoint and in its GGUF, for the rivals."""
    script = f"""
import json
from gguf import GGUFReader
from converter.layouts.trainer import model_tensors
from ggcp_schema import parse
places = {{t.name: int(t.data_offset) for t in GGUFReader({str(target)!r}).tensors}}
with parse({str(source)!r}) as checkpoint:
    print(json.dumps([
        [record.data.offset, record.data.length, places[name + ".weight"]]
        for _, name, record in model_tensors(checkpoint.container.model)
    ]))
"""
    path.write_text(run(python("-c", script)).output)
    return path


def quantize(source: str, spans: str, target: str, outtype: str) -> None:
    """Do what a plain converter does: whole matrices through the gguf package."""
    import construct  # noqa: F401 - its time counts
    import gguf
    import numpy as np

    kind = gguf.GGMLQuantizationType[outtype.upper()]
    with Path(source).open("rb") as one, Path(target).open("wb") as other:
        for offset, length, _place in json.loads(Path(spans).read_text()):
            values = np.fromfile(one, "<f4", length // 4, offset=offset - one.tell())
            if length > 4 * 1024:  # matrices, here
                values = gguf.quants.quantize(values.reshape(-1, 1024), kind)
            values.tofile(other)


def exporting(source: Path, target: Path, words: Path, outtype: str) -> list[str]:
    """Return the command that exports."""
    return python(
        *("-m", "converter", "export", source, target, "--vocab", words, "--outtype", outtype),
        *("--no-fsync", "--force", "--quiet"),
    )


def measured(folder: Path, rounds: int, layers: int, tokens: int) -> list[Figure]:
    """Measure every type."""
    source, target = folder / "model.bin", folder / "model.gguf"
    options = LARGE.replace(str(TOKENS), str(tokens)).split()
    run(
        python(
            *("-m", "converter", "synth", source, "--quiet", "--no-fsync"),
            *(*options, "--n-layer", str(layers)),
        )
    )
    words = vocabulary(folder / "vocabulary.gguf", tokens)
    run(exporting(source, target, words, "f32"))
    size = target.stat().st_size
    where = spans(source, target, folder / "spans.json")

    def clean() -> None:
        target.unlink(missing_ok=True)
        os.sync()

    figures = []
    for outtype in OUTTYPES:
        if outtype == "f32":
            name = "(bare kernel copy + import)"
            rival = python(RIVALS, "copy", source, where, target)
        else:
            name = "quantize on whole matrices"
            rival = python(__file__, "--rival", source, where, target, outtype)
        ours = exporting(source, target, words, outtype)
        runs = in_turns({"export": ours, "rival": rival}, rounds, clean)
        taken = seconds(runs["export"])
        peak = max(one.peak for one in runs["export"]) / 2**20
        what = f"export {size / 1e9:.2f} GB as {outtype}"
        figures += [
            Figure(what, taken, unit=" s"),
            Figure(f"÷ {name}", taken / seconds(runs["rival"])),
            Figure("peak resident memory", peak, 200, " MiB"),
        ]
    return figures


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--rival"]:
        quantize(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", help="where to write 4 GB (default: the temporary folder)")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each (default: 7)")
    parser.add_argument("--layers", type=int, default=12, help="layers of the model (default: 12)")
    parser.add_argument(
        "--tokens", type=int, default=TOKENS, help=f"tokens of the model (default: {TOKENS})"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = measured(Path(folder), options.rounds, options.layers, options.tokens)
    print_table(figures)


if __name__ == "__main__":
    main()
