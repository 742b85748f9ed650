"""The note after a success: how to go on with the file that was written."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from command import run
from lora_bytes import BYTES as LORA


def last_note(line: str, folder: Path) -> str:
    done = run(*shlex.split(line), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    return done.stderr.splitlines()[-1]


@pytest.fixture
def inputs(fixtures: Path, tmp_path: Path) -> Path:
    for name in (
        *("v0_adam_one.bin", "v1_adam_past3.bin", "v1_lbfgs.bin", "ggcl_v1_adam_1a5f0a30e.bin"),
        *(
            "ggcl_ecb1b20c8-patched_ranks.bin",
            "ggcl_1a5f0a30e_one_flash.bin",
            "base16.gguf",
            "vocab300.gguf",
        ),
    ):
        shutil.copy(fixtures / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "note"),
    [
        (
            "export v0_adam_one.bin model.gguf --vocab vocab300.gguf",
            'Try it: llama-completion -m model.gguf -p "O" -n 32',
        ),
        (
            "export v0_adam_one.bin 'my $model.gguf' --vocab vocab300.gguf",
            "Try it: llama-completion -m 'my $model.gguf' -p \"O\" -n 32",
        ),
        (
            "export v0_adam_one.bin ./-model --vocab vocab300.gguf",
            'Try it: llama-completion -m ./-model -p "O" -n 32',
        ),
        (
            "export v0_adam_one.bin long.gguf --vocab vocab300.gguf -c 64",
            'Try it: llama-completion -m long.gguf -p "Once upon a time" -n 32',
        ),
        (
            "export ggcl_v1_adam_1a5f0a30e.bin a.gguf",
            'Try it: llama-completion -m BASE.gguf --lora a.gguf -p "Once upon a time" -n 32',
        ),
        (
            "export ggcl_1a5f0a30e_one_flash.bin m.gguf --merge base16.gguf",
            'Try it: llama-completion -m m.gguf -p "Once upon a time" -n 32',
        ),
        (
            "convert v0_adam_one.bin 'a b.gguf' --resume-with flash --batch 2 --eps 1e-6",
            "Go on with the trainer of August 2023 to May 2024 without --no-flash: "
            "train-text-from-scratch --vocab-model VOCAB.gguf --checkpoint-in 'a b.gguf' "
            "--train-data TEXT.txt --ctx 16 -b 2",
        ),
        (
            "convert v1_adam_past3.bin c.gguf --resume-with plain --eps 1e-5",
            "Go on with the trainer of August 2023 to May 2024 with --no-flash, and July 2024: "
            "train-text-from-scratch --vocab-model VOCAB.gguf --checkpoint-in c.gguf "
            "--train-data TEXT.txt --ctx 16 --opt-past 3",
        ),
        (
            "convert v1_lbfgs.bin c.gguf",
            "Go on: train-text-from-scratch --vocab-model VOCAB.gguf --checkpoint-in c.gguf "
            "--train-data TEXT.txt --ctx 16 --use-lbfgs",
        ),
        (
            "convert ggcl_v1_adam_1a5f0a30e.bin c.gguf",
            "Go on: finetune --model-base BASE.gguf --checkpoint-in c.gguf --train-data TEXT.txt "
            "--ctx 16 --lora-r 2",
        ),
        (
            "convert ggcl_ecb1b20c8-patched_ranks.bin c.gguf",
            "Go on: finetune --model-base BASE.gguf --checkpoint-in c.gguf --train-data TEXT.txt "
            "--ctx 16 --lora-r 6 --rank-ffn-norm 2 --rank-out-norm 3 --rank-tok-embd 4 "
            "--rank-out 5 --rank-wk 7 --rank-wv 8 --rank-wo 9 --rank-w1 10 --rank-w2 11 "
            "--rank-w3 12 (w1, w2, w3 are ffn_gate, ffn_down, ffn_up in 2024)",
        ),
    ],
)
def test_the_next_command(line: str, note: str, inputs: Path) -> None:
    assert last_note(line, inputs) == f"ggcp: {note}"


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_who_wants_no_words_gets_none(option: str, inputs: Path) -> None:
    for line in (
        "convert v0_adam_one.bin c.gguf",
        "export v0_adam_one.bin m.gguf --vocab vocab300.gguf",
    ):
        done = run(*line.split(), option, cwd=inputs)
        assert done.returncode == 0
        assert not any(word in done.stderr for word in ("Go on", "Try it"))


def test_a_hostile_name_is_one_word_on_one_line(inputs: Path) -> None:
    done = run("export", "ggcl_v1_adam_1a5f0a30e.bin", "a\n\x1b[2J", cwd=inputs)
    assert done.stderr.splitlines()[-1] == (
        r"ggcp: Try it: llama-completion -m BASE.gguf --lora $'a\x0a\x1b[2J' "
        '-p "Once upon a time" -n 32'
    )


@pytest.mark.parametrize(("place", "option"), [(6, "w1"), (7, "w2"), (8, "w3")])
def test_the_rank_of_one_matrix_that_was_renamed(place: int, option: str, tmp_path: Path) -> None:
    """Any of the three needs its other name; the ranks are 12 numbers of 4 bytes from 0x2c on."""
    data = bytearray(LORA)  # all ranks are 1, and no layer has pairs
    data[0x2C + 4 * place] = 5
    (tmp_path / "l.bin").write_bytes(data)
    assert last_note("convert l.bin c.gguf", tmp_path) == (
        "ggcp: Go on: finetune --model-base BASE.gguf --checkpoint-in c.gguf --train-data TEXT.txt "
        f"--ctx 16 --lora-r 1 --rank-{option} 5 (w1, w2, w3 are ffn_gate, ffn_down, ffn_up in 2024)"
    )
