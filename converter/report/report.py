"""A report: what is known of a file, and what was measured in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from converter.facts import Facts
from ggcp_schema.history import LikelyEpsilon
from ggcp_schema.order import Order, paths

if TYPE_CHECKING:
    from converter.numeric.statistics import Statistics
    from converter.resume.detect import Finding
    from converter.vocabulary.beside import Beside

MANY_MAGNITUDES = {
    "gradients",
    "squared_gradients",
    "first_moments",
    "second_moments",
    "corrected_first_moments",
    "corrected_second_moments",
    "current_gradients",
    "previous_gradients",
    "search_direction",
    "memory_s",
    "memory_y",
}
"""Vectors whose elements differ by orders of magnitude, so that only a logarithm shows them."""


@dataclass(frozen=True)
class Report(Facts):
    """All that is known of a file: its facts, and what was measured.

    Attributes:
        order: in which order the parameters stand in the optimizer's vectors; None if the file
            does not tell.
        thorough: whether everything was read to find the order, not only a sample.
        statistics: what the elements of each tensor are like, by its path; empty if that was not
            asked.
        sha256: of the whole file, 64 hexadecimal digits; None if it was not asked, or too much of
            a damaged file belongs to nothing.
        modified: when the file was last written to, in UTC, to the second; None if it was not
            asked, or that is no date of the calendar.
        vocabularies: files beside it that hold as many tokens as it needs, the likeliest first.
        likely_epsilon: what its date says of the epsilon of the RMS norms; None if nothing.
    """

    order: Finding | None
    thorough: bool
    statistics: Mapping[str, Statistics]
    sha256: str | None
    modified: datetime | None
    vocabularies: tuple[Beside, ...]
    likely_epsilon: LikelyEpsilon | None

    @property
    def wanted_tokens(self) -> int | None:
        """Tokens of the vocabulary that has to be given; None if none has to, or for no model."""
        if self.lora or self.vocabulary_tokens is not None:
            return None
        count: int | None = self.hyperparameters.get("vocabulary_size")
        return count

    @property
    def known_order(self) -> Order | None:
        """The order of the parameters if it is certain."""
        if self.order is None or self.order.indifferent:
            return None
        blocks = self.hyperparameters["block_count"]
        distinct = {tuple(paths(order, blocks)): order for order in self.order.candidates}
        return self.order.candidates[0] if len(distinct) == 1 else None
