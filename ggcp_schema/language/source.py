"""Where bytes come from: an open regular file, and spans of it."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from ggcp_schema.language.errors import FormatError, reason

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BLOCK_BYTES = 1 << 20
"""How many bytes are held at once wherever data passes through Python."""

_WORDS = {
    errno.ENOENT: ("no such file", "check the name and the folder"),
    errno.ENOTDIR: ("no such file", "a part of the name is a file, not a folder: check the name"),
    errno.EACCES: (
        "no permission to read it",
        "ask for it, or copy the file to a folder of your own",
    ),
    errno.ENXIO: ("this is a socket", "it cannot be read; save the data to a file first"),
    errno.ELOOP: ("the symbolic links lead in a circle", "give the name of the file itself"),
    errno.ENAMETOOLONG: ("no such file", "no file has so long a name: check the name"),
    errno.EISDIR: ("this is a folder", "give the name of a file in it"),
    errno.EMFILE: ("too many files are open", "allow more, with ulimit -n"),
    errno.ENFILE: ("the system has no room for more open files", "close other programs"),
}
"""What some of the system's errors mean where a file is opened, and what to do."""

_KINDS = (
    (stat.S_ISFIFO, "a pipe", "standard input is not supported; save the data to a file first"),
    (stat.S_ISCHR, "a device", "standard input is not supported; give the name of a file"),
    (stat.S_ISBLK, "a device", "copy its content to a file first"),
)


