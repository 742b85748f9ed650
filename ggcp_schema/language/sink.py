"""Where bytes go: a file that is written from its first byte on."""

from __future__ import annotations

import io
from typing import Any

from ggcp_schema.language.errors import FormatError, reason


class Sink:
    """A writable binary file that counts its bytes, so that it need not be seekable.

    Attributes:
        label: the name of the file, for messages; None if it has none.

    Raises:
        FormatError: the file is not at its first byte, or is closed. Tensor data are aligned to
            the beginning of the file.
    """

    def __init__(self, file: Any) -> None:
        name = getattr(file, "name", None)
        self.label = name if isinstance(name, str) else None
        self._file = file
        self._position = 0
        try:
            start = file.tell()
        except (OSError, AttributeError):  # a pipe has no places: what comes is its first byte
            start = 0
        except ValueError as error:
            raise self._refused(error, 0) from error
        if start:
            raise FormatError(
                file=self.label,
                expected="a file at its first byte",
                found=f"a file at byte {start}",
                hint="a checkpoint is aligned to the beginning of its file; give an empty one",
            )

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._position

    def write(self, data: Any) -> None:
        """Write all of ``data``, however many calls that takes.

        Raises:
            FormatError: the file cannot be written.
        """
        written = self._write(data)
        while written < len(data):  # an unbuffered file may take less than it is given
            written += self._write(memoryview(data)[written:])

    def _write(self, data: Any) -> int:
        try:
            written = self._file.write(data)
        except (OSError, TypeError, ValueError) as error:
            raise self._refused(error, self._position) from error
        if written is None:
            if isinstance(self._file, io.RawIOBase):
                raise self._refused(BlockingIOError("the file takes no more bytes"), self._position)
            written = len(data)
        self._position += written
        return int(written)

    def flush(self) -> None:
        """Hand what is buffered to the operating system.

        Raises:
            FormatError: the file cannot be written.
        """
        try:
            getattr(self._file, "flush", lambda: None)()
        except (OSError, ValueError) as error:
            raise self._refused(error, self._position) from error

    def _refused(self, error: Exception, offset: int) -> FormatError:
        return FormatError(
            file=self.label,
            offset=offset,
            expected="a binary file that takes the bytes of the checkpoint",
            found=reason(error),
            hint="make room on the disk, or write to another folder"
            if getattr(error, "errno", None)
            else "give an open file of the mode 'wb'",
        )
