"""Compares a GGUF in the model layout with what its checkpoint becomes."""

from __future__ import annotations

import os
from typing import Any

from gguf import GGUFValueType, Keys

from converter.gguf_io import keys
from converter.gguf_io.comparison import as_made_by_its_version, differences
from converter.gguf_io.reader import Gguf
from converter.layouts.general import GENERAL_KEYS, default_name, describes
from converter.layouts.inference import CONTEXT_LENGTH, ModelFacts, model_plan
from converter.layouts.trainer import RMS_EPSILON, trained_context_length
from converter.numeric.encode import OUTTYPES
from converter.plan import Metadata
from converter.progress import Progress
from converter.use_cases.convert import DEFAULT_EPSILON
from converter.use_cases.export import open_model
from converter.vocabulary import read_vocabulary


def is_model(made: Gguf) -> bool:
    """Tell whether a GGUF is to be run: it has a tokenizer, and no training state."""
    return Keys.Tokenizer.LIST in made.keys and keys.TRAINING_TYPE not in made.keys


def verify_model(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    made: Gguf,
    progress: Progress,
) -> list[str]:
    """Return one line for each difference between a model and what its checkpoint becomes.

    What the checkpoint does not hold is taken as the GGUF says: context length, epsilon, type of
    the matrices, vocabulary, description, and whether it was rescued.

    Raises:
        FormatError: the checkpoint is damaged, more than the GGUF says that it is; or the GGUF's
            vocabulary is.
        ConversionError: the checkpoint is a LoRA checkpoint.
    """
    rescued = keys.GGCP_MISSING_VALUES in made.keys
    with open_model(source, rescue=rescued) as (checkpoint, container, missing):
        token_count = container.hyperparameters.vocabulary_size
        facts = ModelFacts(
            tokenizer=read_vocabulary(path, token_count=token_count).metadata,
            missing=missing,
            **_said(made, default_name(source), trained_context_length(container.training) or 1),
        )
        plan = model_plan(container, facts)
        with progress("Verifying", plan.length) as count:
            found = list(differences(as_made_by_its_version(plan, made), made, count))
        checkpoint.source.check_unchanged()
    return found


def _said(made: Gguf, name: str, context_length: int) -> dict[str, Any]:
    """Return the facts that a GGUF says of itself; a default for what it does not, or says wrongly.

    Args:
        made: the GGUF.
        name: the default of its name.
        context_length: the default of its context length.
    """
    said = {key: made.value(key) for key in (CONTEXT_LENGTH, RMS_EPSILON)}
    file_type = made.value(Keys.General.FILE_TYPE)
    outtypes = [o for o in OUTTYPES.values() if int(o.file_type) == file_type]
    described = (made.keys[key].metadata for key in GENERAL_KEYS if key in made.keys)
    general = {item.key: item for item in described if describes(item.key, item.value)}
    named = {Keys.General.NAME: Metadata(Keys.General.NAME, GGUFValueType.STRING, name)}
    defaults = (context_length, DEFAULT_EPSILON)
    values = [
        value if isinstance(value, type(default)) else default
        for value, default in zip(said.values(), defaults, strict=True)
    ]
    return {
        **dict(zip(("context_length", "epsilon"), values, strict=True)),
        "outtype": outtypes[0] if outtypes else OUTTYPES["f32"],
        "general": tuple({**named, **general}.values()),
    }
