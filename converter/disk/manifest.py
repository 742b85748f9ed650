"""ggcp.json: which files are in a folder that was written, and what was chosen for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from converter.disk.folder import MOST_FILES
from ggcp_schema import FormatError, printable

MANIFEST = "ggcp.json"
"""The name of the file, which is in the folder too, and is written last."""

MOST_BYTES = 1 << 18
"""Bytes of a ggcp.json."""

_MOST_DEPTH = 16
_FILES = "files"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile("[0-9a-f]{64}")
_HINT = "give a folder that ggcp wrote, or write it again from the checkpoint"


class Listed(NamedTuple):
    """What is known of a file.

    Attributes:
        size: bytes.
        sha256: the hash of them, in hexadecimal digits.
    """

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What ggcp.json says.

    Attributes:
        files: all other files of the folder, by name.
        choices: all its other members: what was chosen when the folder was written.
    """

    files: Mapping[str, Listed]
    choices: Mapping[str, Any]

    @property
    def length(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    def to_bytes(self) -> bytes:
        """Return the content of ggcp.json.

        Raises:
            ValueError: the choices are more or deeper than can be read again, or no JSON.
        """
        if _FILES in self.choices:
            raise ValueError(f"a choice cannot be called {_FILES}")
        files = {name: file._asdict() for name, file in self.files.items()}
        text = json.dumps({**self.choices, _FILES: files}, indent=2, allow_nan=False) + "\n"
        if len(text) > MOST_BYTES or _depth(text) > _MOST_DEPTH:
            raise ValueError("the choices could not be read again")
        return text.encode("ascii")


def is_file_name(name: str) -> bool:
    """Tell whether a file of a folder may have a name: the same on every system."""
    return _NAME.fullmatch(name) is not None and name != MANIFEST


def require_size(path: str, size: int) -> None:
    """Refuse a ggcp.json that is larger than any that is written.

    Raises:
        FormatError: it is.
    """
    if size > MOST_BYTES:
        raise _error(path, "", f"at most {MOST_BYTES} bytes", str(size))


def parse_manifest(data: bytes, path: str) -> Manifest:
    """Return what is in a ggcp.json.

    Args:
        data: its content.
        path: its name, for messages.

    Raises:
        FormatError: it is no JSON, or lacks what ggcp writes.
    """
    try:
        text = data.decode("utf-8")
        if _depth(text) > _MOST_DEPTH:
            raise ValueError(f"nested more than {_MOST_DEPTH} deep")
        members = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_refused)
    except ValueError as error:
        found = f"'{printable(str(error))}'"
        raise _error(path, "", "JSON in UTF-8", found) from error
    if not isinstance(members, dict):
        raise _error(path, "", "an object", _kind(members))
    files = members.pop(_FILES, None)
    if not isinstance(files, dict):
        raise _error(path, _FILES, "an object", _kind(files))
    if len(files) > MOST_FILES:
        raise _error(path, _FILES, f"at most {MOST_FILES} files", str(len(files)))
    return Manifest({name: _listed(path, name, files[name]) for name in files}, members)


def _listed(path: str, name: str, members: Any) -> Listed:
    if not is_file_name(name):
        raise _error(path, _FILES, "names of files", f"'{printable(name[:200])}'")
    where = f"{_FILES}[{name}]"
    if not isinstance(members, dict) or set(members) != {"size", "sha256"}:
        raise _error(path, where, "an object of size and sha256", _kind(members))
    size, sha256 = members["size"], members["sha256"]
    if type(size) is not int or not 0 <= size < 1 << 63:
        raise _error(path, f"{where}.size", "a number of bytes", _kind(size))
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise _error(path, f"{where}.sha256", "64 hexadecimal digits", _kind(sha256))
    return Listed(size, sha256)


def _error(path: str, where: str, expected: str, found: str) -> FormatError:
    return FormatError(file=path, path=where, expected=expected, found=found, hint=_HINT)


def _kind(value: Any) -> str:
    """Return what a value is, in JSON's words, and how long: it may be long."""
    kinds = {dict: "an object", list: "an array", str: "a text", bool: "true or false"}
    if value is None:
        return "nothing"
    found = kinds.get(type(value), "a number")
    return f"{found} of {len(value)}" if isinstance(value, (dict, list, str)) else found


def _depth(text: str) -> int:
    """Return how deep brackets are nested, those in texts left out, without recursion."""
    depth = most = 0
    for found in re.finditer(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', text, re.DOTALL):
        if found[0] in "[{":
            depth += 1
            most = max(most, depth)
        elif found[0] in "]}":
            depth -= 1
    return most


def _without_repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"'{name[:200]}' is there twice")
        members[name] = value
    return members


def _refused(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
