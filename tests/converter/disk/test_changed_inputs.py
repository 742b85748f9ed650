"""A file that is cut, grows, is written to or replaced while it is read: an error and no output."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import ENVIRONMENT
from faults import acting_first, failing
from tiny_files import WRITING, perform, write_inputs

from ggcp_schema import FormatError, parse


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(1000))


def written(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"\1")
    os.utime(path, (1, 1))


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


CHANGES = {
    cut: "and the end of the file; the file was cut while it was read; get it back whole and try",
    grown: "; another program is writing to the file; wait until it is done and try again",
    written: "found the same size, written to since; another program is writing to the file",
    replaced: "found another file of that name; another program is writing to the file",
}
READ = {
    "convert": "in.bin",
    "convert, verified": "in.bin",
    "resume": "in.bin",
    "export f32": "in.bin",
    "export q8_0": "in.bin",
    "adapter": "lora.bin",
    "merge": "base.gguf",
    "merge f16": "lora.bin",
}
"""Which file changes under each command."""


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    write_inputs(folder)
    return folder


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", READ)
def test_while_it_is_converted(
    name: str,
    force: bool,
    change: Callable[[Path], None],
    inputs: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changing, output = inputs / READ[name], folder / "out"
    if force:
        output.write_text("old")
    reserve = acting_first(lambda: change(changing), os.posix_fallocate)
    monkeypatch.setattr(os, "posix_fallocate", reserve)  # the last thing before the data
    with pytest.raises(FormatError) as caught:
        perform(WRITING[name], *(["--force"] if force else []), folder=inputs, out=output)
    message = str(caught.value)
    assert message.startswith(f"{changing}: file")
    if change is not cut:
        assert CHANGES[change] in message
    else:  # seen where it ends, or in the end
        assert CHANGES[cut] in message or CHANGES[grown] in message
    left = {path.name: path.read_text() for path in folder.iterdir()}
    assert left == ({"out": "old"} if force else {})


def test_moved_away_it_is_still_the_same_file(
    inputs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = inputs / "in.bin"
    reserve = acting_first(lambda: source.rename(inputs / "moved"), os.posix_fallocate)
    monkeypatch.setattr(os, "posix_fallocate", reserve)
    perform(WRITING["convert"], folder=inputs, out=folder / "out")
    assert [path.name for path in folder.iterdir()] == ["out"]


def test_replaced_before_it_is_read_to_its_end(inputs: Path) -> None:
    with parse(inputs / "in.bin") as checkpoint:
        checkpoint.source.check_unchanged()
        replaced(inputs / "in.bin")
        with pytest.raises(FormatError, match="found another file of that name"):
            checkpoint.source.check_unchanged()


def test_a_disk_that_is_gone_before_it_is_read_to_its_end(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk of the network says ESTALE where a file was removed there."""
    length = (inputs / "in.bin").stat().st_size
    with parse(inputs / "in.bin") as checkpoint:
        monkeypatch.setattr(os, "fstat", failing(errno.ESTALE))
        with pytest.raises(FormatError) as caught:
            checkpoint.source.check_unchanged()
        monkeypatch.undo()
    assert str(caught.value) == (
        f"{inputs / 'in.bin'}: file: expected the {length} bytes that were there when reading "
        "began, found 0 bytes; another program is writing to the file; wait until it is done and "
        "try again"
    )


@pytest.mark.parametrize("change", [cut, grown, written, replaced], ids=lambda c: c.__name__)
def test_while_it_is_inspected(
    change: Callable[[Path], None], inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = inputs / "in.bin"
    monkeypatch.setattr(os, "pread", acting_first(lambda: change(changing), os.pread))
    with pytest.raises(FormatError) as caught:
        perform("inspect {folder}/in.bin --stats", folder=inputs)
    assert str(caught.value).startswith(f"{changing}: file")


# The gguf package maps its file into memory. Had it the user's, reading what was cut off would be
# SIGBUS, which nothing can catch.
CUTTING = """
import os, sys
pread, calls = os.pread, 0
def cutting(*arguments):
    global calls
    calls += 1
    if calls == int(os.environ["AT"]):
        os.truncate(os.environ["CUT"], int(os.environ["TO"]))
    return pread(*arguments)
os.pread = cutting
from converter.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("length", [0, 30, 400])
@pytest.mark.parametrize("at", [1, 2, 3, 8])
def test_cut_under_verify(at: int, length: int, inputs: Path) -> None:
    perform("convert {folder}/in.bin {folder}/out.gguf", folder=inputs)
    names = {"in.bin": inputs / "in.bin", "out.gguf": inputs / "out.gguf"}
    whole = {name: path.read_bytes() for name, path in names.items()}
    for name, path in names.items():
        done = verified(inputs, AT=at, CUT=path, TO=length)
        assert done.returncode == 1
        assert done.stderr.startswith(f"ggcp: {path}: ") or name in done.stdout
        assert "Traceback" not in done.stderr
        path.write_bytes(whole[name])


def verified(inputs: Path, **environment: Any) -> subprocess.CompletedProcess[str]:
    extra = {name: str(value) for name, value in environment.items()}
    files = [str(inputs / "in.bin"), str(inputs / "out.gguf")]
    return subprocess.run(
        [sys.executable, "-c", CUTTING, "verify", *files],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **extra},
        check=False,
    )
