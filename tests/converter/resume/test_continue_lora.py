"""From the converted GGUF of a LoRA checkpoint training goes on too, in whichever order.

The losses were measured in float64, and by real finetune trainers within their half-precision
tables: one sample, clipping and weight decay off; before the first iteration and after each of
five.
"""

from __future__ import annotations

from pathlib import Path

import lora_models
import numpy as np
import pytest
from gguf_bytes import read
from reference import llama
from reference.checkpoint import gguf_names
from resumed import ORDERS, ggcp

INPUTS = [1, 271, 295, 288, 297, 281, 293, 298, 295, 288, 297, 281, 293, 299, 282, 294]
TARGETS = [*INPUTS[1:], 287]
FLASH, PLAIN = "ggcl_1a5f0a30e_one_flash.bin", "ggcl_1a5f0a30e_one_noflash.bin"
LOSSES = {
    FLASH: [5.008654, 4.973488, 4.938634, 4.904101, 4.869889, 4.835999],
    PLAIN: [5.008668, 4.973503, 4.938651, 4.904119, 4.869910, 4.836021],
}
IN_THE_WRONG_ORDER = [5.008654, 4.988028, 4.964075, 4.937697, 4.909466, 4.879796]
every_file = pytest.mark.parametrize("name", LOSSES)


def losses(path: Path, base: Path, order: str) -> list[float]:
    """What a trainer does with a GGUF and its base model that reads the moments in ``order``."""
    gguf = read(path)
    value = {key.name: key.value for key in gguf.keys}
    hyperparameters = {
        "n_head": value["llama.attention.head_count"],
        "n_layer": value["llama.block_count"],
        "n_rot": value["llama.rope.dimension_count"],
    }
    tensors = {
        tensor.name: np.frombuffer(tensor.data, "<f4").reshape(tensor.dims[::-1])
        for tensor in gguf.tensors
    }
    names, of_base = gguf_names(hyperparameters["n_layer"]), lora_models.tensors(base)
    trained = {
        f"{old}.lora{half.upper()}": tensors[f"{new}.lora_{half}"]
        for old, new in names.items()
        for half in "ab"
    }
    shapes = {name: array.shape for name, array in trained.items()}
    m, v = (tensors[f"optimizer.adam.{name}_moments"].astype(float) for name in ("first", "second"))
    return llama.lora_adam(
        {old: of_base[new] for old, new in names.items()},
        trained,
        llama.split(m, order, shapes),
        llama.split(v, order, shapes),
        value["optimizer.iteration_count"],
        5,
        hyperparameters=hyperparameters,
        inputs=INPUTS,
        targets=TARGETS,
        epsilon=value["llama.attention.layer_norm_rms_epsilon"],
    )


@every_file
@pytest.mark.parametrize("target", ORDERS)
def test_training_goes_on_as_if_never_interrupted(
    name: str, target: str, fixtures: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.gguf"
    options = ("--resume-with", target, "--eps", 5e-6)
    assert ggcp("convert", fixtures / name, output, *options).code == 0
    found = losses(output, fixtures / "base16.gguf", target)
    assert found == pytest.approx(LOSSES[name], abs=1e-6)


def test_as_it_stands_it_goes_on_in_its_own_order(fixtures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    assert ggcp("convert", fixtures / FLASH, output, "--eps", 5e-6).code == 0
    found = losses(output, fixtures / "base16.gguf", "flash")
    assert found == pytest.approx(LOSSES[FLASH], abs=1e-6)
    found = losses(output, fixtures / "base16.gguf", "plain")
    assert found == pytest.approx(IN_THE_WRONG_ORDER, abs=1e-6)


@every_file
@pytest.mark.parametrize("target", ORDERS)
def test_any_other_order_misses(name: str, target: str, fixtures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    options = ("--resume-with", target, "--eps", 5e-6)
    assert ggcp("convert", fixtures / name, output, *options).code == 0
    for order in set(ORDERS) - {target}:
        found = losses(output, fixtures / "base16.gguf", order)
        assert found[0] == pytest.approx(LOSSES[name][0], abs=1e-6)
        assert found[-1] - LOSSES[name][-1] > 1e-4
