"""A Hugging Face folder: a model for transformers, with the state of Adam to go on training from.

What is in it and in which form was found out by leaving each thing out and by comparing weights
after further steps, in plain PyTorch and in a Trainer, with those of an independent computation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converter.hf_io.llama_vocabulary import Refusal, llama_vocabulary
from converter.hf_io.safetensors import safetensors
from converter.hf_io.tokenizer import tokenizer_files
from converter.layouts.folder.adam import Adam
from converter.layouts.folder.config import (
    SpecialIds,
    as_json,
    config,
    generation_config,
    require_class,
)
from converter.layouts.folder.page import Page
from converter.layouts.folder.state import state_files
from converter.layouts.folder.weights import parameters, weights
from converter.numeric.encode import OUTTYPES, Outtype
from converter.plan import FolderPlan, Metadata, PlannedFile
from converter.snapshot import Moments, Resumption, Snapshot
from converter.version import __version__
from ggcp_schema import FormatError, printable
from ggcp_schema.order import Order
from ggcp_schema.tensor import element_count

FOLDER_OUTTYPES = ("f32", "f16", "bf16")
"""Types of the weights."""

CHOICES = "made"
"""The member of ggcp.json that holds what the checkpoint does not say."""


_FORMAT = 1
"""Of ggcp.json: members are only added."""

_OWN, _OTHER = "checkpoint", "vocabulary"
"""Where ggcp.json says that the tokenizer is from."""


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer of a folder.

    Attributes:
        files: its files, by name.
        special: the ids of begin and end of text.
        own: whether it is that of the checkpoint, or else of another file.
    """

    files: Mapping[str, bytes]
    special: SpecialIds
    own: bool


@dataclass(frozen=True)
class Choices:
    """What a folder says that the checkpoint does not.

    Attributes:
        checkpoint: the name of the file.
        context_length: tokens that the model was trained to take at once.
        epsilon: the epsilon of the RMS norms.
        outtype: the type of the weights.
        tokenizer: the tokenizer; None for a folder without one.
        merged: whether the model is a base with the changes of a LoRA.
        order: the order of the optimizer's vectors in the file; None for no optimizer.
        rows: by which the first moments are divided.
        batch: samples in an iteration.
        without_optimizer: why there is no optimizer.
    """

    checkpoint: str
    context_length: int
    epsilon: float
    outtype: Outtype
    tokenizer: Tokenizer | None = None
    merged: bool = False
    order: Order | None = None
    rows: int = 1
    batch: int | None = None
    without_optimizer: str = ""


def folder_plan(
    snapshot: Snapshot, choices: Choices, state: tuple[Adam, Moments] | None
) -> FolderPlan:
    """Return the plan of a folder.

    Args:
        snapshot: a whole model.
        choices: what is not in it.
        state: the settings of Adam, and the moments; None for the weights only.

    Raises:
        ConversionError: no class of transformers computes what the trainer did.
    """
    require_class(snapshot, choices.epsilon)
    sizes = snapshot.hyperparameters
    special = _special(choices.tokenizer, sizes.vocabulary_size)
    page = Page(
        checkpoint=choices.checkpoint,
        kind=snapshot.kind,
        context_length=choices.context_length,
        epsilon=choices.epsilon,
        parameter_count=sum(element_count(array.shape) for array in snapshot.weights.values()),
        dtype=choices.outtype.type.name,
        has_tokenizer=choices.tokenizer is not None,
        adam=None if state is None else state[0],
        without_optimizer=choices.without_optimizer,
    )
    settings = config(
        sizes,
        snapshot.required_rope,
        context_length=choices.context_length,
        epsilon=choices.epsilon,
        outtype=choices.outtype.name,
        special=special,
    )
    small = {
        "README.md": page.to_bytes(),
        "config.json": as_json(settings),
        "generation_config.json": as_json(generation_config(special)),
        **(choices.tokenizer.files if choices.tokenizer else {}),
    }
    tensors = weights(sizes, snapshot.weights, choices.outtype)
    return FolderPlan(
        (
            *(PlannedFile.of(name, content) for name, content in small.items()),
            safetensors("model.safetensors", tensors),
            *(
                ()
                if state is None
                else state_files(*state, parameters(sizes, snapshot.weights), sizes)
            ),
        ),
        {
            "format": _FORMAT,
            "version": __version__,
            CHOICES: _said(snapshot, choices, None if state is None else state[0]),
        },
    )


def tokenizer_of(metadata: tuple[Metadata, ...], file: str, *, own: bool) -> Tokenizer:
    """Return the tokenizer that does what llama.cpp does with a vocabulary.

    Args:
        metadata: the keys ``tokenizer.ggml.*``.
        file: where they are from, for errors.
        own: whether that is the checkpoint.

    Raises:
        ConversionError: there is none.
    """
    vocabulary = llama_vocabulary(metadata, Refusal(file))
    special = SpecialIds(vocabulary.begin, vocabulary.end)
    return Tokenizer(tokenizer_files(metadata, file), special, own)


