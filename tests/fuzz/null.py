"""An output that goes nowhere."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

from fuzz.common import MemoryFile


class NullOutput:
    """What ``converter.gguf_io.writer.write`` needs of an Output, over a file in memory."""

    def __init__(self, file: MemoryFile) -> None:
        file.fill(b"")
        self.descriptor = file.descriptor
        self.path = file.name

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        yield

    def file(self) -> BinaryIO:
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return open(self.descriptor, "wb", closefd=False)

    def reserve(self, size: int) -> None:
        os.ftruncate(self.descriptor, size)
