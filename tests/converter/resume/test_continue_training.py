"""The proof: from the converted GGUF alone, training goes on as if it had never been interrupted.

The losses are those that were measured with the trainers themselves, for one sample, with gradient
clipping and weight decay off: before the first iteration and after each of five.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf_bytes import read
from reference import llama
from reference.checkpoint import gguf_names
from resumed import ORDERS, ggcp

INPUTS = [1, 261, 273, 274, 298, 295, 296, 297, 299, 282, 283, 284, 298, 286, 287, 288]
TARGETS = [*INPUTS[1:], 13]
VERSION_0 = [5.470584, 5.462482, 5.454307, 5.446043, 5.437680, 5.429224]
VERSION_1 = [5.470821, 5.462721, 5.454550, 5.446290, 5.437932, 5.429481]

# fmt: off
RELEASE = ("--batch", 2, "--eps", 1e-6)
GOOD = {
    "v0_adam_one.bin": (RELEASE, VERSION_0),
    "v1_adam_one.bin": ((), VERSION_1),
    "v1_adam_one_noflash.bin": ((), VERSION_1),
}
# File, options, the order in which a trainer reads: what it then does was measured too.
BAD = {
    "copied as it stands, read by 44c117f41": (
        "v0_adam_one.bin", (), "flash",
        [5.470819, 5.469394, 5.467216, 5.464354, 5.460955, 5.457186]),
    "not scaled": (
        "v0_adam_one.bin", ("--resume-with", "flash", "--batch", 2, "--eps", 1e-6), "unscaled",
        [5.470583, 5.463225, 5.456490, 5.450324, 5.444678, 5.439503]),
    "flash as it stands, read by July 2024": (
        "v1_adam_one.bin", (), "plain",
        [5.470821, 5.462913, 5.454682, 5.446283, 5.437711, 5.429014]),
    "without moments": (
        "v0_adam_one.bin", ("--eps", 1e-6), "nothing",
        [5.470583, 5.465957, 5.459743, 5.452453, 5.444348, 5.435574]),
}
# fmt: on


def losses(path: Path, order: str | None = None) -> list[float]:
    """What a trainer does with a GGUF that reads the moments in ``order``, or as the file says."""
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
    names = gguf_names(hyperparameters["n_layer"])
    weights = {old: tensors[new] for old, new in names.items()}
    m, v = (tensors[f"optimizer.adam.{n}_moments"].astype(float) for n in ("first", "second"))
    if order == "unscaled":
        rows = value["ggcp.gradient_rows"]
        m, v = m * rows, v * rows**2
    if order == "nothing":
        m, v = 0 * m, 0 * v
    if order not in ORDERS:
        order = value.get("ggcp.parameter_order", "scratch")
    shapes = {name: weight.shape for name, weight in weights.items()}
    return llama.adam(
        weights,
        llama.split(m, order, shapes),
        llama.split(v, order, shapes),
        value["optimizer.iteration_count"],
        5,
        hyperparameters=hyperparameters,
        inputs=INPUTS,
        targets=TARGETS,
        epsilon=value["llama.attention.layer_norm_rms_epsilon"],
    )


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("target", ORDERS)
def test_training_goes_on_as_if_never_interrupted(
    name: str, target: str, fixtures: Path, tmp_path: Path
) -> None:
    options, wanted = GOOD[name]
    output = tmp_path / "out.gguf"
    assert ggcp("convert", fixtures / name, output, "--resume-with", target, *options).code == 0
    assert losses(output) == pytest.approx(wanted, abs=1e-5)


def test_as_it_stands_version_1_goes_on_in_its_own_order(fixtures: Path, tmp_path: Path) -> None:
    assert ggcp("convert", fixtures / "v1_adam_one.bin", tmp_path / "out.gguf").code == 0
    assert losses(tmp_path / "out.gguf", "flash") == pytest.approx(VERSION_1, abs=1e-5)


@pytest.mark.parametrize("case", BAD)
def test_what_goes_wrong_otherwise(case: str, fixtures: Path, tmp_path: Path) -> None:
    name, options, order, wanted = BAD[case]
    output = tmp_path / "out.gguf"
    assert ggcp("convert", fixtures / name, output, *options).code == 0
    found = losses(output, order)
    assert found == pytest.approx(wanted, abs=2e-5)
    right = VERSION_1 if name.startswith("v1") else VERSION_0
    assert abs(found[-1] - right[-1]) > 4e-4


@pytest.mark.parametrize("name", GOOD)
def test_any_other_order_misses(name: str, fixtures: Path, tmp_path: Path) -> None:
    options, wanted = GOOD[name]
    output = tmp_path / "out.gguf"
    assert ggcp("convert", fixtures / name, output, "--resume-with", "flash", *options).code == 0
    for order in ("plain", "scratch"):
        assert losses(output, order) != pytest.approx(wanted, abs=1e-4)