def _special(tokenizer: Tokenizer | None, token_count: int) -> SpecialIds:
    """Return the ids of the tokenizer; llama.cpp's where there is none."""
    if tokenizer is not None:
        return tokenizer.special
    return SpecialIds(*(token if token < token_count else None for token in (1, 2)))


def _said(snapshot: Snapshot, choices: Choices, adam: Adam | None) -> dict[str, Any]:
    """Return what is written into ggcp.json; ``stored_choices`` reads it."""
    tokenizer = None
    if choices.tokenizer is not None:
        tokenizer = _OWN if choices.tokenizer.own else _OTHER
    return {
        "from": choices.checkpoint,
        "kind": snapshot.kind,
        "merged": choices.merged,
        "rescued": snapshot.missing is not None,
        "context_length": choices.context_length,
        "epsilon": choices.epsilon,
        "outtype": choices.outtype.name,
        "tokenizer": tokenizer,
        "optimizer": None if adam is None else _state_said(choices, adam),
        "without_optimizer": choices.without_optimizer or None,
    }


def _state_said(choices: Choices, adam: Adam) -> dict[str, Any]:
    return {
        "order": None if choices.order is None else choices.order.value,
        "rows": choices.rows,
        "batch": choices.batch,
        "settings": {
            "stored": adam.stored,
            "iteration": adam.iteration,
            "learning_rate": adam.alpha,
            "betas": list(adam.betas),
            "epsilon": adam.epsilon,
            "weight_decay": adam.weight_decay,
            "weight_decay_of_norms": adam.weight_decay_of_norms,
            "clipping": adam.clipping,
        },
        "schedule": {
            "known": adam.schedule.known,
            "is_new": adam.schedule.is_new,
            "warmup": adam.schedule.warmup,
            "end": adam.schedule.end,
            "smallest": adam.schedule.smallest,
        },
    }


def stored_choices(members: Mapping[str, Any], file: str) -> Choices:
    """Return the choices that a ggcp.json shows; the tokenizer is None.

    Args:
        members: what is in it.
        file: its name, for errors.

    Raises:
        FormatError: a choice is missing, or none that is ever made.
    """
    said = _Members(members.get(CHOICES), file)
    state = said.value("optimizer")
    order, rows, batch = None, 1, None
    if state is not None:
        of_state = _Members(state, file, "optimizer.")
        order = Order(of_state.one_of("order", [order.value for order in Order]))
        rows, batch = of_state.whole("rows"), of_state.whole("batch")
    return Choices(
        checkpoint=said.text("from"),
        context_length=said.whole("context_length"),
        epsilon=said.number("epsilon"),
        outtype=OUTTYPES[said.one_of("outtype", FOLDER_OUTTYPES)],
        merged=said.value("merged") is True,
        order=order,
        rows=rows,
        batch=batch,
        without_optimizer="" if state is not None else said.text("without_optimizer"),
    )


def says_tokenizer(members: Mapping[str, Any]) -> bool | None:
    """Tell whether a ggcp.json says that the tokenizer is the checkpoint's own; None for none."""
    made = members.get(CHOICES)
    said = made.get("tokenizer") if isinstance(made, dict) else None
    return None if said is None else said == _OWN


def says_rescued(members: Mapping[str, Any]) -> bool:
    """Tell whether a ggcp.json says that the checkpoint was damaged."""
    made = members.get(CHOICES)
    return isinstance(made, dict) and made.get("rescued") is True


def stored_resumption(choices: Choices) -> Resumption | None:
    """Return what the choices say of the optimizer's vectors; None where there is none."""
    if choices.order is None:
        return None
    return Resumption(choices.order, choices.order, choices.rows)


class _Members:
    """The members of an object in ggcp.json, each checked on its way out."""

    def __init__(self, members: Any, file: str, path: str = "") -> None:
        self._file = file
        self._path = f"{CHOICES}.{path}"
        if not isinstance(members, dict):
            raise self._error("", "an object", members)
        self._members = members

    def value(self, name: str) -> Any:
        return self._members.get(name)

    def text(self, name: str) -> str:
        value = self.value(name)
        if not isinstance(value, str) or value != printable(value):  # as it was written
            raise self._error(name, "a text on one line", value)
        return value

    def whole(self, name: str) -> int:
        value = self.value(name)
        if type(value) is not int or not 1 <= value < 2**63:
            raise self._error(name, "a whole number above 0", value)
        return value

    def number(self, name: str) -> float:
        value = self.value(name)
        if type(value) is not float or not 0 < value < math.inf:
            raise self._error(name, "a number above 0", value)
        return value

    def one_of(self, name: str, known: Any) -> str:
        value = self.value(name)
        if not isinstance(value, str) or value not in known:
            raise self._error(name, " or ".join(known), value)
        return value

    def _error(self, name: str, expected: str, found: Any) -> FormatError:
        return FormatError(
            file=self._file,
            path=f"{self._path}{name}".rstrip("."),
            expected=expected,
            found=printable(str(found)[:60]) or "an empty text",
            hint="give a folder that ggcp wrote, or write it again from the checkpoint",
        )
