"""The use case: a checkpoint becomes a GGUF that today's engines run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gguf import GGMLQuantizationType

from converter.errors import ConversionError
from converter.inputs.rescue import require_whole, rescued
from converter.layouts.general import describe_model, output_path, read_general
from converter.layouts.inference import (
    ModelFacts,
    head_dimension,
    model_plan,
    rotates_in_part,
)
from converter.layouts.lora_trainer import is_lora
from converter.layouts.trainer import trained_context_length
from converter.numeric.encode import OUTTYPES, Outtype, stored_type
from converter.plan import Plan
from converter.progress import LOGGER
from converter.use_cases.carry_out import Writing, Written, carry_out
from converter.use_cases.convert import epsilon_or_assumed
from converter.use_cases.not_finite import MOST_REPORTED, tell_what_is_not_finite
from converter.vocabulary import read_vocabulary
from ggcp_schema import Checkpoint, parse
from ggcp_schema.tensor import element_count


@dataclass(frozen=True)
class ExportOptions:
    """What the user says of the model that the checkpoint does not.

    Attributes:
        vocabulary: the file that holds the vocabulary.
        context_length: tokens that the model takes at once; None for that of the training.
        epsilon: the epsilon of the RMS norms; None for 1e-5.
        outtype: ``f32``, ``f16``, ``bf16`` or ``q8_0``.
        model_name: the model's name; None to take it from ``metadata`` or the checkpoint's name.
        metadata: a JSON file with keys ``general.*``; None for none.
        rescue: whether a damaged checkpoint is exported if its model is there, all of it or all but
            the end of the last layer's w3.
    """

    vocabulary: str | os.PathLike[str]
    context_length: int | None = None
    epsilon: float | None = None
    outtype: str = "f32"
    model_name: str | None = None
    metadata: str | os.PathLike[str] | None = None
    rescue: bool = False


@contextlib.contextmanager
def open_model(
    source: str | os.PathLike[str], *, rescue: bool
) -> Iterator[tuple[Checkpoint, Any, int | None]]:
    """Open a training checkpoint for its model.

    Yields:
        The checkpoint, a container whose model is whole, and the number of missing values that
        ``rescued`` returns; None for a whole file.

    Raises:
        FormatError: the checkpoint is damaged; with ``rescue``, in a way that takes its model.
        ConversionError: it is a LoRA checkpoint.
    """
    with parse(source, partial=True) as checkpoint:
        if is_lora(checkpoint.container):
            raise ConversionError(
                source,
                expected="a training checkpoint (ggcp), which holds a model",
                found="a LoRA checkpoint (ggcl)",
                hint="it holds only what finetune changed in another model: without --vocab it "
                "becomes an adapter, with --merge BASE.gguf a whole model",
            )
        if rescue:
            yield checkpoint, *rescued(checkpoint)
        else:
            require_whole(checkpoint)
            yield checkpoint, checkpoint.container, None


@contextlib.contextmanager
def prepared(
    source: str | os.PathLike[str], path: str | os.PathLike[str], options: ExportOptions
) -> Iterator[tuple[Checkpoint, Plan, str]]:
    """Plan an export, and tell the user through the logger what it rests on.

    Args:
        source: the checkpoint.
        path: the GGUF to write; a folder, or a name with ``{ftype}``, is filled in.
        options: what is not in the checkpoint.

    Yields:
        The open checkpoint, the plan, and the name of the file to write.

    Raises:
        FormatError: the checkpoint, the vocabulary or the metadata cannot be read.
        ConversionError: the context length is not known, or no engine could run the model.
    """
    outtype = OUTTYPES[options.outtype]
    given = read_general(options.metadata) if options.metadata is not None else {}
    with open_model(source, rescue=options.rescue) as (checkpoint, container, missing):
        hyperparameters = container.hyperparameters
        _require_that_it_runs(source, hyperparameters)
        vocabulary = read_vocabulary(
            options.vocabulary, token_count=hyperparameters.vocabulary_size
        )
        general = describe_model(source, given, options.model_name)
        facts = ModelFacts(
            context_length=options.context_length or _context_length(source, container),
            epsilon=epsilon_or_assumed(options.epsilon, "export"),
            outtype=outtype,
            general=general,
            tokenizer=vocabulary.metadata,
            missing=missing,
        )
        if rotates_in_part(hyperparameters):
            LOGGER.warning(
                "only %d of the %d dimensions of a head are rotated: exact in llama.cpp through "
                "rope_freqs.weight, which transformers ignores: its results will be wrong",
                hyperparameters.rope_dimension_count,
                head_dimension(hyperparameters),
            )
        plan = model_plan(container, facts)
        _tell_what_falls_back(plan, outtype)
        count = sum(element_count(tensor.shape) for tensor in plan.tensors)
        yield checkpoint, plan, output_path(path, general, count, outtype)


def export(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    options: ExportOptions,
    *,
    writing: Writing | None = None,
) -> Written:
    """Export the model of a checkpoint to a GGUF that llama.cpp and others run.

    Args:
        source: the checkpoint.
        path: the GGUF to write; a folder, or a name with ``{ftype}``, is filled in.
        options: what is not in the checkpoint.
        writing: how the file is written.

    Raises:
        FormatError: the checkpoint, the vocabulary or the metadata cannot be read.
        ConversionError: the GGUF cannot be written, the context length is not known, or no engine
            could run the model.
    """
    inputs = [source, options.vocabulary]
    if options.metadata is not None:
        inputs.append(options.metadata)
    with prepared(source, path, options) as (checkpoint, plan, name):
        written = carry_out(
            plan, checkpoint.source, name, writing or Writing(), inputs=tuple(inputs)
        )
        tell_what_is_not_finite(plan, "the checkpoint")
        return written


def _require_that_it_runs(source: str | os.PathLike[str], hyperparameters: Any) -> None:
    dimension = head_dimension(hyperparameters)
    if dimension % 2:
        expected, found = "heads of an even dimension", f"{dimension} (n_embd / n_head)"
    elif not hyperparameters.block_count:
        expected, found = "at least one layer", "none (n_layer)"
    else:
        return
    raise ConversionError(
        source,
        expected=expected,
        found=found,
        hint="llama.cpp aborts on such a model; ggcp convert keeps it for the trainers",
    )


def _context_length(source: str | os.PathLike[str], container: Any) -> int:
    training = container.training
    length = trained_context_length(container.training)
    if length is None:
        raise ConversionError(
            source,
            expected="training counters whose tokens are a multiple of the samples, which gives "
            "the context length",
            found=f"{training.token_count} tokens, {training.sample_count} samples",
            hint="give the trainer's --ctx (128 by default) with --context-length",
        )
    LOGGER.info(
        "context length %d: %d tokens / %d samples of the training (-c for another)",
        length,
        training.token_count,
        training.sample_count,
    )
    return length


def _tell_what_falls_back(plan: Plan, outtype: Outtype) -> None:
    matrices = [tensor for tensor in plan.tensors if len(tensor.shape) > 1]
    fallen = [t.name for t in matrices if stored_type(t.shape, outtype) is not outtype.type]
    if fallen:
        LOGGER.warning(
            "%d of %d matrices become %s: their rows are not a multiple of 32, as %s needs (%s)",
            len(fallen),
            len(matrices),
            GGMLQuantizationType.F16.name,
            outtype.type.name,
            _listed(fallen),
        )


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_REPORTED
    return ", ".join(names[:MOST_REPORTED]) + (f" and {more} more" if more > 0 else "")
