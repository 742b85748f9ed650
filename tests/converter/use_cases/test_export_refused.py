"""What a program that calls `export` reads where its choices do not go with the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from exported import VOCABULARY
from packed import checkpoint

from converter import ConversionError
from converter.use_cases.export import ExportOptions, export

EVERY = "f32 or f16 or bf16 or q8_0"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ExportOptions(VOCABULARY, outtype="q4_0"),
            f"expected --outtype {EVERY} for a model, found q4_0; give one of these, or leave "
            "--outtype out",
        ),
        (
            ExportOptions(),
            "expected a vocabulary of 2 tokens, which the checkpoint does not hold, found no "
            "--vocab; not LLaMA's, which has 32,000: look for the file that was the trainer's "
            "--vocab-model, for its --model-out (ggml-NAME.bin), or for a tokenizer.model",
        ),
    ],
)
def test_a_model(options: ExportOptions, said: str, tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "in.bin"
    source.write_bytes(checkpoint(n_layer=1).data)
    with pytest.raises(ConversionError) as caught:
        export(source, folder / "out.gguf", options)
    assert str(caught.value) == f"{source}: {said}"
    assert list(folder.iterdir()) == []
