"""Whether a folder still holds what was written: the files of its ggcp.json, and nothing else."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Iterator, Mapping
from io import FileIO
from typing import NamedTuple

from converter.disk.folder import Folder
from converter.disk.identity import sha256_of
from converter.disk.manifest import MANIFEST, Manifest, parse_manifest, require_size
from converter.progress import Progress, silent
from ggcp_schema import FormatError, Source
from ggcp_schema.language.errors import reason

_HINT = "give a folder that ggcp wrote, or write it again from the checkpoint"
_KINDS = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
)


class Change(NamedTuple):
    """Something in a folder that is not as it was written.

    Attributes:
        name: the name in the folder.
        member: what of it ggcp.json says otherwise; empty for its being there or not.
        expected: what there should be.
        found: what there is.
    """

    name: str
    member: str
    expected: str
    found: str


def check_folder(path: str | os.PathLike[str], progress: Progress = silent) -> Manifest:
    """Make sure that a folder holds exactly what was written, and return its ggcp.json.

    Args:
        path: the folder; a symbolic link to one will do.
        progress: shows how far reading is.

    Raises:
        FormatError: there is no such folder, its ggcp.json is none, or a file is missing, new or
            another than the one listed.
    """
    folder = Folder(os.fspath(path))
    with contextlib.ExitStack() as stack:
        stack.callback(folder.release)
        with _readable(folder.path):
            folder.hold()
            manifest = read_manifest(folder)
            found = statuses(folder, manifest)
            for change in changes(folder, manifest, found, progress):
                raise FormatError(
                    file=folder.path_of(change.name),
                    path=change.member,
                    expected=change.expected,
                    found=change.found,
                    hint=f"the folder was changed after it was written; {_HINT}",
                )
        return manifest


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Explain what the system says against reading a folder."""
    try:
        yield
    except (OSError, ValueError) as error:  # the latter of a NUL in the name
        raise FormatError(
            file=path, expected="a folder to read", found=reason(error), hint=_HINT
        ) from error


def read_manifest(folder: Folder) -> Manifest:
    """Return what the ggcp.json of a folder says.

    Raises:
        OSError: it cannot be read.
        FormatError: there is none, or it is not as ggcp writes it.
    """
    path = folder.path_of(MANIFEST)
    try:
        source = _opened(folder, MANIFEST)
    except OSError as error:
        raise FormatError(
            file=path, expected="a file to read", found=reason(error), hint=_HINT
        ) from error
    with source:
        require_size(path, source.size)
        return parse_manifest(source.read_at(0, source.size), path)


def statuses(folder: Folder, manifest: Manifest) -> dict[str, os.stat_result]:
    """Return what is in a folder, by name: at least one name that is not listed, if there is any.

    Raises:
        OSError: it cannot be read.
    """
    names = list(itertools.islice(folder.names(), len(manifest.files) + 2))
    found = {name: folder.status(name) for name in (*manifest.files, MANIFEST, *sorted(names))}
    return {name: status for name, status in found.items() if status is not None}


def changes(
    folder: Folder,
    manifest: Manifest,
    found: Mapping[str, os.stat_result],
    progress: Progress = silent,
) -> Iterator[Change]:
    """Yield what is not as it was written; what is seen without reading first.

    Args:
        folder: the folder.
        manifest: its ggcp.json.
        found: what is in it.
        progress: shows how far reading is.

    Raises:
        OSError: a file cannot be opened.
        FormatError: a file cannot be read, or was written to meanwhile.
    """
    for name, status in found.items():
        kind = next(
            (word for is_one, word in _KINDS if is_one(status.st_mode)), "a device or a pipe"
        )
        if name not in manifest.files and name != MANIFEST:
            new = kind.replace("a ", "a new ", 1)
            yield Change(name, "", f"nothing that {MANIFEST} does not list", new)
        elif kind != "a file":
            yield Change(name, "", "a file", kind)
    for name, (size, _) in manifest.files.items():
        if name not in found:
            yield Change(name, "", f"the file that {MANIFEST} lists", "none")
        elif found[name].st_size != size:
            yield Change(name, "size", f"{size} bytes", str(found[name].st_size))
    with progress("Checking", manifest.length) as count:
        for name, (_, sha256) in manifest.files.items():
            with _opened(folder, name) as source:
                now = sha256_of(source, count)
                source.check_unchanged()
            if now != sha256:
                yield Change(name, "sha256", sha256, now)


def _opened(folder: Folder, name: str) -> Source:
    """Open a regular file of a folder; a link is none."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    raw = FileIO(folder.path_of(name), opener=lambda *_: folder.open(name, flags))
    try:
        status = os.fstat(raw.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        return Source(raw, folder.path_of(name), status.st_size)
    except BaseException:
        raw.close()
        raise
