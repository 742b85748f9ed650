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
    inputs: tuple[str | os.PathLike[str], ...] = (),
    others: tuple[Source, ...] = (),
) -> Written:
    """Write a plan to a file.

    Args:
        plan: what to write.
        source: the file that the plan's spans are of.
        path: name of the file.
        writing: how.
        inputs: files that must not be written to.
        others: further open files from which the plan computes.

    Raises:
        ConversionError: the name is taken or an input's, the disk refuses, or what was written is
            not what was planned.
        FormatError: the source or another file was written to in the meantime.
    """
    with Output(path, force=writing.force, inputs=inputs, sync=writing.sync) as output:
        with writing.progress("Writing", plan.length) as count:
            length = write(plan, source, output, count)
        if writing.verify:
            with writing.progress("Verifying", plan.length) as count:
                require_same(plan, output.temporary, count, name=output.path)
            source.check_unchanged()
        for other in others:
            other.check_unchanged()
        output.commit()
    return Written(os.fspath(path), len(plan.tensors), length)


def require_same(
    plan: Plan,
    path: str | os.PathLike[str],
    count: Callable[[int], object],
    name: str,
) -> None:
    """Make sure that a file is what was planned.

    Raises:
        ConversionError: it is not; the first difference is named.
    """
    from converter.gguf_io.comparison import differences, opened  # only where it is asked for

    with opened(path) as made:
        for difference in differences(plan, made, count):
            raise ConversionError(
                name,
                expected="the file to be what was planned",
                found=f"a difference: {difference}",
                hint="nothing was kept; the disk may be failing, so write to another one",
            )