class Source(io.BufferedReader):
    """A binary file open for reading whose size is known.

    Attributes:
        label: the name of the file as the caller gave it, for messages; None if it has none.
        size: bytes in the file at the moment it was opened.
    """

    label: str | None
    size: int
    _path: str | os.PathLike[str] | None = None

    def __init__(self, raw: Any, label: str | None, size: int) -> None:
        super().__init__(raw, 1 << 12)  # the header of a tensor, not its data
        self.label = label
        self.size = size
        self._identity = self._stat()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Source:
        """Open a regular file.

        Raises:
            FormatError: there is no such file, it may not be read, or it is not a regular file.
        """
        label = os.fspath(path)
        try:
            # Without O_NONBLOCK, opening a pipe would wait for a writer.
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            # With an opener the object owns the descriptor from the first moment on.
            raw = io.FileIO(label, opener=lambda name, _: os.open(name, flags))
        except (OSError, ValueError) as error:
            unknown = f"cannot be opened: {reason(error)}", "check the name of the file"
            found, hint = _WORDS.get(getattr(error, "errno", None) or 0, unknown)
            if label == "-":
                hint = "standard input is not supported; give the name of a file"
            elif "://" in label:
                hint = "nothing is downloaded: do that first, and give the name of the file"
            raise FormatError(file=label, expected="", found=found, hint=hint) from error
        try:
            status = os.fstat(raw.fileno())
            if not stat.S_ISREG(status.st_mode):
                kinds = (row[1:] for row in _KINDS if row[0](status.st_mode))
                kind, hint = next(kinds, ("no regular file", "give the name of a file"))
                raise FormatError(file=label, expected="", found=f"this is {kind}", hint=hint)
            source = cls(raw, label, status.st_size)
            source._path = path
            return source
        except BaseException:
            raw.close()
            raise

    @classmethod
    def over(cls, file: BinaryIO) -> Source:
        """Read a seekable binary file that the caller opened and closes, from its first byte on."""
        name = getattr(file, "name", None)
        label = name if isinstance(name, str) else None
        hint = "give the name of the file, or open it with the mode 'rb'"
        expected = "a binary file that can be read at any place"
        try:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            nothing = file.read(0)
        except (OSError, ValueError) as error:
            raise FormatError(
                file=label, expected=expected, found=reason(error), hint=hint
            ) from error
        if not isinstance(nothing, bytes):
            raise FormatError(file=label, expected=expected, found="a text file", hint=hint)
        return cls(_Borrowed(file), label, size)

    def _stat(self) -> tuple[int, ...] | None:
        try:
            status = os.fstat(self.fileno())
        except (OSError, ValueError):
            return None
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def check_unchanged(self) -> None:
        """Make sure that nobody wrote to the file or replaced it since it was opened.

        Raises:
            FormatError: its size or its time of modification is another than when it was opened, or
                its name is that of another file.
        """
        now = self._stat()
        if self._identity is None or (now == self._identity and not self._is_replaced()):
            return
        was = self._identity[2]
        size = now[2] if now else 0
        change = f"{size} bytes" if size != was else "the same size, written to since"
        if now == self._identity:
            change = "another file of that name"
        raise FormatError(
            file=self.label,
            expected=f"the {was} bytes that were there when reading began",
            found=change,
            hint="another program is writing to the file; wait until it is done and try again",
        )

    def _is_replaced(self) -> bool:
        """Tell whether the name is another file's now; one that was moved away is still read."""
        if self._path is None:
            return False
        try:
            now = os.stat(self._path)  # noqa: PTH116 - names stay as given
            return not os.path.samestat(now, os.fstat(self.fileno()))
        except OSError:
            return False

    def read_at(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from byte ``offset`` on.

        Raises:
            FormatError: the file ends before, cannot be read, or was closed.
        """
        try:
            if self._identity is not None and hasattr(os, "pread"):  # Windows has none
                data = os.pread(self.fileno(), length, offset)
                while 0 < len(data) < length:
                    more = os.pread(self.fileno(), length - len(data), offset + len(data))
                    if not more:
                        break
                    data += more
            else:
                self.seek(offset)
                data = self.read(length)
        except OSError as error:
            raise FormatError(
                file=self.label,
                offset=offset,
                expected=f"{length} bytes",
                found=reason(error),
                hint="the disk cannot read the file; copy it to another disk and try again",
            ) from error
        except ValueError as error:
            raise FormatError(
                file=self.label,
                offset=offset,
                expected=f"{length} bytes",
                found="a file that was closed",
                hint="read the tensors before the checkpoint is closed",
            ) from error
        if len(data) != length:
            raise FormatError(
                file=self.label,
                offset=offset,
                expected=f"{length} bytes",
                found=f"{len(data)} bytes and the end of the file",
                hint="the file was cut while it was read; get it back whole and try again",
            )
        return data


class _Borrowed(io.RawIOBase):
    """A file of the caller's: closing this leaves it open, and the caller may move in it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0
        # A decompressor has a descriptor too, of other bytes than those that it gives.
        raw = getattr(file, "raw", file)
        self._descriptor = raw.fileno() if isinstance(raw, io.FileIO) else None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset, whence = self._position + offset, os.SEEK_SET
        self._position = self._file.seek(offset, whence)
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._position)
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def fileno(self) -> int:
        return super().fileno() if self._descriptor is None else self._descriptor


def numpy_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return NumPy's shape of a tensor: reversed, and of no elements where it does not exist."""
    return shape[::-1] or (0,)


class Span(NamedTuple):
    """The data of a tensor: a run of bytes of an open file, not yet read.

    Attributes:
        source: the open file.
        offset: byte offset in the file.
        length: bytes.
        shape: elements along each dimension, the fastest-varying first (C: ``ne``).
    """

    source: Source
    offset: int
    length: int
    shape: tuple[int, ...]

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
        """Yield the bytes in order, at most ``block_bytes`` at once."""
        end = self.offset + self.length
        for offset in range(self.offset, end, block_bytes):
            yield self.source.read_at(offset, min(block_bytes, end - offset))

    def array(self) -> npt.NDArray[np.float32]:
        """Return the elements as a read-only little-endian float32 array.

        Its NumPy shape is ``shape`` reversed: the slowest-varying dimension first. That of a tensor
        that does not exist is ``(0,)``.
        """
        import numpy as np

        data = self.source.read_at(self.offset, self.length)
        return np.frombuffer(data, dtype="<f4").reshape(numpy_shape(self.shape))
