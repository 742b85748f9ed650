"""The model of a damaged checkpoint, where all of it is there or all but its end; or a LoRA."""

from __future__ import annotations

from converter.parts import Array, Computed
from converter.progress import LOGGER
from converter.snapshot import Hyperparameters
from ggcp_schema import FormatError, Source, Span
from ggcp_schema.checkpoint import ABORTED_SAVE, MOST_UNWRITTEN
from ggcp_schema.tensor import element_count

_OFFER = "the model in front of it is whole, and --rescue exports it"
_OFFER_OF_A_LORA = "the pairs in front of it are whole, and --rescue exports them"

_REFUSED = (
    f"--rescue fills in no more than {MOST_UNWRITTEN} values at the end of the last layer's w3, "
    "and here more of the model is missing or damaged; look for another copy, or an earlier "
    "checkpoint"
)
_REFUSED_OF_A_LORA = (
    "--rescue takes a LoRA whose pairs are all there, and here some are missing or damaged; look "
    "for another copy, or an earlier checkpoint"
)


def offering_rescue(error: FormatError, *, whole: bool, lora: bool) -> FormatError:
    """Return what is wrong with a checkpoint; its hint says so if it can be rescued.

    Args:
        error: what is wrong.
        whole: whether all of the model, or all pairs of the LoRA, are there.
        lora: whether it is a LoRA.
    """
    if whole and error.hint != ABORTED_SAVE:
        error.hint = f"{error.hint}; {_OFFER_OF_A_LORA if lora else _OFFER}"
    return error


def refusing_rescue(error: FormatError, *, lora: bool) -> FormatError:
    """Return what is wrong with a checkpoint of whose model, or pairs, too much is missing."""
    error.hint = _REFUSED_OF_A_LORA if lora else _REFUSED
    return error


def warn_of_damage(error: FormatError, *, lora: bool) -> None:
    """Tell the user what is damaged behind a model, or pairs, that are whole."""
    LOGGER.warning(
        "rescued: all %s are whole; the rest is damaged, and is not needed to run the model "
        "(%s at offset %#x)",
        "pairs" if lora else "weights",
        error.path,
        error.offset or 0,
    )


def last_w3(source: Source, error: FormatError, sizes: Hyperparameters) -> tuple[Array, int]:
    """Return the last layer's w3 with zeros for what is missing, and how many values that are.

    Args:
        source: the file, as a save that aborted left it.
        error: where it ends.
        sizes: of the model.
    """
    shape = (sizes.embedding_length, sizes.feed_forward_length)
    start = error.offset or 0
    found = (source.size - start) // 4 if error.path.endswith(".data") else 0
    count = element_count(shape)
    missing = count - found
    there = Span(source, start, 4 * found, (found,))
    zeros = Computed(4 * missing, lambda: (bytes(4 * missing),))  # of MOST_UNWRITTEN at the most
    LOGGER.warning(
        "rescued: the last %d of %d values of layers.%d.feed_forward.w3.weight (%.3g %%) are "
        "missing and are zero; all other weights are whole",
        missing,
        count,
        sizes.block_count - 1,
        100 * missing / count,
    )
    return Array(shape, (there, zeros)), missing
