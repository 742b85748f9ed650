"""The first thing to say of a file: whether it is whole, and if not, what can be had of it."""

from __future__ import annotations

from enum import Enum

from converter.facts import Facts


class Verdict(Enum):
    """What a file is good for; the value is its name for scripts."""

    WHOLE = "whole"
    RESCUABLE = "rescuable"
    LOST = "lost"


_SENTENCES = {
    Verdict.WHOLE: "Whole: every byte accounted for",
    Verdict.RESCUABLE: "Damaged, but the model can be rescued",
    Verdict.LOST: "Nothing can be made of this",
}


def verdict(facts: Facts) -> Verdict:
    """Return what a file is good for: what ``export --rescue`` does with it, without doing it.

    Args:
        facts: all that is known of the file. How many parameters its model has, or a LoRA, is known
            only where all of them were read.
    """
    if facts.error is None:
        return Verdict.WHOLE
    model_is_there = facts.parameter_count is not None or facts.aborted_save
    return Verdict.RESCUABLE if model_is_there else Verdict.LOST


def verdict_in_words(facts: Facts) -> str:
    """Return what a file is good for, as a heading without a full stop."""
    found = verdict(facts)
    if facts.lora and found is Verdict.RESCUABLE:
        return "Damaged, but the LoRA can be rescued"
    return _SENTENCES[found]
