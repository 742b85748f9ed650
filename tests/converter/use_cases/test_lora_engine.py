"""Adapters and merged models in llama.cpp itself, against a float64 forward pass with W + Δ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from lora_models import BF16, F16, F32, base_weights, sizes, tensors, write_base, written_with
from reference import checkpoint as reference
from reference import llama, llama_cpp

from converter import export_lora
from ggcp_schema.synthetic import SyntheticLora

REAL = "ggcl_v1_adam_1a5f0a30e.bin"
PROMPT = [1, 261, 273, 274]
COUNT = 5
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def checkpoints(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The real checkpoint and a synthetic one, each also with norms left as they were."""
    folder = tmp_path_factory.mktemp("checkpoints")
    found = {"real": fixtures / REAL, "synthetic": folder / "synthetic.bin"}
    with found["synthetic"].open("wb") as file:
        SyntheticLora(ranks={"wq": 3, "w2": 7, "output": 1, "norm": 2, "wk": 0}).write(file)
    for name in ("real", "synthetic"):
        path = found[f"{name}, norms alone"] = folder / f"{name}-alone.bin"
        names = reference.gguf_names(reference.read(found[name]).header["n_layer"])
        changes = {f"{n}.loraB": 0.0 for n in names if n.endswith("norm.weight")}
        written_with(found[name], path, changes)
    return found


def assert_same(
    found: list[tuple[int, float]],
    wanted: list[tuple[int, float]],
    without: list[tuple[int, float]],
) -> None:
    assert [token for token, _ in found] == [token for token, _ in wanted]
    difference = max(abs(a[1] - b[1]) for a, b in zip(found, wanted, strict=True))
    assert difference < TOLERANCE
    # The change matters: without it the numbers are others, by far.
    assert max(abs(a[1] - b[1]) for a, b in zip(found, without, strict=True)) > 100 * TOLERANCE


@pytest.mark.parametrize("name", ["real, norms alone", "synthetic, norms alone"])
def test_an_adapter(name: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    checkpoint = reference.read(checkpoints[name])
    weights = base_weights(sizes(checkpoint))
    write_base(tmp_path / "base.gguf", sizes(checkpoint), weights)
    export_lora(checkpoints[name], tmp_path / "adapter.gguf")
    found = llama_cpp.greedy_log_probabilities(
        tmp_path / "base.gguf", PROMPT, COUNT, lora_paths=[tmp_path / "adapter.gguf"]
    )
    deltas = llama.lora_deltas(checkpoint.tensors)
    arguments = (weights, checkpoint.header, PROMPT, COUNT)
    wanted = llama.greedy(*arguments, epsilon=1e-5, deltas=deltas)
    assert_same(found, wanted, llama.greedy(*arguments, epsilon=1e-5))


@pytest.mark.parametrize("name", ["real", "synthetic"])
@pytest.mark.parametrize(("kind", "outtype"), [(F32, None), (F16, "f32"), (BF16, "f32")])
def test_a_merged_model(
    name: str,
    kind: GGMLQuantizationType,
    outtype: str | None,
    checkpoints: dict[str, Path],
    tmp_path: Path,
) -> None:
    checkpoint = reference.read(checkpoints[name])
    facts = sizes(checkpoint)
    weights = write_base(tmp_path / "base.gguf", facts, base_weights(facts), kind)
    output = tmp_path / "out.gguf"
    export_lora(checkpoints[name], output, base=tmp_path / "base.gguf", outtype=outtype)
    found = llama_cpp.greedy_log_probabilities(output, PROMPT, COUNT)
    deltas = llama.lora_deltas(checkpoint.tensors)
    assert all(np.any(delta) for name, delta in deltas.items() if name.endswith("norm.weight"))
    arguments = (weights, checkpoint.header, PROMPT, COUNT)
    wanted = llama.greedy(*arguments, epsilon=1e-5, deltas=deltas)
    assert_same(found, wanted, llama.greedy(*arguments, epsilon=1e-5))


@pytest.mark.parametrize("outtype", ["f16", "bf16", "q8_0"])
def test_other_types_load_and_agree_on_the_first_token(
    outtype: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    checkpoint = reference.read(checkpoints["real"])
    facts = sizes(checkpoint)
    base = tmp_path / "base.gguf"
    write_base(base, facts, base_weights(facts))
    export_lora(checkpoints["real"], tmp_path / "out.gguf", base=base, outtype=outtype)
    weights = {
        old: tensors(tmp_path / "out.gguf")[new]
        for old, new in reference.gguf_names(facts["n_layer"]).items()
    }
    [(token, log_probability)] = llama_cpp.greedy_log_probabilities(
        tmp_path / "out.gguf", PROMPT, 1
    )
    [wanted] = llama.greedy(weights, checkpoint.header, PROMPT, 1, epsilon=1e-5)
    assert (token, log_probability) == (wanted[0], pytest.approx(wanted[1], abs=0.1))


def test_an_f16_adapter_is_nearly_the_same(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    checkpoint = reference.read(checkpoints["real, norms alone"])
    weights = base_weights(sizes(checkpoint))
    write_base(tmp_path / "base.gguf", sizes(checkpoint), weights)
    adapter = tmp_path / "adapter.gguf"
    export_lora(checkpoints["real, norms alone"], adapter, outtype="f16")
    [(token, log_probability)] = llama_cpp.greedy_log_probabilities(
        tmp_path / "base.gguf", PROMPT, 1, lora_paths=[adapter]
    )
    deltas = llama.lora_deltas(checkpoint.tensors)
    [wanted] = llama.greedy(weights, checkpoint.header, PROMPT, 1, epsilon=1e-5, deltas=deltas)
    assert (token, log_probability) == (wanted[0], pytest.approx(wanted[1], abs=0.01))


def test_the_tokenizer_and_the_template_of_the_base_still_work(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    facts = sizes(reference.read(checkpoints["real"]))
    base = tmp_path / "base.gguf"
    write_base(base, facts, base_weights(facts))
    export_lora(checkpoints["real"], tmp_path / "out.gguf", base=base)
    text = llama_cpp.complete_text(tmp_path / "out.gguf", "the", 3)
    assert text
