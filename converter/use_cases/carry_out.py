"""Writes a plan to a file, checks it, and says what in it is no finite number."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from converter.disk.output import Output
from converter.errors import ConversionError
from converter.gguf_io.writer import write
from converter.numeric.encode import Encoding, Tally
from converter.parts import Computed
from converter.plan import Plan, PlannedTensor
from converter.progress import LOGGER, Progress, silent
from ggcp_schema import Source
from ggcp_schema.tensor import element_count

MOST_REPORTED = 10
"""Tensors that are named in the notes; of the others only the number is given."""


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

    def output(self, path: str | os.PathLike[str], sources: tuple[Source, ...]) -> Output:
        """Return a file to write, which is none of the open ``sources``.

        Raises:
            ConversionError: the name is taken, is one of the sources', or cannot be written.
        """
        return Output(path, force=self.force, inputs=sources, sync=self.sync)


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        path: name of the file.
        tensors: tensors in it.
        length: bytes of the file.
        next: what to do with it, as a sentence with a command; empty where nothing is to be said.
    """

    path: str
    tensors: int
    length: int
    next: str = field(default="", compare=False)


def carry_out(plan: Plan, sources: tuple[Source, ...], output: Output, writing: Writing) -> Written:
    """Write a plan to a file.

    Args:
        plan: what to write.
        sources: the open files that it reads.
        output: the file, not yet open.
        writing: how.

    Raises:
        ConversionError: the disk refuses, or what was written is not what was planned.
        FormatError: one of the sources was written to in the meantime.
    """
    with output:
        with writing.progress("Writing", plan.length) as count:
            length = write(plan, output, count)
        if writing.verify:
            _require_as_planned(plan, output, writing.progress)
        for source in sources:
            source.check_unchanged()
        output.commit()
    return Written(output.path, len(plan.tensors), length)


def _require_as_planned(plan: Plan, output: Output, progress: Progress) -> None:
    from converter.gguf_io.comparison import differences, read_made  # only where it is asked for

    with progress("Verifying", plan.length) as count, output.source() as written:
        for difference in differences(plan, read_made(written), count):
            raise ConversionError(
                output.path,
                expected="the file to be what was planned",
                found=f"a difference: {difference}",
                hint="nothing was kept; the disk may be failing, so write to another one",
            )


def warn_of_not_finite(plan: Plan, origin: str) -> None:
    """Say which tensors of a plan that was written hold NaN or infinities, and how many.

    Args:
        plan: the plan.
        origin: where its values come from, such as ``the checkpoint``.
    """
    lines = []
    for tensor, tally in _tallies(plan):
        count = element_count(tensor.shape)
        if tally.nans or tally.infinities:
            lines.append(
                f"{tensor.name}: {tally.nans} NaN and {tally.infinities} infinite of "
                f"{count} values, as in {origin}"
            )
        if tally.lost:
            lines.append(
                f"{tensor.name}: {tally.lost} of {count} values are finite in "
                f"{origin} but not as {tensor.type.name}; --outtype f32 keeps them"
            )
    for line in lines[:MOST_REPORTED]:
        LOGGER.warning("%s", line)
    if len(lines) > MOST_REPORTED:
        LOGGER.warning("and %d more lines like these", len(lines) - MOST_REPORTED)


def _tallies(plan: Plan) -> Iterator[tuple[PlannedTensor, Tally]]:
    """Yield each tensor that was encoded, with what in it was not finite."""
    for tensor in plan.tensors:
        for part in tensor.parts:
            if isinstance(part, Computed) and isinstance(part.make, Encoding):
                yield tensor, part.make.tally
