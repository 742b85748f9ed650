"""What appears whole or not at all: what a file and a folder have in common."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TypeVar

from converter.disk.folder import Folder
from converter.disk.identity import status_of
from converter.disk.leftovers import lock_to_read, remove_leftovers, temporary_name
from converter.disk.stopping import UNDISCARDED, uninterrupted
from converter.errors import ConversionError
from ggcp_schema import Source

_MOST_TRIES = 16  # how many new files somebody may lock or remove at once

Self = TypeVar("Self", bound="AtomicOutput")


class AtomicOutput(ABC):
    """Something new beside its final place, which takes that place when everything went well.

    Attributes:
        path: the final name.

    Args:
        path: the final name.
        force: whether what has that name may be replaced.
        inputs: files that must never be written to, by whatever name: their names, or them, open.
        sync: whether the data are on the disk before the name is.

    Raises:
        ConversionError: the name is taken, is one of the inputs, or cannot be written.
    """

    def __init__(
        self,
        path: str,
        *,
        force: bool = False,
        inputs: tuple[str | os.PathLike[str] | Source, ...] = (),
        sync: bool = True,
    ) -> None:
        self.path = path
        self._force = force
        self._sync = sync
        folder, self._name = os.path.split(path)
        self._folder = Folder(folder)
        self._temporary = ""
        self._inputs: list[os.stat_result] = []
        for each in inputs:
            status = status_of(each)
            if status is not None:
                self._inputs.append(status)
                if isinstance(each, Source):
                    lock_to_read(each)
        self._refuse()

    @abstractmethod
    def writing(self) -> AbstractContextManager[None]:
        """Explain whatever the system says against writing."""

    @abstractmethod
    def _refuse(self) -> None:
        """Refuse a name to which nothing may be written."""

    @abstractmethod
    def _create(self) -> None:
        """Create it under a temporary name, and note that."""

    @abstractmethod
    def _discard(self) -> None:
        """Remove what has not got its name; also after that."""

    def _is_input(self, status: os.stat_result) -> bool:
        return any(os.path.samestat(status, other) for other in self._inputs)

    def __enter__(self: Self) -> Self:
        try:
            with self.writing():
                self._folder.hold()
                remove_leftovers(self._folder, self._is_input)
                with uninterrupted():
                    UNDISCARDED.append(self._discard)
                    self._create()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._discard()

    def _names(self) -> Iterator[str]:
        """Yield names to create it under, until one of them is its own.

        Raises:
            BlockingIOError: somebody locks or removes whatever is created.
        """
        for _ in range(_MOST_TRIES):
            yield temporary_name()
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _require_the_place(self) -> None:
        """Make sure that the folder in which it was created is still where it was."""
        if not self._folder.has_its_name():
            raise ConversionError(
                self.path,
                expected="the folder that was there when writing began",
                found="another folder of that name, or none",
                hint="the folder was renamed or removed meanwhile; nothing was kept, try again",
            )
