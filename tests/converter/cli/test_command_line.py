"""What the command line takes, and what it says of words that it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import run
from pseudo_terminal import on_a_terminal
from test_styles import BOLD, CYAN, DIM, END, RED, SGR
from tiny_files import write_inputs

from converter import __version__

COMMANDS = ("inspect", "export", "convert", "verify", "synth", "document")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    write_inputs(tmp_path)
    return tmp_path


UNKNOWN = {
    "exprot a b": ("ggcp", "no such command: exprot; did you mean export?"),
    "Convert a b": ("ggcp", "no such command: Convert; did you mean convert?"),
    "nowhere": ("ggcp", "no such command: nowhere; see ggcp --help"),
    "help conver": ("ggcp", "no such command: conver; did you mean convert?"),
    "convert a b --focre": ("ggcp convert", "no such option: --focre; did you mean --force?"),
    "convert a b --ep=1": ("ggcp convert", "no such option: --ep; did you mean --eps?"),
    "convert a b --zzz": ("ggcp convert", "no such option: --zzz; see ggcp convert --help"),
    "export a b --vocab-model c": (
        "ggcp export",
        "no such option: --vocab-model; did you mean --vocab?",
    ),
    "inspect a --verbose": (
        "ggcp inspect",
        "no such option: --verbose; ggcp export, convert and verify have it",
    ),
    "convert a b --format hf": ("ggcp convert", "no such option: --format; ggcp export has it"),
    "convert a b --vocab=c": ("ggcp convert", "no such option: --vocab; ggcp export has it"),
    "convert a b --rescue": ("ggcp convert", "no such option: --rescue; ggcp export has it"),
    "convert a b --resume-with pytorch": (
        "ggcp convert",
        "argument --resume-with: expected flash, plain, scratch or flash-rtl, found 'pytorch'; "
        "for PyTorch and transformers: ggcp export IN FOLDER --format hf",
    ),
    "export a b --format safetensors": (
        "ggcp export",
        "argument --format: expected gguf or hf, found 'safetensors'; for PyTorch and "
        "transformers: ggcp export IN FOLDER --format hf",
    ),
    "verify a b c": ("ggcp verify", "one name too many: c; put a name with spaces in quotes"),
    "convert a b --resume-with FLAHS": (
        "ggcp convert",
        "argument --resume-with: expected flash, plain, scratch or flash-rtl, found 'FLAHS'; "
        "did you mean flash?",
    ),
    "convert a b --resume-with flahs": (
        "ggcp convert",
        "argument --resume-with: expected flash, plain, scratch or flash-rtl, found 'flahs'; "
        "did you mean flash?",
    ),
    "export a b --outtype q4_k_m": (
        "ggcp export",
        "argument --outtype: expected f32, f16, bf16 or q8_0, found 'q4_k_m'; take f16, and then "
        "llama.cpp's: llama-quantize OUT SMALLER.gguf q4_k_m",
    ),
    "export a b --outtype IQ2_XXS": (
        "ggcp export",
        "argument --outtype: expected f32, f16, bf16 or q8_0, found 'IQ2_XXS'; take f16, and then "
        "llama.cpp's: llama-quantize OUT SMALLER.gguf IQ2_XXS",
    ),
    "export a b --outtype fp16": (
        "ggcp export",
        "argument --outtype: expected f32, f16, bf16 or q8_0, found 'fp16'; did you mean f16?",
    ),
}


@pytest.mark.parametrize("line", UNKNOWN)
def test_words_that_nobody_knows(line: str, inputs: Path) -> None:
    done = run(*line.split(), cwd=inputs)
    program, message = UNKNOWN[line]
    usage, last = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert usage.startswith(f"usage: {program} ")
    assert last == f"{program}: error: {message}"


@pytest.mark.parametrize(
    "line", ["-v0.bin", "inspect -v0.bin", "export -v0.bin out", "-v0.bin in.bin"]
)
def test_a_name_that_begins_with_a_dash(line: str, inputs: Path) -> None:
    (inputs / "-v0.bin").write_bytes((inputs / "in.bin").read_bytes())
    done = run(*line.split(), cwd=inputs)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("; the name of a file that begins with a dash: ./-v0.bin\n")
    assert run("./-v0.bin", cwd=inputs).returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ("",),
        ("inspect", "in.bin", ""),
        ("export", "", "out", "--vocab", "vocab.gguf"),
        ("export", "in.bin", "", "--vocab", "vocab.gguf"),
        ("export", "in.bin", "out", "--vocab", ""),
        ("export", "lora.bin", "out", "--merge", ""),
        ("convert", "-i", "", "-o", "out"),
        ("inspect", "in.bin", "--html="),
    ],
)
def test_an_empty_name(words: tuple[str, ...], inputs: Path) -> None:
    """As of a variable of the shell that is not set."""
    before = sorted(inputs.iterdir())
    done = run(*words, cwd=inputs)
    assert (done.returncode, done.stdout) == (2, "")
    said = "error: a name is empty; look at the quotes, and at variables that are not set\n"
    assert done.stderr.endswith(said)
    assert sorted(inputs.iterdir()) == before


def test_standard_input_alone() -> None:
    assert run("-").stderr == (
        "ggcp: -: no such file; standard input is not supported; give the name of a file\n"
    )


def test_an_address() -> None:
    address = "https://example.com/checkpoint.bin"
    assert run(address).stderr == (
        f"ggcp: {address}: no such file; nothing is downloaded: do that first, and give the name "
        "of the file\n"
    )


@pytest.mark.parametrize("word", ["version", "-V", "--version"])
def test_the_version(word: str) -> None:
    assert run(word).stdout == f"ggcp {__version__}\n"


def test_a_usage_error_on_a_terminal(inputs: Path) -> None:
    assert on_a_terminal("convert", "in.bin", "out", "--focre", cwd=inputs) == (
        2,
        f"{BOLD}usage:{END} ggcp convert IN OUT [options]\n"
        f"{RED}error:{END} no such option: --focre\n"
        f"{CYAN}hint:{END} did you mean --force?\n",
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_options_are_not_abbreviated(command: str, inputs: Path) -> None:
    done = run(command, "in.bin", "--quie", cwd=inputs)
    assert done.returncode == 2
    assert done.stderr.endswith("no such option: --quie; did you mean --quiet?\n") or (
        done.stderr.endswith(f"arguments are required: OUT; see ggcp {command} --help\n")
    )


@pytest.mark.parametrize("given", ["--i", "--in", "--inp", "--inpu", "--input"])
@pytest.mark.parametrize("written", ["--o", "--ou", "--out", "--outp", "--outpu", "--output"])
def test_the_abbreviations_of_the_historical_script(
    given: str, written: str, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """argparse took every beginning of --input and --output there, with or without a command."""
    from converter import cli

    monkeypatch.chdir(inputs)
    assert cli.main([given, "in.bin", f"{written}=out", "--quiet"]) == 0
    assert (inputs / "out").exists()


@pytest.mark.parametrize("line", ["convert --in in.bin out", "convert in.bin --out out", "--forc"])
def test_no_other_abbreviations(line: str, inputs: Path) -> None:
    assert run(*line.split(), cwd=inputs).returncode == 2


@pytest.mark.parametrize("line", ["", "help", "--help", "-h", "--h"])
def test_the_help(line: str) -> None:
    done = run(*line.split())
    assert (done.returncode, done.stderr) == (0, "")
    if line == "--h":  # as the historical script, whose help is that of its command now
        assert done.stdout == run("convert", "--help").stdout
        return
    assert done.stdout == run("--help").stdout
    ours, theirs = done.stdout.split("\nfor developers of other tools:\n")
    assert [line.split()[0] for line in ours.split("\ncommands:\n")[1].splitlines() if line] == [
        "inspect",
        "export",
        "convert",
        "verify",
    ]
    assert [line.split()[0] for line in theirs.splitlines()[:2]] == ["synth", "document"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command(command: str) -> None:
    done = run("help", command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run(command, "--help").stdout
    assert done.stdout.startswith(f"usage: ggcp {command} ")
    examples = done.stdout.split("\nexamples:\n")[1].split("\n\n")[0].splitlines()
    commands = [line for line in examples if not line.startswith("  # ")]
    assert any(line.startswith(f"  ggcp {command} ") for line in commands)
    for line in commands:
        assert line.startswith(("  ggcp ", "  llama-quantize ", "  python -m converter "))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("columns", [60, 80])
def test_the_help_is_wrapped(command: str, columns: int) -> None:
    """All but command lines and tables, which would not be that any more."""
    code, text = on_a_terminal("help", command, columns=columns)
    assert code == 0
    lines = SGR.sub("", text).split("\nexamples:\n")[0].splitlines()
    assert max(len(line) for line in lines[1:]) <= columns
    assert max(len(line) for line in text.splitlines()) < 90


def test_the_help_on_a_terminal() -> None:
    lines = on_a_terminal("help", "verify").text.split("\n")
    assert f"{BOLD}usage:{END} ggcp verify IN OUT [--merge BASE.gguf] [options]" in lines
    assert f"{BOLD}examples:{END}" in lines
    assert f"{DIM}  # everything that differs, one by one{END}" in lines


@pytest.mark.parametrize("outtype", ["F16", "f16", "F32", "BF16", "Q8_0"])
def test_types_in_letters_of_either_case(outtype: str, inputs: Path) -> None:
    line = f"export in.bin out --vocab vocab.gguf --outtype {outtype} --quiet"
    assert run(*line.split(), cwd=inputs).returncode == 0
    lower = line.replace("out ", "lower ", 1).lower()
    assert run(*lower.split(), cwd=inputs).returncode == 0
    assert (inputs / "out").read_bytes() == (inputs / "lower").read_bytes()
