"""What the user says of an export, and which of it goes together."""

from __future__ import annotations

import os
from dataclasses import dataclass

from converter.errors import OptionsError
from ggcp_schema.order import Order

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
            the end of the last layer's w3; or, of a LoRA, all pairs.
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
class FolderOptions(ExportOptions):
    """What the user says of a Hugging Face folder; without ``model_name`` and ``metadata``.

    Attributes:
        batch: the batch size of the trainer; None to estimate it.
        order: the order of the optimizer's vectors in the checkpoint; None to find it out.
    """

    batch: int | None = None
    order: Order | None = None


_OF_A_MODEL = {
    "vocabulary": "--vocab",
    "context_length": "--context-length",
    "epsilon": "--eps",
    "model_name": "--model-name",
    "metadata": "--metadata",
}
"""What only a model takes, and the options of the command line that say it."""


NO_MODEL = {
    "expected": "a training checkpoint (ggcp), which holds a model",
    "found": "a LoRA checkpoint (ggcl)",
    "hint": "it holds only what finetune changed in another model: without --vocab it becomes an "
    "adapter, with --merge BASE.gguf a whole model",
}
"""What is wrong where a model is asked of a LoRA."""


def refuse_options_of_a_model(source: Name, options: ExportOptions, *, merge: bool) -> None:
    """Make sure that nothing is said that only a model takes.

    Raises:
        OptionsError: something is.
    """
    of = "--merge" if merge else "a LoRA checkpoint"
    reason = (
        "the model takes everything but its weights from BASE.gguf"
        if merge
        else "an adapter takes it from the model that it is used with"
    )
    for name, option in _OF_A_MODEL.items():
        if getattr(options, name) is not None:
            raise OptionsError(
                source,
                usage=f"{option} does not go with {of}: {reason}",
                **NO_MODEL,
            )


def refuse_options_of_a_gguf(source: Name, options: ExportOptions) -> None:
    """Make sure that nothing is said that only a GGUF takes.

    Raises:
        OptionsError: something is.
    """
    for name in ("model_name", "metadata"):
        if getattr(options, name) is not None:
            raise OptionsError(
                source,
                usage=f"{_OF_A_MODEL[name]} does not go with --format hf: it is for a GGUF",
                expected="no description of the model for a Hugging Face folder",
                found=_OF_A_MODEL[name],
                hint="leave it out; a folder is described by its README.md",
            )


def require_outtype(
    source: Name, options: ExportOptions, what: str, known: tuple[str, ...]
) -> None:
    """Make sure that ``what`` can be stored in the type that was asked for.

    Raises:
        OptionsError: it cannot.
    """
    if options.outtype not in (None, *known):
        names = " or ".join(known)
        raise OptionsError(
            source,
            usage=f"--outtype {options.outtype} does not go with {what}: give {names}",
            expected=f"--outtype {names} for {what}",
            found=str(options.outtype),
            hint="give one of these, or leave --outtype out",
        )
