"""Checkpoints of May 2023 without a magic, through every command that fits them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from exported import VOCABULARY
from gguf_bytes import read
from reference import checkpoint as reference
from reference import llama, llama_cpp

from converter import ConversionError, ExportOptions, convert, export, inspect, verify
from converter.report.advice import steps, summary
from converter.report.html import as_html
from converter.report.json import as_json
from converter.report.text import as_text
from ggcp_schema import FormatError

REAL = ["pre_b241b9cb6.bin", "pre_37c69435f.bin"]
PROMPT = [1, 261, 273]
OPTIONS = ExportOptions(VOCABULARY, context_length=32)


@pytest.mark.parametrize("name", REAL)
def test_the_model_is_exported_with_the_epsilon_of_its_time(
    name: str, fixtures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "model.gguf"
    caplog.set_level(logging.INFO, "ggcp")
    export(fixtures / name, path, OPTIONS)
    assert caplog.messages == [
        "epsilon of the norms 1e-6, as in training (--eps for another)",
    ]
    header, tensors = reference.read_magicless(fixtures / name)
    found = read(path.read_bytes())
    keys = {key.name: key.value for key in found.keys}
    assert keys["llama.attention.layer_norm_rms_epsilon"] == np.float32(1e-6)
    assert keys["llama.context_length"] == 32
    assert keys["llama.block_count"] == header["n_layer"]
    assert keys["llama.feed_forward_length"] == 48
    assert "ggcp.optimizer_version" not in keys
    names = reference.gguf_names(header["n_layer"])
    assert [(t.name, t.data) for t in found.tensors] == [
        (names[old], tensor.tobytes()) for old, tensor in tensors.items()
    ]
    assert verify(fixtures / name, path) == []


def test_another_epsilon_is_taken_without_a_word(
    fixtures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ggcp")
    options = ExportOptions(VOCABULARY, context_length=32, epsilon=0.25)
    export(fixtures / REAL[0], tmp_path / "model.gguf", options)
    assert caplog.messages == []
    keys = {k.name: k.value for k in read((tmp_path / "model.gguf").read_bytes()).keys}
    assert keys["llama.attention.layer_norm_rms_epsilon"] == 0.25


@pytest.mark.parametrize("name", REAL)
def test_llama_cpp_says_what_float64_says(name: str, fixtures: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    export(fixtures / name, path, OPTIONS)
    header, tensors = reference.read_magicless(fixtures / name)
    expected = llama.greedy(tensors, header, PROMPT, 5, epsilon=1e-6)
    found = llama_cpp.greedy_log_probabilities(path, PROMPT, 5)
    assert [token for token, _ in found] == [token for token, _ in expected]
    figures = ([figure for _, figure in some] for some in (found, expected))
    np.testing.assert_allclose(*figures, atol=2e-5, rtol=0)


def test_the_context_length_is_asked_for(fixtures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        export(fixtures / REAL[0], tmp_path / "model.gguf", ExportOptions(VOCABULARY))
    assert str(caught.value) == (
        f"{fixtures / REAL[0]}: expected the context length, found no count of the tokens of the "
        "training; give it with --context-length: 32 in the trainer's source of the time"
    )


def test_there_is_nothing_to_convert(fixtures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        convert(fixtures / REAL[0], tmp_path / "resume.gguf")
    assert str(caught.value) == (
        f"{fixtures / REAL[0]}: expected a checkpoint with the state of an optimizer, to go on "
        "training from, found a checkpoint of May 2023 without a magic, which holds none; make of "
        "it what today's engines run: ggcp export"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_was_made_for_a_trainer_is_not_compared_with_it(
    fixtures: Path, tmp_path: Path
) -> None:
    convert(fixtures / "v0_adam_one.bin", tmp_path / "resume.gguf")
    with pytest.raises(
        ConversionError, match="expected a checkpoint with the state of an optimizer"
    ):
        verify(fixtures / REAL[0], tmp_path / "resume.gguf")


def test_it_is_inspected(fixtures: Path) -> None:
    report = inspect(fixtures / REAL[1])
    values = as_json(report)
    assert (values["format"], values["kind"]) == (1, "magicless")
    assert values["training"] == {"iteration_count": 12, "sample_count": 6}
    assert (values["optimizer"], values["parameter_order"]) == (None, None)
    assert (values["context_length"], values["parameter_count"]) == (None, 16336)
    assert (values["complete"], len(values["tensors"])) == (True, 21)
    assert summary(report) == (
        "A model of 16,336 parameters in 2 layers, after 12 iterations of training."
    )
    assert [step.command.split()[1] for step in steps(report)] == ["export", "verify"]
    assert all(step.command.count("-model.gguf") == 1 for step in steps(report))
    for words in (as_text(report), as_html(report)):
        assert "baby-llama-text, the first trainer" in words
        assert "-c 32" in words
    (note,) = values["notes"]
    assert note.startswith("It holds no optimizer state: the model can be exported,")


def test_a_damaged_one_is_told_and_rescued(fixtures: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "more.bin"
    damaged.write_bytes((fixtures / REAL[0]).read_bytes() + b"more")
    with pytest.raises(FormatError, match=r"^.*more\.bin: end at offset 0xcdc0: expected the end"):
        export(damaged, tmp_path / "model.gguf", OPTIONS)
    options = ExportOptions(VOCABULARY, context_length=32, rescue=True)
    export(damaged, tmp_path / "model.gguf", options)
    assert verify(damaged, tmp_path / "model.gguf") == []
    report = inspect(damaged)
    assert report.error is not None
    assert "The file is damaged" in summary(report)
