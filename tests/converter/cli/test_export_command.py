"""``ggcp export`` as a user runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command import COMMAND, ENVIRONMENT, run
from exported import VOCABULARY, expected_model
from gguf_bytes import read
from reference import checkpoint as reference

from converter import __version__
from ggcp_schema.synthetic import Synthetic

EPSILON = (
    "ggcp: the epsilon of the norms is not in the file; 1e-5 is assumed: trainers before "
    "2023-07-25 had 1e-6, before 2023-08-21 5e-6 (see --eps in ggcp export --help)\n"
)
CONTEXT_LENGTH = (
    "ggcp: context length 16: 192 tokens / 12 samples of the training (-c for another)\n"
)


@pytest.fixture
def checkpoint(fixtures: Path) -> Path:
    return fixtures / "v0_adam_one.bin"


def test_in_one_line(checkpoint: Path, folder: Path) -> None:
    path = folder / "model.gguf"
    result = run("export", checkpoint, path, "--vocab", VOCABULARY, "--verify", "--no-fsync")
    length = path.stat().st_size
    assert result.returncode == 0
    assert result.stdout == f"{path}: 21 tensors, {length} bytes\n"
    try_it = f'ggcp: Try it: llama-completion -m {path} -p "O" -n 32\n'
    assert result.stderr == CONTEXT_LENGTH + EPSILON + try_it
    assert read(path) == expected_model(
        reference.read(checkpoint), "v0_adam_one", version=__version__, context_length=16
    )
    verified = run("verify", checkpoint, path)
    assert (verified.returncode, verified.stderr) == (0, "")
    assert verified.stdout == f"{path}: the same as {checkpoint}\n"


def test_quietly_and_with_every_option(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    metadata = tmp_path / "metadata.json"
    metadata.write_text('{"general.author": "Me"}')
    (folder / "m-q8_0.gguf").write_bytes(b"old")
    result = run(
        *("export", checkpoint, folder / "m-{ftype}.gguf", "--vocab", VOCABULARY, "-q"),
        *("-c", "99", "--eps", "5e-6", "--outtype", "q8_0", "--model-name", "Ü"),
        *("--metadata", metadata, "--force", "--rescue", "--verify"),
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    keys = {key.name: key.value for key in read(folder / "m-q8_0.gguf").keys}
    assert keys["general.name"] == "Ü"
    assert keys["general.author"] == "Me"
    assert keys["general.file_type"] == 7
    assert keys["llama.context_length"] == 99
    assert keys["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(5e-6, rel=1e-6)


def test_json(checkpoint: Path, folder: Path) -> None:
    result = run("export", checkpoint, folder, "--vocab", VOCABULARY, "--json", "--quiet")
    path = folder / "v0_adam_one-16K-F32.gguf"
    assert json.loads(result.stdout) == {
        "path": str(path),
        "tensors": 21,
        "bytes": path.stat().st_size,
        "assumptions": {
            "epsilon": {"value": 1e-5, "basis": "assumed"},
            "context_length": {"value": 16, "basis": "counters"},
            "batch": None,
            "order": None,
        },
    }


def test_dry_run(checkpoint: Path, folder: Path) -> None:
    arguments = ("export", checkpoint, folder, "--vocab", VOCABULARY, "--dry-run", "--eps", "1e-6")
    result = run(*arguments, "--outtype", "bf16")
    assert result.returncode == 0
    assert result.stderr == (
        CONTEXT_LENGTH + f"ggcp: the file would be {folder}/v0_adam_one-16K-BF16.gguf\n"
    )
    lines = result.stdout.splitlines()
    assert ["llama.context_length", "UINT32", "16"] in [line.split() for line in lines]
    assert "token_embd.weight         BF16  16 × 300  9600 bytes" in lines
    assert lines[-1] == "21 tensors, 32832 bytes of data"
    result = run(*arguments, "--json")
    described = json.loads(result.stdout)
    found = {item["key"]: item["value"] for item in described["metadata"]}
    assert found["tokenizer.ggml.tokens"][:4] == ["<unk>", "<s>", "</s>", "<0x00>"]
    assert len(described["tensors"]) == 21
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "the following arguments are required: --vocab"),
        (("--vocab", "v", "-c", "0"), "expected a whole number from 1 to 4294967295, found '0'"),
        (("--vocab", "v", "-c", "4294967296"), "found '4294967296'"),
        (
            ("--vocab", "v", "--eps", "0"),
            "expected a number above 0 and below 1, such as 1e-5, found '0'",
        ),
        (("--vocab", "v", "--outtype", "q4_0"), "llama-quantize OUT SMALLER.gguf q4_0"),
    ],
)
def test_usage(arguments: tuple[str, ...], complaint: str, checkpoint: Path, folder: Path) -> None:
    result = run("export", checkpoint, folder / "model.gguf", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert list(folder.iterdir()) == []


def test_help_says_what_the_options_mean(folder: Path) -> None:
    result = run("export", "--help")
    assert result.returncode == 0
    for option in ("--vocab", "--context-length", "--outtype", "--metadata", "--rescue"):
        assert option in result.stdout
    assert "1e-6  from 2023-06-13 (e32089b2c)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ("nothing.bin", "--vocab", VOCABULARY),
            "nothing.bin: no such file; check the name and the folder",
        ),
        (
            (VOCABULARY, "--vocab", VOCABULARY),
            f"{VOCABULARY}: magic at offset 0x0: expected a checkpoint, found a vocabulary "
            "(GGUF) with 300 tokens; it holds no model and works as --vocab; give the checkpoint "
            "itself first",
        ),
    ],
)
def test_errors(arguments: tuple[str | Path, ...], complaint: str, folder: Path) -> None:
    source, *options = arguments
    result = run("export", source, "model.gguf", *options, cwd=folder)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"ggcp: {complaint}\n"
    assert list(folder.iterdir()) == []


def test_the_checkpoint_as_its_own_vocabulary(checkpoint: Path, folder: Path) -> None:
    result = run("export", checkpoint, folder / "model.gguf", "--vocab", checkpoint)
    assert result.returncode == 1
    assert "a checkpoint holds no vocabulary" in result.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_memory_stays_bounded_and_a_signal_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    """175 MB of weights in each type, within 200 MiB of memory; the last run is stopped."""
    checkpoint = tmp_path / "large.bin"
    with checkpoint.open("wb") as file:
        Synthetic(
            vocabulary_size=300,
            embedding_length=1344,
            head_count=42,
            block_count=2,
            optimizer_version=1,
        ).write(file)
    # Not ru_maxrss: that is at least what the process had that started this one.
    script = (
        "import re, sys; from pathlib import Path; from converter.cli import main;"
        "code = main(sys.argv[1:]); status = Path('/proc/self/status').read_text();"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]); sys.exit(code)"
    )
    arguments = ["export", str(checkpoint), "--vocab", str(VOCABULARY), "--no-fsync", "-q"]
    for outtype in ("f32", "q8_0"):
        result = subprocess.run(
            [COMMAND[0], "-c", script, *arguments, str(folder), "--outtype", outtype],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            check=True,
        )
        assert int(result.stdout) < 200 * 1024
    before = sorted(folder.iterdir())
    process = subprocess.Popen(
        [*COMMAND, *arguments, str(folder / "stopped.gguf"), "--outtype", "q8_0"],
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    while process.poll() is None and sorted(folder.iterdir()) == before:
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (143, "ggcp: stopped; no unfinished file was kept\n")
    assert sorted(folder.iterdir()) == before
