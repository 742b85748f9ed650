"""Names that are other files' too, or that no shell would show: every command that writes."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from command import COMMAND, ENVIRONMENT
from tiny_files import WRITING, perform, write_inputs

from converter import ConversionError
from converter.disk.leftovers import UNFINISHED
from ggcp_schema import FormatError, printable

INPUTS = {
    "convert": ("in.bin",),
    "export f32": ("in.bin", "vocab.gguf", "general.json"),
    "adapter": ("lora.bin",),
    "merge": ("lora.bin", "base.gguf"),
    "inspect": ("in.bin",),
}
"""What each command reads, and so may never write to."""

every_writer = pytest.mark.parametrize("line", WRITING.values(), ids=WRITING.keys())


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    write_inputs(folder)
    return folder


def same(path: Path) -> Path:
    return path


def by_another_folder(path: Path) -> Path:
    (path.parent / "link").symlink_to(path.parent)
    return path.parent / "link" / path.name


def symbolic_link(path: Path) -> Path:
    (path.parent / "link").symlink_to(path)
    return path.parent / "link"


def hard_link(path: Path) -> Path:
    (path.parent / "link").hardlink_to(path)
    return path.parent / "link"


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("name", [same, by_another_folder, symbolic_link, hard_link])
@pytest.mark.parametrize("command", INPUTS)
def test_no_input_is_ever_written_to(
    command: str, name: Callable[[Path], Path], force: list[str], inputs: Path
) -> None:
    line = WRITING[command]
    if "--vocab" in line:
        line += " --metadata {folder}/general.json"
    for used in INPUTS[command]:
        output = name(inputs / used)
        before = {path.name: path.read_bytes() for path in inputs.iterdir() if path.is_file()}
        with pytest.raises(ConversionError) as caught:
            perform(line, *force, folder=inputs, out=output)
        assert str(caught.value) == (
            f"{output}: expected an output that is not the input, found the input itself; "
            "give another name; the input is never written to"
        )
        assert before == {p.name: p.read_bytes() for p in inputs.iterdir() if p.is_file()}
        if (inputs / "link").is_symlink() or (inputs / "link").exists():
            (inputs / "link").unlink()


@every_writer
def test_symbolic_links_are_replaced_themselves(line: str, inputs: Path, folder: Path) -> None:
    elsewhere, output = folder / "elsewhere", folder / "out"
    elsewhere.write_text("old")
    for target in (elsewhere, folder / "nowhere"):
        output.symlink_to(target)
        with pytest.raises(ConversionError, match="found a file of that name; give another"):
            perform(line, folder=inputs, out=output)
        assert output.is_symlink()
        perform(line, "--force", folder=inputs, out=output)
        assert not output.is_symlink()
        output.unlink()
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"elsewhere": "old"}


@every_writer
def test_places_where_nothing_can_be_written(line: str, inputs: Path, folder: Path) -> None:
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "file").write_text("")
    for place, found in {
        "none/out": "no such folder; ",
        "file/out": "a part of the name is a file, not a folder; ",
        "circle/out": "the symbolic links lead in a circle; ",
        "x" * 256: "the name is too long; ",
    }.items():
        with pytest.raises(ConversionError) as caught:
            perform(line, folder=inputs, out=folder / place)
        assert str(caught.value).startswith(f"{folder}/{place}: {found}")
    assert {path.name for path in folder.iterdir()} == {"circle", "file"}


NAMES = {
    "newline": b"a\nb",
    "escape": b"\x1b[31mred\x1b[0m",
    "carriage return": b"good\rbad",
    "emoji": "🦙".encode(),
    "right to left": "a\u202ebin".encode(),
    "not UTF-8": b"\xff\xfe",
    "255 bytes": b"x" * 255,
    "dash": b"-x",
    "two dashes": b"--force",
    "quotes": b"'\"$(reboot)`",
    "braces": b"{x}%s",
    "space": b" ",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_name(name: bytes, inputs: Path, folder: Path) -> None:
    """Read from and written to; what is said of it is one line without control characters."""
    (inputs / "in.bin").rename(inputs / os.fsdecode(name))
    there = os.fsencode(inputs) + b"/" + name
    shown = printable(name) if not name.startswith(b"-") else "./" + printable(name)
    done = convert(b"--", there, name, cwd=folder)
    assert done.returncode == 0
    assert done.stdout.decode() == f"{shown}: 14 tensors, 4896 bytes\n"
    assert [os.fsencode(path.name) for path in folder.iterdir()] == [name]
    again = convert(b"--", there, name, cwd=folder)
    assert again.returncode == 1
    assert again.stderr.decode().splitlines()[-1] == (
        f"ggcp: {shown}: expected a name that is free, found a file of that name; "
        "give another name, or --force to replace it"
    )
    missing = convert(b"--", name + b"!" if len(name) < 255 else name[1:], b"out", cwd=inputs)
    assert missing.returncode == 1
    assert missing.stderr.count(b"\n") == 1
    assert not set(missing.stderr[:-1]) & set(range(32))


def convert(*arguments: bytes, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    command = [*map(os.fsencode, COMMAND), b"convert", b"--no-fsync", *arguments]
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, capture_output=True, env=environment, check=False, cwd=cwd)


@pytest.mark.parametrize("force", [[], ["--force"]])
@every_writer
def test_two_to_one_output_at_once(line: str, force: list[str], inputs: Path, folder: Path) -> None:
    perform(line, folder=inputs, out=folder / "alone")
    whole = (folder / "alone").read_bytes()
    (folder / "alone").unlink()
    outcomes: list[Exception | None] = []
    ready = threading.Barrier(4)

    def write() -> None:
        ready.wait()
        try:
            perform(line, *force, folder=inputs, out=folder / "out")
        except (FormatError, ConversionError) as error:
            outcomes.append(error)
        else:
            outcomes.append(None)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"out": whole}
    if force:
        assert outcomes == [None] * 4
    else:
        assert sum(error is None for error in outcomes) == 1
        for error in filter(None, outcomes):
            assert "found a file of that name" in str(error)


def test_two_processes_to_one_output_at_once(inputs: Path, folder: Path) -> None:
    output = folder / "out.gguf"
    command = [*COMMAND, "convert", "--verify", str(inputs / "in.bin"), str(output)]
    both = [
        subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert b"found a file of that name" in b"".join(said)
    assert [path.name for path in folder.iterdir()] == ["out.gguf"]


@every_writer
def test_what_a_killed_run_left_is_removed(line: str, inputs: Path, folder: Path) -> None:
    (folder / f"{UNFINISHED}0123456789abcdef").write_bytes(b"half")
    perform(line, folder=inputs, out=folder / "out")
    assert [path.name for path in folder.iterdir()] == ["out"]
