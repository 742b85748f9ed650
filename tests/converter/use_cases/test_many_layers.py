"""Models of more layers than today's engines take."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from packed import checkpoint
from vocabulary_files import THREE, gguf, tokenizer

from converter import ExportOptions, Writing, export, export_lora
from ggcp_schema.synthetic import SyntheticLora

WARNING = "the model has 513 layers; llama.cpp, and what is built on it, refuses more than 512"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [line for line in caplog.messages if line.startswith("the model has")]
    caplog.clear()
    return found


def test_more_than_512_layers_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "vocab.gguf").write_bytes(gguf(*tokenizer(*THREE)))
    options = ExportOptions(tmp_path / "vocab.gguf", context_length=8)
    for layers, expected in ((512, []), (513, [WARNING])):
        source = tmp_path / f"{layers}.bin"
        source.write_bytes(checkpoint(1, n_vocab=3, n_layer=layers).data)
        export(source, tmp_path / f"{layers}.gguf", options, writing=Writing(sync=False))
        assert warnings(caplog) == expected


def test_so_are_those_of_a_lora(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for layers, expected in ((512, []), (513, [WARNING])):
        file = io.BytesIO()
        SyntheticLora(
            vocabulary_size=3, embedding_length=4, head_count=1, ranks=1, block_count=layers
        ).write(file)
        source = tmp_path / f"{layers}.bin"
        source.write_bytes(file.getvalue())
        export_lora(source, tmp_path / f"{layers}.gguf", writing=Writing(sync=False))
        assert warnings(caplog) == expected
