"""The optimizer's vectors in the order of the trainer that reads them, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
from gguf_bytes import RANK_NAMES, STRING, U64, read
from reference import checkpoint as reference
from resumed import LORA, NOT_FLAT, ORDERS, REAL, flat, ggcp, gguf_name, reordered, resumed

from converter.inputs import open_checkpoint
from converter.layouts.trainer import trainer_plan
from converter.resume.rearrange import rearranged
from converter.snapshot import Resumption
from converter.use_cases.carry_out import Writing, carry_out
from converter.use_cases.convert import convert
from ggcp_schema import Span
from ggcp_schema.enums import OptimizerType
from ggcp_schema.order import Order
from ggcp_schema.synthetic import SyntheticLora

every_file = pytest.mark.parametrize("name", REAL)
every_target = pytest.mark.parametrize("target", ORDERS)


def write_unscaled(source: Path, output: Path, stored: str, target: str) -> None:
    with open_checkpoint(source) as opened:
        resumption = Resumption(Order(stored), Order(target))
        plan = trainer_plan(rearranged(opened.snapshot(), resumption))
        writing = Writing(sync=False)
        sources = (opened.source,)
        carry_out(plan, sources, writing.output(output, sources), writing)


@every_file
@every_target
def test_the_whole_file_is_what_numpy_makes_of_it(
    name: str, target: str, fixtures: Path, tmp_path: Path
) -> None:
    stored, rows = REAL[name]
    output = tmp_path / "out.gguf"
    batch = () if rows == 1 else ("--batch", 2)
    said = ggcp("convert", fixtures / name, output, "--resume-with", target, *batch, "--verify")
    assert said.code == 0
    wanted = resumed(reference.read(fixtures / name), stored, target, rows)
    assert output.read_bytes() == wanted.to_bytes()


@pytest.mark.parametrize("name", LORA)
@every_target
def test_the_whole_file_of_a_lora_is_what_numpy_makes_of_it(
    name: str, target: str, fixtures: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.gguf"
    said = ggcp("convert", fixtures / name, output, "--resume-with", target, "--verify")
    assert said.code == 0
    wanted = resumed(reference.read(fixtures / name), LORA[name], target, 1)
    assert output.read_bytes() == wanted.to_bytes()


@every_target
@pytest.mark.parametrize("kind", OptimizerType)
@pytest.mark.parametrize("stored", Order)
def test_pairs_of_any_rank(stored: Order, kind: OptimizerType, target: str, tmp_path: Path) -> None:
    recipe = SyntheticLora(order=stored, optimizer_type=kind, ranks={"wk": 0, "w1": 3, "norm": 2})
    source, output = tmp_path / "lora.bin", tmp_path / "out.gguf"
    with source.open("wb") as file:
        recipe.write(file)
    options = ("--resume-with", target, "--order", stored.value, "--no-fsync")
    assert ggcp("convert", source, output, *options).code == 0
    wanted = resumed(reference.read(source), stored.value, target, 1)
    assert output.read_bytes() == wanted.to_bytes()


def test_a_lora_without_elements(tmp_path: Path) -> None:
    source, output = tmp_path / "lora.bin", tmp_path / "out.gguf"
    with source.open("wb") as file:
        SyntheticLora(ranks=dict.fromkeys(RANK_NAMES, 0)).write(file)
    assert ggcp("convert", source, output, "--resume-with", "scratch", "--verify").code == 0
    assert not read(output).tensor("optimizer.adam.first_moments").data


@every_file
@every_target
def test_back_in_the_stored_order_the_bits_are_the_original_ones(
    name: str, target: str, fixtures: Path, tmp_path: Path
) -> None:
    stored, _rows = REAL[name]
    output = tmp_path / "out.gguf"
    write_unscaled(fixtures / name, output, stored, target)
    checkpoint, gguf = reference.read(fixtures / name), read(output)
    assert len(flat(checkpoint)) in (2, 7)
    for vector, original in flat(checkpoint).items():
        written = np.frombuffer(gguf.tensor(gguf_name(checkpoint, vector)).data, "<f4")
        back = reordered(written, target, stored, checkpoint)
        assert back.tobytes() == original.tobytes(), vector
        same = written.tobytes() == original.tobytes()
        # Nothing was searched yet along gp and d in one file, so they may be all zeros.
        assert same == (target == stored or not original.any()), vector


@every_file
def test_what_does_not_run_over_the_parameters_stays(
    name: str, fixtures: Path, tmp_path: Path
) -> None:
    stored, _rows = REAL[name]
    for target in ORDERS:
        write_unscaled(fixtures / name, tmp_path / target, stored, target)
        checkpoint, gguf = reference.read(fixtures / name), read(tmp_path / target)
        for vector in NOT_FLAT:
            original = checkpoint.optimizer.vectors.get(vector, np.zeros(0))
            if original.size:
                tensor = gguf.tensor(gguf_name(checkpoint, vector))
                assert tensor.data == original.tobytes(), vector


@every_file
def test_in_its_own_order_only_provenance_is_added(
    name: str, fixtures: Path, tmp_path: Path
) -> None:
    stored, rows = REAL[name]
    write_unscaled(fixtures / name, tmp_path / "resumed", stored, stored)
    convert(fixtures / name, tmp_path / "plain", writing=Writing(sync=False))
    with_order, without = read(tmp_path / "resumed"), read(tmp_path / "plain")
    assert with_order.tensors == without.tensors
    adam = without.key("optimizer.type").value == "adam"
    scaled = without.key("ggcp.gradients").value == "summed" and adam
    assert scaled == (rows > 1)
    if scaled:  # divided by 1 row here
        assert with_order.key("ggcp.gradients").value == "mean"
        without.key("ggcp.gradients").value = "mean"
    assert with_order.keys[:-3] == without.keys
    assert [(key.name, key.type, key.value) for key in with_order.keys[-3:]] == [
        ("ggcp.parameter_order", STRING, stored),
        ("ggcp.stored_parameter_order", STRING, stored),
        ("ggcp.gradient_rows", U64, 1),
    ]


@every_target
def test_without_scaling_a_vector_is_a_few_spans_of_the_old_file(
    target: str, fixtures: Path
) -> None:
    with open_checkpoint(fixtures / "v1_lbfgs.bin") as opened:
        resumption = Resumption(Order.FLASH, Order(target))
        plan = trainer_plan(rearranged(opened.snapshot(), resumption))
        counts = {tensor.name: len(tensor.parts) for tensor in plan.tensors}
        for tensor in plan.tensors:
            assert all(isinstance(part, Span) for part in tensor.parts), tensor.name
    # One layer has 12 tensors; those that follow each other in both orders are one span. In plain,
    # so are the end of a row and the beginning of the next.
    vector, six_rows = {
        "flash": (1, 1),
        "plain": (6, 31),
        "scratch": (11, 66),
        "flash-rtl": (12, 72),
    }[target]
    assert counts["optimizer.lbfgs.current_gradients"] == vector
    assert counts["optimizer.lbfgs.memory_s"] == six_rows
    assert counts["optimizer.lbfgs.memory_ys"] == 1
