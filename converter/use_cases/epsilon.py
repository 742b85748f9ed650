"""The epsilon of the RMS norms, where the file does not say it: assumed aloud, never in silence."""

from __future__ import annotations

from itertools import pairwise

from converter.assumptions import Basis, small
from converter.disk.identity import modified
from converter.progress import LOGGER
from converter.snapshot import Snapshot
from ggcp_schema.enums import Layout
from ggcp_schema.history import (
    EPSILONS,
    HISTORICAL_EPSILON,
    LORA_EPSILONS,
    LikelyEpsilon,
    likely_epsilon,
)

_LAYOUTS = {0: Layout.VERSION_0, 1: Layout.VERSION_1}
"""By version of the optimizer context; that with params had the epsilons of version 1."""


def likely_epsilon_of(snapshot: Snapshot) -> LikelyEpsilon | None:
    """Return which epsilon the date of a checkpoint makes probable; None if it is no sign.

    Args:
        snapshot: what is in the checkpoint, whose file is open.
    """
    version, date = snapshot.optimizer_version, modified(snapshot.source)
    if snapshot.epsilon is not None or version not in _LAYOUTS or date is None:
        return None
    layout = _LAYOUTS[version]
    return likely_epsilon(date.date().isoformat(), layout, lora=snapshot.ranks is not None)


def basis_of_epsilon(given: float | None, snapshot: Snapshot) -> Basis:
    """Return where the epsilon of the norms comes from.

    Args:
        given: what the user said.
        snapshot: the checkpoint.
    """
    if given is not None:
        return Basis.OPTION
    return Basis.ASSUMED if snapshot.epsilon is None else Basis.FILE


def epsilon_or_assumed(given: float | None, snapshot: Snapshot, command: str) -> float:
    """Return the epsilon of the norms; where the user gave none, say what is assumed.

    Args:
        given: what the user said.
        snapshot: the checkpoint, which does not say it.
        command: the command whose help has the table of trainers.
    """
    if given is not None:
        return given
    epsilons = EPSILONS if snapshot.ranks is None else LORA_EPSILONS
    first, *others = [(later.since, earlier.words) for earlier, later in pairwise(epsilons)]
    likely = likely_epsilon_of(snapshot)
    LOGGER.warning(
        "the epsilon of the norms is not in the file; %s is assumed: trainers before %s had %s%s "
        "(see --eps in ggcp %s --help)%s",
        small(HISTORICAL_EPSILON),
        *first,
        "".join(f", before {date} {words}" for date, words in others),
        command,
        f"; the file is {likely.sentence}" if likely else "",
    )
    return HISTORICAL_EPSILON
