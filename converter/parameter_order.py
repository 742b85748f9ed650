"""Finds out in which order the parameters stand in a checkpoint's optimizer vectors.

The order is not stored. Where the optimizer keeps x, the parameters themselves, it is the order
whose slices are the model's tensors. Where it does not (version 1, Adam), two independent signs
tell it: tokens that were never seen have second moments of exactly zero, so every zero lies in
tok_embeddings; and second moments are alike within a tensor, so the right order spreads them least.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.mapper import model_tensors
from ggcp_schema import Span
from ggcp_schema.optimizer import OptimizerType
from ggcp_schema.order import Order, paths
from ggcp_schema.source import BLOCK_BYTES
from ggcp_schema.tensor import element_count

ELEMENT_BYTES = 4

SAMPLE_BYTES = 1 << 16
"""How much of each tensor is looked at when a sample will do."""

MARGIN = 0.99
"""The spread, or distance, of the best order must be below this part of that of the next."""

_FAR = 1e38
"""Stands for the distance of what is not a number."""

Slices = dict[str, tuple[int, int]]
"""For each tensor's path where it starts and stops in a flat vector, in elements."""


@dataclass(frozen=True)
class Finding:
    """What is known of the order.

    Attributes:
        candidates: the orders that the evidence allows; all three where there is none.
        evidence: each sign in words.
        contradiction: whether the signs exclude each other; then there are no candidates.
        indifferent: whether every order gives the same bytes, as when all moments are zero.
    """

    candidates: tuple[Order, ...]
    evidence: tuple[str, ...]
    contradiction: bool = False
    indifferent: bool = False


def slices(container: Any, order: Order) -> Slices:
    """Return where each tensor of the model stands in a flat vector of that order."""
    counts = {
        path: element_count(record.shape) for path, _name, record in model_tensors(container.model)
    }
    result: Slices = {}
    start = 0
    for path in paths(order, container.hyperparameters.block_count):
        result[path] = (start, start + counts[path])
        start += counts[path]
    return result


def find_order(container: Any, *, thorough: bool) -> Finding:
    """Find the order of a training checkpoint.

    Args:
        container: a parsed training checkpoint.
        thorough: whether everything is read, not only a sample of each tensor.
    """
    every = {order: slices(container, order) for order in Order}
    state = container.optimizer.state
    limit = None if thorough else SAMPLE_BYTES
    if container.optimizer.type == OptimizerType.LBFGS:
        return _nearest(container, state.current_parameters.data, every, limit)
    if "parameters" in state:
        return _equal(container, state.parameters.data, every, limit)
    return _from_moments(state, every, limit)


def part(span: Span, start: int, stop: int) -> Span:
    """Return the elements from ``start`` to ``stop`` of a flat vector."""
    offset = span.offset + ELEMENT_BYTES * start
    return Span(span.source, offset, ELEMENT_BYTES * (stop - start), (stop - start,))


def _pairs(weights: Span, vector: Span, limit: int | None) -> Iterator[tuple[bytes, bytes]]:
    length = weights.length if limit is None else min(limit, weights.length)
    for done in range(0, length, BLOCK_BYTES):
        count = min(BLOCK_BYTES, length - done)
        yield (
            weights.source.read_at(weights.offset + done, count),
            vector.source.read_at(vector.offset + done, count),
        )


def _weights(container: Any) -> dict[str, Span]:
    return {path: record.data for path, _name, record in model_tensors(container.model)}


def _equal(container: Any, x: Span, every: Mapping[Order, Slices], limit: int | None) -> Finding:
    weights = _weights(container)
    candidates = tuple(
        order
        for order, where in every.items()
        if all(
            one == other
            for path, (start, stop) in where.items()
            for one, other in _pairs(weights[path], part(x, start, stop), limit)
        )
    )
    names = _names(candidates)
    evidence = f"x is the model's tensors in the order {names}" if names else "x is not the model"
    return Finding(candidates, (evidence,), contradiction=not candidates)


def _nearest(container: Any, x: Span, every: Mapping[Order, Slices], limit: int | None) -> Finding:
    weights = _weights(container)
    distances = {
        order: sum(
            _distance(one, other)
            for path, (start, stop) in where.items()
            for one, other in _pairs(weights[path], part(x, start, stop), limit)
        )
        for order, where in every.items()
    }
    figures = ", ".join(f"{order.value} {distance:.4g}" for order, distance in distances.items())
    return Finding(_smallest(distances), (f"squared distance of x from the model: {figures}",))


