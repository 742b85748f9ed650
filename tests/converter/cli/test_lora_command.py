"""The command line with LoRA checkpoints."""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path

import pytest
from gguf import GGUFReader
from lora_models import base_weights, sizes, write_base
from reference import checkpoint as reference

from converter import export_lora
from converter.cli import main
from ggcp_schema.synthetic import SyntheticLora, SyntheticMagicless

REAL = "ggcl_v1_adam_1a5f0a30e.bin"


@pytest.fixture
def source(fixtures: Path) -> Path:
    return fixtures / REAL


@pytest.fixture
def base(source: Path, tmp_path: Path) -> Path:
    facts = sizes(reference.read(source))
    write_base(tmp_path / "base.gguf", facts, base_weights(facts))
    return tmp_path / "base.gguf"


@pytest.fixture(autouse=True)
def untouched_logger() -> object:
    """Undo what the command does to the logger of the process."""
    logger = logging.getLogger("ggcp")
    before = logger.handlers[:], logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate = before[0], before[1]
    logger.setLevel(before[2])


def run(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


def usage_error(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1].partition("error: ")[2]
    return message.rpartition("; see ggcp ")[0]


# convert, verify


def test_convert_and_verify(source: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = folder / "out.gguf"
    assert run("convert", source, output, "--verify") == 0
    size = output.stat().st_size
    said = capsys.readouterr()
    assert said.out == f"{output}: 44 tensors, {size} bytes\n"
    assert said.err.startswith(
        "ggcp: the optimizer state stays as it is stored, in the order flash"
    )
    assert run("verify", source, output) == 0
    assert capsys.readouterr() == (f"{output}: the same as {source}\n", "")


def test_the_historical_command_line(source: Path, folder: Path) -> None:
    assert run("-i", source, "-o", folder / "out.gguf", "-q") == 0


def test_dry_run(source: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("convert", source, folder / "out.gguf", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "training.type                           STRING   finetune_lora" in lines
    assert "training.lora.rank.attn_q               UINT32   2" in lines
    assert lines[-1] == "44 tensors, 48636 bytes of data"
    assert not any(folder.iterdir())


def test_resume_with(source: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = folder / "out.gguf"
    assert run("convert", source, output, "--resume-with", "plain", "--eps", "5e-6", "-q") == 0
    assert run("verify", source, output) == 0
    assert capsys.readouterr() == (f"{output}: the same as {source}\n", "")


# export


def test_an_adapter(source: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = folder / "adapter.gguf"
    assert run("export", source, output, "--outtype", "f16", "--verify") == 0
    said = capsys.readouterr()
    assert said.out == f"{output}: 32 tensors, {output.stat().st_size} bytes\n"
    assert said.err.startswith("ggcp: an adapter cannot carry what the training changed in the")
    assert run("verify", source, output) == 0
    assert capsys.readouterr() == (f"{output}: the same as {source}\n", "")


def test_a_merged_model(
    source: Path, base: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = folder / "merged.gguf"
    assert run("export", source, output, "--merge", base, "--verify") == 0
    assert capsys.readouterr() == (
        f"{output}: 21 tensors, {output.stat().st_size} bytes\n",
        f'ggcp: Try it: llama-completion -m {output} -p "Once upon a time" -n 32\n',
    )
    assert run("verify", source, output, "--merge", base, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["same"], found["weights_identical"], found["differences"]) == (True, True, [])


def test_what_would_be_exported(
    source: Path, base: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", source, folder, "--merge", base, "--dry-run") == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert "general.name                            STRING            A base" in lines
    assert "test.texts                              ARRAY of STRING   2 elements" in lines
    assert said.err == f"ggcp: the file would be {folder}/ggcl_v1_adam_1a5f0a30e-46K-F32.gguf\n"
    assert run("export", source, folder / "{ftype}.gguf", "--dry-run", "--json", "-q") == 0
    plan = json.loads(capsys.readouterr().out)
    assert {"key": "adapter.lora.alpha", "type": "FLOAT32", "value": 0.0} in plan["metadata"]
    assert not any(folder.iterdir())


def test_the_type_in_the_name(source: Path, folder: Path) -> None:
    assert run("export", source, folder / "{ftype}.gguf", "--outtype", "f16", "-q") == 0
    assert [path.name for path in folder.iterdir()] == ["f16.gguf"]


OF_A_MODEL = [
    ("--vocab", "v.gguf"),
    ("--context-length", "64"),
    ("--eps", "1e-6"),
    ("--model-name", "a"),
    ("--metadata", "m.json"),
]


@pytest.mark.parametrize("option", OF_A_MODEL)
def test_options_that_an_adapter_has_no_use_for(
    option: tuple[str, ...], source: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert usage_error(capsys, "export", source, folder / "out.gguf", *option) == (
        f"{option[0]} does not go with a LoRA checkpoint: an adapter takes it from the model that "
        "it is used with"
    )
    assert not any(folder.iterdir())


@pytest.mark.parametrize("option", OF_A_MODEL)
def test_options_that_a_merged_model_has_no_use_for(
    option: tuple[str, ...], source: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("export", source, folder / "out.gguf", "--merge", "b.gguf", *option)
    assert usage_error(capsys, *arguments) == (
        f"{option[0]} does not go with --merge: the model takes everything but its weights from "
        "BASE.gguf"
    )
    assert not any(folder.iterdir())


@pytest.mark.parametrize("outtype", ["bf16", "q8_0"])
def test_types_that_an_adapter_cannot_have(
    outtype: str, source: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert usage_error(capsys, "export", source, folder / "out.gguf", "--outtype", outtype) == (
        f"--outtype {outtype} does not go with an adapter: give f32 or f16"
    )


def test_a_training_checkpoint_still_needs_its_vocabulary(
    fixtures: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert usage_error(capsys, "export", fixtures / "v1_adam_one.bin", folder / "out.gguf") == (
        "the following arguments are required: --vocab, a file with the 300 tokens that the model "
        f"was trained with; found {fixtures}/vocab300.gguf (and 3 more) with 300 tokens: if the "
        f"model was trained with it, add --vocab {fixtures}/vocab300.gguf"
    )


def test_nothing_can_be_merged_from_a_training_checkpoint(
    fixtures: Path, base: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = fixtures / "v1_adam_one.bin"
    assert run("export", source, folder / "out.gguf", "--merge", base) == 1
    assert capsys.readouterr().err == (
        f"ggcp: {source}: expected a LoRA, as finetune wrote them, to be merged into a base "
        "model, found a whole model; leave --merge out, or give the LoRA first and its base model "
        "after --merge\n"
    )


def test_a_checkpoint_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", folder / "none.bin", folder / "out.gguf") == 1
    assert capsys.readouterr().err == (
        f"ggcp: {folder}/none.bin: no such file; check the name and the folder\n"
    )


def test_a_base_that_is_not_there(
    source: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", source, folder / "out.gguf", "--merge", folder / "none.gguf") == 1
    assert capsys.readouterr().err == (
        f"ggcp: {folder}/none.gguf: no such file; check the name and the folder\n"
    )


# synth


def synthetic(folder: Path, *options: str) -> dict[str, int]:
    path = folder / "made.bin"
    assert run("synth", path, "--lora", "--force", "-q", *options) == 0
    return reference.read(path, n_mult_stored="--without-n-mult" not in options).ranks


def test_a_synthetic_lora_checkpoint(folder: Path) -> None:
    matrices = dict.fromkeys(
        ("wq", "wk", "wv", "wo", "w1", "w2", "w3", "tok_embeddings", "output"), 4
    )
    norms = dict.fromkeys(("attention_norm", "ffn_norm", "norm"), 1)
    assert synthetic(folder) == {**matrices, **norms}
    assert synthetic(folder, "--rank", "2") == {**dict.fromkeys(matrices, 2), **norms}
    assert synthetic(folder, "--rank", "2", "--rank-wq", "7", "--rank-out-norm", "0") == {
        **dict.fromkeys(matrices, 2),
        **norms,
        "wq": 7,
        "norm": 0,
    }
    every = (
        "att-norm",
        "wq",
        "wk",
        "wv",
        "wo",
        "ffn-norm",
        "w1",
        "w2",
        "w3",
        "tok-embd",
        "out-norm",
        "out",
    )
    options = [word for n, kind in enumerate(every, 1) for word in (f"--rank-{kind}", str(n))]
    assert list(synthetic(folder, *options).values()) == list(range(1, 13))


def test_a_synthetic_lora_checkpoint_is_what_its_recipe_says(folder: Path) -> None:
    synthetic(folder, "--n-ff", "40", "--n-layer", "1", "--past", "2", "--optimizer", "lbfgs")
    recipe = SyntheticLora(
        feed_forward_multiple=32,
        feed_forward_length=40,
        block_count=1,
        convergence_past_count=2,
        optimizer_type=1,  # type: ignore[arg-type]
    )
    with (folder / "expected.bin").open("wb") as file:
        recipe.write(file)
    assert (folder / "made.bin").read_bytes() == (folder / "expected.bin").read_bytes()


def test_a_synthetic_header_without_n_mult(folder: Path) -> None:
    synthetic(folder, "--without-n-mult")
    header = reference.read(folder / "made.bin", n_mult_stored=False).header
    assert "n_mult" not in header


@pytest.mark.parametrize(
    "option", [("--rank", "0"), ("--rank-wq", "2"), ("--n-ff", "8"), ("--without-n-mult",)]
)
def test_options_of_lora_alone(
    option: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert usage_error(capsys, "synth", folder / "made.bin", *option) == (
        f"{option[0]} only goes with --lora"
    )


@pytest.mark.parametrize("option", [("--with-params",), ("--unseen", "2")])
def test_options_that_lora_has_no_use_for(
    option: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert usage_error(capsys, "synth", folder / "made.bin", "--lora", *option) == (
        f"{option[0]} does not go with --lora"
    )


def test_a_synthetic_checkpoint_without_a_magic(folder: Path) -> None:
    path = folder / "made.bin"
    assert run("synth", path, "--magicless", "-q", "--n-layer", "1", "--seed", "3") == 0
    header, _ = reference.read_magicless(path)
    assert (header["n_layer"], header["n_embd"], header["n_mult"]) == (1, 32, 32)
    with (folder / "expected.bin").open("wb") as file:
        SyntheticMagicless(block_count=1, seed=3).write(file)
    assert path.read_bytes() == (folder / "expected.bin").read_bytes()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--lora",), "--magicless does not go with --lora"),
        (("--with-params",), "--with-params does not go with --magicless"),
        (("--unseen", "2"), "--unseen does not go with --magicless"),
        (("--rank", "2"), "--rank only goes with --lora"),
    ],
)
def test_options_that_a_file_without_an_optimizer_has_no_use_for(
    option: tuple[str, ...], words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert usage_error(capsys, "synth", folder / "made.bin", "--magicless", *option) == words


def test_a_synthetic_adapter(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "made.bin"
    assert run("synth", path, "--adapter", "-q", "--rank", "2", "--lora-alpha", "5") == 0
    lora_r, lora_alpha, tensors = reference.read_adapter(path)
    assert (lora_r, lora_alpha, len(tensors)) == (2, 5, 42)
    assert tensors["layers.1.attention.wq.weight.loraA"].shape == (32, 2)
    for options, words in (
        (("--lora", "--lora-alpha", "5"), "--lora-alpha only goes with --adapter"),
        (("--lora", "--adapter"), "--adapter does not go with --lora"),
        (("--adapter", "--magicless"), "--magicless does not go with --adapter"),
        (("--adapter", "--with-params"), "--with-params does not go with --adapter"),
    ):
        assert usage_error(capsys, "synth", folder / "other.bin", *options) == words


def test_permissions_are_those_of_any_new_file(source: Path, folder: Path) -> None:
    export_lora(source, folder / "out.gguf")
    (folder / "other").write_bytes(b"")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert len(modes) == 1
    assert GGUFReader(folder / "out.gguf").tensors
