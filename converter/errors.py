"""The one error that leaves this package, besides the schema's FormatError."""

from __future__ import annotations

import os

from ggcp_schema import printable


class ConversionError(Exception):
    """Something other than a file's format stands in the way: names, options, the disk.

    Attributes:
        file: name of the file it is about.
        expected: what the conversion needs; empty where what there is says it all.
        found: what there is.
        hint: what to do next.
    """

    def __init__(
        self, file: str | os.PathLike[str], *, expected: str, found: str, hint: str
    ) -> None:
        super().__init__(expected, found, hint)
        self.file = os.fspath(file)
        self.expected = expected
        self.found = found
        self.hint = hint

    @property
    def statement(self) -> str:
        """What is wrong, without what to do next."""
        what = f"expected {self.expected}, found {self.found}" if self.expected else self.found
        return f"{printable(self.file)}: {what}"

    def __str__(self) -> str:
        return f"{self.statement}; {self.hint}"


class OptionsError(ConversionError):
    """Options that do not go together, or one that is missing: a mistake in the call.

    Attributes:
        usage: the same in the words of the command line.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        *,
        usage: str,
        expected: str,
        found: str,
        hint: str,
    ) -> None:
        super().__init__(file, expected=expected, found=found, hint=hint)
        self.usage = usage
