"""The first answer to a file: on one screen, the most important first."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from command import ENVIRONMENT, run
from exported import export
from packed import checkpoint

from converter import inspect
from converter.report.screen import as_screen, without_commits

JULY_10 = 1_688_983_200  # date -u -d @1688983200: Mon Jul 10 10:00:00 UTC 2023
NOW = 1_767_225_600  # 2026-01-01

RELEASE = """\
Whole: every byte accounted for.

  file        chk.bin, 524,492 bytes (512.2 KiB)
  kind        training checkpoint, optimizer context version 0
  written by  train-text-from-scratch, llama.cpp from 2023-06-13 to 2023-08-28,
              or its branch from 2023-05-21 on
  training    30 iterations, 12 samples, 192 tokens, context length 16
  loss        5.438177; not a mean loss: releases sum the loss of the last row
              over the threads, their branch before them that of all rows of a
              batch
  optimizer   Adam, parameters in the order scratch
  model       16,336 parameters: 2 layers, 16 embedding elements, 2 heads, 48
              feed-forward elements
  vocabulary  300 tokens, not in this file; not LLaMA's, which has 32,000: look
              for the file that was the trainer's --vocab-model, for its
              --model-out (ggml-NAME.bin), or for a tokenizer.model
  epsilon     not in this file; dated 2023-07-10: probably --eps 1e-6

What you can do next
  # Run the model (VOCAB: the vocabulary it was trained with, 300 tokens; dated
  # 2023-07-10: probably --eps 1e-6)
  ggcp export chk.bin chk-model.gguf --vocab VOCAB --eps 1e-6
  # Continue the training in PyTorch, from a Hugging Face folder
  ggcp export chk.bin chk-pytorch --format hf --vocab VOCAB --eps 1e-6
  # Continue the training with llama.cpp of August 2023 to May 2024; add --batch
  # with the trainer's -b, if you know it
  ggcp convert chk.bin chk-resume.gguf --resume-with flash --eps 1e-6
  # Continue the training with that of July 2024, or --no-flash
  ggcp convert chk.bin chk-resume.gguf --resume-with plain --eps 1e-6
  # Compare the result with this file
  ggcp verify chk.bin chk-resume.gguf

More: --all (every number), --tensors (every tensor), --stats (their values)
"""

LBFGS = """\
Whole: every byte accounted for.

  file        chk.bin, 935,480 bytes (913.6 KiB)
  kind        training checkpoint, optimizer context version 1
  written by  train-text-from-scratch, development branch of llama.cpp (until
              August 2023)
  training    0 iterations, 8 samples, 128 tokens, context length 16
  loss        5.704186, the best so far; the mean cross-entropy of a token, in
              nats
  optimizer   L-BFGS, 5 iterations, parameters in the order flash
  model       12,976 parameters: 1 layer, 16 embedding elements, 2 heads, 48
              feed-forward elements
  vocabulary  300 tokens, not in this file; found vocab300.gguf with 300 tokens:
              if the model was trained with it, add --vocab vocab300.gguf
  epsilon     not in this file; by the trainer's age 1e-6, from 2023-07-25 5e-6,
              from 2023-08-21 1e-5 (--eps)

What you can do next
  # Run the model (vocab300.gguf has its 300 tokens)
  ggcp export chk.bin chk-model.gguf --vocab vocab300.gguf
  # Continue the training with llama.cpp of August 2023 to May 2024
  ggcp convert chk.bin chk-resume.gguf --resume-with flash
  # Continue the training with that of July 2024, or --no-flash
  ggcp convert chk.bin chk-resume.gguf --resume-with plain
  # Compare the result with this file
  ggcp verify chk.bin chk-resume.gguf

More: --all (every number), --tensors (every tensor), --stats (their values)
"""

ABORTED = """\
Damaged, but the model can be rescued.

  file        chk.bin, 49,587 bytes (48.4 KiB)
  kind        training checkpoint
  damaged     model.layers[0].feed_forward.w3.padding at byte 49,587 of 49,587
  training    0 iterations, 2 samples, 32 tokens, context length 16
  model       1 layer, 16 embedding elements, 2 heads, 48 feed-forward elements
  vocabulary  300 tokens, not in this file; found vocab300.gguf with 300 tokens:
              if the model was trained with it, add --vocab vocab300.gguf
  epsilon     not in this file; by the trainer's age 1e-6, from 2023-07-25 5e-6,
              from 2023-08-21 1e-5 (--eps)

