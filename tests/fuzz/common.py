"""What all targets share: a file without a name, what may be raised, and the start of atheris."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import pkgutil
import sys
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
FINDINGS = Path(__file__).parent / "findings"
PACKAGES = ["converter", "ggcp_schema"]

Target = Callable[[bytes], None]


class MemoryFile:
    """A file in memory that has a name, and takes the place of one on a disk.

    Attributes:
        descriptor: it, open for reading and writing.
        name: under which it can be opened.
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("ggcp-fuzz")
        self.name = f"/proc/self/fd/{self.descriptor}"

    def fill(self, data: bytes) -> str:
        """Replace what is in it and return its name."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, data, 0)
        return self.name

    def content(self) -> bytes:
        return os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)


@functools.cache
def file(purpose: str) -> MemoryFile:
    """The file for a purpose, always the same: making one takes longer than most parses."""
    return MemoryFile()


def memory() -> Path | None:
    """Where making folders is fast, if it is there."""
    place = Path("/dev/shm")
    return place if place.is_dir() else None


def is_one_line(text: str) -> bool:
    """Whether a message can go to a terminal as it is."""
    return not {"Cc", "Cs", "Zl", "Zp"} & set(map(unicodedata.category, text))


def require_good_message(error: Any, *, opening: bool = False) -> None:
    """Every error that may escape says what, where and what to do, on one line.

    Args:
        error: it.
        opening: whether it may be of a name that cannot be opened, where what is there says it all.
    """
    assert all((error.expected or opening, error.found, error.hint)), repr(error)
    assert is_one_line(str(error)), repr(str(error))


class _Checking(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        assert is_one_line(record.getMessage()), repr(record.getMessage())


def strict() -> None:
    """Make warnings errors, and check what the user would be told, without showing it."""
    from converter.progress import LOGGER

    warnings.simplefilter("error")
    LOGGER.handlers[:] = [_Checking()]
    LOGGER.propagate = False
    LOGGER.setLevel(logging.DEBUG)
    logging.raiseExceptions = True


def _import_all(name: str) -> None:
    """Import a package with all that is in it: what is imported later has no coverage."""
    package = importlib.import_module(name)
    assert Path(package.__path__[0]).parent == ROOT
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)


def main(load: Callable[[], tuple[Target, Callable[[bytes, int, int], bytes]]]) -> None:
    """Fuzz one target with libFuzzer's arguments.

    Args:
        load: imports what is tested, and returns the target and its mutator.
    """
    import atheris

    with atheris.instrument_imports(include=PACKAGES):
        for name in PACKAGES:
            _import_all(name)
        target, mutate = load()
    strict()
    atheris.Setup(sys.argv, target, custom_mutator=mutate)
    atheris.Fuzz()
