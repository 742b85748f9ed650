"""The base model with the changes of a LoRA checkpoint added, against NumPy in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, quants
from hypothesis import given, settings
from lora_bytes import recipes
from lora_models import (
    BF16,
    EXTRA,
    F16,
    F32,
    TEMPLATE,
    Case,
    base_weights,
    case_of,
    expected,
    keys,
    tensors,
    types,
    write_base,
    written_with,
)
from reference import checkpoint as reference

from converter import Writing, __version__, export_lora
from converter.numeric import delta as lora_delta
from converter.use_cases.verify import verify
from ggcp_schema.synthetic import SyntheticLora

REAL = "ggcl_v1_adam_1a5f0a30e.bin"
TYPES = {"f32": F32, "f16": F16, "bf16": BF16, "q8_0": GGMLQuantizationType.Q8_0}
FILE_TYPES = {"f32": 0, "f16": 1, "bf16": 32, "q8_0": 7}


@pytest.fixture
def case(fixtures: Path, tmp_path: Path) -> Case:
    return case_of(fixtures / REAL, tmp_path)


# What is written


@pytest.mark.parametrize("kind", [F32, F16, BF16])
def test_the_types_of_the_base_are_kept(kind: GGMLQuantizationType, case: Case) -> None:
    seen = case.write_base(kind)
    output = case.base.with_name("out.gguf")
    export_lora(case.source, output, base=case.base, writing=Writing(verify=True))
    assert types(output) == types(case.base)
    found = tensors(output)
    for name, weight in expected(seen, case.checkpoint).items():
        stored = F32 if weight.ndim == 1 else kind
        rounded = quants.dequantize(quants.quantize(weight, stored), stored)
        np.testing.assert_array_equal(found[name], rounded.reshape(weight.shape), name)
    assert verify(case.source, output, base=case.base) == []


@pytest.mark.parametrize("outtype", ["f32", "f16", "bf16", "q8_0"])
@pytest.mark.parametrize("kind", [F32, BF16])
def test_another_type_is_that_of_the_matrices(
    kind: GGMLQuantizationType, outtype: str, case: Case
) -> None:
    seen = case.write_base(kind)
    output = case.base.with_name("out.gguf")
    export_lora(case.source, output, base=case.base, outtype=outtype, writing=Writing(verify=True))
    found = types(output)
    for name, weight in expected(seen, case.checkpoint).items():
        stored = F32 if weight.ndim == 1 else TYPES[outtype]
        assert found[name] == stored
        rounded = quants.dequantize(quants.quantize(weight, stored), stored)
        np.testing.assert_array_equal(tensors(output)[name], rounded.reshape(weight.shape), name)
    assert keys(output)["general.file_type"] == (["UINT32"], [[FILE_TYPES[outtype]]])
    assert verify(case.source, output, base=case.base) == []


def test_every_key_and_every_other_tensor_of_the_base_is_kept(case: Case) -> None:
    factors = np.arange(1, 5, dtype=np.float32)
    case.write_base(extra_tensors={"rope_freqs.weight": factors}, alignment=64)
    output = case.base.with_name("out.gguf")
    export_lora(case.source, output, base=case.base, writing=Writing(verify=True))
    before, after = keys(case.base), keys(output)
    version = (["STRING"], [list(__version__.encode())])
    assert after == {**before, "ggcp.version": version}
    assert list(after)[:-1] == list(before)
    assert bytes(after["tokenizer.chat_template"][1][0]).decode() == TEMPLATE
    assert {key for key, *_ in EXTRA} < after.keys()
    assert list(types(output)) == list(types(case.base))
    np.testing.assert_array_equal(tensors(output)["rope_freqs.weight"], factors)
    assert {tensor.data_offset % 64 for tensor in GGUFReader(output).tensors} == {0}


def test_a_base_that_ggcp_made_says_once_which_version(case: Case) -> None:
    case.write_base(keys={"ggcp.version": 7})
    output = case.base.with_name("out.gguf")
    export_lora(case.source, output, base=case.base)
    version = (["STRING"], [list(__version__.encode())])
    assert keys(output) == {**keys(case.base), "ggcp.version": version}


def test_a_rank_of_zero_leaves_the_bytes_of_the_base(case: Case, tmp_path: Path) -> None:
    source = tmp_path / "lora.bin"
    with source.open("wb") as file:
        SyntheticLora(ranks={"wq": 0, "norm": 0}).write(file)
    case.write_base(F16)
    before = {tensor.name: tensor.data.tobytes() for tensor in GGUFReader(case.base).tensors}
    export_lora(source, tmp_path / "out.gguf", base=case.base, writing=Writing(verify=True))
    after = {
        tensor.name: tensor.data.tobytes() for tensor in GGUFReader(tmp_path / "out.gguf").tensors
    }
    same = {name for name in before if before[name] == after[name]}
    assert same == {"blk.0.attn_q.weight", "blk.1.attn_q.weight", "output_norm.weight"}


@settings(max_examples=40, deadline=None)
@given(recipe=recipes())
def test_any_checkpoint(recipe: SyntheticLora, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    source, base, output = (folder / f"any-merge.{name}" for name in ("bin", "base", "gguf"))
    with source.open("wb") as file:
        recipe.write(file)
    stored = recipe.feed_forward_multiple is not None
    checkpoint = reference.read(source, n_mult_stored=stored)
    facts = {**checkpoint.header, "n_ff": recipe.feed_forward_length}
    kind = (F32, F16, BF16)[recipe.seed % 3]
    seen = write_base(base, facts, base_weights(facts), kind)
    writing = Writing(force=True, sync=False, verify=True)
    export_lora(source, output, base=base, outtype="f32", writing=writing)
    found = tensors(output)
    for name, weight in expected(seen, checkpoint).items():
        # Two sums in float64 may differ in their last bit, and so, rarely, in the rounded one.
        np.testing.assert_allclose(found[name], weight, rtol=2e-7, atol=1e-12)


def test_blocks_do_not_show(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.write_base()
    made = []
    for elements in (1, 100, 1 << 20):
        monkeypatch.setattr(lora_delta, "BLOCK_ELEMENTS", elements)
        output = case.base.with_name(f"{elements}.gguf")
        export_lora(case.source, output, base=case.base)
        made.append(tensors(output))
    for other in made[1:]:
        for name, tensor in made[0].items():
            assert other[name].tobytes() == tensor.tobytes(), name


def test_values_that_are_not_finite_are_told(
    case: Case, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "lora.bin"
    written_with(case.source, source, {"norm.weight.loraB": np.nan})
    case.write_base()
    export_lora(source, tmp_path / "out.gguf", base=case.base)
    assert [record.getMessage() for record in caplog.records] == [
        "output_norm.weight: 32 NaN and 0 infinite of 32 values, as in the input"
    ]
