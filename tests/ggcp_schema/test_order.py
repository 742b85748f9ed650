"""The four orders of the parameters, against lists written out by hand."""

import pytest
from reference.llama import parameter_names

from ggcp_schema.order import Order, paths

# fmt: off
TWO_LAYERS = {
    Order.SCRATCH: [
        "tok_embeddings",
        "layers[0].attention_norm",
        "layers[0].attention.wq", "layers[0].attention.wk",
        "layers[0].attention.wv", "layers[0].attention.wo",
        "layers[0].ffn_norm",
        "layers[0].feed_forward.w3", "layers[0].feed_forward.w1", "layers[0].feed_forward.w2",
        "layers[1].attention_norm",
        "layers[1].attention.wq", "layers[1].attention.wk",
        "layers[1].attention.wv", "layers[1].attention.wo",
        "layers[1].ffn_norm",
        "layers[1].feed_forward.w3", "layers[1].feed_forward.w1", "layers[1].feed_forward.w2",
        "norm",
        "output",
    ],
    Order.FLASH: [
        "output",
        "norm",
        "layers[1].feed_forward.w2", "layers[1].feed_forward.w1", "layers[1].ffn_norm",
        "layers[1].attention.wo", "layers[1].attention.wq", "layers[1].attention_norm",
        "layers[0].feed_forward.w2", "layers[0].feed_forward.w1", "layers[0].ffn_norm",
        "layers[0].attention.wo", "layers[0].attention.wq", "layers[0].attention_norm",
        "tok_embeddings",
        "layers[0].attention.wk", "layers[0].attention.wv", "layers[0].feed_forward.w3",
        "layers[1].attention.wk", "layers[1].attention.wv", "layers[1].feed_forward.w3",
    ],
    Order.PLAIN: [
        "output",
        "norm",
        "layers[1].feed_forward.w2", "layers[1].feed_forward.w1", "layers[1].ffn_norm",
        "layers[1].attention.wo", "layers[1].attention_norm",
        "layers[0].feed_forward.w2", "layers[0].feed_forward.w1", "layers[0].ffn_norm",
        "layers[0].attention.wo", "layers[0].attention_norm",
        "tok_embeddings",
        "layers[0].attention.wv", "layers[0].attention.wk", "layers[0].attention.wq",
        "layers[0].feed_forward.w3",
        "layers[1].attention.wv", "layers[1].attention.wk", "layers[1].attention.wq",
        "layers[1].feed_forward.w3",
    ],
    Order.FLASH_RTL: [
        "tok_embeddings",
        "layers[0].attention.wv", "layers[0].attention_norm",
        "layers[0].attention.wk", "layers[0].attention.wq", "layers[0].attention.wo",
        "layers[0].ffn_norm",
        "layers[0].feed_forward.w3", "layers[0].feed_forward.w1", "layers[0].feed_forward.w2",
        "layers[1].attention.wv", "layers[1].attention_norm",
        "layers[1].attention.wk", "layers[1].attention.wq", "layers[1].attention.wo",
        "layers[1].ffn_norm",
        "layers[1].feed_forward.w3", "layers[1].feed_forward.w1", "layers[1].feed_forward.w2",
        "norm",
        "output",
    ],
}
PAIRS = {
    Order.SCRATCH: ["tok_embeddings.b", "tok_embeddings.a", "norm.b", "norm.a",
        "output.b", "output.a"],
    Order.FLASH: ["output.a", "output.b", "norm.a", "norm.b",
        "tok_embeddings.a", "tok_embeddings.b"],
    Order.PLAIN: ["output.a", "output.b", "norm.a", "norm.b",
        "tok_embeddings.a", "tok_embeddings.b"],
    Order.FLASH_RTL: ["tok_embeddings.b", "tok_embeddings.a", "norm.b", "norm.a",
        "output.b", "output.a"],
}
# fmt: on


@pytest.mark.parametrize("order", Order)
def test_two_layers(order: Order) -> None:
    assert list(paths(order, 2)) == TWO_LAYERS[order]


@pytest.mark.parametrize("order", Order)
def test_the_pairs_of_a_lora(order: Order) -> None:
    assert list(paths(order, 0, pairs=True)) == PAIRS[order]
    halves = [path.rpartition(".")[2] for path in PAIRS[order][:2]]
    of_each = [f"{path}.{half}" for path in TWO_LAYERS[order] for half in halves]
    assert list(paths(order, 2, pairs=True)) == of_each


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("block_count", [0, 1, 12])
def test_any_number_of_layers(order: Order, block_count: int) -> None:
    names = [
        path.replace("[", ".").replace("]", "") + ".weight" for path in paths(order, block_count)
    ]
    assert names == parameter_names(order.value, block_count)
    assert len(set(names)) == 3 + 9 * block_count
