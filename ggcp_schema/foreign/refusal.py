"""The error for a file that is no checkpoint."""

from __future__ import annotations

from functools import partial
from typing import Any

from ggcp_schema.foreign.kinds import NO_CHECKPOINT, Foreign
from ggcp_schema.language.errors import FormatError


class ForeignFileError(FormatError):
    """A file that is no checkpoint, not even a damaged one, was given as one.

    Attributes:
        foreign: what it is instead; None if nobody knows.
        size: bytes of the file.
    """

    def __init__(
        self, foreign: Foreign | None, shown: str, *, size: int, file: str | None = None
    ) -> None:
        """Say what the file is.

        Args:
            foreign: what it is; None if nobody knows.
            shown: its first bytes, for that case.
            size: bytes of the file.
            file: name of the file.
        """
        super().__init__(
            file=file,
            path="magic",
            offset=0,
            expected="a checkpoint",
            found=foreign.what if foreign else shown,
            hint=foreign.kind.hint if foreign else NO_CHECKPOINT,
        )
        self.foreign = foreign
        self.size = size

    def __reduce__(self) -> Any:
        made = partial(type(self), self.foreign, self.found, size=self.size, file=self.file)
        return made, ()
