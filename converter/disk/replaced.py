"""The folder that a new one replaces: moved aside, and back if anything fails, or else removed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping

from converter.disk.checking import Change, changes, read_manifest, statuses
from converter.disk.folder import Folder
from converter.disk.leftovers import lock_to_write, name_aside
from converter.errors import ConversionError
from converter.progress import LOGGER, Progress
from ggcp_schema import FormatError, printable
from ggcp_schema.language.errors import reason

_Identity = tuple[int, ...]


def _identity(status: os.stat_result) -> _Identity:
    """Return what changes when a file is written to or replaced, though not when its folder is."""
    time = (status.st_mtime_ns, status.st_ctime_ns)
    return (status.st_dev, status.st_ino, status.st_size, *time)


def _in_words(change: Change) -> str:
    if change.found == "none":
        return f"no {change.name}"
    if change.member:
        return f"{change.name}, which was changed"
    return f"{change.name}, which is {change.found}"


class ReplacedFolder:
    """A folder that holds exactly the files of its ggcp.json, unchanged.

    Args:
        parent: the folder that it is in.
        name: its name there.
        is_input: tells a file that must not be lost.
        progress: shows how far reading is.

    Raises:
        ConversionError: it holds something else, or an input.
        OSError: it cannot be read.
    """

    def __init__(
        self,
        parent: Folder,
        name: str,
        is_input: Callable[[os.stat_result], bool],
        progress: Progress,
    ) -> None:
        self.path = parent.path_of(name)
        self._name = name
        self._aside = ""
        self._folder = parent.child(name)
        try:
            self.status = self._folder.itself()
            self.files = self._checked(is_input, progress)
        finally:
            self._folder.release()

    def _checked(
        self, is_input: Callable[[os.stat_result], bool], progress: Progress
    ) -> Mapping[str, os.stat_result]:
        """Return its files, which are those that were written."""
        try:
            manifest = read_manifest(self._folder)
            self._manifest = manifest
            found = statuses(self._folder, manifest)
            for name, status in found.items():
                if is_input(status):
                    raise ConversionError(
                        self.path,
                        expected="an output that does not hold the input",
                        found=f"the input itself in it, '{printable(name)}'",
                        hint="give another name; the input is never removed",
                    )
            for change in changes(self._folder, manifest, found, progress):
                raise self._error(_in_words(change))
        except FormatError as error:
            name = os.path.basename(error.file or "")  # noqa: PTH119 - names stay as given
            raise self._error(f"{name}: {error.found}") from error
        return found

    def _error(self, found: str) -> ConversionError:
        return ConversionError(
            self.path,
            expected="a folder that holds what ggcp wrote, unchanged, to replace it",
            found=printable(found),
            hint="nothing was changed; give another name, or move the folder away",
        )

    def move_aside(self, parent: Folder) -> None:
        """Give it a temporary name, with its lock held so that other runs leave it alone.

        Raises:
            ConversionError: somebody changed it.
            OSError: the system refuses.
        """
        self._folder = parent.child(self._name)
        self._require_unchanged(parent, self._name)
        if self._folder.descriptor is not None:
            lock_to_write(self._folder.descriptor)
        aside = name_aside()
        parent.rename(self._name, aside)
        self._aside = aside
        self._folder.path = parent.path_of(aside)
        self._require_unchanged(parent, aside)

    def _require_unchanged(self, parent: Folder, name: str) -> None:
        """Make sure that a name is that of this folder, and that its files are the same."""
        status = parent.status(name)
        if status is None or not all(
            os.path.samestat(each, self.status) for each in (status, self._folder.itself())
        ):
            raise self._error("another folder, which came meanwhile")
        now = statuses(self._folder, self._manifest)
        for each in (*now, *self.files):
            if each not in now or each not in self.files:
                raise self._error(f"{each}, which was added or removed meanwhile")
            if _identity(now[each]) != _identity(self.files[each]):
                raise self._error(f"{each}, which was changed meanwhile")

    def move_back(self, parent: Folder) -> None:
        """Give it its name back, if it was moved aside.

        Raises:
            ConversionError: the system refuses; the error says where it is.
        """
        if not self._aside:
            return
        try:
            if parent.status(self._name) is not None:
                raise FileExistsError("something else has its name")
            parent.rename(self._aside, self._name)
            self._aside = ""
            self._folder.path = self.path
        except OSError as error:
            raise ConversionError(
                self.path,
                expected="the folder to get its name back, after the new one could not get it",
                found=reason(error),
                hint=f"it is whole: {printable(self.place)}; give it its name back",
            ) from error

    def remove(self, parent: Folder) -> None:
        """Remove it, and nothing that came into it meanwhile; say so if it stays."""
        with contextlib.suppress(OSError, ConversionError):
            self._require_unchanged(parent, self._aside)
            for name in self.files:
                self._folder.unlink(name)
            parent.rmdir(self._aside)
            self._aside = ""
        self._folder.release()
        if self._aside:
            LOGGER.warning(
                "the folder that was replaced could not be removed; remove it: %s",
                printable(self.place),
            )

    @property
    def place(self) -> str:
        """Where it is."""
        return self._folder.path

    def release(self) -> None:
        """Let go of it."""
        self._folder.release()
