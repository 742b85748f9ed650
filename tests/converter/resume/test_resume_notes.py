"""What the user is told of the order of the parameters, and what is an error; word for word."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf_bytes import read
from lora_bytes import file_with_layers
from reference import checkpoint as reference
from resumed import LBFGS, LORA, ORDERS, REAL, SMALL, VERSION_1, Said, elements, ggcp, made, resumed

from ggcp_schema import parse
from ggcp_schema.order import Order
from ggcp_schema.synthetic import Synthetic

M = "optimizer.state.first_moments"
V = "optimizer.state.second_moments"
VERSION_0 = Synthetic(**SMALL)  # type: ignore[arg-type]

STAYS = "ggcp: the optimizer state stays as it is stored, in "
FLASH = "--resume-with flash (August 2023 to May 2024 without --no-flash)"
PLAIN = "--resume-with plain (August 2023 to May 2024 with --no-flash, and July 2024)"
SCRATCH = (
    "--resume-with scratch (September 2023 to May 2024 with --no-flash, and July 2024, where it "
    "evaluates from right to left)"
)
FLASH_RTL = (
    "--resume-with flash-rtl (September 2023 to May 2024 without --no-flash where it evaluates "
    "from right to left)"
)
WRONG = (
    " and of gradients summed over a batch: wrong for every train-text-from-scratch that reads "
    f"GGUF; convert with {FLASH}, {PLAIN}, {SCRATCH} or {FLASH_RTL}"
)
SUMS = f"{STAYS}the order scratch{WRONG}"
IS_FLASH = (
    f"{STAYS}the order flash: right for train-text-from-scratch of August 2023 to May 2024 without "
    f"--no-flash; for others convert with {PLAIN}, {SCRATCH} or {FLASH_RTL}"
)
IS_PLAIN = (
    f"{STAYS}the order plain: right for train-text-from-scratch of August 2023 to May 2024 with "
    f"--no-flash, and July 2024; for others convert with {FLASH}, {SCRATCH} or {FLASH_RTL}"
)
IS_SCRATCH = (
    f"{STAYS}the order scratch: right for train-text-from-scratch of September 2023 to May 2024 "
    "with --no-flash, and July 2024, where it evaluates from right to left; for others convert "
    f"with {FLASH}, {PLAIN} or {FLASH_RTL}"
)
OF_SUMS = (
    "; but its gradients are summed over a batch, and how trainers that read GGUF continue L-BFGS "
    "from there was not measured"
)
AS_STORED = {
    "ggcp_42d9b4cfc_11layers.bin": f"{STAYS}the order plain{WRONG}",
    "v0_adam_one.bin": SUMS,
    "v0_lbfgs_patched.bin": IS_SCRATCH + OF_SUMS,
    "v1_adam_one.bin": IS_FLASH,
    "v1_adam_one_noflash.bin": IS_PLAIN,
    "v1_adam_past3.bin": IS_FLASH,
    "v1_lbfgs.bin": IS_FLASH,
    "v1params_adam_default.bin": SUMS,
}
EPSILON = (
    "ggcp: the epsilon of the norms is not in the file; 1e-5 is assumed: trainers before "
    "2023-07-25 had 1e-6, before 2023-08-21 5e-6 (see --eps in ggcp convert --help)"
)
SAY = (
    "say which it is with --order flash, --order plain or --order scratch "
    "(README, 'Continue training')"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in.bin"


def run(path: Path, *options: object) -> Said:
    return ggcp("convert", path, path.parent / "out.gguf", "--no-fsync", *options)


def resume(path: Path, target: str, *options: object) -> Said:
    return run(path, "--eps", 1e-5, "--resume-with", target, *options)


def error(path: Path, found: str) -> Said:
    expected = "one order of the parameters that fits the optimizer state"
    return Said(1, [], [f"ggcp: {path}: expected {expected}, found {found}; {SAY}"])


@pytest.mark.parametrize("name", REAL)
def test_the_one_line_of_each_real_file(name: str, fixtures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    said = ggcp("convert", fixtures / name, output)
    assert said.err == [AS_STORED[name]]
    assert said.out == [
        f"{output}: {len(read(output).tensors)} tensors, {output.stat().st_size} bytes"
    ]
    assert ggcp("convert", fixtures / name, output, "--force", "--quiet") == Said(0, [], [])
    said = ggcp("convert", fixtures / name, output, "--dry-run", "--json")
    assert said.err == [AS_STORED[name]]


def test_version_1_in_the_order_scratch(path: Path) -> None:
    path.write_bytes(made(VERSION_1))
    assert run(path).err == [IS_SCRATCH]


def test_without_layers_two_orders_are_one(path: Path) -> None:
    given = replace(VERSION_1, block_count=0, order=Order.PLAIN, unseen_token_count=3)
    path.write_bytes(made(given))
    assert run(path).err == [
        f"{STAYS}the order flash or plain: right for train-text-from-scratch of August 2023 to May "
        "2024 without --no-flash; August 2023 to May 2024 with --no-flash, and July 2024; for "
        f"others convert with {SCRATCH} or {FLASH_RTL}"
    ]
    outputs = set()
    for target in ("flash", "plain"):
        said = resume(path, target, "--force")
        assert said.err == [
            f"ggcp: the optimizer state is stored in the order {target}: all zeros read in v lie "
            "in tok_embeddings in the orders flash and plain alike, log v varies as much in each "
            "(scratch 0.1514, flash 0.1514, plain 0.1514)"
        ]
        gguf = read(path.parent / "out.gguf")
        assert gguf.key("ggcp.parameter_order").value == target
        assert gguf.key("ggcp.stored_parameter_order").value == target
        outputs.add(gguf.tensor("optimizer.adam.first_moments").data)
    assert outputs == {elements(given, "first_moments").tobytes()}


@pytest.mark.parametrize("given", [VERSION_0, VERSION_1])
@pytest.mark.parametrize("target", ORDERS)
def test_where_every_order_gives_the_same_bytes_nothing_is_said(
    given: Synthetic, target: str, path: Path
) -> None:
    zeros = np.zeros(elements(given, "first_moments").size, "<f4")
    path.write_bytes(made(given, {M: zeros, V: zeros}))
    assert run(path).err == []
    assert resume(path, target, "--force", "--batch", 1, "-q").err == []
    lines = resume(path, target, "--force", "--batch", 1).err
    assert [line for line in lines if "--batch has no effect" not in line] == []
    gguf = read(path.parent / "out.gguf")
    assert not any(gguf.tensor("optimizer.adam.first_moments").data)
    assert ggcp("verify", path, path.parent / "out.gguf").code == 0


def test_where_only_a_sample_is_alike_the_rest_is_read(path: Path) -> None:
    given = Synthetic(vocabulary_size=4000, embedding_length=64, block_count=1)
    sparse = np.zeros(elements(given, "first_moments").size, "<f4")
    path.write_bytes(made(given, {M: sparse, V: sparse}))
    assert run(path).err == []
    sparse[sparse.size // 2] = 1  # within the largest tensors, and behind the sample of each
    path.write_bytes(made(given, {M: sparse, V: sparse}))
    assert run(path, "--force").err == [SUMS]


@pytest.mark.parametrize("order", ORDERS)
def test_no_order_is_wrong_where_all_give_the_same_bytes(order: str, path: Path) -> None:
    zeros = np.zeros(elements(VERSION_0, "first_moments").size, "<f4")
    for x in (elements(VERSION_0, "parameters"), zeros):  # the second is not the model
        path.write_bytes(made(VERSION_0, {M: zeros, V: zeros, "optimizer.state.parameters": x}))
        assert resume(path, "plain", "--force", "--batch", 1).err == []
        said = resume(path, "plain", "--force", "--batch", 1, "--order", order)
        assert said.err == []
        assert ggcp("verify", path, path.parent / "out.gguf").code == 0


def test_everything_is_read_where_a_sample_tells_too_little(
    fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("converter.resume.detect.SAMPLE_BYTES", 0)
    said = ggcp("convert", fixtures / "v1_adam_one.bin", tmp_path / "out.gguf")
    assert said.err == [IS_FLASH]


def test_all_zeros_in_v_but_not_in_m(path: Path) -> None:
    zeros = np.zeros(elements(VERSION_1, "first_moments").size, "<f4")
    path.write_bytes(made(VERSION_1, {V: zeros}))
    assert run(path).err == [
        f"{STAYS}an order that is not certain (nothing above zero was read in v); for a trainer "
        "to continue it right, convert with --resume-with and --order (README, 'Continue training')"
    ]
    (path.parent / "out.gguf").unlink()
    assert resume(path, "flash") == error(
        path, "several that fit: nothing above zero was read in v"
    )
    assert list(path.parent.iterdir()) == [path]


def test_signs_that_contradict_each_other(path: Path) -> None:
    given = replace(VERSION_1, order=Order.FLASH)
    v = elements(given, "second_moments")
    v[:8] = 0  # where tok_embeddings are in the order scratch alone
    path.write_bytes(made(given, {V: v}))
    signs = (
        "all zeros read in v lie in tok_embeddings in the order scratch, "
        "log v varies least in the order flash (scratch 5.756, flash 0.1493, plain 1.56)"
    )
    assert resume(path, "plain") == error(path, f"none that fits: {signs}")
    assert list(path.parent.iterdir()) == [path]
    assert run(path).err == [
        f"{STAYS}an order that is not certain ({signs}); for a trainer to continue it right, "
        "convert with --resume-with and --order (README, 'Continue training')"
    ]
    # Whoever says which it is was told by the error, and is believed.
    for order in ORDERS:
        said = resume(path, "plain", "--order", order, "--force")
        unheard = "ggcp: --order flash-rtl is taken, but no trainer wrote such a file in it"
        assert (said.code, said.err) == (0, [unheard] * (order == "flash-rtl"))
        gguf = read(path.parent / "out.gguf")
        assert gguf.key("ggcp.stored_parameter_order").value == order
        assert gguf == resumed(reference.read(path), order, "plain", 1)
        assert ggcp("verify", path, path.parent / "out.gguf").code == 0


def test_x_that_is_not_the_model(path: Path) -> None:
    x = elements(VERSION_0, "parameters")
    x[0] += 1
    path.write_bytes(made(VERSION_0, {"optimizer.state.parameters": x}))
    found = "none that fits: x holds the model's tensors in no order"
    assert resume(path, "flash", "--batch", 2) == error(path, found)


def test_too_few_signs(path: Path) -> None:
    x = np.zeros(elements(LBFGS, "current_parameters").size, "<f4")
    path.write_bytes(made(LBFGS, {"optimizer.state.current_parameters": x}))
    said = resume(path, "flash")
    start = "several that fit: x is nearest to the model's tensors in every order alike (distance: "
    assert said.code == 1
    assert f"found {start}" in said.err[0]


@pytest.mark.parametrize("name", ["v0_adam_one.bin", "v1_adam_one.bin", "v1_lbfgs.bin"])
def test_an_order_against_the_signs_is_taken_with_a_warning(
    name: str, fixtures: Path, tmp_path: Path
) -> None:
    evidence = {
        "v0_adam_one.bin": "x holds the model's tensors in the order scratch",
        "v1_adam_one.bin": "all zeros read in v lie in tok_embeddings in the order flash, "
        "log v varies least in the order flash (scratch 10.78, flash 4.814, plain 7.549)",
        "v1_lbfgs.bin": "x is nearest to the model's tensors in the order flash "
        "(distance: scratch 516.4, flash 0, plain 237.9)",
    }[name]
    stored, rows = REAL[name]
    output = tmp_path / "out.gguf"
    options = ["--resume-with", "flash", "--eps", 1e-5] + ["--batch", 2] * (rows > 1)
    for order in ORDERS:
        said = ggcp("convert", fixtures / name, output, "--force", *options, "--order", order)
        assert said.code == 0
        warning = f"ggcp: --order {order} is taken, but the file says otherwise: {evidence}"
        assert said.err == ([] if order == stored else [warning])
        assert read(output) == resumed(reference.read(fixtures / name), order, "flash", rows)


def test_an_order_that_is_given_is_compared_with_everything(
    fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("converter.resume.detect.SAMPLE_BYTES", 0)
    arguments = ("--resume-with", "flash", "--eps", 1e-5, "--batch", 2, "--order", "plain")
    said = ggcp("convert", fixtures / "v0_adam_one.bin", tmp_path / "out.gguf", *arguments)
    assert said.err == [
        "ggcp: --order plain is taken, but the file says otherwise: x holds the model's tensors in "
        "the order scratch"
    ]


def test_what_is_found_out_is_said(fixtures: Path, tmp_path: Path) -> None:
    said = ggcp("convert", fixtures / "v1_lbfgs.bin", tmp_path / "out", "--resume-with", "plain")
    assert said.err == [
        EPSILON,
        "ggcp: the optimizer state is stored in the order flash: x is nearest to the model's "
        "tensors in the order flash (distance: scratch 516.4, flash 0, plain 237.9)",
    ]


def test_epsilon_is_recalled_only_where_it_matters(fixtures: Path, tmp_path: Path) -> None:
    source, output = fixtures / "v1_adam_one.bin", tmp_path / "out.gguf"
    told = [
        EPSILON in ggcp("convert", source, output, "--force", *options).err
        for options in ([], ["--eps", 1e-5], ["--resume-with", "flash", "--eps", 1e-5])
    ]
    assert told == [False, False, False]
    assert EPSILON in ggcp("convert", source, output, "--force", "--resume-with", "flash").err


@pytest.mark.parametrize("option", [("--batch", 2), ("--order", "flash")])
def test_options_that_go_with_resume_with(
    option: tuple[str, object], fixtures: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as caught:
        ggcp("convert", fixtures / "v1_adam_one.bin", tmp_path / "out.gguf", *option)
    assert caught.value.code == 2


LORA_AS_STORED = {
    "flash": f"{STAYS}the order flash: right for finetune of August 2023 to May 2024 without "
    f"--no-flash; for others convert with {PLAIN}, {SCRATCH} or {FLASH_RTL}",
    "plain": f"{STAYS}the order plain: right for finetune of August 2023 to May 2024 with "
    f"--no-flash, and July 2024; for others convert with {FLASH}, {SCRATCH} or {FLASH_RTL}",
}


@pytest.mark.parametrize("name", LORA)
def test_the_one_line_of_each_lora(name: str, fixtures: Path, tmp_path: Path) -> None:
    said = ggcp("convert", fixtures / name, tmp_path / "out.gguf")
    assert said.err == [LORA_AS_STORED[LORA[name]]]


def test_what_is_said_of_a_lora(fixtures: Path, tmp_path: Path) -> None:
    source = fixtures / "ggcl_1a5f0a30e_one_noflash.bin"
    said = ggcp("convert", source, tmp_path / "out.gguf", "--resume-with", "flash", "--batch", 4)
    assert said.code == 0
    assert said.err == [
        "ggcp: the epsilon of the norms is not in the file; 1e-5 is assumed: trainers before "
        "2023-08-29 had 5e-6 (see --eps in ggcp convert --help)",
        "ggcp: the optimizer state is stored in the order plain: all zeros read in v lie in "
        "tok_embeddings.b in the order plain, log v varies least in the order plain (flash 3.349, "
        "plain 3.208)",
        "ggcp: --batch has no effect: only moments of summed gradients are scaled",
    ]


def test_a_lora_whose_order_is_not_to_be_found(path: Path) -> None:
    data = bytearray(file_with_layers())
    with parse(io.BytesIO(data)) as checkpoint:
        v = checkpoint.optimizer.state.second_moments.data
    data[v.offset : v.offset + v.length] = np.full(v.length // 4, 0.25, "<f4").tobytes()
    path.write_bytes(data)
    expected = "one order of the parameters that fits the optimizer state"
    signs = "no zeros were read in v, log v varies as much in each (flash 0, plain 0)"
    say = "say which it is with --order flash or --order plain (README, 'Continue training')"
    assert resume(path, "scratch") == Said(
        *(1, []), [f"ggcp: {path}: expected {expected}, found several that fit: {signs}; {say}"]
    )
    assert list(path.parent.iterdir()) == [path]


def test_an_order_in_which_no_trainer_wrote(path: Path) -> None:
    zeros = np.zeros(elements(VERSION_1, "first_moments").size, "<f4")
    path.write_bytes(made(VERSION_1, {V: zeros}))
    said = resume(path, "flash-rtl", "--order", "flash-rtl")
    assert said == Said(
        0,
        said.out,
        ["ggcp: --order flash-rtl is taken, but no trainer wrote such a file in it"],
    )
    assert read(path.parent / "out.gguf") == resumed(
        reference.read(path), "flash-rtl", "flash-rtl", 1
    )
