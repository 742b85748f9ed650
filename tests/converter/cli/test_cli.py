"""The command: what it says on which stream, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import COMMAND, ENVIRONMENT, run
from gguf_bytes import U32, expected
from paths import FIXTURES
from reference.checkpoint import read

from converter import __version__

DRY_RUN_METADATA = """\
general.architecture                    STRING   llama
general.file_type                       UINT32   0
llama.attention.layer_norm_rms_epsilon  FLOAT32  1e-05
training.file_version                   UINT32   0
training.type                           STRING   train_model
training.iteration_count                UINT32   30
training.sample_count                   UINT32   12
training.token_count                    UINT32   192
llama.embedding_length                  UINT32   16
llama.attention.head_count              UINT32   2
llama.block_count                       UINT32   2
llama.rope.dimension_count              UINT32   8
llama.feed_forward_length               UINT32   48
optimizer.file_version                  UINT32   0
optimizer.convergence_past_count        UINT32   0
optimizer.parameter_count               UINT64   16336
optimizer.iteration_count               UINT32   30
optimizer.just_initialized              BOOL     False
optimizer.type                          STRING   adam
optimizer.adam.best_loss                FLOAT32  5.43817663192749
optimizer.adam.previous_loss            FLOAT32  5.43817663192749
optimizer.adam.no_improvement_count     UINT32   0
"""


@pytest.fixture
def source(fixtures: Path) -> Path:
    return fixtures / "v0_adam_one.bin"


@pytest.fixture(scope="module")
def right(fixtures: Path) -> bytes:
    return expected(read(fixtures / "v0_adam_one.bin"), __version__).to_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        "-i {source} -o {output}",
        "--input {source} --output {output}",
        "--force -o {output} -i {source}",
        "convert {source} {output}",
        "convert -i {source} -o {output}",
        "convert {source} -o {output}",
        "convert -i {source} {output}",
        "convert {source} --eps 1e-5 {output}",
        "convert --no-fsync {source} --verify {output}",
    ],
)
def test_convert(arguments: str, source: Path, folder: Path, right: bytes) -> None:
    output = folder / "out.gguf"
    done = run(*arguments.format(source=source, output=output).split())
    assert done.stdout == f"{output}: 23 tensors, {len(right)} bytes\n"
    assert done.returncode == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"out.gguf": right}


def test_epsilon(source: Path, folder: Path) -> None:
    run("convert", source, folder / "out.gguf", "--eps", "5e-6")
    wanted = expected(read(source), __version__, epsilon=5e-6)
    assert (folder / "out.gguf").read_bytes() == wanted.to_bytes()


def test_quiet_says_nothing(source: Path, folder: Path) -> None:
    done = run("convert", source, folder / "out.gguf", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("talk", [[], ["--verbose"]])
def test_notes_go_to_standard_error(talk: list[str], source: Path, folder: Path) -> None:
    done = run("convert", source, folder / "out.gguf", *talk)
    assert done.stdout.count("\n") == 1
    assert all(line.startswith("ggcp: ") for line in done.stderr.splitlines())


def test_json(source: Path, folder: Path, right: bytes) -> None:
    output = folder / "out.gguf"
    done = run("convert", source, output, "--json")
    assert json.loads(done.stdout) == {
        "path": str(output),
        "tensors": 23,
        "bytes": len(right),
        "assumptions": {
            "epsilon": {"value": 1e-5, "basis": "assumed"},
            "context_length": None,
            "batch": None,
            "order": None,
        },
    }


class TestDryRun:
    def test_text(self, source: Path, folder: Path) -> None:
        done = run("convert", source, folder / "out.gguf", "--dry-run")
        metadata, tensors, total = done.stdout.split("\n\n")
        rows = [line.split() for line in metadata.splitlines()]
        wanted = [line.split() for line in DRY_RUN_METADATA.splitlines()]
        wanted.append(["ggcp.version", "STRING", __version__])
        wanted.append(["ggcp.optimizer_version", "UINT32", "0"])
        wanted.append(["ggcp.gradients", "STRING", "summed"])
        assert rows == wanted
        assert metadata.startswith(DRY_RUN_METADATA)
        lines = tensors.splitlines()
        assert lines[0] == "token_embd.weight              F32  16 × 300  19200 bytes"
        assert lines[1] == "output_norm.weight             F32  16        64 bytes"
        assert lines[-1] == "optimizer.adam.second_moments  F32  16336     65344 bytes"
        assert len(lines) == 23
        assert total == "23 tensors, 196032 bytes of data\n"
        assert done.returncode == 0
        assert list(folder.iterdir()) == []

    def test_json(self, source: Path, folder: Path) -> None:
        done = run("convert", source, "--dry-run", "--json")
        plan = json.loads(done.stdout)
        wanted = expected(read(source), __version__)
        assert plan["architecture"] == "llama"
        assert [(row["key"], row["value"]) for row in plan["metadata"]] == [
            (key.name, pytest.approx(key.value)) for key in wanted.keys[1:]
        ]
        assert plan["tensors"] == [
            {"name": t.name, "shape": list(t.dims), "type": "F32", "bytes": len(t.data)}
            for t in wanted.tensors
        ]

    def test_numbers_that_json_does_not_have(self, source: Path, tmp_path: Path) -> None:
        checkpoint = tmp_path / "in.bin"
        checkpoint.write_bytes(
            source.read_bytes()[:-12] + bytes.fromhex("0000807f0000c07f00000000")
        )
        plan = json.loads(run("convert", checkpoint, "--dry-run", "--json").stdout)
        values = {row["key"]: row["value"] for row in plan["metadata"]}
        assert values["optimizer.adam.best_loss"] == "inf"
        assert values["optimizer.adam.previous_loss"] == "nan"


class TestVerify:
    def test_same(self, source: Path, folder: Path, right: bytes) -> None:
        output = folder / "out.gguf"
        output.write_bytes(right)
        done = run("verify", source, output)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{output}: the same as {source}\n"
        assert run("verify", source, output, "--quiet").stdout == ""
        wanted = {"same": True, "compared": 25 + 23 + 3, "different": 0, "weights_identical": True}
        wanted["differences"] = []
        assert json.loads(run("verify", source, output, "--json").stdout) == wanted

    def test_different(self, source: Path, folder: Path, right: bytes) -> None:
        output = folder / "out.gguf"
        output.write_bytes(right[:-1] + b"\xff")
        line = (
            "tensor optimizer.adam.second_moments: the data differ from byte "
            f"{len(right) - 1:#x} of the file on"
        )
        done = run("verify", source, output)
        head = "different: 1 of 51 things: weights identical, 1 tensor of the optimizer differs"
        said = f"{output}: {head}\n  {line}\n"
        assert (done.returncode, done.stdout, done.stderr) == (1, said, "")
        done = run("verify", source, output, "--json")
        assert done.returncode == 1
        assert json.loads(done.stdout) == {
            "same": False,
            "differences": [line],
            "compared": 51,
            "different": 1,
            "weights_identical": True,
        }

    def test_the_first_five_and_the_rest(self, source: Path, folder: Path) -> None:
        output = folder / "out.gguf"
        changed = expected(read(source), __version__)
        numbers = [key for key in changed.keys if key.type == U32]
        lines = [f"  key {k.name}: expected {k.value}, found {k.value + 1}" for k in numbers]
        for key in numbers:
            key.value += 1
        output.write_bytes(changed.to_bytes())
        head = f"{output}: different: 15 of 51 things: weights identical, 15 keys differ"
        done = run("verify", source, output)
        assert (done.returncode, done.stderr) == (1, "")
        more = "  and 10 more; --verbose shows them"
        assert done.stdout.splitlines() == [head, *lines[:5], more]
        done = run("verify", source, output, "--verbose")
        assert done.stdout.splitlines() == [head, *lines]

    def test_other_weights(self, source: Path, folder: Path) -> None:
        output = folder / "out.gguf"
        changed = expected(read(source), __version__)
        first = changed.tensors[0]
        first.data = first.data[:-1] + bytes([first.data[-1] ^ 1])
        output.write_bytes(changed.to_bytes())
        said = run("verify", source, output).stdout.splitlines()
        assert said[0] == (
            f"{output}: different: 1 of 51 things: not made from this checkpoint, or changed "
            "since; give the right two, or make it again"
        )
        assert not json.loads(run("verify", source, output, "--json").stdout)["weights_identical"]

    def test_damaged(self, source: Path, folder: Path, right: bytes) -> None:
        output = folder / "out.gguf"
        output.write_bytes(right[:100])
        done = run("verify", source, output)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"ggcp: {output}: metadata[1].value at offset 0x62: expected 4 bytes, found 2 "
            "bytes and the end of the file; the file is damaged or no GGUF; convert the "
            "checkpoint again\n"
        )


SEE = "; see ggcp {} --help"
EPSILON = "argument --eps: expected a number above 0 and below 1, such as 1e-5"
USAGE = {
    "convert": "name the checkpoint: ggcp convert IN OUT" + SEE,
    "convert IN": "name the file to write: ggcp convert IN OUT" + SEE,
    "-o OUT": "name the checkpoint: ggcp convert IN OUT" + SEE,
    "-i IN": "name the file to write: ggcp convert IN OUT" + SEE,
    "convert IN OUT -o OTHER": "output was given twice: 'OUT' and 'OTHER'" + SEE,
    "convert IN OUT -i OTHER": "input was given twice: 'IN' and 'OTHER'" + SEE,
    "convert IN OUT MORE": "one name too many: MORE; put a name with spaces in quotes",
    "convert IN OUT --eps": "argument --eps: expected a value after it, found none" + SEE,
    "convert IN OUT --eps x": f"{EPSILON}, found 'x'" + SEE,
    "convert IN OUT --eps 0": f"{EPSILON}, found '0'" + SEE,
    "convert IN OUT --eps 1": f"{EPSILON}, found '1'" + SEE,
    "convert IN OUT --eps nan": f"{EPSILON}, found 'nan'" + SEE,
    "convert IN OUT --eps -1": f"{EPSILON}, found '-1'" + SEE,
    "convert IN OUT --quiet --verbose": "argument --verbose/-v: not allowed with argument "
    "--quiet/-q" + SEE,
    "verify IN": "the following arguments are required: OUT" + SEE,
    "synth OUT --n-head -1": "argument --n-head: expected a whole number from 0 to 4294967295, "
    "found '-1'" + SEE,
    "synth OUT --past -1": "argument --past: expected a whole number from 0 to 2147483647, "
    "found '-1'" + SEE,
    "synth OUT --lbfgs-m 0": "argument --lbfgs-m: expected a whole number from 1 to 2147483647, "
    "found '0'" + SEE,
    "synth OUT --rank 2": "--rank only goes with --lora" + SEE,
}


@pytest.mark.parametrize("arguments", USAGE)
def test_usage_error(arguments: str, folder: Path) -> None:
    done = run(*arguments.split(), cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    word = arguments.split()[0] if not arguments.startswith("-") else "convert"
    usage, last = done.stderr.splitlines()
    assert usage.startswith(f"usage: ggcp {word} ")
    assert last == f"ggcp {word}: error: {USAGE[arguments].format(word)}"
    assert list(folder.iterdir()) == []


def test_error_is_one_line(fixtures: Path, folder: Path) -> None:
    """The file, the field, its offset, what was expected, what was found, what to do next."""
    source = fixtures / "v0_lbfgs_truncated_master43033b7bb.bin"
    done = run("convert", source, folder / "out.gguf")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"ggcp: {source}: model.layers[0].feed_forward.w3.padding at offset 0xc1b3: "
        "expected 13 bytes, found 0 bytes and the end of the file; "
        "releases of the trainer abort while they save with --use-lbfgs and leave such a file: the "
        "end of the last layer's w3 and the optimizer state were never written, all other weights "
        "are there; they can be had with ggcp export --rescue, but training cannot go on from "
        "this file\n"
    )
    assert list(folder.iterdir()) == []


def test_names_cannot_write_to_the_terminal(folder: Path) -> None:
    done = run("convert", folder / "a\n\x1b[2J.bin", folder / "out.gguf")
    assert done.returncode == 1
    assert done.stderr == (
        f"ggcp: {folder}/a\\n\\x1b[2J.bin: no such file; check the name and the folder\n"
    )


def test_name_that_is_not_unicode(source: Path, folder: Path, right: bytes) -> None:
    output = os.fsencode(folder) + b"/out\xff.gguf"
    done = subprocess.run(
        [*map(os.fsencode, [*COMMAND, "convert", str(source)]), output],
        env={**ENVIRONMENT, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == f"{folder}/out\\xff.gguf: 23 tensors, {len(right)} bytes\n"
    assert [os.fsencode(path.name) for path in folder.iterdir()] == [b"out\xff.gguf"]


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ggcp {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["convert", "--help"], ["--version"], []])
def test_help_is_fast(arguments: list[str]) -> None:
    script = (
        "import sys; from converter.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "slow = {'numpy', 'gguf', 'construct', 'tqdm', 'sentencepiece'} & set(sys.modules)\n"
        "sys.exit(f'loaded {slow}' if slow else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("options", [[], ["--stats", "--json"], ["--html", "{folder}/out.html"]])
def test_looking_at_a_checkpoint_takes_no_gguf_package(options: list[str], folder: Path) -> None:
    script = (
        "import sys; from converter.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "slow = {'gguf', 'tqdm', 'sentencepiece'} & set(sys.modules)\n"
        "sys.exit(f'loaded {slow}' if slow else code)"
    )
    options = [option.format(folder=folder) for option in options]
    done = subprocess.run(
        [sys.executable, "-c", script, "inspect", FIXTURES / "v0_adam_one.bin", *options],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_help_has_the_epsilons() -> None:
    help_text = run("convert", "--help").stdout
    for line in ("1e-6  from 2023-06-13", "5e-6  from 2023-07-25", "1e-5  from 2023-08-21"):
        assert line in help_text


def test_verify_says_what_it_does_not_compare(folder: Path) -> None:
    words = "the version of GGUF, the padding between the data, and the version of ggcp that made "
    assert words in " ".join(run("verify", "--help").stdout.split())
    source, output = FIXTURES / "v0_adam_one.bin", folder / "out.gguf"
    assert run("convert", source, output, "--quiet").returncode == 0
    same = f"{output}: the same as {source}\n"
    done = run("verify", source, output)
    assert (done.returncode, done.stdout, done.stderr) == (0, same, "")
    done = run("verify", source, output, "--verbose")
    assert (done.returncode, done.stdout) == (0, same)
    assert done.stderr == f"ggcp: not compared: {words}the file\n"


class TestSynth:
    def test_default_converts(self, folder: Path) -> None:
        made, output = folder / "made.bin", folder / "out.gguf"
        done = run("synth", made)
        assert (done.returncode, done.stdout) == (0, f"{made}: {made.stat().st_size} bytes\n")
        assert run("convert", made, output, "--verify", "--quiet").returncode == 0
        assert output.read_bytes() == expected(read(made), __version__).to_bytes()

    def test_same_seed_same_bytes(self, folder: Path) -> None:
        options = "--optimizer lbfgs --optimizer-version 1 --past 2 --lbfgs-m 3 --n-layer 1"
        for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
            run("synth", folder / name, *options.split(), "--seed", seed)
        a, b, c = ((folder / name).read_bytes() for name in "abc")
        assert a == b != c
        checkpoint = read(folder / "a")
        assert (checkpoint.optimizer.past, checkpoint.optimizer.lbfgs_m) == (2, 3)
        assert checkpoint.header["n_layer"] == 1

    def test_impossible(self, folder: Path) -> None:
        done = run("synth", folder / "made.bin", "--n-head", "5")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("ggcp: ")
        assert "head_count" in done.stderr
        assert list(folder.iterdir()) == []
