"""The command ``inspect``, of one file or of many."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from converter.cli import terminal
from converter.cli.styles import by_role
from converter.cli.terminal import say, say_json
from converter.errors import OptionsError
from converter.progress import LOGGER
from ggcp_schema import FormatError, printable
from ggcp_schema.foreign import ForeignFileError

if TYPE_CHECKING:
    from converter.report.report import Report

MADE_FOR_PYTORCH = "a folder for PyTorch and transformers, made by ggcp"

CHANGED = "changed since ggcp made it; look at it alone"

_ONE_FILE = {"html": "--html", "everything": "--all", "table": "--tensors"}
"""What a list of files has no room for."""


def inspect(options: Namespace) -> int:
    """Say what is in a file, in many, or in those of a folder; 1 if something is wrong."""
    from converter.use_cases.folders import is_folder, manifest_of

    names = options.inputs
    if len(names) == 1:
        if not is_folder(names[0]):
            return _one(names[0], options)
        manifest = manifest_of(names[0])
        if manifest is not None:
            return _made(names[0], manifest, options)
    for name, option in _ONE_FILE.items():
        if getattr(options, name):
            raise OptionsError(
                names[0],
                usage=f"{option} goes with one file only",
                expected="one file",
                found="several, or a folder",
                hint="give the name of one file",
            )
    return _many(names, options)


def _made(name: str, manifest: Mapping[str, Any], options: Namespace) -> int:
    """Say that ggcp made a folder, what for, and with --stats whether it is as it was made."""
    from converter.report.json import folder_as_json
    from converter.shell import shell_word

    error = _change(name, options)
    if options.json:
        say_json(folder_as_json(name, manifest, checked=options.stats, error=error))
    elif error is None and not options.quiet:
        said = [f"{name}: {MADE_FOR_PYTORCH}"]
        if options.stats:
            said += ["Whole: every file is as it was written"]
        said += ["", "What you can do next"]
        said += [f"  # Run it, or go on with its training: {name}/README.md has the code"]
        said += ["  # Compare it with the checkpoint it was made from"]
        say(*by_role([*said, f"  ggcp verify CHECKPOINT {shell_word(name)}"]))
    if error is not None:
        raise error
    return 0


def _change(folder: str, options: Namespace) -> FormatError | None:
    """Return the first thing in a folder that is not as it was written; with --stats alone."""
    from converter.disk.checking import check_folder

    try:
        if options.stats:
            check_folder(folder, terminal.bar)
    except FormatError as error:
        return error
    return None


def _report(name: str, options: Namespace, *, identify: bool, beside: bool = True) -> Report:
    from converter.use_cases.inspect import inspect as run_inspection

    return run_inspection(
        name,
        stats=options.stats,
        identify=identify or options.stats,
        beside=beside,
        progress=terminal.bar,
    )


def _one(name: str, options: Namespace) -> int:
    output = None
    if options.html is not None:
        from converter.disk.output import Output
        from converter.report.html import as_html
        from converter.use_cases.saved_training import refuse_to_replace_it

        refuse_to_replace_it(options.html, (name,))
        output = Output(options.html, force=options.force, inputs=(name,))
    try:
        report = _report(name, options, identify=output is not None)
    except ForeignFileError as error:
        if options.json:
            from converter.report.json import foreign_as_json

            say_json(foreign_as_json(name, error))
        raise
    if output is not None:
        page = as_html(report, tensors=options.tensors).encode("utf-8")
        with output, output.writing():
            with output.file() as file:
                file.write(page)
            output.commit(terminal.bar)
    if options.json:
        from converter.report.json import as_json

        say_json(as_json(report, tensors=options.tensors))
    elif output is not None and not options.quiet:
        say(f"{options.html}: {len(page)} bytes")
    elif not options.quiet:
        say(*by_role(_text(report, options).split("\n")))
    if report.error is not None:
        raise report.error
    return 0


def _text(report: Report, options: Namespace) -> str:
    width, plain = terminal.shape()
    table = options.tensors and (options.table or options.stats)
    if options.everything:
        from converter.report.text import as_text

        return as_text(report, tensors=table, width=width, plain=plain)
    from converter.report.screen import as_screen

    text = as_screen(report, width=width)
    if not table or not report.tensors:
        return text
    from converter.report.text import tensor_table

    return f"{text}\n\n{tensor_table(report, plain=plain)}"


def _many(names: list[str], options: Namespace) -> int:
    from converter.report.json import as_json, folder_as_json, refused_as_json
    from converter.report.listing import Listing
    from converter.report.report import Report

    listing = Listing(terminal.shape()[0])
    shown = _Shown(options)
    checkpoints, wrong, missing = 0, False, False
    for count, (name, found) in enumerate(_found(names, options)):
        if count == 0:
            shown.text(listing.heading())
        if isinstance(found, Report):
            checkpoints += 1
            wrong = wrong or found.error is not None
            shown.text(listing.report(found))
            shown.json(as_json(found, tensors=options.tensors))
        elif isinstance(found, FormatError):
            foreign = isinstance(found, ForeignFileError)
            wrong = wrong or not foreign
            missing = missing or isinstance(found.__cause__, FileNotFoundError)
            what = "no checkpoint" if foreign else "cannot be read"
            shown.text(listing.other(name, f"{what}: {printable(found.found)}"))
            shown.json(refused_as_json(name, found))
        else:
            checkpoints += 1
            error = _change(name, options)
            wrong = wrong or error is not None
            shown.text(listing.other(name, MADE_FOR_PYTORCH if error is None else CHANGED))
            shown.json(folder_as_json(name, found, checked=options.stats, error=error))
    shown.end(listing.footnotes())
    if not checkpoints:
        LOGGER.error("none of these files is a checkpoint; ggcp inspect FILE says more of each")
    if missing:
        LOGGER.info("to make a file, say of which kind: ggcp export IN OUT, or ggcp convert IN OUT")
    return int(wrong or not checkpoints)


def _found(
    names: list[str], options: Namespace
) -> Iterator[tuple[str, Report | FormatError | Mapping[str, Any]]]:
    """Yield each file, those of folders too, with what is known of it."""
    from converter.use_cases.folders import files_of, is_folder, manifest_of

    for name in names:
        if not is_folder(name):
            yield name, _report_or_error(name, options)
            continue
        manifest = manifest_of(name)
        if manifest is not None:
            yield name, manifest
            continue
        try:
            folder = files_of(name)
        except FormatError as error:
            if len(names) == 1:
                raise
            yield name, error
            continue
        for file in folder.files:
            yield file, _report_or_error(file, options)
        if folder.left_out:
            LOGGER.warning("%s: %d more files were not looked at", name, folder.left_out)


def _report_or_error(name: str, options: Namespace) -> Report | FormatError:
    try:
        # A line has no room for a vocabulary, and a folder is not to be searched for each file.
        return _report(name, options, identify=False, beside=options.json)
    except FormatError as error:
        return error


class _Shown:
    """Prints lines, or a list of JSON values, as they come: no more than one is held."""

    def __init__(self, options: Namespace) -> None:
        self._json = options.json
        self._quiet = options.quiet
        self._count = 0

    def text(self, line: str) -> None:
        if not self._json and not self._quiet:
            say(line)

    def json(self, value: Mapping[str, Any]) -> None:
        if self._json:
            first = "[" if self._count == 0 else ","
            self._count += 1
            say(first)
            say_json(value)

    def end(self, footnotes: tuple[str, ...]) -> None:
        if self._json:
            say("]")
        elif footnotes:
            self.text("")
            for note in footnotes:
                self.text(note)