What you can do next
  # Rescue the model, with zeros for what is missing (vocab300.gguf has its 300
  # tokens)
  ggcp export chk.bin chk-model.gguf --vocab vocab300.gguf --rescue

More: --all (every number), --tensors (every tensor), --stats (their values)
"""

DAMAGED_LORA = """\
Damaged, but the LoRA can be rescued.

  file        chk.bin, 51,432 bytes (50.2 KiB)
  kind        LoRA finetune checkpoint, optimizer context version 1
  written by  finetune, development branch of llama.cpp, 2023-08-16 to
              2023-08-29
  damaged     optimizer.state.second_moments.data at byte 35,296 of 51,432
  training    10 iterations, 20 samples, 320 tokens, context length 16
  optimizer   Adam
  model       4,053 parameters, the change of a model: 2 layers, 32 embedding
              elements, 4 heads, 96 feed-forward elements
  ranks       1 to 2
  epsilon     not in this file; by the trainer's age 5e-6, from 2023-08-29 1e-5
              (--eps)

What you can do next
  # Use it as an adapter with llama.cpp --lora
  ggcp export chk.bin chk-adapter.gguf --rescue
  # Merge it into its base model (BASE.gguf, 300 tokens, 2 layers, 32 embedding
  # elements, 96 feed-forward elements, 4 heads)
  ggcp export chk.bin chk-merged.gguf --merge BASE.gguf --rescue

More: --all (every number), --tensors (every tensor), --stats (their values)
"""

GGUF_LORA = """\
Whole: every byte accounted for.

  file        chk.bin, 95,776 bytes (93.5 KiB)
  kind        LoRA finetune checkpoint (GGUF)
  written by  finetune, llama.cpp from 2023-10-20 to July 2024
  training    12 iterations, 26 samples, 768 tokens, context length 32
  loss        4.217386; the mean cross-entropy of a token, in nats
  optimizer   Adam, parameters in the order plain
  model       7,011 parameters, the change of a model: 2 layers, 32 embedding
              elements, 4 heads, 96 feed-forward elements
  ranks       1 to 6
  epsilon     1e-5, in this file

What you can do next
  # Use it as an adapter with llama.cpp --lora
  ggcp export chk.bin chk-adapter.gguf
  # Merge it into its base model (BASE.gguf, 300 tokens, 2 layers, 32 embedding
  # elements, 96 feed-forward elements, 4 heads)
  ggcp export chk.bin chk-merged.gguf --merge BASE.gguf
  # Continue the training with llama.cpp of August 2023 to May 2024
  ggcp convert chk.bin chk-resume.gguf --resume-with flash
  # Continue the training with that of July 2024, or --no-flash
  ggcp convert chk.bin chk-resume.gguf --resume-with plain
  # Compare the result with this file
  ggcp verify chk.bin chk-resume.gguf

