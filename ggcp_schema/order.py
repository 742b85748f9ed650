"""The order of the parameters in the optimizer's flat vectors.

x, g, m, v … run over all parameters of the model, in the order in which the training graph met
them. That order is not stored, and three exist. Measured with trainers of all dates: copying the
moments in another order than the reader's puts them on the wrong parameters.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import NamedTuple


class Order(enum.Enum):
    """The three orders, by the trainer's options that lead to them."""

    SCRATCH = "scratch"
    FLASH = "flash"
    PLAIN = "plain"


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
    # e32089b2c to 43033b7bb by default (--use-scratch), d39c8e686, bfc311913
    Order.SCRATCH: (
        "tok_embeddings",
        PerLayer(Direction.UP, (
            "attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo",
            "ffn_norm", "feed_forward.w3", "feed_forward.w1", "feed_forward.w2")),
        "norm",
        "output",
    ),
    # 4ed096c6b to 4072f20bb and the GGUF trainers from 44c117f41 by default (--use-flash)
    Order.FLASH: (
        "output",
        "norm",
        PerLayer(Direction.DOWN, (
            "feed_forward.w2", "feed_forward.w1", "ffn_norm", "attention.wo", "attention.wq",
            "attention_norm")),
        "tok_embeddings",
        PerLayer(Direction.UP, ("attention.wk", "attention.wv", "feed_forward.w3")),
    ),
    # --no-flash, 42d9b4cfc, and July 2024, when flash attention was gone
    Order.PLAIN: (
        "output",
        "norm",
        PerLayer(Direction.DOWN, (
            "feed_forward.w2", "feed_forward.w1", "ffn_norm", "attention.wo", "attention_norm")),
        "tok_embeddings",
        PerLayer(Direction.UP, (
            "attention.wv", "attention.wk", "attention.wq", "feed_forward.w3")),
    ),
}
# fmt: on


def paths(order: Order, block_count: int) -> Iterator[str]:
    """Yield the path in the model of each tensor, such as ``layers[0].attention.wq``, in order."""
    for group in ORDERS[order]:
        if isinstance(group, str):
            yield group
            continue
        layers = range(block_count)
        for layer in layers if group.direction is Direction.UP else reversed(layers):
            for path in group.paths:
                yield f"layers[{layer}].{path}"
