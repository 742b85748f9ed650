"""An output that goes nowhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from fuzz.common import MemoryFile


class NullOutput:
    """What ``converter.gguf_io.writer.write`` needs of an Output, over a file in memory."""

    def __init__(self, file: MemoryFile) -> None:
        file.fill(b"")
        self.descriptor = file.descriptor
        self.temporary = file.temporary
        self.path = file.temporary

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        yield