def _distance(one: bytes, other: bytes) -> float:
    same = np.frombuffer(one, "<u4") == np.frombuffer(other, "<u4")  # also NaN and infinities
    with np.errstate(invalid="ignore"):
        difference = np.frombuffer(one, "<f4").astype(np.float64) - np.frombuffer(other, "<f4")
    difference[same] = 0
    np.nan_to_num(difference, copy=False, nan=_FAR, posinf=_FAR, neginf=_FAR)
    return float(difference @ difference)


def _smallest(figures: Mapping[Order, float]) -> tuple[Order, ...]:
    """Return the orders that are not clearly worse than the best."""
    least = min(figures.values())
    return tuple(o for o, figure in figures.items() if not least < MARGIN * figure)


@dataclass(frozen=True)
class _Spread:
    """Count, mean and sum of squared deviations of log v over some elements with v > 0."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def __add__(self, other: _Spread) -> _Spread:
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        apart = other.mean - self.mean
        return _Spread(
            count,
            self.mean + apart * other.count / count,
            self.squares + other.squares + apart**2 * self.count * other.count / count,
        )


def _from_moments(state: Any, every: Mapping[Order, Slices], limit: int | None) -> Finding:
    v = state.second_moments.data
    cuts = sorted({cut for where in every.values() for pair in where.values() for cut in pair})
    measured = {start: _measure(part(v, start, stop), limit) for start, stop in pairwise(cuts)}
    if not any(spread.count for _zeros, spread in measured.values()):
        m = state.first_moments.data
        zero = all(not block.strip(b"\0") for block in m.blocks())
        return Finding(tuple(Order), ("every second moment is zero",), indifferent=zero)
    zeros = _by_zeros(measured, every)
    spreads = {order: _within(measured, where) for order, where in every.items()}
    narrowest = _smallest(spreads)
    total = sum(spread.count for _zeros, spread in measured.values())
    figures = ", ".join(f"{o.value} {s / total:.4g}" for o, s in spreads.items())
    names = _names(narrowest) if len(narrowest) == 1 else "none"
    evidence = (
        f"zeros of v lie in tok_embeddings under {_names(zeros) if zeros else 'no one order'}",
        f"log v varies least under {names} ({figures})",
    )
    candidates = tuple(o for o in (zeros or tuple(Order)) if o in narrowest)
    return Finding(candidates, evidence, contradiction=not candidates)


def _measure(span: Span, limit: int | None) -> tuple[int, _Spread]:
    """Return how many elements are zero, and the spread of the others."""
    zeros, spread = 0, _Spread()
    if limit is not None:
        span = part(span, 0, min(span.length, limit) // ELEMENT_BYTES)
    for block in span.blocks():
        values: npt.NDArray[Any] = np.frombuffer(block, "<f4")
        zeros += int(np.count_nonzero(values == 0))
        usable = values[(values > 0) & np.isfinite(values)].astype(np.float64)
        if usable.size:
            logarithms = np.log(usable)
            mean = float(logarithms.mean())
            squares = float(((logarithms - mean) ** 2).sum())
            spread += _Spread(usable.size, mean, squares)
    return zeros, spread


def _by_zeros(
    measured: Mapping[int, tuple[int, _Spread]], every: Mapping[Order, Slices]
) -> tuple[Order, ...]:
    """Return the orders under which every zero lies in tok_embeddings, if any."""
    starts = [start for start, (zeros, _spread) in measured.items() if zeros]
    found = tuple(
        order
        for order, where in every.items()
        if all(where["tok_embeddings"][0] <= s < where["tok_embeddings"][1] for s in starts)
    )
    return found if starts else ()


def _within(measured: Mapping[int, tuple[int, _Spread]], where: Slices) -> float:
    """Return the squared deviations of log v from the mean of its tensor, over all tensors."""
    starts = sorted(measured)
    total = 0.0
    for start, stop in where.values():
        inside = starts[bisect_left(starts, start) : bisect_left(starts, stop)]
        total += sum((measured[at][1] for at in inside), _Spread()).squares
    return total


def _names(orders: tuple[Order, ...]) -> str:
    return " or ".join(order.value for order in orders)
