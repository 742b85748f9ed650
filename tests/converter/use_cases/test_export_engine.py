"""Exported models run in llama.cpp itself, and say what float64 NumPy computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exported import (
    GGJT_VOCABULARY,
    SENTENCE,
    VOCABULARY,
    export,
    header,
    random_weights,
    train,
    write_checkpoint,
)
from gguf import GGUFReader
from reference import llama, llama_cpp
from reference.checkpoint import read

from ggcp_schema.synthetic import Synthetic

PROMPT = [1, 261, 273]

REAL = {  # the epsilon of each file's trainer
    "ggcp_42d9b4cfc_11layers.bin": 1e-6,
    "v0_adam_one.bin": 1e-6,
    "v0_lbfgs_patched.bin": 1e-6,
    "v1_adam_one.bin": 1e-5,
    "v1_lbfgs.bin": 1e-5,
    "v1params_adam_default.bin": 1e-6,
}

Chosen = list[tuple[int, float]]


def assert_same(found: Chosen, expected: Chosen, within: float = 2e-5) -> None:
    assert [token for token, _ in found] == [token for token, _ in expected]
    figures = ([figure for _, figure in some] for some in (found, expected))
    np.testing.assert_allclose(*figures, atol=within, rtol=0)


def numpy_says(checkpoint: Path, epsilon: float) -> Chosen:
    stored = read(checkpoint)
    return llama.greedy(stored.tensors, stored.header, PROMPT, 5, epsilon=epsilon)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("vocabulary", [VOCABULARY, GGJT_VOCABULARY])
def test_real_checkpoints(name: str, vocabulary: Path, fixtures: Path, tmp_path: Path) -> None:
    path = export(
        fixtures / name, tmp_path / "model.gguf", vocabulary=vocabulary, epsilon=REAL[name]
    )
    found = llama_cpp.greedy_log_probabilities(path, PROMPT, 5)
    assert_same(found, numpy_says(fixtures / name, REAL[name]))


def test_the_epsilon_is_the_one_that_was_given(fixtures: Path, tmp_path: Path) -> None:
    checkpoint = fixtures / "v0_adam_one.bin"
    path = export(checkpoint, tmp_path / "model.gguf", epsilon=0.01)
    found = llama_cpp.greedy_log_probabilities(path, PROMPT, 5)
    assert_same(found, numpy_says(checkpoint, 0.01))
    trained = numpy_says(checkpoint, 1e-6)
    assert max(abs(a[1] - b[1]) for a, b in zip(found, trained, strict=True)) > 1e-3


@pytest.mark.parametrize(
    ("embedding_length", "head_count", "rotated"), [(16, 2, 4), (32, 2, 10), (160, 1, 64)]
)
def test_heads_that_are_rotated_in_part(
    embedding_length: int, head_count: int, rotated: int, tmp_path: Path
) -> None:
    synthetic = Synthetic(
        embedding_length=embedding_length,
        head_count=head_count,
        rope_dimension_count=rotated,
        context_length=16,
    )
    weights = random_weights(synthetic, 2.0)
    checkpoint = write_checkpoint(tmp_path / "checkpoint.bin", synthetic, weights)
    path = export(checkpoint, tmp_path / "model.gguf", epsilon=1e-5)
    found = llama_cpp.greedy_log_probabilities(path, PROMPT, 5)
    assert_same(found, numpy_says(checkpoint, 1e-5))
    everything_rotated = llama.greedy(
        weights,
        header(synthetic),
        PROMPT,
        5,
        epsilon=1e-5,
        rope_dimension_count=embedding_length // head_count,
    )
    assert max(abs(a[1] - b[1]) for a, b in zip(found, everything_rotated, strict=True)) > 0.1


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that knows SENTENCE by heart, all of whose rows Q8_0 can hold."""
    synthetic = Synthetic(block_count=1, context_length=64)
    path = tmp_path_factory.mktemp("trained") / "checkpoint.bin"
    return write_checkpoint(path, synthetic, train(synthetic, SENTENCE))


# How far the logarithm of the probability of a token that the model is sure of may be off.
PRECISION = {"f32": 2e-5, "f16": 1e-4, "bf16": 1e-3, "q8_0": 1e-3}
TYPES = {"f32": ["F32"], "f16": ["F16", "F32"], "bf16": ["BF16", "F32"], "q8_0": ["F32", "Q8_0"]}


@pytest.mark.parametrize("outtype", PRECISION)
def test_every_type_says_the_same(outtype: str, trained: Path, tmp_path: Path) -> None:
    path = export(trained, tmp_path / "model.gguf", outtype=outtype, epsilon=1e-5)
    reader = GGUFReader(path)
    assert sorted({tensor.tensor_type.name for tensor in reader.tensors}) == TYPES[outtype]
    stored = read(trained)
    expected = llama.greedy(stored.tensors, stored.header, SENTENCE[:2], 5, epsilon=1e-5)
    assert [token for token, _ in expected] == SENTENCE[2:7]
    found = llama_cpp.greedy_log_probabilities(path, SENTENCE[:2], 5)
    assert_same(found, expected, PRECISION[outtype])


@pytest.mark.parametrize("outtype", PRECISION)
def test_byte_tokens_come_out_as_bytes(outtype: str, trained: Path, tmp_path: Path) -> None:
    path = export(trained, tmp_path / "model.gguf", outtype=outtype, epsilon=1e-5)
    text = llama_cpp.complete_text(path, SENTENCE[:2], len(SENTENCE) - 2)
    assert text == "ù est la forêt ? ¶"


@pytest.mark.parametrize("vocabulary", [VOCABULARY, GGJT_VOCABULARY])
def test_a_prompt_goes_through_the_tokenizer(
    vocabulary: Path, trained: Path, tmp_path: Path
) -> None:
    path = export(trained, tmp_path / "model.gguf", vocabulary=vocabulary, epsilon=1e-5)
    # llama.cpp puts a space before a prompt, so that it meets the sentence in its middle.
    assert llama_cpp.complete_text(path, "Où est la", 12) == " forêt ? ¶"


def test_types_that_fall_back_run(fixtures: Path, tmp_path: Path) -> None:
    checkpoint = fixtures / "v1_adam_one.bin"
    path = export(checkpoint, tmp_path / "model.gguf", outtype="q8_0", epsilon=1e-5)
    assert_same(
        llama_cpp.greedy_log_probabilities(path, PROMPT, 1),
        numpy_says(checkpoint, 1e-5)[:1],
        within=1e-3,
    )


def test_what_an_aborted_save_left_runs_once_rescued(fixtures: Path, tmp_path: Path) -> None:
    checkpoint = fixtures / "v0_lbfgs_truncated_master43033b7bb.bin"
    path = export(checkpoint, tmp_path / "model.gguf", rescue=True, epsilon=1e-5)
    assert len(llama_cpp.greedy_log_probabilities(path, PROMPT, 5)) == 5
