"""The model of a damaged checkpoint, where all of it is there or all but its end."""

from __future__ import annotations

from typing import Any

from construct import Container

from converter.progress import LOGGER
from ggcp_schema import Checkpoint, FormatError, Span
from ggcp_schema.checkpoint import ABORTED_SAVE
from ggcp_schema.tensor import element_count

_OFFER = "the model in front of it is whole, and --rescue exports it"

_REFUSED = (
    "--rescue fills in no more than the end of the last layer's w3, and here more of the model is "
    "missing or damaged; look for another copy, or an earlier checkpoint"
)


def require_whole(checkpoint: Checkpoint) -> None:
    """Make sure that nothing is wrong with a checkpoint that was parsed as far as it goes.

    Raises:
        FormatError: something is. If ``rescued`` would do, the hint says so.
    """
    error = checkpoint.error
    if error is None:
        return
    if _has_whole_model(checkpoint.container) and error.hint != ABORTED_SAVE:
        error.hint = f"{error.hint}; {_OFFER}"
    raise error


def rescued(checkpoint: Checkpoint) -> tuple[Any, int | None]:
    """Return a container whose model is whole, and say through the logger what was missing.

    Args:
        checkpoint: parsed as far as it goes (``parse(..., partial=True)``).

    Returns:
        The container, and how many values at the end of the model are missing and taken as zero;
        None if nothing is wrong with the file. The record of the tensor that lacks them has its
        ``shape``, a span of what is there as ``data``, and their number as ``missing``.

    Raises:
        FormatError: something before the last layer's w3 is missing, or the model is damaged.
    """
    error, container = checkpoint.error, checkpoint.container
    if error is None:
        LOGGER.info("nothing to rescue: the checkpoint is whole")
        return container, None
    if _has_whole_model(container):
        LOGGER.warning(
            "rescued: all weights are whole; the rest is damaged, and is not needed to run the "
            "model (%s at offset %#x)",
            error.path,
            error.offset or 0,
        )
        return container, 0
    if error.hint != ABORTED_SAVE:
        error.hint = _REFUSED
        raise error
    return container, _fill_in(checkpoint, error)


def _has_whole_model(container: Any) -> bool:
    return "parameter_count" in container  # which stands behind the model


def _fill_in(checkpoint: Checkpoint, error: FormatError) -> int:
    """Complete the last layer's w3; return how many of its values are missing."""
    hyperparameters = checkpoint.container.hyperparameters
    shape = (hyperparameters.embedding_length, hyperparameters.feed_forward_length)
    source = checkpoint.source
    start = error.offset or 0
    found = (source.size - start) // 4 if error.path.endswith(".data") else 0
    count = element_count(shape)
    data = Span(source, start, 4 * found, (found,))
    record = Container(shape=shape, data=data, missing=count - found)
    checkpoint.container.model.layers[-1].feed_forward["w3"] = record
    LOGGER.warning(
        "rescued: the last %d of %d values of layers.%d.feed_forward.w3.weight (%.3g %%) are "
        "missing and are zero; all other weights are whole",
        count - found,
        count,
        hyperparameters.block_count - 1,
        100 * (count - found) / count,
    )
    return count - found
