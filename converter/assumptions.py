"""What a result rests on that its file does not hold for certain, and where it was taken from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Basis(Enum):
    """Where a value comes from."""

    OPTION = "option"
    FILE = "file"
    COUNTERS = "counters"
    EVIDENCE = "evidence"
    ESTIMATE = "estimate"
    ASSUMED = "assumed"


_WORDS = {
    Basis.OPTION: "as the options say",
    Basis.FILE: "as the file says",
    Basis.COUNTERS: "from the counters of the training",
    Basis.EVIDENCE: "found in the optimizer state",
    Basis.ESTIMATE: "estimated from the counters of the training",
    Basis.ASSUMED: "assumed",
}


@dataclass(frozen=True)
class Assumption:
    """One thing that was decided.

    Attributes:
        name: ``epsilon``, ``context_length``, ``batch`` or ``order``.
        value: what was decided: a number, or the order by its name.
        basis: where it comes from.
    """

    name: str
    value: float | int | str
    basis: Basis

    def __str__(self) -> str:
        value = small(self.value) if isinstance(self.value, float) else self.value
        return f"{self.name.replace('_', ' ')}: {value}, {_WORDS[self.basis]}"


def small(value: float) -> str:
    """Return a small number as people and ``--eps`` write it: 1e-5, where Python has 1e-05."""
    return f"{value:g}".replace("e-0", "e-")


NAMES = ("epsilon", "context_length", "batch", "order")
"""All that can be assumed, in the order in which it is told."""
