"""The one error that leaves this package, and the way names are shown in messages."""

from __future__ import annotations

import os
import unicodedata
from functools import partial
from typing import Any


def printable(name: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """Return a file name (or any text from a file) on one line, safe for a terminal.

    Control, format and undecodable characters are shown as backslash escapes, all others stay.
    """
    text = os.fspath(name)
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as surrogateescape keeps it
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(character)[0] == "C" or character in "\u2028\u2029":
        return character.encode("unicode_escape").decode("ascii")
    return character


def reason(error: Exception) -> str:
    """Return what the system or a library says of a failure, in quotes, as text for a message."""
    return f"'{printable(str(getattr(error, 'strerror', None) or error))}'"


class FormatError(Exception):
    """A file does not hold what its format says.

    Attributes:
        file: name of the file as the caller gave it, or None for an unnamed stream.
        path: path of the field in the schema, such as ``model.layers[3].attention.wq.shape``.
        offset: byte offset in the file where the field starts, or None where there is none.
        expected: what the format says should be there; empty where there is no file at all.
        found: what is there.
        hint: what to do next.
        partial: when parsing, the container of the struct around the field as far as it went, and
            in the end that of the whole file; None if nothing was parsed.
    """

    def __init__(
        self,
        *,
        expected: str,
        found: str,
        hint: str,
        path: str = "",
        offset: int | None = None,
        file: str | None = None,
    ) -> None:
        super().__init__(expected, found, hint)
        self.file = file
        self.path = path
        self.offset = offset
        self.expected = expected
        self.found = found
        self.hint = hint
        self.partial: Any = None

    def within(self, name: str) -> None:
        """Put ``name`` (a field, or ``[index]``) in front of the path, on the error's way out."""
        separator = "" if not self.path or self.path.startswith("[") else "."
        self.path = f"{name}{separator}{self.path}"

    def __reduce__(self) -> Any:
        # An exception is pickled with positional arguments otherwise, which this one has none of.
        names = ("file", "path", "offset", "expected", "found", "hint")
        return partial(type(self), **{name: getattr(self, name) for name in names}), ()

    @property
    def statement(self) -> str:
        """What is wrong and where, without what to do next."""
        if not self.expected:
            return f"{printable(self.file or 'file')}: {self.found}"
        where = self.path or "file"
        if self.offset is not None:
            where += f" at offset {self.offset:#x}"
        name = f"{printable(self.file)}: " if self.file else ""
        return f"{name}{where}: expected {self.expected}, found {self.found}"

    def __str__(self) -> str:
        return f"{self.statement}; {self.hint}"
