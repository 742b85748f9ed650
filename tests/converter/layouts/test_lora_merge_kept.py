"""What of a base model a merge keeps, and what it says of its types."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lora_models
import numpy as np
import pytest
from gguf import GGUFReader
from lora_models import F16, F32, Case, base_weights, case_of, keys, types, write_base

from converter import Writing, export_lora
from converter.use_cases.verify import verify
from ggcp_schema import FormatError
from ggcp_schema.synthetic import SyntheticLora

REAL = "ggcl_v1_adam_1a5f0a30e.bin"


@pytest.fixture
def case(fixtures: Path, tmp_path: Path) -> Case:
    return case_of(fixtures / REAL, tmp_path)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.gguf"


def data(path: Path) -> dict[str, bytes]:
    return {tensor.name: tensor.data.tobytes() for tensor in GGUFReader(path).tensors}


@pytest.mark.parametrize("outtype", ["f16", "q8_0"])
def test_a_matrix_without_a_change_keeps_its_type(outtype: str, case: Case, output: Path) -> None:
    extra = np.random.default_rng(1).normal(size=(3, 32)).astype(np.float32)
    case.write_base(extra_tensors={"another.weight": extra})
    export_lora(case.source, output, base=case.base, outtype=outtype)
    assert types(output)["another.weight"] == F32
    assert data(output)["another.weight"] == extra.tobytes()
    assert verify(case.source, output, base=case.base) == []


@pytest.mark.parametrize("outtype", [None, "f16", "q8_0"])
def test_a_quantized_model_says_which_version_its_blocks_have(
    outtype: str | None, case: Case, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ggml: GGML_QNT_VERSION is 2."""
    monkeypatch.setattr(lora_models, "EXTRA", ())
    case.write_base()
    export_lora(case.source, output, base=case.base, outtype=outtype)
    found = keys(output).get("general.quantization_version")
    assert found == ((["UINT32"], [[2]]) if outtype == "q8_0" else None)


@pytest.mark.parametrize("alignment", [8, 64, 256])
def test_data_lie_as_in_the_base(alignment: int, case: Case, output: Path) -> None:
    small = {f"{name}.weight": np.full(8, number, "<f4") for number, name in enumerate("abc")}
    case.write_base(alignment=alignment, extra_tensors=small)
    export_lora(case.source, output, base=case.base)
    reader = GGUFReader(output)
    places = [tensor.data_offset for tensor in reader.tensors]
    assert {place % alignment for place in places} == {0}
    step = max(alignment, 32)  # each has 32 bytes
    assert places[-3:] == [places[-3], places[-3] + step, places[-3] + 2 * step]
    assert {name: data(output)[name] for name in small} == {
        name: values.tobytes() for name, values in small.items()
    }
    assert output.stat().st_size == places[-1] + step


def test_a_rank_of_zero_leaves_a_zero_its_sign(tmp_path: Path, output: Path) -> None:
    source, base = tmp_path / "lora.bin", tmp_path / "base.gguf"
    recipe = SyntheticLora(ranks={"wq": 0, "norm": 0})
    with source.open("wb") as file:
        recipe.write(file)
    sizes = {
        "n_vocab": recipe.vocabulary_size,
        "n_embd": recipe.embedding_length,
        "n_head": recipe.head_count,
        "n_layer": recipe.block_count,
        "n_rot": recipe.hyperparameters["rope_dimension_count"],
        "n_ff": recipe.feed_forward_length,
    }
    weights = base_weights(sizes)
    for name in ("layers.0.attention.wq.weight", "norm.weight"):
        weights[name].fill(-0.0)
    write_base(base, sizes, weights)
    export_lora(source, output, base=base)
    for name in ("blk.0.attn_q.weight", "output_norm.weight"):
        assert set(struct.iter_unpack("<I", data(output)[name])) == {(0x80000000,)}


@pytest.mark.parametrize("stated", [1, 2])
def test_the_file_type_of_the_base_is_kept_and_counts(
    stated: int, case: Case, output: Path
) -> None:
    case.write_base(F16, keys={"general.file_type": stated})
    export_lora(case.source, output, base=case.base)
    assert keys(output)["general.file_type"] == (["UINT32"], [[stated]])
    assert verify(case.source, output, base=case.base) == []
    key = b"general.file_type" + struct.pack("<I", 4)
    whole = output.read_bytes()
    assert whole.count(key + struct.pack("<I", stated)) == 1
    other = 3 - stated
    output.write_bytes(
        whole.replace(key + struct.pack("<I", stated), key + struct.pack("<I", other))
    )
    said = verify(case.source, output, base=case.base)
    # 1 is F16 of whatever the base said; no type that a merge writes is 2.
    assert said == ([] if other == 1 else ["key general.file_type: expected 1, found 2"])


@pytest.mark.parametrize("outtype", [None, "f16", "q8_0"])
def test_progress_counts_what_is_computed(outtype: str | None, case: Case, output: Path) -> None:
    case.write_base()
    counted: list[tuple[str, int]] = []
    totals: dict[str, int] = {}

    @contextmanager
    def progress(what: str, total: int) -> Any:
        totals[what] = total
        yield lambda count: counted.append((what, count))

    writing = Writing(verify=True, progress=progress)
    export_lora(case.source, output, base=case.base, outtype=outtype, writing=writing)
    length = sum(map(len, data(output).values()))
    assert totals == {"Writing": length, "Verifying": length, "Waiting for the disk": 0}
    for each in ("Writing", "Verifying"):
        assert sum(count for what, count in counted if what == each) == length


@pytest.mark.parametrize("files", [0, 1, 2])
def test_a_base_that_says_of_how_many_files_it_is(files: int, case: Case, output: Path) -> None:
    """llama-gguf-split writes a count also where it made one file, or joined several."""
    case.write_base(keys={"split.count": files})
    if files < 2:
        export_lora(case.source, output, base=case.base)
        assert keys(output)["split.count"] == (["UINT32"], [[files]])
        return
    with pytest.raises(FormatError) as caught:
        export_lora(case.source, output, base=case.base)
    assert caught.value.found == "one of 2"
