"""Whatever call fails while a file is written: the old file, none, or the whole new one.

Every command that writes runs once to see which calls it makes. Then it runs again for each of
them, and that one says that the disk is full, that it cannot write, that a signal came in between,
or does only a part of what it was asked.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from faults import FAULTS, Calls, calls_replaced, said
from tiny_files import WRITING, perform, write_inputs

from converter import ConversionError
from ggcp_schema import FormatError

WAYS: dict[str, tuple[str, ...]] = {
    "in the kernel": (),
    "sendfile": ("copy_file_range",),
    "read and write": ("copy_file_range", "sendfile"),
    "without reserving and links": ("posix_fallocate",),
}
"""What a system may lack."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def whole(line: str, inputs: Path, folder: Path) -> tuple[bytes, list[str]]:
    """What a command writes if nothing goes wrong, and the calls that it makes."""
    calls = Calls()
    with calls_replaced(calls):
        perform(line, folder=inputs, out=folder / "whole")
    data = (folder / "whole").read_bytes()
    (folder / "whole").unlink()
    return data, calls.seen


def attempt(line: str, inputs: Path, output: Path, calls: Calls, missing: tuple[str, ...]) -> Any:
    options = ["--force"] if output.exists() else []
    with calls_replaced(calls, missing):
        try:
            perform(line, *options, folder=inputs, out=output)
        except (FormatError, ConversionError) as error:
            return error
    return None


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("missing", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("line", WRITING.values(), ids=WRITING.keys())
def test_every_call_fails_once(
    line: str, missing: tuple[str, ...], force: bool, inputs: Path, folder: Path
) -> None:
    if missing and not line.startswith(("convert", "export {folder}/lora.bin {out} --merge")):
        return  # the others copy nothing inside the kernel
    new, _ = whole(line, inputs, folder)
    output = folder / "out"
    if force:
        output.write_bytes(b"old")
    counted = Calls()
    attempt(line, inputs, output, counted, missing)
    assert output.read_bytes() == new
    output.unlink()
    for at, name in enumerate(counted.seen):
        for fault in FAULTS:
            old = b"old" if force else None
            if force:
                output.write_bytes(b"old")
            error = attempt(line, inputs, output, Calls(at, fault), missing)
            left = {path.name: path.read_bytes() for path in folder.iterdir()}
            where = (at, name, fault, str(error))
            assert set(left) <= {"out"}, where
            found = left.get("out")
            if fault in (errno.EINTR, "short"):
                assert error is None, where
            if error is None:
                assert found == new, where
            elif force and name == "fsync" and at == len(counted.seen) - 1:
                assert found == new, where  # the folder's: what was replaced cannot be had back
            else:
                assert found == old, where
                assert said(int(fault)) in str(error), where
            if found is not None:
                output.unlink()


def test_the_calls_are_those_that_write(inputs: Path, folder: Path) -> None:
    """What this file counts on: the calls that stand for a way are really made."""
    _, seen = whole(WRITING["convert"], inputs, folder)
    order = ["open", "write", "posix_fallocate", "copy_file_range", "fsync"]
    order += ["fchmod", "link", "unlink"]
    assert [name for i, name in enumerate(seen) if name not in seen[:i]] == order
    assert seen[-1] == "fsync"
    assert seen.count("copy_file_range") == 14
    for name, calls in {"synth": "write", "inspect": "write", "export q8_0": "pwrite"}.items():
        assert calls in whole(WRITING[name], inputs, folder)[1]


@pytest.mark.parametrize("line", WRITING.values(), ids=WRITING.keys())
def test_a_full_disk_from_some_call_on(line: str, inputs: Path, folder: Path) -> None:
    """A disk that is full stays full."""
    new, seen = whole(line, inputs, folder)
    for at in range(len(seen)):
        calls = Calls()

        def goes_wrong(name: str, at: int = at, calls: Calls = calls) -> bool:
            calls.seen.append(name)
            if len(calls.seen) > at and name in ("write", "pwrite", "copy_file_range"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return False

        calls.goes_wrong = goes_wrong  # type: ignore[method-assign]
        error = attempt(line, inputs, folder / "out", calls, ())
        if error is None:  # everything had been written
            assert (folder / "out").read_bytes() == new
            (folder / "out").unlink()
        else:
            assert "the disk is full; " in str(error)
        assert list(folder.iterdir()) == []
