"""The order of the parameters in the optimizer's flat vectors.

x, g, m, v … run over all parameters of the model, in the order in which the training graph met
them. That order is not stored, and four exist. Measured with trainers of all dates: copying the
moments in another order than the reader's puts them on the wrong parameters.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import NamedTuple


class Order(enum.Enum):
    """The four orders, by the trainer's options that lead to them; rtl: from right to left."""

    SCRATCH = "scratch"
    FLASH = "flash"
    PLAIN = "plain"
    FLASH_RTL = "flash-rtl"


class Direction(enum.Enum):
    """Which way a group of tensors runs through the layers."""

    UP = "from the first layer to the last"
    DOWN = "from the last layer to the first"


class PerLayer(NamedTuple):
    """Tensors that come once for each layer, as paths inside the layer."""

    direction: Direction
    paths: tuple[str, ...]


# fmt: off
ORDERS: dict[Order, tuple[str | PerLayer, ...]] = {
    Order.SCRATCH: (
        "tok_embeddings",
        PerLayer(Direction.UP, (
            "attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo",
            "ffn_norm", "feed_forward.w3", "feed_forward.w1", "feed_forward.w2")),
        "norm",
        "output",
    ),
    Order.FLASH: (
        "output",
        "norm",
        PerLayer(Direction.DOWN, (
            "feed_forward.w2", "feed_forward.w1", "ffn_norm", "attention.wo", "attention.wq",
            "attention_norm")),
        "tok_embeddings",
        PerLayer(Direction.UP, ("attention.wk", "attention.wv", "feed_forward.w3")),
    ),
    Order.PLAIN: (
        "output",
        "norm",
        PerLayer(Direction.DOWN, (
            "feed_forward.w2", "feed_forward.w1", "ffn_norm", "attention.wo", "attention_norm")),
        "tok_embeddings",
        PerLayer(Direction.UP, (
            "attention.wv", "attention.wk", "attention.wq", "feed_forward.w3")),
    ),
    Order.FLASH_RTL: (
        "tok_embeddings",
        PerLayer(Direction.UP, (
            "attention.wv", "attention_norm", "attention.wk", "attention.wq", "attention.wo",
            "ffn_norm", "feed_forward.w3", "feed_forward.w1", "feed_forward.w2")),
        "norm",
        "output",
    ),
}

HALVES: dict[Order, tuple[str, str]] = {
    Order.SCRATCH: ("b", "a"),
    Order.FLASH: ("a", "b"),
    Order.PLAIN: ("a", "b"),
    Order.FLASH_RTL: ("b", "a"),
}
"""In which order the two halves of each pair of a LoRA stand, where a tensor stands in a model."""

EVIDENCE: tuple[tuple[str, str], ...] = (
    ("a vector of the parameters themselves (adam.x, lbfgs.x)",
        "The right order is the one whose slices equal the model's tensors: with Adam exactly; "
        "with L-BFGS not always (about 0.01 apart in the largest element were seen), so take the "
        "order with the smallest sum of squared differences, without a fixed limit."),
    ("with Adam, the zeros of the second moments (adam.v)",
        "Tokens that were never seen in training have rows of exactly zero, so under the right "
        "order every zero lies inside tok_embeddings (of a LoRA inside its B). That excludes all "
        "orders under which one does not; without any zero, or where no order is left, it says "
        "nothing."),
    ("with Adam, the spread of the second moments (adam.v)",
        "Under the right order the sum of (log v - mean)² over all elements with v > 0 is the "
        "smallest, where mean is that of log v over such elements of the same tensor. Compare two "
        "orders only on the tensors that they have at different places."),
)
"""What tells the order of a file, the surest sign first."""
# fmt: on


def paths(order: Order, block_count: int, *, pairs: bool = False) -> Iterator[str]:
    """Yield the path in the model of each tensor, such as ``layers[0].attention.wq``, in order.

    Args:
        order: the order.
        block_count: n_layer.
        pairs: whether the model is a LoRA, with a pair for each tensor: ``norm.a``, ``norm.b``.
    """
    for path in _tensors(order, block_count):
        if pairs:
            yield from (f"{path}.{half}" for half in HALVES[order])
        else:
            yield path


def _tensors(order: Order, block_count: int) -> Iterator[str]:
    for group in ORDERS[order]:
        if isinstance(group, str):
            yield group
            continue
        layers = range(block_count)
        for layer in layers if group.direction is Direction.UP else reversed(layers):
            for path in group.paths:
                yield f"layers[{layer}].{path}"
