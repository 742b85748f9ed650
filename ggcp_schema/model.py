"""The training counters, the hyperparameters and the model: the first half of a checkpoint.

llama.cpp, examples/train-text-from-scratch/train-text-from-scratch.cpp, ``save_checkpoint``,
e32089b2c (2023-06-13) to 43033b7bb (2023-08-28); before, from 42d9b4cfc (2023-05-21) on, it was
examples/baby-llama/baby-llama-text.cpp.
"""

from __future__ import annotations

from construct import this

from ggcp_schema.language.checks import Check, value
from ggcp_schema.language.fields import U32, Struct, computed, field
from ggcp_schema.language.runs import Repeated
from ggcp_schema.tensor import Tensor

_POSITIVE = Check(value > 0, "at least 1")

# fmt: off
Training = Struct(
    field("iteration_count", U32,
        "train_its", "Optimizer iterations done so far, over all runs."),
    field("sample_count", U32,
        "train_samples", "Samples seen so far."),
    field("token_count", U32,
        "train_tokens", "Tokens seen so far; divided by the samples it is the context length."),
    docs="How far the training got.",
)

VOCABULARY_SIZE = field("vocabulary_size", U32,
        "n_vocab", "Tokens in the vocabulary.",
        _POSITIVE)
EMBEDDING_LENGTH = field("embedding_length", U32,
        "n_embd", "Elements in the vector that stands for a token.",
        _POSITIVE)
FEED_FORWARD_MULTIPLE = field("feed_forward_multiple", U32,
        "n_mult", "The feed-forward length is rounded up to a multiple of this.",
        _POSITIVE)
HEAD_COUNT = field("head_count", U32,
        "n_head", "Attention heads.",
        _POSITIVE,
        Check(this.embedding_length % value == 0,
            "a divisor of {embedding_length} (embedding_length)"))
BLOCK_COUNT = field("block_count", U32,
        "n_layer", "Layers; none at all is legal.")
ROPE_DIMENSION_COUNT = field("rope_dimension_count", U32,
        "n_rot", "Dimensions of each head that are rotated: min(64, n_embd/n_head), or --rotmax.",
        Check((value % 2 == 0) & (value >= 2) & (value * this.head_count <= this.embedding_length),
            "an even number from 2 to {embedding_length} / {head_count} (the head dimension)"))

Hyperparameters = Struct(
    VOCABULARY_SIZE,
    EMBEDDING_LENGTH,
    FEED_FORWARD_MULTIPLE,
    HEAD_COUNT,
    BLOCK_COUNT,
    ROPE_DIMENSION_COUNT,
    computed("feed_forward_length",
        (2 * (4 * this.embedding_length) // 3 + this.feed_forward_multiple - 1)
        // this.feed_forward_multiple * this.feed_forward_multiple,
        "n_ff", "Elements between the two halves of the feed-forward network."),
    docs="The sizes of the model.",
)

_n_vocab = this._root.hyperparameters.vocabulary_size
_n_embd = this._root.hyperparameters.embedding_length
_n_ff = this._root.hyperparameters.feed_forward_length

Attention = Struct(
    field("wq", Tensor("layers.{layer}.attention.wq.weight", _n_embd, _n_embd),
        "wq", "Projection to the queries."),
    field("wk", Tensor("layers.{layer}.attention.wk.weight", _n_embd, _n_embd),
        "wk", "Projection to the keys."),
    field("wv", Tensor("layers.{layer}.attention.wv.weight", _n_embd, _n_embd),
        "wv", "Projection to the values."),
    field("wo", Tensor("layers.{layer}.attention.wo.weight", _n_embd, _n_embd),
        "wo", "Projection of the heads' output."),
    docs="The attention of a layer.",
)

FeedForward = Struct(
    field("w1", Tensor("layers.{layer}.feed_forward.w1.weight", _n_embd, _n_ff),
        "w1", "The gate, which goes through SiLU."),
    field("w2", Tensor("layers.{layer}.feed_forward.w2.weight", _n_ff, _n_embd),
        "w2", "The way down, back to the embedding length."),
    field("w3", Tensor("layers.{layer}.feed_forward.w3.weight", _n_embd, _n_ff),
        "w3", "The way up, multiplied with the gate."),
    docs="The feed-forward network of a layer.",
)

Layer = Struct(
    field("attention_norm", Tensor("layers.{layer}.attention_norm.weight", _n_embd),
        "attention_norm", "Weights of the RMS norm before the attention."),
    field("attention", Attention,
        "-", "The four matrices of the attention."),
    field("ffn_norm", Tensor("layers.{layer}.ffn_norm.weight", _n_embd),
        "ffn_norm", "Weights of the RMS norm before the feed-forward network."),
    field("feed_forward", FeedForward,
        "-", "The three matrices of the feed-forward network."),
    docs="A layer of the model.",
)

Model = Struct(
    field("tok_embeddings", Tensor("tok_embeddings.weight", _n_embd, _n_vocab),
        "tok_embeddings", "The vector of each token."),
    field("norm", Tensor("norm.weight", _n_embd),
        "norm", "Weights of the last RMS norm."),
    field("output", Tensor("output.weight", _n_embd, _n_vocab),
        "output", "Projection to the logits of each token."),
    field("layers", Repeated(this._root.hyperparameters.block_count, Layer),
        "layers", "The layers, from the input up."),
    docs="The weights.",
)
# fmt: on
