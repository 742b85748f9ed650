"""The use case: a checkpoint becomes a model, or a LoRA an adapter, that today's engines run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from gguf import GGUFType, Keys

from converter.assumptions import Assumption, Basis, small
from converter.errors import ConversionError, OptionsError
from converter.inputs import Opened, open_checkpoint
from converter.layouts.adapter import ADAPTER_OUTTYPES, adapter_plan, warn_of_norms
from converter.layouts.general import default_name, describe_model, output_path, read_general
from converter.layouts.inference import Choices, model_plan, require_that_it_runs
from converter.layouts.merged import merge_plan, read_base
from converter.layouts.tables import CONTEXT_LENGTH
from converter.numeric.encode import OUTTYPES, Outtype, stored_type
from converter.plan import Metadata, Plan
from converter.progress import LOGGER
from converter.snapshot import Hyperparameters, Snapshot
from converter.use_cases.after import after_export
from converter.use_cases.carry_out import (
    MOST_REPORTED,
    Writing,
    Written,
    carry_out,
    tell_what_was_decided,
    warn_of_not_finite,
)
from converter.use_cases.epsilon import basis_of_epsilon, epsilon_or_assumed
from converter.use_cases.export_options import (
    ExportOptions,
    Name,
    refuse_options_of_a_model,
    require_outtype,
)
from converter.vocabulary.beside import advice, vocabularies_beside
from converter.vocabulary.reading import read_vocabulary
from ggcp_schema import Source
from ggcp_schema.gguf import TensorType, ValueType
from ggcp_schema.history import MAGICLESS_CONTEXT_LENGTH
from ggcp_schema.tensor import element_count


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


_MOST_LAYERS = 512
"""llama.cpp: ``LLAMA_MAX_LAYERS``."""


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
        refuse_options_of_a_model(source, options, merge=True)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(open_checkpoint(source))
        if options.base is not None:
            require_lora(opened, source)
            require_outtype(source, options, "a merged model", tuple(OUTTYPES))
            snapshot = _lora(opened, options)
            base = stack.enter_context(Source.open(options.base))
            plan = merge_plan(snapshot, read_base(base), outtype=options.outtype)
            yield _of_a_lora(plan, (opened.source, base), path)
        elif opened.lora:
            refuse_options_of_a_model(source, options, merge=False)
            require_outtype(source, options, "an adapter", ADAPTER_OUTTYPES)
            snapshot = _lora(opened, options)
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
        next_step = after_export(
            written.path,
            adapter=work.plan.value(Keys.General.TYPE) == GGUFType.ADAPTER,
            context_length=work.plan.value(CONTEXT_LENGTH),
        )
        return replace(written, next=next_step)


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


def require_lora(opened: Opened, source: Name) -> None:
    """Make sure that a file can be merged into a base.

    Raises:
        ConversionError: it is no LoRA.
    """
    if not opened.lora:
        raise ConversionError(
            source,
            expected="a LoRA, as finetune wrote them, to be merged into a base model",
            found="a whole model",
            hint="leave --merge out, or give the LoRA first and its base model after --merge",
        )


def _lora(opened: Opened, options: ExportOptions) -> Snapshot:
    snapshot = opened.model(rescue=options.rescue)
    _warn_of_shared_heads(snapshot)
    _warn_of_layers(snapshot)
    return snapshot


def _warn_of_shared_heads(snapshot: Snapshot) -> None:
    sizes = snapshot.sizes
    if not isinstance(sizes, Hyperparameters):
        return
    if sizes.key_value_head_count != sizes.head_count:
        LOGGER.warning(
            "finetune gave query head h the key and value head h mod %d, engines give it h div %d: "
            "it trained a scrambled base; what it learnt carries over faithfully, and still does "
            "not do what its loss promised",
            sizes.key_value_head_count,
            sizes.head_count // sizes.key_value_head_count,
        )


def _of_a_lora(plan: Plan, sources: tuple[Source, ...], path: Name) -> Prepared:
    """Return the work; in a folder the file is named after the checkpoint, its size and type."""
    kinds = [tensor.type for tensor in plan.tensors if len(tensor.shape) > 1]
    most = max(OUTTYPES.values(), key=lambda outtype: kinds.count(outtype.type))
    name = default_name(sources[0].label or "")
    general = (Metadata(Keys.General.NAME, ValueType.STRING, name),)
    path = output_path(path, general, _element_count(plan), most)
    tell_what_was_decided(plan)
    return Prepared(plan, sources, path, "the input")


def _element_count(plan: Plan) -> int:
    return sum(element_count(tensor.shape) for tensor in plan.tensors)


def _model(
    opened: Opened, path: Name, options: ExportOptions, stack: contextlib.ExitStack
) -> Prepared:
    snapshot = opened.model(rescue=options.rescue)
    if options.vocabulary is None and snapshot.vocabulary is None:
        raise _no_vocabulary(opened.source.label, snapshot.hyperparameters.vocabulary_size)
    require_outtype(opened.source.label or "", options, "a model", tuple(OUTTYPES))
    sources = [opened.source]
    general = {}
    if options.metadata is not None:
        sources.append(stack.enter_context(Source.open(options.metadata)))
        general = read_general(sources[-1])
    outtype = OUTTYPES[options.outtype or "f32"]
    sizes = snapshot.hyperparameters
    require_that_it_runs(snapshot)
    _warn_of_layers(snapshot)
    tokenizer = snapshot.vocabulary or ()
    if options.vocabulary is not None:
        sources.append(stack.enter_context(Source.open(options.vocabulary)))
        vocabulary = read_vocabulary(sources[-1], token_count=sizes.vocabulary_size)
        tokenizer = vocabulary.metadata
    length, of_length = options.context_length, Basis.OPTION
    if length is None:
        length, of_length = trained_context_length(snapshot)
    choices = Choices(
        general=describe_model(snapshot.file, general, options.model_name),
        context_length=length,
        epsilon=chosen_epsilon(snapshot, options),
        outtype=outtype,
        tokenizer=tokenizer,
    )
    if sizes.rotates_in_part:
        LOGGER.warning(
            "only %d of the %d dimensions of a head are rotated: exact in llama.cpp through "
            "rope_freqs.weight, which transformers ignores: its results will be wrong",
            sizes.rope_dimension_count,
            sizes.head_dimension,
        )
    if snapshot.rope is not None and snapshot.rope.scale != 1:
        LOGGER.warning(
            "positions are scaled by %g: exact in llama.cpp, but transformers ignores that in a "
            "GGUF, and its results will be wrong",
            snapshot.rope.scale,
        )
    assumptions = (
        Assumption("epsilon", choices.epsilon, basis_of_epsilon(options.epsilon, snapshot)),
        Assumption("context_length", choices.context_length, of_length),
    )
    plan = replace(model_plan(snapshot, choices), assumptions=assumptions)
    _warn_of_fallbacks(plan, outtype)
    path = output_path(path, choices.general, _element_count(plan), outtype)
    tell_what_was_decided(plan)
    return Prepared(plan, tuple(sources), path, "the checkpoint")


def _no_vocabulary(checkpoint: str | None, token_count: int) -> OptionsError:
    """Return the error where none was given: how many tokens it must have, and where it may be."""
    beside = vocabularies_beside(checkpoint, token_count) if checkpoint else ()
    where = advice(token_count, beside)
    return OptionsError(
        checkpoint or "checkpoint",
        usage=f"the following arguments are required: --vocab, a file with the {token_count:,} "
        f"tokens that the model was trained with; {where}",
        expected=f"a vocabulary of {token_count:,} tokens, which the checkpoint does not hold",
        found="no --vocab",
        hint=where,
    )


def chosen_epsilon(snapshot: Snapshot, options: ExportOptions) -> float:
    """Return the epsilon of the norms, and say where it is from."""
    if options.epsilon is not None or snapshot.epsilon is None:
        return epsilon_or_assumed(options.epsilon, snapshot, "export")
    epsilon = small(snapshot.epsilon)
    LOGGER.info("epsilon of the norms %s, as in training (--eps for another)", epsilon)
    return snapshot.epsilon


def trained_context_length(snapshot: Snapshot) -> tuple[int, Basis]:
    """Return the tokens of a sample and where they are from, and say so.

    Raises:
        ConversionError: they are not known.
    """
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
    if length != counters.tokens_per_sample:  # a GGUF says so, or the base of a LoRA
        return length, Basis.FILE
    LOGGER.info(
        "context length %d: %d tokens / %d samples of the training (-c for another)",
        length,
        counters.token_count,
        counters.sample_count,
    )
    return length, Basis.COUNTERS


def _warn_of_layers(snapshot: Snapshot) -> None:
    count = snapshot.sizes.block_count
    if count is not None and count > _MOST_LAYERS:
        LOGGER.warning(
            "the model has %d layers; llama.cpp, and what is built on it, refuses more than %d",
            count,
            _MOST_LAYERS,
        )


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
