"""The use case: say what is in a file."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

from converter.disk.digest import sha256_of
from converter.inputs import open_checkpoint
from converter.numeric.statistics import measure
from converter.progress import Progress, silent
from converter.report.report import MANY_MAGNITUDES, Report
from converter.resume.detect import find_order
from ggcp_schema import Source

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def inspect(
    path: str | os.PathLike[str],
    *,
    stats: bool = False,
    identify: bool = False,
    progress: Progress = silent,
) -> Report:
    """Report what is in a checkpoint, a damaged one as far as it goes.

    Without ``stats`` no tensor is read, but for the past losses and a sample of each tensor, at
    most 64 KiB, that tells the order of the parameters. With it the whole file is read, in blocks.

    Args:
        path: the checkpoint.
        stats: whether to measure the elements of each tensor.
        identify: whether to say which file it is: its SHA-256, for which the whole file is read in
            blocks, and when it was modified.
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
        sha256 = modified = None
        if identify:
            modified = _modified(opened.source)
            with progress("Computing the SHA-256", opened.source.size) as count:
                sha256 = sha256_of(opened.source, count)
        opened.source.check_unchanged()
        return Report(
            **vars(facts),
            order=order,
            thorough=stats,
            statistics=measured,
            sha256=sha256,
            modified=modified,
        )


def _modified(source: Source) -> datetime | None:
    seconds = int(os.fstat(source.fileno()).st_mtime)
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:  # some file systems hold years of more than four digits
        return None
