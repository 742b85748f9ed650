"""The use case: compare a GGUF, or a Hugging Face folder, with what its checkpoint becomes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from converter.errors import ConversionError
from converter.gguf_io.comparison import (
    Difference,
    Subject,
    as_made_by_its_version,
    compared,
    count_compared,
    read_made,
)
from converter.gguf_io.reader import Gguf
from converter.inputs import Opened, open_checkpoint
from converter.layouts import adapter, inference, merged, trainer
from converter.layouts.provenance import is_rescued
from converter.plan import Plan
from converter.progress import Progress, silent
from converter.resume.decide import contradictions
from converter.resume.rearrange import rearranged
from converter.snapshot import Snapshot
from converter.use_cases.comparison import Comparison, counted, require_base_where_merged
from converter.use_cases.convert import require_optimizer
from converter.use_cases.export import require_lora
from converter.use_cases.export_options import NO_MODEL
from converter.use_cases.folders import is_folder
from converter.use_cases.verify_folder import compare_folder
from converter.vocabulary.reading import read_vocabulary
from ggcp_schema import Source

Name = str | os.PathLike[str]


class _Expected(NamedTuple):
    """What a GGUF should be, and what contradicts what it says of itself."""

    plan: Plan
    contradictions: Iterable[str] = ()


def verify(
    source: Name, path: Name, *, base: Name | None = None, progress: Progress = silent
) -> list[str]:
    """Return one line for each difference between a GGUF or folder and what its checkpoint becomes.

    They are the lines of ``compare``, which see.
    """
    return compare(source, path, base=base, progress=progress).lines


def compare(
    source: Name, path: Name, *, base: Name | None = None, progress: Progress = silent
) -> Comparison:
    """Compare a GGUF, or a folder, with what its checkpoint becomes.

    Not compared are the version of GGUF, the padding between the data, and the version of ggcp that
    made the file.

    What the checkpoint does not hold is taken as the GGUF says: the epsilon of the RMS norms, the
    order of the reading trainer, the rows by which the moments were divided; for a model also the
    context length, the type, the vocabulary and the description. A GGUF from a LoRA checkpoint may
    also be an adapter or a merged model, whose base is ``base``.

    Raises:
        FormatError: a file is damaged, or the base does not fit.
        ConversionError: a merged model is given without its base, or a base with something else.
    """
    if is_folder(os.fspath(path)):
        return compare_folder(source, path, base, progress)
    with contextlib.ExitStack() as stack:
        finished = read_made(stack.enter_context(Source.open(path)))
        opened = stack.enter_context(open_checkpoint(source))
        of_lora = opened.lora and (adapter.recognises(finished) or merged.recognises(finished))
        if base is not None or of_lora:
            require_base_where_merged(path, base, merged=merged.recognises(finished))
            require_lora(opened, source)
        if base is not None:
            base_model = merged.read_base(stack.enter_context(Source.open(base)))
            expected = _merged(opened, finished, base_model)
        elif of_lora:
            expected = _adapter(opened, finished)
        elif inference.recognises(finished) and not trainer.recognises(finished):
            expected = _model(opened, finished)
        else:
            expected = _to_resume(opened, finished)
        with progress("Verifying", expected.plan.length) as count:
            plan = as_made_by_its_version(expected.plan, finished)
            contradicting = (Difference(Subject.KEY, w) for w in expected.contradictions)
            found = chain(contradicting, compared(plan, finished, count))
            comparison = counted(found, count_compared(plan, finished))
        opened.source.check_unchanged()
        if base is not None:
            base_model.source.check_unchanged()
    return comparison


def _read(opened: Opened, finished: Gguf) -> Snapshot:
    """Return the checkpoint, also a damaged one where the GGUF says that it was rescued."""
    return opened.model(rescue=opened.error is not None and is_rescued(finished))


def _merged(opened: Opened, finished: Gguf, base: Gguf) -> _Expected:
    snapshot = _read(opened, finished)
    outtype = merged.stored_outtype(finished, snapshot, base)
    return _Expected(merged.merge_plan(snapshot, base, outtype=outtype))


def _adapter(opened: Opened, finished: Gguf) -> _Expected:
    outtype = adapter.stored_outtype(finished)
    return _Expected(adapter.adapter_plan(_read(opened, finished), outtype=outtype))


def _model(opened: Opened, finished: Gguf) -> _Expected:
    if opened.lora:
        raise ConversionError(opened.source.label or "checkpoint", **NO_MODEL)
    snapshot = _read(opened, finished)
    count = snapshot.hyperparameters.vocabulary_size
    vocabulary = read_vocabulary(finished.source, token_count=count, complete=False)
    choices = inference.stored_choices(finished, snapshot, vocabulary.metadata)
    return _Expected(inference.model_plan(snapshot, choices))


def _to_resume(opened: Opened, finished: Gguf) -> _Expected:
    snapshot = opened.snapshot()
    require_optimizer(snapshot)
    epsilon = trainer.stored_epsilon(finished)
    resumption = trainer.stored_resumption(finished)
    if resumption is not None and snapshot.kept is not None:
        rows = resumption.rows // trainer.divided_rows(snapshot)
        resumption = replace(resumption, rows=max(rows, 1))
    if resumption is None or trainer.says_the_same(snapshot, finished):
        return _Expected(trainer.trainer_plan(snapshot, epsilon=epsilon))
    plan = trainer.trainer_plan(rearranged(snapshot, resumption), epsilon=epsilon)
    return _Expected(plan, contradictions(snapshot, resumption))
