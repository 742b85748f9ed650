"""The first thing to say of a file: whether it is whole, and if not, what can be had of it."""

from __future__ import annotations

from enum import Enum

from converter.facts import Facts


class Verdict(Enum):
    """What a file is good for; the value is its name for scripts."""

    WHOLE = "whole"
    RESCUABLE = "rescuable"
    LOST = "lost"

    @property
    def sentence(self) -> str:
        """The verdict in words, as a heading without a full stop."""
        return _SENTENCES[self]


_SENTENCES = {
    Verdict.WHOLE: "Whole: every byte accounted for",
    Verdict.RESCUABLE: "Damaged, but the model can be rescued",
    Verdict.LOST: "Nothing can be made of this",
}


def verdict(facts: Facts) -> Verdict:
    """Return what a file is good for: what ``export --rescue`` does with it, without doing it.

    Args:
        facts: all that is known of the file. How many parameters its model has is known only where
            all of the model was read.
    """
    if facts.error is None:
        return Verdict.WHOLE
    # Of a damaged LoRA nothing is exported, whatever of it is whole: --rescue is for models.
    model_is_there = facts.parameter_count is not None or facts.aborted_save
    return Verdict.RESCUABLE if model_is_there and not facts.lora else Verdict.LOST
