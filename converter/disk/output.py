"""A file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import BinaryIO

from converter.disk.atomic import AtomicOutput
from converter.disk.leftovers import lock_to_write
from converter.disk.new_file import NewFile
from converter.disk.refusals import explained, refuse, taken
from converter.disk.stopping import PLACED, UNDISCARDED, uninterrupted
from converter.errors import ConversionError
from converter.progress import LOGGER, Progress, silent
from ggcp_schema import FormatError, Source, printable
from ggcp_schema.language.errors import reason


class Output(NewFile, AtomicOutput):
    """A new file beside its final place, which takes that place when everything went well.

    In a ``with`` statement: the block writes to ``descriptor`` or ``file()``, then calls
    ``commit``. Left without that, or by an exception, nothing remains. The file is created once
    and never opened again by its name, which somebody else may give to another file.

    Args:
        path: the final name.
        force: whether a file of that name may be replaced. A symbolic link is replaced itself, not
            the file it leads to.
        inputs: files that must never be written to, by whatever name: their names, or them, open.
        sync: whether the data are on the disk before the name is.

    Raises:
        ConversionError: the name is taken, is one of the inputs, or cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        inputs: tuple[str | os.PathLike[str] | Source, ...] = (),
        sync: bool = True,
    ) -> None:
        NewFile.__init__(self, os.fspath(path))
        AtomicOutput.__init__(self, self.path, force=force, inputs=inputs, sync=sync)

    def _refuse(self) -> None:
        refuse(self.path, force=self._force, is_input=self._is_input)

    def _create(self) -> None:
        """Create the file, for nobody else to open before it has its name."""
        for name in self._names():
            self.create(self._folder, name)
            self._temporary = name
            if lock_to_write(self.descriptor):
                return
            self.close()
            self._unlink()

    def commit(self, progress: Progress = silent) -> None:
        """Bring the data to the disk and give the file its name.

        Args:
            progress: shows that the disk is waited for.

        Raises:
            ConversionError: the disk refuses, or somebody took or changed the name, the temporary
                file or the folder in the meantime.
        """
        if self._sync:
            with progress("Waiting for the disk", 0):
                self.sync()
        self._require_the_place()
        self._refuse()  # what stands there now may be the input, which somebody moved
        with explained(self.path):
            replaced = self._folder.status(self._name)
            link = self._folder.target(self._name)
            with uninterrupted():
                self.require_own(self._folder, self._temporary)
                self.set_mode(replaced)
                if self._force:
                    self._move(self._folder.replace)
                else:
                    self._move_to_free_name()
                PLACED.append(self.path)
        if link is not None:
            LOGGER.warning(
                "%s was a symbolic link to %s; the link was replaced, not what it led to",
                printable(self.path),
                printable(link),
            )
        if self._sync:
            self._sync_folder()

    def _move(self, move: Callable[[str, str], None]) -> None:
        try:
            move(self._temporary, self._name)
        except PermissionError:  # as Windows says of a file that is open
            self.close()
            move(self._temporary, self._name)
        self._temporary = ""

    def _move_to_free_name(self) -> None:
        try:
            try:
                self._folder.link(self._temporary, self._name)  # refuses a name that is taken
            except FileExistsError:
                raise
            except OSError:  # a disk without hard links; on Windows a rename refuses as well
                if self._folder.status(self._name) is not None:
                    raise FileExistsError from None
                self._move(self._folder.rename)
            else:
                self._unlink()
        except FileExistsError:
            raise taken(self.path) from None

    def _sync_folder(self) -> None:
        try:
            self._folder.sync()
        except OSError as error:
            if self._force:  # what was replaced cannot be had back
                raise ConversionError(
                    self.path,
                    expected="a disk that keeps the name of the file",
                    found=reason(error),
                    hint="the new file is there, whole, but a power cut may lose it; write to "
                    "another disk",
                ) from error
            with explained(self.path):
                with uninterrupted():
                    self.require_own(self._folder, self._name)
                    self._folder.unlink(self._name)
                    PLACED.remove(self.path)
                raise

    def _discard(self) -> None:
        with uninterrupted():
            self.close()
            self._unlink()
            self._folder.release()
            if self._temporary:
                left = printable(self._folder.path_of(self._temporary))
                LOGGER.warning("%s could not be removed; remove it", left)
            elif self._discard in UNDISCARDED:
                UNDISCARDED.remove(self._discard)

    def _unlink(self) -> None:
        """Remove the temporary name; it stays if that fails, as on Windows while it is open."""
        if self._temporary:
            with contextlib.suppress(OSError):
                with contextlib.suppress(FileNotFoundError):
                    self._folder.unlink(self._temporary)
                self._temporary = ""


def write_whole(
    path: str | os.PathLike[str],
    fill: Callable[[BinaryIO], object],
    *,
    force: bool = False,
    inputs: tuple[str | os.PathLike[str] | Source, ...] = (),
    sync: bool = True,
    progress: Progress = silent,
) -> int:
    """Write a file that appears whole or not at all, and return its length in bytes.

    Args:
        path: name of the file.
        fill: writes the content.
        force: whether a file of that name may be replaced.
        inputs: files that must never be written to.
        sync: whether the data are on the disk before the name is.
        progress: shows how much was written, and that the disk is waited for.

    Raises:
        ConversionError: the name is taken, is one of the inputs, or cannot be written.
    """
    with Output(path, force=force, inputs=inputs, sync=sync) as output:
        with (
            output.writing(),
            progress("Writing", 0) as count,
            output.file(count) as file,
        ):
            try:
                fill(file)
            except FormatError as error:
                if isinstance(error.__cause__, OSError):  # the disk's, who builds knows no files
                    raise error.__cause__ from error
                raise
            length = file.tell()
        output.commit(progress)
    return length
