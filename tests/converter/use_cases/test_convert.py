"""The GGUF that a checkpoint becomes, read back by two readers that have nothing in common."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from gguf_bytes import GGUF_VECTORS, expected, read, single
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packed import checkpoint as packed_checkpoint
from real_files import training_checkpoints
from reference import checkpoint as reference

from converter import Writing, Written, __version__
from converter.use_cases.convert import convert
from ggcp_schema import FormatError
from ggcp_schema.enums import OptimizerType
from ggcp_schema.synthetic import Synthetic

COMPLETE = [
    "ggcp_42d9b4cfc_11layers.bin",
    "v0_adam_one.bin",
    "v0_lbfgs_patched.bin",
    "v1_adam_one.bin",
    "v1_adam_one_noflash.bin",
    "v1_adam_past3.bin",
    "v1_lbfgs.bin",
    "v1params_adam_default.bin",
]
# What the first trainer with GGUF wrote itself, for the same runs.
NATIVE = {
    "v1_adam_one.bin": "v1_adam_one.gguf",
    "v1_adam_one_noflash.bin": "v1_adam_one_noflash.gguf",
    "v1_adam_past3.bin": "v1_adam_past3.gguf",
    "v1_lbfgs.bin": "v1_lbfgs.gguf",
}
TRUNCATED = "v0_lbfgs_truncated_master43033b7bb.bin"


@pytest.fixture(scope="module")
def converted(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every complete fixture, converted once."""
    folder = tmp_path_factory.mktemp("converted")
    outputs = {name: folder / Path(name).with_suffix(".gguf") for name in COMPLETE}
    for name, output in outputs.items():
        convert(fixtures / name, output)
    return outputs


def as_gguf_reads(path: Path) -> dict[str, tuple[list[str], Any]]:
    """Keys as the gguf package reads them: the names of their types, and the values."""
    fields = GGUFReader(path).fields.items()
    return {
        name: ([kind.name for kind in field.types], field.contents())
        for name, field in fields
        if not name.startswith("GGUF.")
    }


def test_every_complete_fixture_of_this_magic_is_here() -> None:
    assert set(training_checkpoints(cut=True)) == {*COMPLETE, TRUNCATED}


@pytest.mark.parametrize("name", COMPLETE)
class TestRealCheckpoint:
    def test_keys(self, name: str, converted: dict[str, Path], fixtures: Path) -> None:
        wanted = expected(reference.read(fixtures / name), __version__)
        assert read(converted[name]).keys == wanted.keys

    def test_tensors(self, name: str, converted: dict[str, Path], fixtures: Path) -> None:
        wanted = expected(reference.read(fixtures / name), __version__).tensors
        found = read(converted[name]).tensors
        assert [(t.name, t.dims, t.type) for t in found] == [
            (t.name, t.dims, t.type) for t in wanted
        ]
        assert [t.name for t, w in zip(found, wanted, strict=True) if t.data != w.data] == []

    def test_whole_file(self, name: str, converted: dict[str, Path], fixtures: Path) -> None:
        wanted = expected(reference.read(fixtures / name), __version__)
        assert converted[name].read_bytes() == wanted.to_bytes()

    def test_what_the_gguf_package_reads(
        self, name: str, converted: dict[str, Path], fixtures: Path
    ) -> None:
        wanted = expected(reference.read(fixtures / name), __version__)
        types = {4: "UINT32", 5: "INT32", 6: "FLOAT32", 7: "BOOL", 8: "STRING", 10: "UINT64"}
        assert as_gguf_reads(converted[name]) == {
            key.name: ([types[key.type]], key.value) for key in wanted.keys
        }
        for found, tensor in zip(GGUFReader(converted[name]).tensors, wanted.tensors, strict=True):
            assert found.name == tensor.name
            assert found.tensor_type.name == "F32"
            assert found.shape.tolist() == list(tensor.dims), found.name
            assert found.data.shape == tensor.dims[::-1], found.name
            assert found.data.dtype == np.dtype("<f4")
            assert found.data.tobytes() == tensor.data, found.name


@pytest.mark.parametrize("name", NATIVE)
class TestNative:
    """A conversion is what the trainer wrote itself."""

    def test_keys(self, name: str, converted: dict[str, Path], fixtures: Path) -> None:
        found = as_gguf_reads(converted[name])
        # Later trainers brought the keys that llama.cpp needs for inference, and training.type.
        inference = {"llama.context_length", "llama.rope.freq_base", "llama.rope.scale_linear"}
        wanted = {
            key: value
            for key, value in as_gguf_reads(fixtures / NATIVE[name]).items()
            if key not in inference and not key.startswith("tokenizer.")
        }
        ours = {"training.type", "ggcp.version", "ggcp.optimizer_version", "ggcp.gradients"}
        assert {name: found[name] for name in wanted} == wanted
        assert found.keys() - wanted.keys() == ours

    def test_tensors(self, name: str, converted: dict[str, Path], fixtures: Path) -> None:
        assert read(converted[name]).tensors == read(fixtures / NATIVE[name]).tensors


