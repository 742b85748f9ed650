"""The export of a model of 0.9 GB.

- export as f32 ÷ (bare kernel copy of the same bytes + ``import gguf, construct``)
- export as f16, bf16 and q8_0 ÷ ``gguf.quants.quantize`` of each whole matrix, written to a file,
  and ÷ the floor: one cast in NumPy, block by block, written to a file
- peak resident memory of each

The vocabulary has 32,000 tokens, as LLaMA's.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from timing import RIVALS, Figure, in_turns, peak, python, run, seconds

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
from converter.inputs import open_checkpoint
from converter.layouts.tables import tensor_name
places = {{t.name: int(t.data_offset) for t in GGUFReader({str(target)!r}).tensors}}
with open_checkpoint({str(source)!r}) as opened:
    print(json.dumps([
        [weight.span.offset, weight.span.length, places[tensor_name(path)]]
        for path, weight in opened.snapshot().weights.items()
    ]))
"""
    path.write_text(run(python("-c", script)).output)
    return path


def exporting(source: Path, target: Path, words: Path, outtype: str) -> list[str]:
    """Return the command that exports."""
    return python(
        *("-m", "converter", "export", source, target, "--vocab", words, "--outtype", outtype),
        *("--no-fsync", "--force", "--quiet"),
    )


def export(folder: Path, rounds: int) -> list[Figure]:
    """Measure every type."""
    source, target = folder / "model.bin", folder / "model.gguf"
    run(
        python(
            *("-m", "converter", "synth", source, "--quiet", "--no-fsync"),
            *(*LARGE.split(), "--n-layer", "12"),
        )
    )
    words = vocabulary(folder / "vocabulary.gguf", TOKENS)
    run(exporting(source, target, words, "f32"))
    size = target.stat().st_size
    where = spans(source, target, folder / "spans.json")

    def clean() -> None:
        target.unlink(missing_ok=True)
        os.sync()

    def rival(name: str, *outtype: str) -> list[str]:
        return python(RIVALS, name, source, where, target, *outtype)

    figures = []
    for outtype in OUTTYPES:
        if outtype == "f32":
            rivals = {"(bare kernel copy + import)": rival("copy")}
        else:
            rivals = {
                "quantize on whole matrices": rival("quantize", outtype),
                "(one cast in NumPy + import), the floor": rival("cast", outtype),
            }
        ours = exporting(source, target, words, outtype)
        runs = in_turns({"export": ours, **rivals}, rounds, clean)
        taken = seconds(runs["export"])
        figures += [
            Figure(f"export {size / 1e9:.2f} GB as {outtype}", taken, unit=" s"),
            *(Figure(f"÷ {name}", taken / seconds(runs[name])) for name in rivals),
            Figure("peak resident memory", peak(runs["export"]), 64, " MiB"),
        ]
    source.unlink()
    clean()
    return figures
