"""The training checkpoints of llama.cpp before GGUF, as Construct structs.

``parse`` reads a file, ``build`` writes one, both through the same structs; ``FormatError`` is all
that either raises.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, BinaryIO

from construct import Container

from ggcp_schema.checkpoint import CHECKPOINT_FILE
from ggcp_schema.language.errors import FormatError, printable
from ggcp_schema.language.sink import Sink
from ggcp_schema.language.source import Source, Span

__all__ = ["Checkpoint", "FormatError", "Source", "Span", "build", "parse", "printable"]


class Checkpoint:
    """A parsed checkpoint and the open file that its tensors' data are spans of.

    Use it in a ``with`` statement, or call ``close``.

    Attributes:
        container: everything in the file, by the names of the schema.
        source: the open file.
        error: what is wrong with the file, if it was parsed as far as it goes; None if nothing is.
    """

    def __init__(
        self, container: Container, source: Source, error: FormatError | None = None
    ) -> None:
        self.container = container
        self.source = source
        self.error = error

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["container"][name]
        except KeyError:
            raise AttributeError(name) from None

    def close(self) -> None:
        """Close the file; spans cannot be read any more."""
        self.source.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@contextlib.contextmanager
def _collection_paused() -> Iterator[None]:
    """Let no search for reference cycles run: a file makes many objects, and no cycle of them.

    With it, parsing takes longer than in proportion to the number of tensors.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def parse(file: str | os.PathLike[str] | BinaryIO, *, partial: bool = False) -> Checkpoint:
    """Parse a whole checkpoint; tensor data are not read but left as spans of the file.

    Args:
        file: a name, or a seekable binary file, which is read from its first byte.
        partial: whether a damaged file is parsed as far as it goes. The container then holds what
            was read and checked before the error, and ``error`` is that error. A struct that the
            error is in holds the members before it; a tensor that is cut lacks its ``data``.

    Raises:
        FormatError: the file cannot be read or is no checkpoint, or anything in it contradicts the
            format and ``partial`` is not set.
    """
    source = Source.open(file) if isinstance(file, (str, os.PathLike)) else Source.over(file)
    try:
        with _collection_paused():
            return Checkpoint(CHECKPOINT_FILE.parse_stream(source), source)
    except FormatError as error:
        error.file = source.label
        if partial and error.partial:
            return Checkpoint(error.partial, source, error)
        source.close()
        raise
    except OSError as error:
        source.close()
        raise FormatError(
            file=source.label,
            expected="a file that can be read to its end",
            found=f"«{error.strerror or error}»",
            hint="the disk cannot read it; copy the file to another disk and try again",
        ) from error
    except BaseException:
        source.close()
        raise


def build(container: Mapping[str, Any] | Checkpoint, file: BinaryIO) -> None:
    """Write a checkpoint through the structs that parse one.

    Magic, versions of the file, lengths, shapes, padding and the parameter count are derived. The
    caller gives the counters, the hyperparameters, the data of each tensor (a Span, a little-endian
    float32 array, a buffer or an iterable of byte blocks) and the members of the optimizer context
    that carry information; for a LoRA checkpoint also its magic, ``b"lcgg"``, the ranks and the
    feed-forward length.

    Args:
        container: a parsed checkpoint, or mappings nested as in one.
        file: an empty binary file, or a pipe; tensor data are aligned to its first byte.

    Raises:
        FormatError: a member is missing or contradicts the format, or the file cannot be written.
            What was written until then stays in ``file``.
    """
    members = container.container if isinstance(container, Checkpoint) else container
    sink = Sink(file)
    try:
        CHECKPOINT_FILE.build_stream(members, sink)
    except FormatError as error:
        error.file = error.file or sink.label
        raise
    sink.flush()
