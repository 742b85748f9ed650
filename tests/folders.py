"""A small folder as ggcp writes one, and what is in it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from converter import ConversionError
from converter.disk.folder_output import FolderOutput
from converter.disk.leftovers import UNFINISHED

FILES = {"config.json": b"{}\n", "model.bin": bytes(range(256)) * 20, "empty.txt": b""}
OTHERS = {"config.json": b'{"new": 1}\n', "other.bin": b"other"}
CHOICES: dict[str, object] = {"batch": 8, "order": "flash", "context": None}


def write(
    path: str | os.PathLike[str], files: Mapping[str, bytes] = FILES, **options: Any
) -> FolderOutput:
    """Write a folder."""
    with FolderOutput(path, **options) as output:
        made = {name: output.file(name, len(data)) for name, data in files.items()}
        for name, file in made.items():
            file.write((files[name],))
        output.commit(CHOICES)
    return output


def manifest(files: Mapping[str, bytes] = FILES, **choices: object) -> bytes:
    """What ggcp.json says of files, by another way than the code's."""
    listed = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
    }
    members = {**(choices or CHOICES), "files": listed}
    return (json.dumps(members, indent=2) + "\n").encode()


def whole(files: Mapping[str, bytes] = FILES) -> dict[str, bytes]:
    """What is in a folder of these files."""
    return {**files, "ggcp.json": manifest(files)}


def content(path: Path) -> dict[str, bytes]:
    """What is in a folder."""
    return {each.name: each.read_bytes() for each in path.iterdir()}


def tree(folder: Path) -> dict[str, object]:
    """Everything under a folder: names, kinds, contents, and what tells that a file was touched."""
    return {
        str(path.relative_to(folder)): (
            stat.S_IFMT(path.lstat().st_mode),
            path.lstat().st_ino,
            path.lstat().st_mtime_ns,
            path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else None,
        )
        for path in folder.rglob("*")
    }


def refused(out: Path, **options: Any) -> str:
    """What is said of a folder that cannot be written."""
    with pytest.raises(ConversionError) as caught:
        write(out, **options)
    return str(caught.value).removeprefix(f"{out}: ")


def unfinished(folder: Path) -> Path:
    """The one folder that is being written."""
    (path,) = (path for path in folder.iterdir() if path.name.startswith(UNFINISHED))
    return path
