"""What verifying found: how much differs, and the first differences in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from converter.gguf_io.comparison import Difference, Subject

MOST_DIFFERENCES = 100
"""How many differences are told one by one; of one wrong option there are far fewer."""


@dataclass(frozen=True)
class Comparison:
    """What a GGUF or a folder has in common with what its checkpoint becomes.

    Attributes:
        count: how many things were compared: keys, tensors, the order of each, and the size; of a
            folder choices, files and tensors.
        differing: how many of them differ, by what they are.
        lines: one line for each difference; of more than MOST_DIFFERENCES the last gives the
            number of the others.
    """

    count: int
    differing: Counter[Subject]
    lines: list[str]


def counted(differences: Iterable[Difference], count: int) -> Comparison:
    """Return what is to be said of differences, of which only the first are kept.

    Args:
        differences: each.
        count: how many things were compared.
    """
    differing: Counter[Subject] = Counter()
    lines: list[str] = []
    for difference in differences:
        differing[difference.subject] += 1
        if len(lines) < MOST_DIFFERENCES:
            lines.append(difference.words)
    more = differing.total() - len(lines)
    return Comparison(count, differing, [*lines, f"and {more} more differences"] if more else lines)
