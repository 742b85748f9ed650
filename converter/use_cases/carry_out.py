"""Brings a plan to the disk: written, verified where asked, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from converter.disk.output import Output
from converter.errors import ConversionError
from converter.gguf_io.writer import write
from converter.plan import Plan
from converter.progress import Progress, silent
from ggcp_schema import Source


@dataclass(frozen=True)
class Writing:
    """How a file is written.

    Attributes:
        force: whether a file of that name may be replaced.
        sync: whether the data are on the disk before the file has its name.
        verify: whether the file is read back and compared before it has its name.
        progress: shows how far it is.
    """

    force: bool = False
    sync: bool = True
    verify: bool = False
    progress: Progress = silent


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        path: name of the file.
        tensors: tensors in it.
        length: bytes of the file.
    """

    path: str
    tensors: int
    length: int


def carry_out(
    plan: Plan,
    source: Source,
    path: str | os.PathLike[str],
    writing: Writing,
    inputs: tuple[str | os.PathLike[str] | Source, ...] = (),
    others: tuple[Source, ...] = (),
) -> Written:
    """Write a plan to a file.

    Args:
        plan: what to write.
        source: the file from which the plan is made.
        path: name of the file.
        writing: how.
        inputs: files that must not be written to.
        others: further open files from which it is made.

    Raises:
        ConversionError: the name is taken or an input's, the disk refuses, or what was written is
            not what was planned.
        FormatError: the source or another file was written to in the meantime.
    """
    sources = (source, *others)
    inputs = (*inputs, *sources)
    with Output(path, force=writing.force, inputs=inputs, sync=writing.sync) as output:
        with writing.progress("Writing", plan.length) as count:
            length = write(plan, output, count)
        _require_unchanged(sources)
        if writing.verify:
            with writing.progress("Verifying", plan.length) as count, output.source() as written:
                require_same(plan, written, count)
            _require_unchanged(sources)
        output.commit()
    return Written(os.fspath(path), len(plan.tensors), length)


def _require_unchanged(sources: tuple[Source, ...]) -> None:
    for source in sources:
        source.check_unchanged()


def require_same(plan: Plan, written: Source, count: Callable[[int], object]) -> None:
    """Make sure that a file is what was planned.

    Raises:
        ConversionError: it is not; the first difference is named.
    """
    from converter.gguf_io.comparison import differences  # only where it is asked for
    from converter.gguf_io.reader import read_gguf

    for difference in differences(plan, read_gguf(written), count):
        raise ConversionError(
            written.label or "output",
            expected="the file to be what was planned",
            found=f"a difference: {difference}",
            hint="nothing was kept; the disk may be failing, so write to another one",
        )
