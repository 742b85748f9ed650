"""The first answer where it is just as long as it may be, and what it says of rare files."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest
from packed import Packed, checkpoint

from converter import inspect
from converter.report.json import as_json
from converter.report.screen import as_screen
from converter.report.vocabulary_advice import vocabulary_advice

NAN = struct.pack("<f", math.nan)


def changed(made: Packed, **fields: bytes) -> None:
    for path, data in fields.items():
        made.data[:] = made.with_field(path, data)


def test_forty_lines_where_not_all_notes_have_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With everything noted that can be: one line less would leave out another note."""
    made = checkpoint(
        1, "lbfgs", n_embd=4, n_rot=2, n_layer=11, past=3, longest_name=31
    )  # cut names, a rotation of a part, losses of the past
    _, length = made.fields["model.norm.padding"]
    changed(
        made,
        **{
            "optimizer.state.best_loss": NAN,
            "model.norm.padding": b"\1" * length,
            "model.norm.data": struct.pack("<4f", math.nan, math.inf, 1, 1),
            "training.token_count": struct.pack("<I", 97),
        },
    )
    (tmp_path / "chk.bin").write_bytes(made.data)
    monkeypatch.chdir(tmp_path)
    lines = as_screen(inspect("chk.bin", stats=True), width=80).split("\n")
    assert sum(-(-len(line) // 80) or 1 for line in lines) == 40
    assert any(line.endswith("more with --all") for line in lines)


def test_what_a_narrow_terminal_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts are never narrower than 30 columns beside their labels."""
    (tmp_path / "chk.bin").write_bytes(checkpoint(1).data)
    monkeypatch.chdir(tmp_path)
    lines = as_screen(inspect("chk.bin"), width=20).split("\n")
    assert "  vocabulary  2 tokens, not in this file;" in lines
    assert "  training    3 iterations, 6 samples, 96" in lines


def test_of_the_first_trainers_it_is_said_what_is_missing(fixtures: Path) -> None:
    for name in ("pre_37c69435f.bin", "pre_b241b9cb6.bin"):
        notes = as_json(inspect(fixtures / name))["notes"]
        assert any(
            note.startswith(
                "It holds no optimizer state: the model can be exported, its training cannot go on."
            )
            for note in notes
        )
        assert not any("does not follow from the counters" in note for note in notes)


def test_of_another_vocabulary_of_as_many_tokens_as_llama_s(tmp_path: Path) -> None:
    (tmp_path / "chk.bin").write_bytes(checkpoint(1, n_vocab=32_000).data)
    found = vocabulary_advice(inspect(tmp_path / "chk.bin"))
    assert found is not None
    assert found.kind == "LLaMA's, almost certainly"
    assert found.advice[0].startswith("Take ggml-vocab-llama-spm.gguf from llama.cpp's repository")
    (tmp_path / "chk.bin").write_bytes(checkpoint(1, n_vocab=32_001).data)
    found = vocabulary_advice(inspect(tmp_path / "chk.bin"))
    assert found is not None
    assert (found.token_count, found.kind, found.link) == (
        32_001,
        "not LLaMA's, which has 32,000",
        "",
    )
    assert found.advice[0].startswith("Look for a file of yours with that many tokens: ")
