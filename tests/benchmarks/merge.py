"""The merge of a LoRA checkpoint of finetune into a base model of 0.9 GB in F32.

- merge ÷ a NumPy loop: each whole matrix of the base, plus the product of its pair, to a file
- peak resident memory

llama.cpp's own export-lora left its repository with finetune, and no binding has it.
"""

from __future__ import annotations

import os
from pathlib import Path

from export import LARGE, TOKENS, exporting, vocabulary
from timing import RIVALS, Figure, in_turns, peak, python, run, seconds

LAYERS = "12"
SIZES = f"--n-vocab {TOKENS} --n-embd 1024 --n-mult 256 --n-ff 2816 --n-head 16"


def pairs(lora: Path, base: Path, path: Path) -> Path:
    """Find where each tensor of the base is, and the pair that changes it, for the rival."""
    script = f"""
import json
from gguf import GGUFReader
from converter.inputs import open_checkpoint
from converter.layouts.tables import tensor_name
with open_checkpoint({str(lora)!r}) as opened:
    found = {{
        tensor_name(tensor): [[half.span.offset, *half.shape] for half in (pair.a, pair.b)]
        for tensor, pair in opened.snapshot().pairs()
    }}
    print(json.dumps([
        [int(tensor.data_offset), int(tensor.n_bytes), found[tensor.name]]
        for tensor in GGUFReader({str(base)!r}).tensors
    ]))
"""
    path.write_text(run(python("-c", script)).output)
    return path


def merge(folder: Path, rounds: int) -> list[Figure]:
    """Measure the merge of every tensor."""
    words = ("--quiet", "--no-fsync")
    whole, base = folder / "base.bin", folder / "base.gguf"
    lora, target = folder / "lora.bin", folder / "merged.gguf"
    synth = python("-m", "converter", "synth")
    run([*synth, str(whole), *words, *LARGE.split(), "--n-layer", LAYERS])
    run(exporting(whole, base, vocabulary(folder / "vocabulary.gguf", TOKENS), "f32"))
    whole.unlink()
    run([*synth, str(lora), *words, "--lora", *SIZES.split(), "--n-layer", LAYERS])
    where = pairs(lora, base, folder / "pairs.json")

    def clean() -> None:
        target.unlink(missing_ok=True)
        os.sync()

    ours = python("-m", "converter", "export", lora, target, "--merge", base, *words)
    rival = python(RIVALS, "merge", lora, base, where, target)
    runs = in_turns({"merge": ours, "loop": rival}, rounds, clean)
    size = base.stat().st_size
    for path in (base, lora):
        path.unlink()
    clean()
    taken = seconds(runs["merge"])
    return [
        Figure(f"merge a LoRA into {size / 1e9:.2f} GB", taken, unit=" s"),
        Figure("÷ NumPy loop over whole matrices", taken / seconds(runs["loop"])),
        Figure("peak resident memory", peak(runs["merge"]), 64, " MiB"),
    ]
