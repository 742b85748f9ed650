"""Writes a plan to a file, checks it, and says what in it is no finite number."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from converter.assumptions import Assumption
from converter.disk.output import Output
from converter.errors import ConversionError
from converter.gguf_io.writer import write
from converter.numeric.encode import Encoding, Tally
from converter.parts import Computed
from converter.plan import FolderPlan, Plan, PlannedTensor
from converter.progress import LOGGER, Progress, silent
from converter.use_cases.saved_training import refuse_to_replace_it
from ggcp_schema import Source
from ggcp_schema.tensor import element_count

if TYPE_CHECKING:
    from converter.disk.folder_output import FolderOutput

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
            ConversionError: the name is taken, is one of the sources' or of what a trainer saved,
                or cannot be written.
        """
        refuse_to_replace_it(path, sources)
        return Output(path, force=self.force, inputs=sources, sync=self.sync)


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        path: name of the file or folder.
        tensors: tensors in it.
        length: bytes of the file, or of all files of the folder.
        choices: what is in a folder's ``ggcp.json`` beside its files.
        assumptions: what the values of a file rest on that was decided.
        next: what to do with it, as a sentence with a command; empty where nothing is to be said.
    """

    path: str
    tensors: int
    length: int
    choices: Mapping[str, Any] = field(default_factory=dict)
    assumptions: tuple[Assumption, ...] = field(default=(), compare=False)
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
        output.commit(writing.progress)
    return Written(output.path, len(plan.tensors), length, assumptions=plan.assumptions)


def tell_what_was_decided(plan: Plan) -> None:
    """Say, to whom wants to know more, what a plan rests on and what becomes of each tensor."""
    for assumption in plan.assumptions:
        LOGGER.debug("%s", assumption)
    for tensor in plan.tensors:
        made = any(isinstance(part, Computed) for part in tensor.parts)
        LOGGER.debug(
            "%s: %s, %s, %s",
            tensor.name,
            tensor.type.name,
            " × ".join(map(str, tensor.shape)),
            "computed" if made else "copied",
        )


def carry_out_folder(
    plan: FolderPlan, sources: tuple[Source, ...], output: FolderOutput, writing: Writing
) -> Written:
    """Write a plan to a folder.

    Args:
        plan: what to write.
        sources: the open files that it reads.
        output: the folder, not yet open.
        writing: how.

    Raises:
        ConversionError: the disk refuses, or what was written is not what was planned.
        FormatError: one of the sources was written to in the meantime.
    """
    from converter.hf_io.comparison import content_differences  # which a GGUF does not need

    with output:
        files = [(planned, output.file(planned.name, planned.length)) for planned in plan.files]
        with writing.progress("Writing", plan.length) as count:
            for planned, file in files:
                file.write(planned.blocks(), count)
        if writing.verify:
            with writing.progress("Verifying", plan.length) as count:
                for planned, file in files:
                    with file.source() as written:
                        _refuse_difference(
                            output.path, content_differences(planned, written, count)
                        )
        for source in sources:
            source.check_unchanged()
        output.commit(plan.choices)
    return Written(output.path, len(plan.tensors), plan.length, plan.choices)


def _require_as_planned(plan: Plan, output: Output, progress: Progress) -> None:
    from converter.gguf_io.comparison import differences, read_made  # only where it is asked for

    with progress("Verifying", plan.length) as count, output.source() as written:
        _refuse_difference(output.path, differences(plan, read_made(written), count))


def _refuse_difference(path: str, found: Iterator[str]) -> None:
    for difference in found:
        raise ConversionError(
            path,
            expected="the file to be what was planned",
            found=f"a difference: {difference}",
            hint="nothing was kept; the disk may be failing, so write to another one",
        )


def warn_of_not_finite(plan: Plan | FolderPlan, origin: str) -> None:
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


def _tallies(plan: Plan | FolderPlan) -> Iterator[tuple[PlannedTensor, Tally]]:
    """Yield each tensor that was encoded, with what in it was not finite."""
    for tensor in plan.tensors:
        for part in tensor.parts:
            if isinstance(part, Computed) and isinstance(part.make, Encoding):
                yield tensor, part.make.tally
