"""The use case: a checkpoint becomes a model, or a LoRA an adapter, that today's engines run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from gguf import Keys

from converter.errors import ConversionError, OptionsError
from converter.gguf_io.reader import Gguf, read_gguf
from converter.inputs import Opened, open_checkpoint
from converter.layouts.adapter import ADAPTER_OUTTYPES, adapter_plan, warn_of_norms
from converter.layouts.general import default_name, describe_model, output_path, read_general
from converter.layouts.inference import Choices, model_plan, require_that_it_runs
from converter.layouts.merged import merge_plan
from converter.numeric.encode import OUTTYPES, Outtype, stored_type
from converter.plan import Metadata, Plan
from converter.progress import LOGGER
from converter.snapshot import Snapshot
from converter.use_cases.carry_out import (
    MOST_REPORTED,
    Writing,
    Written,
    carry_out,
    warn_of_not_finite,
)
from converter.use_cases.convert import epsilon_or_assumed
from converter.vocabulary import read_vocabulary
from ggcp_schema import Source
from ggcp_schema.gguf import TensorType, ValueType
from ggcp_schema.history import MAGICLESS_CONTEXT_LENGTH
from ggcp_schema.tensor import element_count

Name = str | os.PathLike[str]


@dataclass(frozen=True)
class ExportOptions:
    """What the user says of the result that the checkpoint does not.

    Attributes:
        vocabulary: the file that holds the vocabulary; for a model, not for a LoRA.
        context_length: tokens that the model takes at once; None for that of the training.
        epsilon: the epsilon of the RMS norms; None for 1e-5.
        outtype: ``f32``, ``f16``, ``bf16`` or ``q8_0``, for an adapter one of the first two; None
            for F32, and with a base for the types of the base.
        model_name: the model's name; None to take it from ``metadata`` or the checkpoint's name.
        metadata: a JSON file with keys ``general.*``; None for none.
        rescue: whether a damaged checkpoint is exported if its model is there, all of it or all but
            the end of the last layer's w3.
        base: for a LoRA, the model that it was trained on, a GGUF: the result is that model with
            the changes added; None for an adapter.
    """

    vocabulary: Name | None = None
    context_length: int | None = None
    epsilon: float | None = None
    outtype: str | None = None
    model_name: str | None = None
    metadata: Name | None = None
    rescue: bool = False
    base: Name | None = None


@dataclass(frozen=True)
class Prepared:
    """A plan with the open files that it reads.

    Attributes:
        plan: what is to be written.
        sources: the open files: the checkpoint and whatever else was read.
        path: name of the file to write.
        origin: where its values come from, in words.
    """

    plan: Plan
    sources: tuple[Source, ...]
    path: str
    origin: str


_OF_A_MODEL = {
    "vocabulary": "--vocab",
    "context_length": "--context-length",
    "epsilon": "--eps",
    "model_name": "--model-name",
    "metadata": "--metadata",
    "rescue": "--rescue",
}
"""What only a model takes, and the options of the command line that say it."""


NO_MODEL = {
    "expected": "a training checkpoint (ggcp), which holds a model",
    "found": "a LoRA checkpoint (ggcl)",
    "hint": "it holds only what finetune changed in another model: without --vocab it becomes an "
    "adapter, with --merge BASE.gguf a whole model",
}
"""What is wrong where a model is asked of a LoRA."""


@contextlib.contextmanager
def prepared(source: Name, path: Name, options: ExportOptions) -> Iterator[Prepared]:
    """Plan an export, keep its files open, and tell the user through the logger what it rests on.

    Args:
        source: the checkpoint.
        path: the GGUF to write; a folder, or a name with ``{ftype}``, is filled in.
        options: what is not in the checkpoint.

    Raises:
        OptionsError: the options do not go together, or with this kind of file.
        FormatError: a file cannot be read or is damaged, or the base does not fit.
        ConversionError: the context length is not known, or no engine could run the model.
    """
    if options.base is not None:
        _refuse_options_of_a_model(source, options, merge=True)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(open_checkpoint(source))
        if options.base is not None:
            require_lora(opened, source)
            _require_outtype(source, options, "a merged model", tuple(OUTTYPES))
            snapshot = opened.snapshot()
            base = stack.enter_context(Source.open(options.base))
            plan = merge_plan(snapshot, read_base(base), outtype=options.outtype)
            yield _of_a_lora(plan, (opened.source, base), path)
        elif opened.lora:
            _refuse_options_of_a_model(source, options, merge=False)
            _require_outtype(source, options, "an adapter", ADAPTER_OUTTYPES)
            snapshot = opened.snapshot()
            plan = adapter_plan(snapshot, outtype=options.outtype or "f32")
            warn_of_norms(snapshot)
            yield _of_a_lora(plan, (opened.source,), path)
        else:
            yield _model(opened, path, options, stack)


def export(
    source: Name, path: Name, options: ExportOptions, *, writing: Writing | None = None
) -> Written:
    """Export the model of a checkpoint, or a LoRA, to a GGUF that llama.cpp and others run.

    Args:
        source: the checkpoint.
        path: the GGUF to write; a folder, or a name with ``{ftype}``, is filled in.
        options: what is not in the checkpoint.
        writing: how the file is written.

    Raises:
        OptionsError: the options do not go together, or with this kind of file.
        FormatError: a file cannot be read or is damaged, or the base does not fit.
        ConversionError: the GGUF cannot be written, the context length is not known, or no engine
            could run the model.
    """
    writing = writing or Writing()
    with prepared(source, path, options) as work:
        output = writing.output(work.path, work.sources)
        written = carry_out(work.plan, work.sources, output, writing)
        warn_of_not_finite(work.plan, work.origin)
        return written


def export_lora(
    source: Name,
    path: Name,
    *,
    base: Name | None = None,
    outtype: str | None = None,
    writing: Writing | None = None,
) -> Written:
    """Write an adapter, or with ``base`` a merged model: ``export`` without a vocabulary.

    Raises:
        FormatError: a file cannot be read or is damaged, or the base does not fit.
        ConversionError: the checkpoint is none of finetune, or the output cannot be written.
    """
    return export(source, path, ExportOptions(base=base, outtype=outtype), writing=writing)


def _refuse_options_of_a_model(source: Name, options: ExportOptions, *, merge: bool) -> None:
    of = "--merge" if merge else "a LoRA checkpoint"
    reason = (
        "the model takes everything but its weights from BASE.gguf"
        if merge
        else "an adapter takes it from the model that it is used with"
    )
    for name, option in _OF_A_MODEL.items():
        if getattr(options, name) not in (None, False):
            raise OptionsError(
                source,
                usage=f"{option} does not go with {of}: {reason}",
                **NO_MODEL,
            )


def require_lora(opened: Opened, source: Name) -> None:
    """Make sure that a file can be merged into a base.

    Raises:
        ConversionError: it is no LoRA.
    """
    if not opened.lora:
        raise ConversionError(
            source,
            expected="a LoRA checkpoint (ggcl), as finetune wrote them",
            found="a training checkpoint (ggcp), which is a whole model",
            hint="export it without --merge",
        )


def _require_outtype(
    source: Name, options: ExportOptions, what: str, known: tuple[str, ...]
) -> None:
    if options.outtype not in (None, *known):
        names = " or ".join(known)
        raise OptionsError(
            source,
            usage=f"--outtype {options.outtype} does not go with {what}: give {names}",
            expected=f"--outtype {names} for {what}",
            found=str(options.outtype),
            hint="give one of these, or leave --outtype out",
        )


def read_base(source: Source) -> Gguf:
    """Read the base model of a merge.

    Raises:
        FormatError: it is no GGUF, or is damaged.
    """
    return read_gguf(
        source,
        damaged="the file is damaged, or not a model that this program can read; give another copy",
        other="give the base model as a GGUF; llama.cpp's converters make one of older or other "
        "files",
    )


def _of_a_lora(plan: Plan, sources: tuple[Source, ...], path: Name) -> Prepared:
    """Return the work; in a folder the file is named after the checkpoint, its size and type."""
    kinds = [tensor.type for tensor in plan.tensors if len(tensor.shape) > 1]
    most = max(OUTTYPES.values(), key=lambda outtype: kinds.count(outtype.type))
    name = default_name(sources[0].label or "")
    general = (Metadata(Keys.General.NAME, ValueType.STRING, name),)
    path = output_path(path, general, _element_count(plan), most)
    return Prepared(plan, sources, path, "the input")


def _element_count(plan: Plan) -> int:
    return sum(element_count(tensor.shape) for tensor in plan.tensors)


def _model(
    opened: Opened, path: Name, options: ExportOptions, stack: contextlib.ExitStack
) -> Prepared:
    if options.vocabulary is None:
        raise OptionsError(
            opened.source.label or "checkpoint",
            usage="the following arguments are required: --vocab",
            expected="a vocabulary, which the checkpoint does not hold",
            found="none",
            hint="give the file that was the trainer's --vocab-model",
        )
    _require_outtype(opened.source.label or "", options, "a model", tuple(OUTTYPES))
    sources = [opened.source]
    general = {}
    if options.metadata is not None:
        sources.append(stack.enter_context(Source.open(options.metadata)))
        general = read_general(sources[-1])
    outtype = OUTTYPES[options.outtype or "f32"]
    snapshot = opened.model(rescue=options.rescue)
    sizes = snapshot.hyperparameters
    require_that_it_runs(snapshot)
    sources.append(stack.enter_context(Source.open(options.vocabulary)))
    vocabulary = read_vocabulary(sources[-1], token_count=sizes.vocabulary_size)
    choices = Choices(
        general=describe_model(snapshot.file, general, options.model_name),
        context_length=options.context_length or _trained_context_length(snapshot),
        epsilon=_epsilon(snapshot, options),
        outtype=outtype,
        tokenizer=vocabulary.metadata,
    )
    if sizes.rotates_in_part:
        LOGGER.warning(
            "only %d of the %d dimensions of a head are rotated: exact in llama.cpp through "
            "rope_freqs.weight, which transformers ignores: its results will be wrong",
            sizes.rope_dimension_count,
            sizes.head_dimension,
        )
    plan = model_plan(snapshot, choices)
    _warn_of_fallbacks(plan, outtype)
    path = output_path(path, choices.general, _element_count(plan), outtype)
    return Prepared(plan, tuple(sources), path, "the checkpoint")


def _epsilon(snapshot: Snapshot, options: ExportOptions) -> float:
    if options.epsilon is not None or snapshot.epsilon is None:
        return epsilon_or_assumed(options.epsilon, "export")
    LOGGER.info("epsilon of the norms %g, as in training (--eps for another)", snapshot.epsilon)
    return snapshot.epsilon


def _trained_context_length(snapshot: Snapshot) -> int:
    counters, length = snapshot.counters, snapshot.context_length
    if length is None and counters.token_count is None:
        raise ConversionError(
            snapshot.file,
            expected="the context length",
            found="no count of the tokens of the training",
            hint=f"give it with --context-length: {MAGICLESS_CONTEXT_LENGTH} in the trainer's "
            "source of the time",
        )
    if length is None:
        raise ConversionError(
            snapshot.file,
            expected="training counters whose tokens are a multiple of the samples, which gives "
            "the context length",
            found=f"{counters.token_count} tokens, {counters.sample_count} samples",
            hint="give the trainer's --ctx (128 by default) with --context-length",
        )
    LOGGER.info(
        "context length %d: %d tokens / %d samples of the training (-c for another)",
        length,
        counters.token_count,
        counters.sample_count,
    )
    return length


def _warn_of_fallbacks(plan: Plan, outtype: Outtype) -> None:
    matrices = [tensor for tensor in plan.tensors if len(tensor.shape) > 1]
    fallen = [t.name for t in matrices if stored_type(t.shape, outtype) is not outtype.type]
    if fallen:
        LOGGER.warning(
            "%d of %d matrices become %s: their rows are not a multiple of 32, as %s needs (%s)",
            len(fallen),
            len(matrices),
            TensorType.F16.name,
            outtype.type.name,
            _listed(fallen),
        )


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_REPORTED
    return ", ".join(names[:MOST_REPORTED]) + (f" and {more} more" if more > 0 else "")