More: --all (every number), --tensors (every tensor), --stats (their values)
"""


@pytest.mark.parametrize(
    ("name", "moment", "vocabulary", "screen"),
    [
        ("v0_adam_one.bin", JULY_10, False, RELEASE),
        ("v1_lbfgs.bin", NOW, True, LBFGS),
        ("v0_lbfgs_truncated_master43033b7bb.bin", NOW, True, ABORTED),
        ("chk_jul24_lora_ranks.gguf", NOW, True, GGUF_LORA),
    ],
)
def test_word_for_word(
    name: str, moment: int, vocabulary: bool, screen: str, fixtures: Path, tmp_path: Path
) -> None:
    shutil.copy(fixtures / name, tmp_path / "chk.bin")
    os.utime(tmp_path / "chk.bin", (0, moment))
    if vocabulary:
        shutil.copy(fixtures / "vocab300.gguf", tmp_path)
    assert as_screen_in(tmp_path, "chk.bin") == screen


def test_a_damaged_lora(fixtures: Path, tmp_path: Path) -> None:
    data = (fixtures / "ggcl_v1_adam_1a5f0a30e.bin").read_bytes()
    (tmp_path / "chk.bin").write_bytes(data[:-100])
    assert as_screen_in(tmp_path, "chk.bin") == DAMAGED_LORA


def test_a_model_that_was_exported(fixtures: Path, tmp_path: Path) -> None:
    """Nothing needs to be made of it again; the prompt fits into its context of 16 tokens."""
    export(fixtures / "v1_adam_one.bin", tmp_path / "m.gguf")
    words = as_screen_in(tmp_path, "m.gguf")
    assert "  kind        model that ggcp made (GGUF)\n" in words
    steps = words.partition("What you can do next\n")[2].partition("\n\n")[0]
    assert steps == (
        '  # It is ready to run, and needs nothing more\n  llama-completion -m m.gguf -p "O" -n 32'
    )


def as_screen_in(folder: Path, name: str) -> str:
    """What `ggcp NAME` prints, with nothing else said."""
    done = run(name, cwd=folder, env={**ENVIRONMENT, "COLUMNS": "80"})
    assert done.stderr.count("\n") == done.returncode  # the error of a damaged file
    return done.stdout


def rows(text: str) -> int:
    """Rows of a terminal of 80 columns."""
    return sum(-(-len(line) // 80) or 1 for line in text.rstrip("\n").split("\n"))


def test_forty_lines_for_every_real_file(fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fixtures)
    names = [path.name for path in fixtures.iterdir() if path.suffix in (".bin", ".gguf")]
    seen = 0
    for name in names:
        if name == "vocab300.gguf":
            continue
        report = inspect(name)
        text = as_screen(report)
        said = f"ggcp: {report.error}" if report.error else ""
        assert rows(text) + (rows(said) if said else 0) <= 40, name
        commands = {line for line in text.split("\n") if line.startswith("  ggcp ")}
        assert all(len(line) <= 80 for line in text.split("\n") if line not in commands), name
        seen += 1
    assert seen > 25


@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
@pytest.mark.parametrize("version", [0, 1])
def test_forty_lines_for_a_hundred_layers(version: int, kind: str, tmp_path: Path) -> None:
    (tmp_path / "chk.bin").write_bytes(
        checkpoint(version, kind, n_vocab=32_000, n_layer=100, past=3, longest_name=31).data
    )
    report = inspect(tmp_path / "chk.bin")
    assert rows(as_screen(report).replace(f"{tmp_path}/", "")) <= 40
    assert "LLaMA's: any GGUF" in as_screen(report)


@pytest.mark.parametrize("length", [10, 60, 100, 200, 500, 900])
def test_forty_lines_wherever_it_is_cut(length: int, tmp_path: Path) -> None:
    (tmp_path / "chk.bin").write_bytes(checkpoint(1, n_layer=1).data[:length])
    text = as_screen_in(tmp_path, "chk.bin")
    assert rows(text) <= 40
    assert text.startswith(("Nothing can be made of this.", "Damaged, but the model can be"))


def test_a_long_and_hostile_name(tmp_path: Path) -> None:
    name = "\x1b[2J\n\u202e" + "x" * 200 + ".bin"
    (tmp_path / name).write_bytes(checkpoint(1).data)
    text = as_screen_in(tmp_path, f"./{name}")
    assert all(line.isprintable() for line in text.split("\n"))
    assert text.split("\n")[2].startswith(r"  file        ./\x1b[2J\n\u202exxx")
    assert "xxx...xxx" in text


def test_a_loss_that_is_no_number(tmp_path: Path) -> None:
    made = checkpoint(1)
    nan = b"\0\0\xc0\x7f"
    (tmp_path / "chk.bin").write_bytes(made.with_field("optimizer.state.previous_loss", nan))
    assert "  loss        nan; the training diverged\n" in as_screen_in(tmp_path, "chk.bin")


def test_everything_else_is_behind_options(fixtures: Path) -> None:
    path = fixtures / "v0_adam_one.bin"
    hidden = ("just initialized", "Settings of L-BFGS", "e32089b2c", "norm.weight", "SHA-256")
    screen = run("inspect", path).stdout
    assert not [word for word in hidden if word in screen]
    everything = run("inspect", path, "--all").stdout
    assert [word for word in hidden if word in everything] == list(hidden[:3])
    assert "norm.weight" in run("inspect", path, "--tensors").stdout
    stats = run("inspect", path, "--stats").stdout
    assert "\n  modified    " in stats
    assert "\n  SHA-256     " in stats
    assert "std dev" in stats


def test_words_without_commits() -> None:
    assert without_commits("from 2023-06-13 (e32089b2c) on") == "from 2023-06-13 on"
    assert without_commits("branch, d395b19c8 to 4072f20bb (until") == "branch (until"
    assert without_commits("d39c8e6860 accessible") == "d39c8e6860 accessible"


def test_a_note_without_its_commit_keeps_its_date(
    fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fixtures)  # long names in the commands would take the room of the notes
    text = " ".join(as_screen(inspect("ggcl_0564f4ed1.bin")).split())
    assert "n_mult is 4, a constant in finetune from 2023-08-29 on." in text
