"""The command's streams: a terminal, a pipe, a full disk, none at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from command import COMMAND, ENVIRONMENT, run
from gguf_bytes import expected
from reference.checkpoint import read

from converter import __version__


@pytest.fixture
def source(fixtures: Path) -> Path:
    return fixtures / "v0_adam_one.bin"


@pytest.fixture(scope="module")
def right(fixtures: Path) -> bytes:
    return expected(read(fixtures / "v0_adam_one.bin"), __version__).to_bytes()


class TestStandardOutput:
    def test_closed(self, source: Path, folder: Path, right: bytes) -> None:
        output = folder / "out.gguf"
        command = " ".join(
            [*COMMAND, "convert", str(source), str(output), "--quiet", ">&-", "2>&-"]
        )
        done = subprocess.run(command, shell=True, env=ENVIRONMENT, check=False)
        assert done.returncode == 0
        assert output.read_bytes() == right

    def test_nobody_reads(self, source: Path) -> None:
        command = " ".join([*COMMAND, "convert", str(source), "--dry-run", "--quiet"])
        done = subprocess.run(
            ["bash", "-c", f"{command} | head -1; exit ${{PIPESTATUS[0]}}"],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "general.architecture                    STRING   llama\n"
        assert done.stderr == ""

    @pytest.mark.parametrize("arguments", ["convert {} --dry-run --quiet", "--help"])
    def test_reader_is_gone(self, arguments: str, source: Path) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        done = run(*arguments.format(source).split(), stdout=writing)
        os.close(writing)
        assert (done.returncode, done.stderr) == (1, "")

    @pytest.mark.parametrize("arguments", ["convert {} --dry-run --quiet", "--help"])
    def test_disk_is_full(self, arguments: str, source: Path) -> None:
        with Path("/dev/full").open("w") as full:
            done = run(*arguments.format(source).split(), stdout=full)
        assert done.returncode == 1
        assert done.stderr == (
            "ggcp: expected standard output to take the result, found '[Errno 28] No space left on "
            "device'; make room, or send it to another place\n"
        )

    def test_characters_it_does_not_have(self, source: Path) -> None:
        done = subprocess.run(
            [*COMMAND, "convert", str(source), "--dry-run"],
            env={**ENVIRONMENT, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            check=True,
        )
        assert b"F32  16 \\xd7 300  19200 bytes\n" in done.stdout
