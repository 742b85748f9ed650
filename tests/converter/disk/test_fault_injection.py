"""Whatever call fails while a file is written: the old file, none, or the whole new one.

Every command that writes runs once to see which calls it makes. Then it runs again for each of
them, and that one says that the disk is full, that it cannot write, that a signal came in between,
or does only a part of what it was asked.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults import said
from tiny_files import WRITING, perform, write_inputs

import converter.disk.output
from converter import ConversionError
from ggcp_schema import FormatError

CALLS = (
    "pwrite",
    "sendfile",
    "copy_file_range",
    "posix_fallocate",
    "ftruncate",
    "fsync",
    "link",
    "rename",
    "replace",
    "fchmod",
    "unlink",
)
FAULTS = (errno.ENOSPC, errno.EIO, errno.EINTR, "short")
COUNT_AT = {"copy_file_range": 2, "sendfile": 3}
"""Which argument is the number of bytes."""

WAYS: dict[str, tuple[str, ...]] = {
    "in the kernel": (),
    "sendfile": ("copy_file_range",),
    "read and write": ("copy_file_range", "sendfile"),
    "without reserving and links": ("posix_fallocate",),
}
"""What a system may lack."""


class Calls:
    """Stands in for functions of the system; the one with number ``at`` goes wrong.

    Attributes:
        seen: the functions that were called.
    """

    def __init__(self, at: int | None = None, fault: int | str = 0) -> None:
        self.seen: list[str] = []
        self._at = at
        self._fault = fault

    def goes_wrong(self, name: str) -> bool:
        """Count a call; raise if it fails, and tell whether it does only a part."""
        self.seen.append(name)
        if len(self.seen) - 1 != self._at:
            return False
        if isinstance(self._fault, int):
            raise OSError(self._fault, os.strerror(self._fault))
        return True

    def standing_in(self, name: str, good: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if not self.goes_wrong(name):
                return None if name == "fsync" else good(*arguments, **named)  # that takes time
            if name == "pwrite":
                target, data, offset = arguments
                return good(target, data[: max(1, len(data) // 2)], offset)
            if name in COUNT_AT:
                place = COUNT_AT[name]
                count = max(1, arguments[place] // 2)
                return good(*arguments[:place], count, *arguments[place + 1 :])
            return good(*arguments, **named)

        return call

    def opened(self, file: int, mode: str = "rb", **options: Any) -> io.FileIO:
        """As ``io.FileIO``."""
        if mode != "wb":
            return io.FileIO(file, mode, **options)
        return _Raw(self, file, **options)

    def made(self, good: Callable[..., int]) -> Callable[..., int]:
        """As ``os.open``; only those that make a file count."""

        def call(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
            if flags & os.O_CREAT:
                self.goes_wrong("open")
            return good(path, flags, *arguments, **named)

        return call


class _Raw(io.FileIO):
    def __init__(self, calls: Calls, file: Any, **options: Any) -> None:
        super().__init__(file, "wb", **options)
        self._calls = calls

    def write(self, data: Any) -> int | None:
        part = self._calls.goes_wrong("write")
        return super().write(bytes(data)[: max(1, len(data) // 2)] if part else data)


@contextmanager
def replaced(calls: Calls, missing: tuple[str, ...] = ()) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", calls.made(os.open))
        for name in CALLS:
            patch.setattr(os, name, calls.standing_in(name, getattr(os, name)))
        for name in missing:
            patch.delattr(os, name)
        if "posix_fallocate" in missing:

            def refuse(*_arguments: Any, **_named: Any) -> None:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

            patch.setattr(os, "link", refuse)
        patch.setattr(converter.disk.output, "FileIO", calls.opened)
        yield


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def whole(line: str, inputs: Path, folder: Path) -> tuple[bytes, list[str]]:
    """What a command writes if nothing goes wrong, and the calls that it makes."""
    calls = Calls()
    with replaced(calls):
        perform(line, folder=inputs, out=folder / "whole")
    data = (folder / "whole").read_bytes()
    (folder / "whole").unlink()
    return data, calls.seen


def attempt(line: str, inputs: Path, output: Path, calls: Calls, missing: tuple[str, ...]) -> Any:
    options = ["--force"] if output.exists() else []
    with replaced(calls, missing):
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
