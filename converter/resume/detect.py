"""Finds out in which order the parameters stand in a checkpoint's optimizer vectors.

The order is not stored. Where the optimizer keeps x, the parameters themselves, it is the order
whose slices are the model's tensors. Where it does not (version 1, Adam), two independent signs
tell it: tokens that were never seen have second moments of exactly zero, so every zero lies in
tok_embeddings (of a LoRA in its B); and second moments are alike within a tensor, so the right
order spreads them least.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from converter.numeric.room import Room
from converter.numeric.spread import Spread, spread_of
from converter.parts import ELEMENT_BYTES, Array, elements
from converter.snapshot import Optimizer, Snapshot
from converter.threads import read_ahead
from ggcp_schema import Span
from ggcp_schema.enums import OptimizerType
from ggcp_schema.language.source import BLOCK_BYTES
from ggcp_schema.order import Order, paths
from ggcp_schema.tensor import element_count

if TYPE_CHECKING:
    import numpy.typing as npt

SAMPLE_BYTES = 1 << 16
"""How much of each tensor is looked at when a sample will do."""

MARGIN = 0.99
"""The spread, or distance, of the best order must be below this part of that of the next."""

NOISE = 1e-9
"""A spread of log v, for each element, up to which all are equal: that much is rounding."""

CONTINUED = {
    OptimizerType.ADAM: ("first_moments", "second_moments"),
    OptimizerType.LBFGS: (
        "current_parameters",
        "previous_parameters",
        "current_gradients",
        "previous_gradients",
        "search_direction",
        "memory_s",
        "memory_y",
    ),
}
"""The vectors over all parameters from which a trainer goes on."""

NOT_FLAT = ("past_loss_values", "memory_alpha", "memory_ys")
"""What it goes on from that does not run over the parameters."""

Slices = dict[str, tuple[int, int]]
"""For each tensor's path where it starts and stops in a flat vector, in elements."""


@dataclass(frozen=True)
class Finding:
    """What is known of the order.

    Attributes:
        candidates: the orders that the evidence allows; where there is none, all that such a file
            may have.
        evidence: each sign in words.
        settled: whether it makes no difference which of the candidates is taken: there is one, or
            all give every tensor the same bytes.
        indifferent: whether all that it may have do, as when all moments are zero.
    """

    candidates: tuple[Order, ...]
    evidence: tuple[str, ...]
    settled: bool
    indifferent: bool

    @property
    def contradiction(self) -> bool:
        """Whether the signs exclude each other, so that no order is left."""
        return not self.candidates

    def __str__(self) -> str:
        return ", ".join(self.evidence)


def slices(snapshot: Snapshot, order: Order) -> Slices:
    """Return where each tensor stands in a flat vector of that order, in the order itself."""
    result: Slices = {}
    start = 0
    blocks = snapshot.hyperparameters.block_count
    for path in paths(order, blocks, pairs=snapshot.ranks is not None):
        stop = start + element_count(snapshot.weights[path].shape)
        result[path] = (start, stop)
        start = stop
    return result


def find_order(snapshot: Snapshot, *, thorough: bool) -> Finding:
    """Find the order in which the optimizer's vectors stand in a checkpoint.

    Args:
        snapshot: a model with the state of its optimizer, as they were read.
        thorough: whether everything is read; otherwise a sample of each tensor, of which alone
            then holds what is said.
    """
    weights, optimizer = snapshot.weights, snapshot.required_optimizer
    every = {order: slices(snapshot, order) for order in optimizer.orders}
    if len(every) == 1:
        said = f"the file says that it is {_names(optimizer.orders, every)}"
        return Finding(optimizer.orders, (said,), settled=True, indifferent=False)
    vectors = optimizer.vectors
    limit = None if thorough else SAMPLE_BYTES
    if optimizer.type is OptimizerType.LBFGS:
        found = _nearest(weights, vectors["current_parameters"].span, every, limit)
    elif "parameters" in vectors:
        found = _equal(weights, vectors["parameters"].span, every, limit)
    else:
        embeddings = "tok_embeddings" if snapshot.ranks is None else "tok_embeddings.b"
        found = _from_moments(vectors["second_moments"].span, every, embeddings, limit)
    candidates, evidence = found
    indifferent = _alike(optimizer, list(every.values()), limit)
    settled = indifferent or _alike(optimizer, [every[order] for order in candidates], limit)
    return Finding(candidates, evidence, settled, indifferent)


