"""The use case: a checkpoint becomes a Hugging Face folder, with which training goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from converter.disk.folder_output import FolderOutput
from converter.errors import ConversionError, OptionsError
from converter.gguf_io.reader import Gguf
from converter.inputs import Opened, open_checkpoint
from converter.layouts.folder import FOLDER_OUTTYPES, Choices, Tokenizer, folder_plan, tokenizer_of
from converter.layouts.folder.adam import DEFAULT_BATCH, Adam, adam_of, warn_of_assumptions
from converter.layouts.folder.base import merged_snapshot
from converter.layouts.merged import read_base
from converter.layouts.trainer import divided_rows
from converter.numeric.encode import OUTTYPES
from converter.plan import FolderPlan
from converter.progress import LOGGER
from converter.resume.decide import decided_resumption
from converter.resume.rearrange import moments_of
from converter.snapshot import Gradients, Moments, Resumption, Snapshot
from converter.use_cases.after import after_export_folder
from converter.use_cases.carry_out import Writing, Written, carry_out_folder, warn_of_not_finite
from converter.use_cases.export import chosen_epsilon, require_lora, trained_context_length
from converter.use_cases.export_options import (
    FolderOptions,
    Name,
    refuse_options_of_a_gguf,
    refuse_options_of_a_model,
    require_outtype,
)
from converter.vocabulary.reading import read_vocabulary
from ggcp_schema import Source, printable
from ggcp_schema.enums import OptimizerType
from ggcp_schema.order import Order


@dataclass(frozen=True)
class Inputs:
    """The open files of an export.

    Attributes:
        checkpoint: the checkpoint.
        vocabulary: the file that was given with it.
        base: the model that it is merged into.
    """

    checkpoint: Opened
    vocabulary: Source | None
    base: Gguf | None

    @property
    def sources(self) -> tuple[Source, ...]:
        """All of them."""
        base = None if self.base is None else self.base.source
        found = (self.checkpoint.source, self.vocabulary, base)
        return tuple(source for source in found if source is not None)


@contextlib.contextmanager
def opened_inputs(source: Name, options: FolderOptions) -> Iterator[Inputs]:
    """Open what an export reads, and make sure that its options go with that.

    Raises:
        OptionsError: they do not go together, or with this kind of file.
        FormatError: a file cannot be read.
        ConversionError: the checkpoint is no LoRA, and there is a base.
    """
    refuse_options_of_a_gguf(source, options)
    require_outtype(source, options, "a Hugging Face folder", FOLDER_OUTTYPES)
    if options.base is not None:
        refuse_options_of_a_model(source, options, merge=True)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(open_checkpoint(source))
        base = vocabulary = None
        if options.base is not None:
            require_lora(opened, source)
            base = read_base(stack.enter_context(Source.open(options.base)))
        elif opened.lora:
            raise OptionsError(
                source,
                usage="--format hf takes a whole model: give the one that the LoRA was trained on "
                "with --merge",
                expected="a whole model for a Hugging Face folder",
                found="a LoRA, which holds only what was changed in another model",
                hint="give the model that it was trained on with --merge BASE.gguf",
            )
        if options.vocabulary is not None:
            vocabulary = stack.enter_context(Source.open(options.vocabulary))
        yield Inputs(opened, vocabulary, base)


def planned_folder(inputs: Inputs, options: FolderOptions) -> FolderPlan:
    """Return the plan of a folder, having told the user through the logger what it rests on.

    Args:
        inputs: the open files.
        options: what is not in the checkpoint.

    Raises:
        FormatError: a file is damaged, base and checkpoint do not fit, or the counters give no
            context length.
        ConversionError: the context length, the order of the optimizer's vectors or the batch is
            not known; or transformers has no such model, or no such tokenizer.
    """
    snapshot = whole_model(inputs.checkpoint, inputs.base, rescue=options.rescue)
    tokenizer = _tokenizer(inputs, snapshot)
    state, why = _state(snapshot, options)
    adam, moments = state or (None, None)
    resumption = None if moments is None else moments.resumption
    choices = Choices(
        checkpoint=printable(Path(snapshot.file).name),
        context_length=options.context_length or trained_context_length(snapshot)[0],
        epsilon=chosen_epsilon(snapshot, options),
        outtype=OUTTYPES[options.outtype or "f32"],
        tokenizer=tokenizer,
        merged=inputs.base is not None,
        order=None if resumption is None else resumption.stored,
        rows=1 if resumption is None else resumption.rows,
        batch=None if adam is None else adam.batch,
        without_optimizer=why,
    )
    plan = folder_plan(snapshot, choices, state)
    if adam is not None:
        warn_of_assumptions(adam)
    return plan


def export_folder(
    source: Name, path: Name, options: FolderOptions, *, writing: Writing | None = None
) -> Written:
    """Export a checkpoint to a Hugging Face folder, with the state of Adam if it holds one.

    Args:
        source: the checkpoint.
        path: the folder to write.
        options: what is not in the checkpoint.
        writing: how the folder is written; ``force`` replaces one that is as it was written.

    Raises:
        OptionsError: the options do not go together, or with this kind of file.
        FormatError: a file cannot be read or is damaged, or the base does not fit.
        ConversionError: the folder cannot be written, something is not known that is needed, or
            transformers has no such model.
    """
    writing = writing or Writing()
    with opened_inputs(source, options) as inputs:
        # A name that is taken is refused before the order is found out, which may read a lot.
        output = FolderOutput(
            path,
            force=writing.force,
            inputs=inputs.sources,
            sync=writing.sync,
            progress=writing.progress,
        )
        plan = planned_folder(inputs, options)
        written = carry_out_folder(plan, inputs.sources, output, writing)
        warn_of_not_finite(plan, "the checkpoint")
        return replace(written, next=after_export_folder(written.path))


def whole_model(opened: Opened, base: Gguf | None, *, rescue: bool) -> Snapshot:
    """Return the model of a checkpoint, or that of a LoRA and its base.

    Raises:
        FormatError: it is damaged, or base and checkpoint do not fit.
    """
    if base is None:
        return opened.model(rescue=rescue)
    snapshot = merged_snapshot(opened.model(rescue=rescue), base)
    keys = read_vocabulary(
        base.source, token_count=snapshot.hyperparameters.vocabulary_size, complete=False
    ).metadata
    return replace(snapshot, vocabulary=keys)


def state_of(snapshot: Snapshot, resumption: Resumption, batch: int | None) -> tuple[Adam, Moments]:
    """Return the settings and moments of Adam, as they go on.

    Args:
        snapshot: a checkpoint with the state of Adam.
        resumption: the order of its vectors, and their scale.
        batch: samples in an iteration; None for what follows from the scale, else the default.
    """
    moments = moments_of(snapshot, resumption)
    rows = resumption.rows * divided_rows(snapshot)
    length = snapshot.context_length
    if batch is None and length and rows % length == 0:
        batch = rows // length
    return adam_of(snapshot, moments, batch or DEFAULT_BATCH), moments


def _state(snapshot: Snapshot, options: FolderOptions) -> tuple[tuple[Adam, Moments] | None, str]:
    """Return the state of Adam, or why there is none, and say so."""
    why = _without_optimizer(snapshot, options)
    if why:
        LOGGER.warning("weights only, no optimizer.pt: %s", why)
        return None, why
    # Where nothing is scaled the batch is only told on, and does not take part in the decision.
    scaled = snapshot.required_optimizer.gradients is not Gradients.MEAN
    resumption = decided_resumption(
        snapshot, Order.FLASH, order=options.order, batch=options.batch if scaled else None
    )
    return state_of(snapshot, resumption, options.batch), ""


def _without_optimizer(snapshot: Snapshot, options: FolderOptions) -> str:
    if options.base is not None:
        return "the moments of a LoRA are of its pairs, not of the weights of the merged model"
    if snapshot.missing is not None:
        return "the checkpoint is damaged, and its model alone was rescued"
    if snapshot.optimizer is None:
        return "the file holds a model alone"
    if snapshot.optimizer.type is not OptimizerType.ADAM:
        return "PyTorch's L-BFGS searches along a line in another way, and could not go on exactly"
    if options.outtype not in (None, "f32"):
        return "the moments would lose their precision when they are loaded beside such weights"
    return ""


def _tokenizer(inputs: Inputs, snapshot: Snapshot) -> Tokenizer | None:
    """Return the tokenizer, and say so where there is none.

    Raises:
        FormatError: the file that was given holds no such vocabulary.
        ConversionError: it holds one of which no tokenizer can be made.
    """
    if inputs.vocabulary is not None:
        count = snapshot.hyperparameters.vocabulary_size
        metadata = read_vocabulary(inputs.vocabulary, token_count=count).metadata
        return tokenizer_of(metadata, inputs.vocabulary.label or "", own=False)
    if snapshot.vocabulary is None:
        LOGGER.warning("there is no vocabulary: the folder has no tokenizer (--vocab FILE)")
        return None
    try:
        return tokenizer_of(snapshot.vocabulary, snapshot.file, own=True)
    except ConversionError as error:
        LOGGER.warning(
            "the folder has no tokenizer, as none would do what llama.cpp does: %s", error
        )
        return None
