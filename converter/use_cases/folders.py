"""What a folder is that was given in place of a file: one that ggcp made, or one with files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

from converter.disk.folder import Folder
from ggcp_schema import FormatError
from ggcp_schema.language.errors import reason

MOST_FILES = 256
"""So many files of a folder are looked into."""

MOST_ENTRIES = 65_536
"""So many names of a folder are looked at."""


class Files(NamedTuple):
    """The files of a folder.

    Attributes:
        files: the names of its regular files with the folder in front, sorted, at the most 256.
        left_out: how many more there are, of those looked at.
    """

    files: tuple[str, ...]
    left_out: int


def is_folder(path: str) -> bool:
    """Tell whether a name is that of a folder."""
    return os.path.isdir(path)  # noqa: PTH112 - names stay as given


def manifest_of(path: str) -> Mapping[str, Any] | None:
    """Return what a folder that ggcp made for PyTorch says of itself; None if it is another.

    Args:
        path: name of the folder.
    """
    from converter.disk.checking import read_manifest  # which a file does not need

    folder = Folder(path)
    try:
        folder.hold()
        manifest = read_manifest(folder)
    except (OSError, FormatError):
        return None
    finally:
        folder.release()
    files = {name: file._asdict() for name, file in manifest.files.items()}
    return {**manifest.choices, "files": files} if "made" in manifest.choices else None


def files_of(path: str) -> Files:
    """Return the regular files of a folder, not those of the folders in it.

    Args:
        path: name of the folder.

    Raises:
        FormatError: it cannot be read, or holds none.
    """
    try:
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in islice(entries, MOST_ENTRIES) if entry.is_file())
    except OSError as error:
        raise FormatError(
            file=path,
            expected="a folder that can be read",
            found=reason(error),
            hint="ask for permission to read it, or give the name of a file",
        ) from error
    if not names:
        raise FormatError(
            file=path,
            expected="a file, or a folder with files",
            found="a folder without files",
            hint="give the name of a file, or of the folder that holds it",
        )
    shown = tuple(os.path.join(path, name) for name in names[:MOST_FILES])  # noqa: PTH118
    return Files(shown, len(names) - len(shown))
