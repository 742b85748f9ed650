"""The adapter that a LoRA checkpoint becomes: what llama.cpp's loader wants, byte for byte."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGUFReader
from gguf_bytes import read as read_gguf
from hypothesis import given, settings
from lora_bytes import BYTES, file_with_layers, recipes
from lora_models import written_with
from reference import checkpoint as reference
from reference.llama import lora_deltas
from vocabulary_files import pair, text

from converter import ConversionError, Writing, __version__, export_lora
from converter.numeric import delta as lora_delta
from converter.use_cases.verify import verify
from ggcp_schema import FormatError
from ggcp_schema.synthetic import SyntheticLora

REAL = "ggcl_v1_adam_1a5f0a30e.bin"
NORM = "norm.weight"


def info(name: bytes, dims: tuple[int, ...], offset: int) -> bytes:
    packed = struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, 0, offset)  # type 0: F32
    return text(name) + packed


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 32)


def floats(*values: float) -> bytes:
    return padded(struct.pack(f"<{len(values)}f", *values))


def test_every_byte_of_an_adapter(tmp_path: Path) -> None:
    # 3 tokens of 2 elements, all ranks 1, no layers; the norm's pair is not in it.
    (tmp_path / "lora.bin").write_bytes(BYTES)
    export_lora(tmp_path / "lora.bin", tmp_path / "out.gguf")
    head = (
        b"GGUF"
        + struct.pack("<IQQ", 3, 4, 6)  # version 3, 4 tensors, 6 keys
        + pair("general.architecture", 8, text(b"llama"))
        + pair("general.type", 8, text(b"adapter"))
        + pair("general.file_type", 4, struct.pack("<I", 0))
        + pair("adapter.type", 8, text(b"lora"))
        + pair("adapter.lora.alpha", 6, struct.pack("<f", 0))  # 0: a scale of 1
        + pair("ggcp.version", 8, text(__version__.encode()))
        + info(b"token_embd.weight.lora_a", (1, 3), 0)  # flipped: B is lora_a
        + info(b"token_embd.weight.lora_b", (1, 2), 32)  # and A is lora_b
        + info(b"output.weight.lora_a", (2, 1), 64)  # transposed
        + info(b"output.weight.lora_b", (1, 3), 96)
    )
    data = floats(3, 4, 5) + floats(1, 2) + floats(9, 10) + floats(11, 12, 13)
    assert (tmp_path / "out.gguf").read_bytes() == padded(head) + data


def test_a_is_transposed(tmp_path: Path) -> None:
    (tmp_path / "lora.bin").write_bytes(file_with_layers())
    export_lora(tmp_path / "lora.bin", tmp_path / "out.gguf")
    made = read_gguf(tmp_path / "out.gguf")
    # wk has rank 3, n_embd is 2: for each input its three ranks, then for each rank its two inputs.
    a = made.tensor("blk.0.attn_k.weight.lora_a")
    assert (a.dims, np.frombuffer(a.data, "<f4").tolist()) == ((2, 3), [0, 3, 1, 4, 2, 5])
    b = made.tensor("blk.0.attn_k.weight.lora_b")
    assert (b.dims, np.frombuffer(b.data, "<f4").tolist()) == ((3, 2), [0, 1, 2, 3, 4, 5])


def deltas_of(path: Path) -> dict[str, npt.NDArray[np.float64]]:
    """What llama.cpp adds to each weight, [outputs, inputs], from an adapter of any type."""
    found = {tensor.name: tensor.data.astype(np.float64) for tensor in GGUFReader(path).tensors}
    deltas = {}
    for name in {name.rpartition(".")[0] for name in found}:
        a, b = found[f"{name}.lora_a"], found[f"{name}.lora_b"]
        deltas[name] = a @ b.T if name == "token_embd.weight" else b @ a
    return deltas


def expected(checkpoint: reference.Checkpoint) -> dict[str, npt.NDArray[np.float64]]:
    names = reference.gguf_names(checkpoint.header["n_layer"])
    return {
        names[name]: delta
        for name, delta in lora_deltas(checkpoint.tensors).items()
        if not name.endswith(NORM) and checkpoint.tensors[f"{name}.loraA"].shape[1]
    }


@pytest.mark.parametrize(("outtype", "tolerance"), [("f32", 0), ("f16", 2e-3)])
def test_the_real_file(outtype: str, tolerance: float, fixtures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    export_lora(fixtures / REAL, output, outtype=outtype, writing=Writing(verify=True))
    found, wanted = deltas_of(output), expected(reference.read(fixtures / REAL))
    assert found.keys() == wanted.keys()
    for name, delta in wanted.items():
        np.testing.assert_allclose(
            found[name], delta, rtol=1e-12, atol=tolerance * abs(delta).max()
        )
    reader = GGUFReader(output)
    assert {tensor.tensor_type.name for tensor in reader.tensors} == {outtype.upper()}
    file_type = reader.get_field("general.file_type")
    assert file_type is not None
    assert file_type.contents() == ("f32", "f16").index(outtype)
    assert verify(fixtures / REAL, output) == []


def test_f16_is_the_nearest_half_of_each_value(fixtures: Path, tmp_path: Path) -> None:
    for outtype in ("f32", "f16"):
        export_lora(fixtures / REAL, tmp_path / outtype, outtype=outtype)
    pairs = zip(*(GGUFReader(tmp_path / name).tensors for name in ("f32", "f16")), strict=True)
    for single, half in pairs:
        assert single.name == half.name
        assert half.data.tobytes() == single.data.astype("<f2").tobytes()


@settings(max_examples=40, deadline=None)
@given(recipe=recipes())
def test_any_checkpoint(recipe: SyntheticLora, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = tmp_path_factory.getbasetemp() / "any-adapter.bin"
    output = tmp_path_factory.getbasetemp() / "any-adapter.gguf"
    with source.open("wb") as file:
        recipe.write(file)
    stored = recipe.feed_forward_multiple is not None
    wanted = expected(reference.read(source, n_mult_stored=stored))
    writing = Writing(force=True, sync=False, verify=True)
    if not wanted:
        with pytest.raises(ConversionError):
            export_lora(source, output, writing=writing)
        return
    export_lora(source, output, writing=writing)
    found = deltas_of(output)
    assert found.keys() == wanted.keys()
    for name, delta in wanted.items():
        np.testing.assert_allclose(found[name], delta, rtol=1e-12)
    assert verify(source, output) == []


def test_blocks_do_not_show(
    fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for elements in (1, 7, 64, 1 << 20):
        monkeypatch.setattr(lora_delta, "BLOCK_ELEMENTS", elements)
        export_lora(fixtures / REAL, tmp_path / f"{elements}.gguf")
    made = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(made) == 1


# Norms


def test_changed_norms_are_told(
    fixtures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deltas = lora_deltas(reference.read(fixtures / REAL).tensors)
    largest = {name: abs(d).max() for name, d in deltas.items() if name.endswith(NORM)}
    assert max(largest, key=largest.__getitem__) == "layers.1.ffn_norm.weight"
    assert f"{max(largest.values()):.3g}" == "0.132"
    caplog.set_level(logging.INFO, "ggcp")
    export_lora(fixtures / REAL, tmp_path / "out.gguf")
    assert [record.getMessage() for record in caplog.records] == [
        "an adapter cannot carry what the training changed in the norms: up to 0.132 where the "
        "weights are about 1 (layers[1].ffn_norm); nothing is left out if you merge it into the "
        "base model: --merge BASE.gguf"
    ]


def test_a_norm_that_is_not_a_number_is_told(
    fixtures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "lora.bin"
    written_with(fixtures / REAL, source, {"layers.0.attention_norm.weight.loraB": np.nan})
    export_lora(source, tmp_path / "out.gguf")
    assert "up to nan where the weights are about 1 (layers[0].attention_norm)" in caplog.text


@pytest.mark.parametrize("how", ["zeros", "rank 0"])
def test_unchanged_norms_need_no_word(
    how: str, fixtures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "lora.bin"
    if how == "zeros":
        names = reference.gguf_names(2)
        changes = {f"{name}.loraA": 0.0 for name in names if name.endswith(NORM)}
        written_with(fixtures / REAL, source, changes)
    else:
        with source.open("wb") as file:
            SyntheticLora(ranks={"attention_norm": 0, "ffn_norm": 0, "norm": 0}).write(file)
    export_lora(source, tmp_path / "out.gguf")
    assert caplog.text == ""


# What cannot be


def refused(folder: Path, source: Path, **options: str) -> str:
    with pytest.raises((ConversionError, FormatError)) as caught:
        export_lora(source, folder / "out.gguf", **options)
    assert not any(folder.iterdir())
    return str(caught.value).replace(f"{source}: ", "")


def test_an_adapter_without_pairs(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "lora.bin"
    with source.open("wb") as file:
        SyntheticLora(ranks={"tok_embeddings": 0, "output": 0}, block_count=0).write(file)
    assert refused(folder, source) == (
        "expected a matrix that the training could change, found rank 0 for all of them; an "
        "adapter would be empty; changes of norms can be merged into the base model "
        "(--merge BASE.gguf)"
    )


@pytest.mark.parametrize("outtype", ["bf16", "q8_0"])
def test_a_type_that_an_adapter_cannot_have(outtype: str, fixtures: Path, folder: Path) -> None:
    assert refused(folder, fixtures / REAL, outtype=outtype) == (
        f"expected --outtype f32 or f16 for an adapter, found {outtype}; give one of these, or "
        "leave --outtype out"
    )


def test_a_training_checkpoint(fixtures: Path, folder: Path) -> None:
    assert refused(folder, fixtures / "v1_adam_one.bin") == (
        "expected a vocabulary of 300 tokens, which the checkpoint does not hold, found no "
        f"--vocab; found {fixtures}/vocab300.gguf (and 3 more) with 300 tokens: if the model was "
        f"trained with it, add --vocab {fixtures}/vocab300.gguf"
    )


def test_a_damaged_checkpoint(fixtures: Path, folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "lora.bin"
    source.write_bytes((fixtures / REAL).read_bytes()[:-1])
    assert refused(folder, source) == (
        "optimizer.state.no_improvement_count at offset 0xc948: expected 4 bytes, found 3 bytes "
        "and the end of the file; the file is cut short; look for a whole copy of it; the pairs "
        "in front of it are whole, and --rescue exports them"
    )


def test_values_that_do_not_fit_f16_are_told(
    fixtures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "lora.bin"
    changes = {"output.weight.loraA": 1e5, "layers.0.attention.wq.weight.loraB": np.inf}
    written_with(fixtures / REAL, source, changes)
    export_lora(source, tmp_path / "out.gguf", outtype="f16")
    told = [record.getMessage() for record in caplog.records]
    assert told[1:] == [
        "output.weight.lora_a: 64 of 64 values are finite in the input but not as F16; "
        "--outtype f32 keeps them",
        "blk.0.attn_q.weight.lora_b: 0 NaN and 64 infinite of 64 values, as in the input",
    ]


def test_what_verify_says_of_a_changed_adapter(fixtures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    export_lora(fixtures / REAL, output)
    made = read_gguf(output)
    made.key("adapter.lora.alpha").value = 1.0
    tensor = made.tensor("output.weight.lora_a")
    tensor.dims = tensor.dims[::-1]
    output.write_bytes(made.to_bytes())
    assert verify(fixtures / REAL, output) == [
        "key adapter.lora.alpha: expected 0.0, found 1.0",
        "tensor output.weight.lora_a: expected the dimensions (32, 2), found (2, 32)",
    ]
