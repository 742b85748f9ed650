"""The use case: say what is in a file."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from converter.disk.identity import Reading
from converter.disk.identity import modified as modified_at
from converter.facts import Facts
from converter.inputs import open_checkpoint
from converter.progress import Progress, silent
from converter.report.report import MANY_MAGNITUDES, Report
from converter.report.verdict import Verdict, verdict
from converter.resume.detect import find_order
from converter.use_cases.epsilon import likely_epsilon_of
from converter.vocabulary.beside import vocabularies_beside
from ggcp_schema import Source

if TYPE_CHECKING:
    from converter.numeric.statistics import Statistics

MOST_UNREAD = 4 << 30
"""How many bytes that belong to nothing are read for a checksum: a hole may be of any size."""


def inspect(
    path: str | os.PathLike[str],
    *,
    stats: bool = False,
    identify: bool = False,
    beside: bool = True,
    progress: Progress = silent,
) -> Report:
    """Report what is in a checkpoint, a damaged one as far as it goes.

    Without ``stats`` no tensor is read, but for the past losses and a sample of each tensor, at
    most 64 KiB, that tells the order of the parameters. With it the whole file is read, in blocks.
    Where a vocabulary has to be given, it is looked for in the folder of the checkpoint: see
    ``vocabularies_beside``.

    Args:
        path: the checkpoint.
        stats: whether to measure the elements of each tensor.
        identify: whether to say which file it is: its SHA-256, for which the whole file is read in
            blocks, and when it was modified. There is no SHA-256 of a damaged file of which more
            than ``MOST_UNREAD`` bytes belong to nothing.
        beside: whether to look for that vocabulary; it opens up to 64 files.
        progress: shows how far it is.

    Raises:
        FormatError: the file cannot be read, is no checkpoint, or was written to meanwhile. A
            checkpoint that is damaged raises nothing: the report has the error.
    """
    with open_checkpoint(path) as opened:
        facts = opened.facts()
        hashed = identify and _unread(facts) <= MOST_UNREAD
        statistics, sha256 = _read(opened.source, facts, stats, hashed, progress)
        snapshot = opened.partial_snapshot()
        order = None
        if snapshot is not None and snapshot.optimizer is not None:
            order = find_order(snapshot, thorough=stats)
        opened.source.check_unchanged()
        report = Report(
            **vars(facts),
            order=order,
            thorough=stats,
            statistics=statistics,
            sha256=sha256,
            modified=modified_at(opened.source) if identify else None,
            vocabularies=(),
            likely_epsilon=likely_epsilon_of(snapshot) if snapshot is not None else None,
        )
        if not beside or report.wanted_tokens is None or verdict(report) is Verdict.LOST:
            return report
        return replace(report, vocabularies=vocabularies_beside(path, report.wanted_tokens))


def _read(
    source: Source, facts: Facts, stats: bool, hashed: bool, progress: Progress
) -> tuple[dict[str, Statistics], str | None]:
    """Return the statistics of each tensor by its path, and the SHA-256, from reading once."""
    measured: dict[str, Statistics] = {}
    tensors = sorted((t for t in facts.tensors if stats and t.is_f32), key=lambda t: t.offset)
    total = source.size if hashed else sum(tensor.length for tensor in tensors)
    if not tensors and not hashed:
        return measured, None
    from converter.numeric.statistics import measure  # which a look at the file spares

    what = "Measuring" if stats else "Computing the SHA-256"
    with progress(what, total) as count, Reading(source, count, hashed=hashed) as reading:
        for tensor in tensors:
            many = tensor.path.rpartition(".")[2] in MANY_MAGNITUDES
            measured[tensor.path] = measure(reading.blocks(tensor.data), magnitudes=many)
        return measured, reading.sha256()


def _unread(facts: Facts) -> int:
    return sum(region.length for region in facts.regions if region.kind == "unread")
