"""The first answer where it is just as long as it may be, and what it says of rare files."""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path

import pytest
from lora_bytes import BYTES as LORA
from packed import Packed, checkpoint
from vocabulary_files import SPECIAL, ggjt

from converter import inspect
from converter.report.advice import steps, summary
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
    report = inspect("chk.bin", stats=True)
    lines = as_screen(report, width=80).split("\n")
    assert sum(-(-len(line) // 80) or 1 for line in lines) == 40
    for width in (60, 80):
        shown = [
            line for line in as_screen(report, width=width).split("\n") if line.startswith("  - ")
        ]
        left = len(as_json(report)["notes"]) - len(shown[:-1])
        assert left > (width == 60)
        assert shown[-1] == f"  - {left} more with --all"


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


@pytest.mark.parametrize(
    ("layers", "iterations", "cut", "words"),
    [
        (0, 3, 0, "A model of 10 parameters in 0 layers, after 3 iterations of training."),
        (1, 1, 0, "A model of 66 parameters in 1 layer, after 1 iteration of training."),
        (2, 0, 0, "A model of 122 parameters in 2 layers."),
        (2, 0, 1, "A model of 122 parameters in 2 layers. The file is damaged."),
        (2, 2, 1500, "A damaged file, of which only the beginning can be read."),
    ],
)
def test_a_file_in_one_line(
    layers: int, iterations: int, cut: int, words: str, tmp_path: Path
) -> None:
    """A layer of 2 dimensions, and 6 within, has 2 * 2 + 4 * 2 * 2 + 3 * 2 * 6 parameters."""
    data = checkpoint(1, n_layer=layers).with_number("training.iteration_count", iterations)
    (tmp_path / "chk.bin").write_bytes(data[: len(data) - cut])
    assert summary(inspect(tmp_path / "chk.bin")) == words


def test_a_vocabulary_with_a_name_for_nobody_s_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chk.bin").write_bytes(checkpoint(1, n_vocab=3).data)
    (tmp_path / "a \x1b[1m.bin").write_bytes(ggjt(*SPECIAL))
    monkeypatch.chdir(tmp_path)
    step = steps(inspect("chk.bin"))[0]
    assert step.purpose == r"Run the model (a \x1b[1m.bin has its 3 tokens)"
    assert step.command == r"ggcp export chk.bin chk-model.gguf --vocab $'a \x1b[1m.bin'"


def noted(data: bytes | bytearray, folder: Path) -> str:
    (folder / "chk.bin").write_bytes(data)
    return " ".join(as_json(inspect(folder / "chk.bin"))["notes"])


SET_UP = "The optimizer was set up, but no iteration was computed yet."
DIVERGED = "A loss is not a finite number: the training may have diverged."


def test_notes_of_the_optimizer(tmp_path: Path) -> None:
    made = checkpoint(1, past=3)
    said = noted(made.data, tmp_path)
    assert SET_UP not in said
    assert DIVERGED not in said
    assert SET_UP in noted(made.with_number("optimizer.just_initialized", 1), tmp_path)
    for field in ("best_loss", "previous_loss", "past_loss_values.data"):
        path = f"optimizer.state.{field}"
        _, length = made.fields[path]
        data = made.with_field(path, NAN * (length // 4))
        assert DIVERGED in noted(data, tmp_path), field


def test_a_whole_rotation_is_not_noted(tmp_path: Path) -> None:
    """n_rot is 64 by default, or all of a smaller head."""
    for head, rotated, words in (
        (2, 2, ""),
        (64, 64, ""),
        (128, 64, "Only 64 of the 128 dimensions of a head rotate."),
        (66, 66, "66 dimensions of each head rotate, not 64: the trainer's --rotmax."),
    ):
        data = checkpoint(1, n_embd=head, n_rot=rotated).data
        said = noted(data, tmp_path)
        assert words in said
        assert ("dimensions of each head rotate" in said) == (rotated == 66)
        assert ("dimensions of a head rotate" in said) == (head == 128)


def test_a_damaged_file_dated_is_rescued_with_its_epsilon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chk.bin").write_bytes(checkpoint(n_layer=1).data[:-1])
    os.utime(tmp_path / "chk.bin", (0, 1_688_983_200))  # 2023-07-10
    monkeypatch.chdir(tmp_path)
    [step] = steps(inspect("chk.bin"))
    assert step.purpose.startswith("Rescue the model, all of which is there (VOCAB: ")
    assert "2023-07-10" in step.purpose
    assert step.command == "ggcp export chk.bin chk-model.gguf --vocab VOCAB --eps 1e-6 --rescue"


def test_of_losses_nothing_is_said_where_none_are_left(tmp_path: Path) -> None:
    made = checkpoint()
    start, _ = made.fields["optimizer.just_initialized"]
    said = "The losses are no mean losses"
    assert said not in noted(made.data[:start], tmp_path)
    assert said in noted(made.data, tmp_path)


def test_an_order_that_does_not_matter_is_not_asked_for(tmp_path: Path) -> None:
    """All moments are zero: they are so in any order."""
    made = checkpoint()
    asked = "The order of the parameters is not certain"
    assert asked in noted(made.data, tmp_path)
    for path, (_, length) in made.fields.items():
        if path.endswith("_moments.data"):
            changed(made, **{path: bytes(length)})
    assert asked not in noted(made.data, tmp_path)


def test_nan_and_infinite_values_are_told_apart(tmp_path: Path) -> None:
    for value, held, other in (
        (math.nan, "NaN", "infinite"),
        (-math.inf, "infinite values", "NaN"),
    ):
        data = checkpoint(1).with_field("model.norm.data", struct.pack("<2f", 1, value))
        (tmp_path / "chk.bin").write_bytes(data)
        notes = " ".join(as_json(inspect(tmp_path / "chk.bin", stats=True))["notes"])
        assert f"There are {held} in 1 tensors, model.norm first." in notes
        assert f"There are {other}" not in notes


@pytest.mark.parametrize(("counted", "line"), [(0, None), (5, "5.5, the best so far; ")])
def test_the_loss_of_lbfgs_that_counted_nothing_itself(
    counted: int, line: str | None, tmp_path: Path
) -> None:
    """Its own counter is 0 in the first iteration of a run, that of the optimizer goes on."""
    made = checkpoint(1, "lbfgs")
    changed(made, **{"optimizer.state.line_search_k": bytes(4)})
    data = made.with_number("optimizer.iteration_count", counted)
    (tmp_path / "chk.bin").write_bytes(data)
    losses = [
        text
        for text in as_screen(inspect(tmp_path / "chk.bin")).split("\n")
        if text.startswith("  loss ")
    ]
    assert [text.startswith(f"  loss        {line}") for text in losses] == [True] * bool(line)


def test_one_rank_of_all_pairs(tmp_path: Path) -> None:
    (tmp_path / "chk.bin").write_bytes(LORA)
    assert "  ranks       1" in as_screen(inspect(tmp_path / "chk.bin")).split("\n")


@pytest.mark.parametrize(
    ("length", "shown"),
    [(60, f"{'a' * 30}{'b' * 26}.bin"), (61, f"{'a' * 29}...{'b' * 25}.bin")],
)
def test_a_name_of_more_than_sixty_characters_is_cut(
    length: int, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{'a' * 30}{'b' * (length - 34)}.bin"
    (tmp_path / name).write_bytes(checkpoint(1).data)
    monkeypatch.chdir(tmp_path)
    assert f"  file        {shown}," in as_screen(inspect(name)).split("\n")[2]


def test_an_adapter_has_no_counters(fixtures: Path) -> None:
    for name in ("ggla_oct23_lora.bin", "ggla_1a5f0a30e_lora.bin"):
        assert as_json(inspect(fixtures / name))["notes"] == []


def test_who_read_everything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "chk.bin").write_bytes(checkpoint().data)
    said = "The order of the parameters is not certain; convert --resume-with "
    for stats, then in (
        (False, "reads everything to find it, and if need be asks for --order."),
        (True, "asks for --order."),
    ):
        assert said + then in as_json(inspect(tmp_path / "chk.bin", stats=stats))["notes"]


def test_a_lora_in_one_line(tmp_path: Path) -> None:
    """Its pairs are of 2 + 3, 2 + 1 and 2 + 3 elements."""
    (tmp_path / "chk.bin").write_bytes(LORA)
    assert summary(inspect(tmp_path / "chk.bin")) == (
        "A LoRA of 13 parameters in 0 layers, after 10 iterations of training."
    )


def test_a_name_is_cut_as_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "\x1b" * 20 + ".bin"
    (tmp_path / name).write_bytes(checkpoint(1).data)
    monkeypatch.chdir(tmp_path)
    shown = (r"\x1b" * 8)[:29] + "..." + (r"\x1b" * 7 + ".bin")[-29:]
    assert as_screen(inspect(name)).split("\n")[2].startswith(f"  file        {shown}, ")


def test_what_is_lost_needs_neither_vocabulary_nor_epsilon(tmp_path: Path) -> None:
    made = checkpoint(1, n_layer=1)
    start, _ = made.fields["model.norm.data"]
    (tmp_path / "chk.bin").write_bytes(made.data[:start])
    text = as_screen(inspect(tmp_path / "chk.bin"))
    assert text.startswith("Nothing can be made of this.")
    assert "\n  model       1 layer, 2 embedding elements, 1 head" in text
    assert "\n  vocabulary " not in text
    assert "\n  epsilon " not in text
