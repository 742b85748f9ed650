"""A folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager

from converter.disk.atomic import AtomicOutput
from converter.disk.folder import MOST_FILES, Folder
from converter.disk.leftovers import lock_to_write
from converter.disk.manifest import MANIFEST, Listed, Manifest, is_file_name
from converter.disk.new_file import HashedFile, set_mode
from converter.disk.refusals import explained, refuse_folder
from converter.disk.replaced import ReplacedFolder
from converter.disk.stopping import PLACED, UNDISCARDED, uninterrupted
from converter.errors import ConversionError
from converter.progress import LOGGER, Progress, silent
from ggcp_schema import Source, printable
from ggcp_schema.language.errors import reason

_SEPARATORS = os.sep + (os.altsep or "")
_ANOTHERS = {errno.ELOOP, errno.ENOTDIR, errno.ENOENT, errno.EMLINK}
"""What a system says of a folder that was created and is another's, or none, when it is opened."""

_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}


class FolderOutput(AtomicOutput):
    """A new folder beside its final place, which takes that place when everything went well.

    In a ``with`` statement: the block makes all files with ``file``, which reserves their room,
    then writes each, then calls ``commit``. Left without that, or by an exception, nothing
    remains. Files are created once, in the open folder, and never opened again by their names.

    Args:
        path: the final name.
        force: whether a folder of that name may be replaced, if it holds exactly what its
            ``ggcp.json`` lists, unchanged.
        inputs: files that must never be lost, by whatever name: their names, or them, open.
        sync: whether the data are on the disk before the name is.
        progress: shows how far reading is, of the folder that is replaced, and that the disk is
            waited for.

    Raises:
        ConversionError: the name is taken, what has it is not to be replaced or holds an input, or
            cannot be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        inputs: tuple[str | os.PathLike[str] | Source, ...] = (),
        sync: bool = True,
        progress: Progress = silent,
    ) -> None:
        name = os.fspath(path)
        self._progress = progress
        self._files: dict[str, HashedFile] = {}
        self._inside: Folder | None = None
        self._created: os.stat_result | None = None
        super().__init__(name.rstrip(_SEPARATORS) or name, force=force, inputs=inputs, sync=sync)
        self._replaced: ReplacedFolder | None = None
        with self.writing():
            if self._folder.status(self._name) is not None:
                self._replaced = ReplacedFolder(
                    self._folder, self._name, self._is_input, self._progress
                )

    def writing(self) -> AbstractContextManager[None]:
        """Explain whatever the system says against writing."""
        return explained(self.path)

    def _refuse(self) -> None:
        refuse_folder(self.path, force=self._force)

    def _create(self) -> None:
        """Create the folder, for nobody else to look into before it has its name."""
        for name in self._names():
            self._folder.mkdir(name)
            self._temporary = name
            try:
                self._inside = self._folder.child(name)
                if self._is_new(self._inside):
                    self._created = self._inside.itself()
                    return
                self._inside.release()
            except OSError as error:
                if error.errno not in _ANOTHERS:
                    raise
            self._inside = None
            self._remove_temporary()
            self._temporary = ""  # if it is there still, it is another's

    def _is_new(self, folder: Folder) -> bool:
        """Tell whether what was opened is what was created, not one that got its name since."""
        if folder.descriptor is not None and not lock_to_write(folder.descriptor):
            return False
        return next(folder.names(), None) is None

    def file(self, name: str, size: int) -> HashedFile:
        """Create a file in the folder and reserve its room.

        All files should be made before the first is written: so a full disk is noticed before.

        Args:
            name: its name.
            size: its bytes, all of which are to be written.

        Raises:
            ConversionError: the system refuses.
            ValueError: the name is no name of a file, or was given before; that is a defect.
        """
        if not is_file_name(name) or name in self._files or len(self._files) == MOST_FILES:
            raise ValueError(f"no name for another file: {name!r}")
        return self._file(name, size)

    def _file(self, name: str, size: int) -> HashedFile:
        inside, created = self._opened()
        path = os.path.join(self.path, name)  # noqa: PTH118 - names stay as given
        file = HashedFile(path, size)
        with file.writing():
            with uninterrupted():
                file.create(inside, name)
                self._files[name] = file
            if os.fstat(file.descriptor).st_uid != created.st_uid:
                raise self._another()  # somebody else's folder had got the name at once
            file.reserve(size)
        return file

    def commit(self, choices: Mapping[str, object]) -> None:
        """Write ``ggcp.json``, bring everything to the disk and give the folder its name.

        Args:
            choices: the members of ``ggcp.json`` beside ``files``: what JSON can hold.

        Raises:
            ConversionError: the disk refuses, or somebody took or changed the name, a file, the
                temporary folder, the folder that it is in or the one to be replaced meanwhile.
            ValueError: the choices are no JSON, or too many; that is a defect.
        """
        inside, created = self._opened()
        listed = {name: Listed(file.size, file.sha256) for name, file in self._files.items()}
        data = Manifest(listed, choices).to_bytes()
        self._file(MANIFEST, len(data)).write((data,))
        if self._sync:
            with self._progress("Waiting for the disk", 0):
                for file in self._files.values():
                    file.sync()
        self._require_own_files(inside)
        self._finish_files()
        with self.writing():
            if self._sync:
                inside.sync()
            self._require_the_place()
            self._refuse()
            with uninterrupted():
                self._take_place(inside, created)

    def _opened(self) -> tuple[Folder, os.stat_result]:
        """Return the open folder, and what it is known by."""
        if self._inside is None or self._created is None:
            raise RuntimeError("the folder was not entered")
        return self._inside, self._created

    def _require_own_files(self, inside: Folder) -> None:
        """Make sure that in the folder are the files that were written, and nothing else."""
        for name, file in self._files.items():
            file.require_own(inside, name)
        with self.writing():
            if any(name not in self._files for name in inside.names()):
                raise self._another()

    def _another(self) -> ConversionError:
        return ConversionError(
            self.path,
            expected="the folder that was written",
            found="another folder in its place, or none, or other files in it",
            hint="somebody else changes files in that folder; write to a folder of your own",
        )

    def _has_name(self, name: str, created: os.stat_result) -> bool:
        status = self._folder.status(name)
        return status is not None and os.path.samestat(status, created)

    def _finish_files(self) -> None:
        """Give the files their modes, and close them: Windows moves no folder with open files."""
        before = {} if self._replaced is None else self._replaced.files
        for name, file in self._files.items():
            file.set_mode(before.get(name))
            file.close()

    def _take_place(self, inside: Folder, created: os.stat_result) -> None:
        """Give the folder its name; if that fails, the one that had it has it again."""
        if not self._has_name(self._temporary, created):
            raise self._another()
        if self._folder.status(self._name) is None:
            self._replaced = None
        elif self._replaced is None:
            refuse_folder(self.path, force=False)
        replaced = self._replaced
        try:
            if replaced is not None:
                replaced.move_aside(self._folder)
            self._rename()
            if not self._has_name(self._name, created):
                raise self._another()
            if inside.descriptor is not None:
                mode = None if replaced is None else replaced.status
                set_mode(inside.descriptor, 0o777, mode)
            if self._sync:
                self._folder.sync()
        except BaseException:
            self._move_back(created)
            raise
        self._temporary = ""
        PLACED.append(self.path)
        if replaced is not None:
            replaced.remove(self._folder)

    def _rename(self) -> None:
        try:
            # Some systems replace an empty folder that came at this moment, but nothing else.
            self._folder.rename(self._temporary, self._name)
        except OSError as error:
            if error.errno in _TAKEN:
                refuse_folder(self.path, force=False)
            raise

    def _move_back(self, created: os.stat_result) -> None:
        """Undo what was done: the new folder loses its name, and the old one gets it back."""
        if self._has_name(self._name, created):
            try:
                self._folder.rename(self._name, self._temporary)
            except OSError as error:
                self._temporary = ""
                PLACED.append(self.path)
                old = "" if self._replaced is None else f"; the old one: {self._replaced.place}"
                raise ConversionError(
                    self.path,
                    expected="a disk that keeps the name of the folder",
                    found=reason(error),
                    hint=f"the new folder is there, whole, but a power cut may lose it{old}",
                ) from error
        if self._replaced is not None:
            self._replaced.move_back(self._folder)

    def _discard(self) -> None:
        with uninterrupted():
            for file in self._files.values():
                file.close()
            self._remove_temporary()
            if self._replaced is not None:
                self._replaced.release()
            if self._temporary:  # the folder stays open: its name may be given to another
                left = printable(self._folder.path_of(self._temporary))
                LOGGER.warning("%s could not be removed; remove it", left)
                return
            if self._inside is not None:
                self._inside.release()
            self._folder.release()
            if self._discard in UNDISCARDED:
                UNDISCARDED.remove(self._discard)

    def _remove_temporary(self) -> None:
        """Remove what was created under the temporary name; the name stays if that fails."""
        if not self._temporary:
            return
        with contextlib.suppress(OSError):
            if self._inside is not None:
                for name in self._files:
                    with contextlib.suppress(FileNotFoundError):
                        self._inside.unlink(name)
            if self._created is None or self._has_name(self._temporary, self._created):
                with contextlib.suppress(FileNotFoundError):
                    self._folder.rmdir(self._temporary)
            self._temporary = ""
