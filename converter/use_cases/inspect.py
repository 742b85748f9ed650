"""The use case: say what is in a file."""

from __future__ import annotations

import os

from converter.inputs import open_checkpoint
from converter.numeric.statistics import measure
from converter.progress import Progress, silent
from converter.report.report import MANY_MAGNITUDES, Report
from converter.resume.detect import find_order


def inspect(
    path: str | os.PathLike[str], *, stats: bool = False, progress: Progress = silent
) -> Report:
    """Report what is in a checkpoint, a damaged one as far as it goes.

    Without ``stats`` no tensor is read, but for the past losses and a sample of each tensor, at
    most 64 KiB, that tells the order of the parameters. With it the whole file is read, in blocks.

    Args:
        path: the checkpoint.
        stats: whether to measure the elements of each tensor.
        progress: shows how far it is.

    Raises:
        FormatError: the file cannot be read, is no checkpoint, or was written to meanwhile. A
            checkpoint that is damaged raises nothing: the report has the error.
    """
    with open_checkpoint(path) as opened:
        facts = opened.facts()
        measured = {}
        if stats:
            with progress("Measuring", sum(tensor.length for tensor in facts.tensors)) as count:
                for tensor in (t for t in facts.tensors if t.is_f32):
                    many = tensor.path.rpartition(".")[2] in MANY_MAGNITUDES
                    measured[tensor.path] = measure(tensor.data, magnitudes=many, progress=count)
        snapshot = opened.partial_snapshot()
        order = None
        if snapshot is not None and snapshot.optimizer is not None:
            order = find_order(snapshot, thorough=stats)
        opened.source.check_unchanged()
        return Report(**vars(facts), order=order, thorough=stats, statistics=measured)
