"""Exported models give the same logits in transformers on PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exported import GGJT_VOCABULARY, SENTENCE, VOCABULARY, export, train, write_checkpoint
from reference import llama
from reference.checkpoint import read

from converter import ExportOptions
from converter import export as export_file
from ggcp_schema.synthetic import Synthetic

pytestmark = [
    pytest.mark.engines,
    # What these packages warn about among themselves is not about the files.
    pytest.mark.filterwarnings("ignore"),
]

TOKENS = [1, 261, 273, 274, 298, 295, 296, 297]

REAL = {  # the epsilon of each file's trainer
    "ggcp_42d9b4cfc_11layers.bin": 1e-6,
    "v0_adam_one.bin": 1e-6,
    "v0_lbfgs_patched.bin": 1e-6,
    "v1_adam_one.bin": 1e-5,
    "v1_lbfgs.bin": 1e-5,
    "v1params_adam_default.bin": 1e-6,
}


@pytest.fixture(autouse=True)
def _engine() -> None:
    pytest.importorskip("torch", exc_type=ImportError)
    pytest.importorskip("transformers", exc_type=ImportError)


def assert_same_logits(
    checkpoint: Path, path: Path, tokens: list[int], epsilon: float, within: float = 1e-4
) -> None:
    from reference import transformers_engine

    stored = read(checkpoint)
    expected = llama.forward(stored.tensors, stored.header, tokens, epsilon=epsilon)
    found = transformers_engine.logits(path, tokens)
    print(f"{checkpoint.name}: largest difference {np.abs(found - expected).max():.3g}")
    np.testing.assert_allclose(found, expected, atol=within, rtol=0)


@pytest.mark.parametrize("name", REAL)
def test_real_checkpoints(name: str, fixtures: Path, tmp_path: Path) -> None:
    # transformers keeps what it read by its name, and pytest gives that of a folder again.
    path = export(fixtures / name, tmp_path / f"{name}.gguf", epsilon=REAL[name])
    assert_same_logits(fixtures / name, path, TOKENS, REAL[name])


# Q8_0 keeps seven bits of a weight, BF16 eight, F16 eleven.
@pytest.mark.parametrize(
    ("outtype", "within"), [("f32", 1e-4), ("f16", 0.02), ("bf16", 0.2), ("q8_0", 0.5)]
)
def test_every_type(outtype: str, within: float, tmp_path: Path) -> None:
    synthetic = Synthetic(block_count=1, context_length=64)
    weights = train(synthetic, SENTENCE)
    checkpoint = write_checkpoint(tmp_path / "checkpoint.bin", synthetic, weights)
    path = export(checkpoint, tmp_path / f"{outtype}.gguf", outtype=outtype, epsilon=1e-5)
    assert_same_logits(checkpoint, path, SENTENCE, 1e-5, within)


@pytest.mark.parametrize("vocabulary", [VOCABULARY, GGJT_VOCABULARY])
def test_the_tokenizer_loads(vocabulary: Path, fixtures: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    path = export(
        fixtures / "v1_adam_one.bin", tmp_path / "model.gguf", vocabulary=vocabulary, epsilon=1e-5
    )
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    assert len(tokenizer) == 300
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    tokens = tokenizer("Où ?").input_ids
    assert tokenizer.decode(tokens, skip_special_tokens=True).strip() == "Où ?"


def test_scaled_positions_are_not_read(fixtures: Path, tmp_path: Path) -> None:
    """Which is why export warns of them; the base is read."""
    from transformers import AutoConfig

    path = tmp_path / "model.gguf"
    export_file(fixtures / "chk_aug23_rope.gguf", path, ExportOptions())
    config = AutoConfig.from_pretrained(tmp_path, gguf_file=path.name)
    assert config.rope_parameters == {"rope_theta": 20000.0, "rope_type": "default"}


def test_a_model_that_is_called_mistral_is_refused(fixtures: Path, tmp_path: Path) -> None:
    """Which is why export warns of that name."""
    from reference import transformers_engine

    path = export(
        fixtures / "v1_adam_one.bin",
        tmp_path / "model.gguf",
        model_name="mistral",
        epsilon=1e-5,
    )
    with pytest.raises(NotImplementedError):
        transformers_engine.logits(path, TOKENS)