@pytest.mark.parametrize("kind", ["adam", "lbfgs"])
def test_past_losses_of_version_0(kind: str, tmp_path: Path) -> None:
    """Only a changed release could write them, so the file is packed by hand."""
    source, output = tmp_path / "past.bin", tmp_path / "past.gguf"
    source.write_bytes(packed_checkpoint(0, kind, past=3, n_layer=1).data)
    convert(source, output)
    assert output.read_bytes() == expected(reference.read(source), __version__).to_bytes()
    gguf = read(output)
    assert gguf.key("optimizer.convergence_past_count").value == 3
    losses = gguf.tensor(f"optimizer.{kind}.past_loss_values")
    assert (losses.dims, losses.data) == ((3,), struct.pack("<3f", 1, 2, 3))


def test_result_says_what_was_written(fixtures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    written = convert(fixtures / "v0_adam_one.bin", output)
    assert written == Written(str(output), 23, output.stat().st_size)


def test_epsilon_is_the_one_that_was_given(fixtures: Path, tmp_path: Path) -> None:
    convert(fixtures / "v0_adam_one.bin", tmp_path / "out.gguf", epsilon=5e-6)
    wanted = expected(reference.read(fixtures / "v0_adam_one.bin"), __version__, epsilon=5e-6)
    assert (tmp_path / "out.gguf").read_bytes() == wanted.to_bytes()


def test_truncated_checkpoint(fixtures: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        convert(fixtures / TRUNCATED, tmp_path / "out.gguf")
    assert str(caught.value).startswith(
        f"{fixtures / TRUNCATED}: model.layers[0].feed_forward.w3.padding at offset 0xc1b3: "
        "expected 13 bytes, found 0 bytes and the end of the file; "
    )
    assert list(tmp_path.iterdir()) == []


def test_same_input_gives_the_same_bytes(fixtures: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "one.gguf", tmp_path / "two.gguf"]
    for output in outputs:
        convert(fixtures / "v1_lbfgs.bin", output)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@st.composite
def synthetics(draw: st.DrawFn) -> Synthetic:
    head_count = draw(st.integers(1, 4))
    head_dimension = 2 * draw(st.integers(1, 4))
    optimizer_version = draw(st.integers(0, 1))
    return Synthetic(
        vocabulary_size=draw(st.integers(1, 40)),
        embedding_length=head_count * head_dimension,
        feed_forward_multiple=draw(st.integers(1, 40)),
        head_count=head_count,
        block_count=draw(st.integers(0, 12)),
        rope_dimension_count=draw(st.sampled_from([None, 2, head_dimension])),
        optimizer_type=draw(st.sampled_from(OptimizerType)),
        optimizer_version=optimizer_version,
        with_params=bool(optimizer_version) and draw(st.booleans()),
        convergence_past_count=draw(st.integers(0, 5)),
        approx_hessian_count=draw(st.integers(1, 5)),
        iteration_count=draw(st.integers(0, 2**31 - 1)),
        context_length=1,
        seed=draw(st.integers(0, 2**32)),
    )


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(made=synthetics(), epsilon=st.sampled_from([1e-6, 5e-6, 1e-5]))
def test_any_checkpoint_survives(made: Synthetic, epsilon: float, tmp_path: Path) -> None:
    source, output = tmp_path / "in.bin", tmp_path / "out.gguf"
    with source.open("wb") as file:
        made.write(file)
    convert(source, output, epsilon=epsilon, writing=Writing(force=True, sync=False))
    checkpoint = reference.read(source)
    header, optimizer = checkpoint.header, checkpoint.optimizer

    keys = {name: value for name, (_, value) in as_gguf_reads(output).items()}
    kind = optimizer.type
    stored = {
        "llama.attention.layer_norm_rms_epsilon": single(epsilon),
        "llama.embedding_length": header["n_embd"],
        "llama.attention.head_count": header["n_head"],
        "llama.block_count": header["n_layer"],
        "llama.rope.dimension_count": header["n_rot"],
        "training.iteration_count": header["train_its"],
        "training.sample_count": header["train_samples"],
        "training.token_count": header["train_tokens"],
        "optimizer.convergence_past_count": made.convergence_past_count,
        "optimizer.parameter_count": optimizer.nx,
        "optimizer.iteration_count": made.iteration_count,
        "optimizer.type": kind,
        f"optimizer.{kind}.best_loss": optimizer.scalars["fx_best"],
        "ggcp.optimizer_version": made.optimizer_version,
    }
    assert {name: keys[name] for name in stored} == stored
    assert kind == made.optimizer_type.name.lower()
    assert keys.get("optimizer.lbfgs.approx_hessian_count", 0) == optimizer.lbfgs_m

    vectors = {
        f"optimizer.{kind}.{new}": optimizer.vectors[old]
        for old, new in GGUF_VECTORS[kind].items()
        if optimizer.vectors[old].size
    }
    names = reference.gguf_names(header["n_layer"])
    wanted = {new: checkpoint.tensors[old] for old, new in names.items()} | vectors
    tensors = GGUFReader(output).tensors
    assert [tensor.name for tensor in tensors] == list(wanted)
    for tensor in tensors:
        assert tensor.data.shape == wanted[tensor.name].shape
        assert tensor.data.tobytes() == wanted[tensor.name].tobytes()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        convert(tmp_path / "none.bin", tmp_path / "out.gguf")
    assert str(caught.value) == (
        f"{tmp_path / 'none.bin'}: no such file; check the name and the folder"
    )
