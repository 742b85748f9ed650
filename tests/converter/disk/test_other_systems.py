"""Where the system is macOS or Windows, simulated, every command writes the same bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import ENVIRONMENT, ROOT
from tiny_files import WRITING, write_inputs

from ggcp_schema.synthetic import Synthetic

SYSTEMS = ("win", "mac")
SIMULATED = ROOT / "tests" / "simulated"
NO_LINKS = """
import errno, os
def link(*arguments, **named):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))
os.link = link
from converter.cli import main
raise SystemExit(main())
"""
"""As on a disk without hard links (FAT)."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def on(
    system: str, line: str, *options: str, program: tuple[str, ...] = (), **places: Path
) -> subprocess.CompletedProcess[str]:
    """Run a command line there; nothing under the name of a system is this one."""
    words = [word.format(**places) for word in line.split()]
    return subprocess.run(
        [sys.executable, *(program or ("-m", "converter")), *words, "--quiet", *options],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "PYTHONPATH": f"{SIMULATED}:{ROOT}", "SIM": system},
        check=False,
    )


def written(system: str, line: str, target: Path, *options: str, **named: Any) -> bytes:
    """What a command writes into a folder, where nothing else is then."""
    done = on(system, line, *options, out=target / "out", **named)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in target.iterdir()] == ["out"]
    return (target / "out").read_bytes()


LACKING = """
import os
try:
    os.copy_file_range
except AttributeError:
    print("no copy_file_range")
with open("file", "w+b") as file:
    try:
        os.sendfile(file.fileno(), file.fileno(), 0, 1)
    except (AttributeError, OSError) as error:
        print(type(error).__name__)
    try:
        os.unlink("file")
    except OSError as error:
        print(type(error).__name__)
"""


def test_the_systems_are_others(tmp_path: Path) -> None:
    """What this file counts on."""
    said = {
        system: subprocess.run(
            [sys.executable, "-c", LACKING],
            capture_output=True,
            text=True,
            env={**ENVIRONMENT, "PYTHONPATH": str(SIMULATED), "SIM": system},
            cwd=tmp_path,
            check=True,
        ).stdout.splitlines()
        for system in SYSTEMS
    }
    assert said["win"] == ["no copy_file_range", "AttributeError", "PermissionError"]
    assert said["mac"] == ["no copy_file_range", "OSError"]


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("line", WRITING.values(), ids=WRITING.keys())
def test_the_same_bytes(line: str, system: str, inputs: Path, folder: Path) -> None:
    here = written("", line, folder, folder=inputs)
    (folder / "out").unlink()
    assert written(system, line, folder, folder=inputs) == here
    again = on(system, line, folder=inputs, out=folder / "out")
    assert again.returncode == 1
    assert again.stderr == (
        f"ggcp: {folder}/out: expected a name that is free, found a file of that name; "
        "give another name, or --force to replace it\n"
    )
    (folder / "out").write_text("old")
    assert written(system, line, folder, "--force", folder=inputs) == here


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("options", [(), ("--force",)])
def test_a_disk_without_hard_links(
    system: str, options: tuple[str, ...], inputs: Path, folder: Path
) -> None:
    here = written("", WRITING["convert"], folder, folder=inputs)
    if not options:
        (folder / "out").unlink()
    program = ("-c", NO_LINKS)
    line = WRITING["convert"]
    assert written(system, line, folder, *options, folder=inputs, program=program) == here


@pytest.mark.parametrize("system", SYSTEMS)
def test_large_runs(system: str, tmp_path: Path, folder: Path) -> None:
    made = Synthetic(vocabulary_size=20_000, embedding_length=128, block_count=1, head_count=2)
    with (tmp_path / "large.bin").open("wb") as file:
        made.write(file)
    line = "convert {large} {out} --no-fsync"
    here = written("", line, folder, large=tmp_path / "large.bin")
    (folder / "out").unlink()
    assert written(system, line, folder, large=tmp_path / "large.bin") == here


@pytest.mark.parametrize("system", SYSTEMS)
def test_commands_that_only_read(system: str, inputs: Path, folder: Path) -> None:
    on("", WRITING["convert"], folder=inputs, out=folder / "out")
    for line in (
        "verify {folder}/in.bin {out} --json",
        "inspect {folder}/in.bin --json --stats",
        "convert {folder}/in.bin --dry-run --json",
        "export {folder}/lora.bin {out} --dry-run --json",
    ):
        here = on("", line, folder=inputs, out=folder / "out")
        there = on(system, line, folder=inputs, out=folder / "out")
        assert there.stdout == here.stdout != ""
        assert (there.returncode, there.stderr) == (here.returncode, here.stderr)
        assert here.returncode == 0
