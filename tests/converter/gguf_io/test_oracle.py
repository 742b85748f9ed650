"""Our reader and the gguf package's agree on every GGUF of the fixtures and of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import corpus
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, ReaderField
from lora_models import case_of
from paths import FIXTURES
from real_files import names, training_checkpoints
from tiny_files import WRITING, perform, write_inputs
from vocabulary_files import gguf

from converter.gguf_io.reader import read_gguf
from converter.plan import Metadata
from ggcp_schema import Source
from ggcp_schema.language.texts import Texts

CHECKPOINTS = training_checkpoints(cut=True)
TRUNCATED = "v0_lbfgs_truncated_master43033b7bb.bin"
LORA = "ggcl_v1_adam_1a5f0a30e.bin"


def agree(path: Path) -> None:
    """Compare everything that the two readers find in a file."""
    oracle = GGUFReader(path)
    with Source.open(path) as source:
        found = read_gguf(source)
        fields = {n: f for n, f in oracle.fields.items() if not n.startswith("GGUF.")}
        version = oracle.fields["GGUF.version"]
        assert found.version == version.contents()
        assert (found.alignment, found.data_offset) == (oracle.alignment, oracle.data_offset)
        assert list(found.keys) == list(fields)
        for name, field in fields.items():
            metadata, offset = found.keys[name].metadata, found.keys[name].offset
            assert metadata.key == name
            assert offset == field.offset + 8 + len(name.encode()) + 4
            kinds = [kind for kind in (metadata.type, metadata.element_type) if kind is not None]
            # The package takes the type of elements from the first one.
            assert kinds[: len(field.types)] == field.types
            assert len(kinds) == len(field.types) or not len(metadata.value)
            same_value(metadata, field)
        assert list(found.tensors) == [tensor.name for tensor in oracle.tensors]
        for tensor, other in zip(found.tensors.values(), oracle.tensors, strict=True):
            assert tensor.name == other.name
            assert tensor.type == other.tensor_type
            assert tensor.data.shape == tuple(other.shape.tolist())
            assert (tensor.data.offset, tensor.data.length) == (other.data_offset, other.n_bytes)
            data = source.read_at(tensor.data.offset, tensor.data.length)
            assert data == other.data.tobytes()


def same_value(metadata: Metadata, field: ReaderField) -> None:
    value: Any = metadata.value
    parts = [field.parts[index] for index in field.data]
    if field.types[-1] is GGUFValueType.STRING:
        texts = [bytes(part) for part in parts]
        if isinstance(value, Texts):
            assert value == texts
        else:
            assert [value.encode() if isinstance(value, str) else value] == texts
        return
    numbers = np.concatenate(parts) if parts else np.array([])
    if isinstance(value, np.ndarray):
        assert value.tobytes() == numbers.tobytes()
    else:
        assert np.array([value], numbers.dtype).tobytes() == numbers.tobytes()


@pytest.mark.parametrize("name", names(ending=".gguf"))
def test_fixtures(name: str, fixtures: Path) -> None:
    agree(fixtures / name)


def test_vocabularies_and_models_of_every_type(tmp_path: Path) -> None:
    path = tmp_path / "some.gguf"
    files = [data for data in corpus.vocabularies() if data.startswith(b"GGUF")]
    for data in (*files, *corpus.models(), gguf(version=2) + bytes(8)):
        path.write_bytes(data)
        agree(path)


@pytest.mark.parametrize("kind", [GGMLQuantizationType.F32, GGMLQuantizationType.Q8_0])
def test_a_base_with_keys_of_every_type(
    kind: GGMLQuantizationType, fixtures: Path, tmp_path: Path
) -> None:
    case = case_of(fixtures / LORA, tmp_path)
    case.write_base(kind, alignment=64, extra_tensors={"é": np.arange(7, dtype=np.int16)})
    agree(case.base)


@pytest.mark.parametrize("line", [n for n in WRITING if n not in ("synth", "inspect", "document")])
def test_what_every_command_writes(line: str, tmp_path: Path) -> None:
    write_inputs(tmp_path)
    perform(WRITING[line], folder=tmp_path, out=tmp_path / "out.gguf")
    agree(tmp_path / "out.gguf")


@pytest.mark.parametrize("name", [*CHECKPOINTS, LORA])
def test_what_becomes_of_every_fixture(name: str, fixtures: Path, tmp_path: Path) -> None:
    places = {
        "source": fixtures / name,
        "out": tmp_path / "out",
        "vocab": FIXTURES / "vocab300.gguf",
    }
    lines = ["convert {source} {out} --force"] if name != TRUNCATED else []
    if name == LORA:
        case = case_of(fixtures / name, tmp_path)
        case.write_base()
        places["base"] = case.base
        lines += [
            "export {source} {out} --force --outtype f16",
            "export {source} {out} --force --merge {base}",
            "export {source} {out} --force --merge {base} --outtype q8_0",
        ]
    else:
        lines += [
            f"export {{source}} {{out}} --force --vocab {{vocab}} --rescue --outtype {outtype}"
            for outtype in ("f32", "f16", "bf16")
        ]
    for line in lines:
        perform(line, **places)
        agree(places["out"])
