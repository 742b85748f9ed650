"""The real files among the fixtures, most of which are packed."""

from __future__ import annotations

import functools
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path

from paths import FIXTURES


def unpacked(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file that a fixture is: several in a .tar.xz, else one."""
    if path.name.endswith(".tar.xz"):
        with tarfile.open(path) as packed:
            for member in packed:
                content = packed.extractfile(member)
                assert content is not None, f"{path} holds {member.name}, which is no file"
                yield member.name, content.read()
    elif path.suffix == ".xz":
        yield path.stem, lzma.decompress(path.read_bytes())
    else:
        yield path.name, path.read_bytes()


@functools.cache
def names(beginning: tuple[str, ...] = ("",), ending: str = "") -> tuple[str, ...]:
    """The names of all that begin and end so, sorted."""
    every = (name for path in FIXTURES.iterdir() for name, _ in unpacked(path))
    return tuple(
        sorted(name for name in every if name.startswith(beginning) and name.endswith(ending))
    )


def training_checkpoints(*, cut: bool = False) -> tuple[str, ...]:
    """The names of all training checkpoints before GGUF; with ``cut``, what is left of one too."""
    found = names(("v0_", "v1", "ggcp_"), ".bin")
    return tuple(name for name in found if cut or "truncated" not in name)
