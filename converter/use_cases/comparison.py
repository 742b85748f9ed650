"""What verifying found: how much differs, and the first differences in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from converter.errors import ConversionError
from converter.gguf_io.comparison import Difference, Subject
from converter.use_cases.export_options import Name

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


def require_base_where_merged(path: Name, base: Name | None, *, merged: bool) -> None:
    """Make sure that a base model is given with a merged model, and with nothing else.

    Args:
        path: what is compared, a GGUF or a folder.
        base: the base model that was given.
        merged: whether it is a base model with the changes of a LoRA.

    Raises:
        ConversionError: there is one without the other.
    """
    if merged != (base is not None):
        raise ConversionError(
            path,
            expected="a merged model to go with --merge" if base else "the base model with it",
            found="none" if base else "a merged model alone",
            hint="leave --merge out" if base else "name the base model with --merge BASE.gguf",
        )