_Found = tuple[tuple[Order, ...], tuple[str, ...]]
"""The candidates, and the evidence in words."""


def flat_vectors(data: Span, parameter_count: int) -> Iterator[Span]:
    """Yield the flat vectors in the data of a member of the state: one, or L-BFGS' corrections."""
    for start in range(0, data.length // ELEMENT_BYTES, max(parameter_count, 1)):
        yield elements(data, start, start + parameter_count)


def _blocks_of_both(
    one: Span, other: Span, limit: int | None = None
) -> Iterator[tuple[bytes, bytes]]:
    length = one.length if limit is None else min(limit, one.length)
    for done in range(0, length, BLOCK_BYTES):
        count = min(BLOCK_BYTES, length - done)
        yield (
            one.source.read_at(one.offset + done, count),
            other.source.read_at(other.offset + done, count),
        )


def _alike(optimizer: Optimizer, ways: list[Slices], limit: int | None) -> bool:
    """Tell whether each tensor gets the same bytes of every vector, whichever way it is cut."""
    if not ways:
        return False
    first, *others = ways
    return all(
        other == first
        or all(
            one == another
            for member in CONTINUED[optimizer.type]
            for x in flat_vectors(optimizer.vectors[member].span, optimizer.parameter_count)
            for path, place in first.items()
            if place != other[path]
            for one, another in _blocks_of_both(
                elements(x, *place), elements(x, *other[path]), limit
            )
        )
        for other in others
    )


def _equal(
    weights: Mapping[str, Array], x: Span, every: Mapping[Order, Slices], limit: int | None
) -> _Found:
    candidates = tuple(
        order
        for order, where in every.items()
        if all(
            one == other
            for path, place in where.items()
            for one, other in _blocks_of_both(weights[path].span, elements(x, *place), limit)
        )
    )
    names = _names(candidates, every) if candidates else "no order"
    return candidates, (f"x holds the model's tensors in {names}",)


def _nearest(
    weights: Mapping[str, Array], x: Span, every: Mapping[Order, Slices], limit: int | None
) -> _Found:
    distances = {
        order: {
            path: _distance(weights[path].span, elements(x, *place), limit)
            for path, place in where.items()
        }
        for order, where in every.items()
    }
    candidates = _smallest(distances, every)
    figures = ", ".join(f"{o.value} {sum(d.values()):.4g}" for o, d in distances.items())
    nearest = _names(candidates, every)
    return candidates, (f"x is nearest to the model's tensors in {nearest} (distance: {figures})",)


def _distance(tensor: Span, x: Span, limit: int | None) -> float:
    """Return the sum of the squared differences; a single one counts as 1 at most.

    So what is not a number, or is far out, counts the same in all orders.
    """
    total = 0.0
    for pair in _blocks_of_both(tensor, x, limit):
        if pair[0] == pair[1]:
            continue
        one, other = (np.frombuffer(block, "<f4") for block in pair)
        with np.errstate(all="ignore"):
            difference = np.abs(one.astype(np.float64) - other)
        np.putmask(difference, ~(difference < 1), 1)
        np.putmask(difference, one.view("<u4") == other.view("<u4"), 0)  # also NaN
        total += float(difference @ difference)
    return total


def _smallest(
    figures: Mapping[Order, Mapping[str, float]], every: Mapping[Order, Slices], noise: float = 0
) -> tuple[Order, ...]:
    """Return the orders that are not clearly worse than the best.

    Two are compared only on the tensors that they have at different places: with what they share
    the figures of orders that differ in little are nearly alike.

    Args:
        figures: for each order a number for each tensor, of which smaller is better.
        every: the orders.
        noise: a figure up to which all are equal, for each element that is compared.
    """
    best = min(figures, key=lambda order: sum(figures[order].values()))

    def clearly_worse(order: Order) -> bool:
        moved = [path for path, place in every[order].items() if place != every[best][path]]
        equal = noise * sum(stop - start for start, stop in map(every[best].__getitem__, moved))
        least, figure = (sum(figures[o][path] for path in moved) for o in (best, order))
        return figure > equal and (least if least > equal else 0.0) < MARGIN * figure

    return tuple(order for order in every if not clearly_worse(order))


def _from_moments(
    v: Span, every: Mapping[Order, Slices], embeddings: str, limit: int | None
) -> _Found:
    cuts = sorted({cut for where in every.values() for pair in where.values() for cut in pair})
    measured = {start: _measure(elements(v, start, stop), limit) for start, stop in pairwise(cuts)}
    total = sum(spread.count for _zeros, spread in measured.values())
    if not total:
        return tuple(every), ("nothing above zero was read in v",)
    zeros = _by_zeros(measured, {order: where[embeddings] for order, where in every.items()})
    if not any(count for count, _spread in measured.values()):
        said = "no zeros were read in v"
    elif zeros:
        said = f"all zeros read in v lie in {embeddings} in {_names(zeros, every)}"
    else:
        said = f"zeros in v lie outside {embeddings} in every order"
    spreads = {order: _within(measured, where) for order, where in every.items()}
    narrowest = _smallest(spreads, every, NOISE)
    means = {order: sum(spread.values()) / total for order, spread in spreads.items()}
    figures = ", ".join(
        f"{order.value} {mean if mean > NOISE else 0.0:.4g}" for order, mean in means.items()
    )
    alike = len(narrowest) == len(every)
    least = "as much in each" if alike else f"least in {_names(narrowest, every)}"
    evidence = (said, f"log v varies {least} ({figures})")
    return tuple(order for order in (zeros or every) if order in narrowest), evidence


def _measure(span: Span, limit: int | None) -> tuple[int, Spread]:
    """Return how many elements are zero, and the spread of the others."""
    if limit is not None:
        span = elements(span, 0, min(span.length, limit) // ELEMENT_BYTES)
    zeros, spread, room = 0, Spread(), Room()
    for block in read_ahead(span):
        values: npt.NDArray[np.float32] = np.frombuffer(block, "<f4")
        with np.errstate(invalid="ignore"):
            if not 0 < values.min() <= values.max() < np.inf:  # no comparison with NaN is true
                zeros += values.size - int(np.count_nonzero(values))
                values = values[(values > 0) & (values < np.inf)]
        logarithms = room.of(values.size)
        # In float32 they are 4e-6 off at most, which is far below all that counts here.
        np.log(values, out=logarithms, dtype=np.float32)
        spread += spread_of(logarithms)
    return zeros, spread


def _by_zeros(
    measured: Mapping[int, tuple[int, Spread]], embeddings: Mapping[Order, tuple[int, int]]
) -> tuple[Order, ...]:
    """Return the orders under which every zero lies in the embeddings; all if there is no zero."""
    starts = [start for start, (zeros, _spread) in measured.items() if zeros]
    return tuple(
        order
        for order, (first, stop) in embeddings.items()
        if all(first <= start < stop for start in starts)
    )


def _within(measured: Mapping[int, tuple[int, Spread]], where: Slices) -> dict[str, float]:
    """Return, for each tensor, the squared deviations of log v from its mean there."""
    starts = sorted(measured)

    def squares(start: int, stop: int) -> float:
        inside = starts[bisect_left(starts, start) : bisect_left(starts, stop)]
        return sum((measured[at][1] for at in inside), Spread()).squares

    return {path: squares(*place) for path, place in where.items()}


def _names(orders: tuple[Order, ...], every: Mapping[Order, Slices]) -> str:
    if len(orders) == len(every) > 1:
        return "every order alike"
    names = " and ".join(order.value for order in orders)
    return f"the order {names}" if len(orders) == 1 else f"the orders {names} alike"
