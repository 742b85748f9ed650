"""The LoRA finetune checkpoint: a header with ranks, pairs of tensors, the optimizer context.

llama.cpp, examples/finetune/finetune.cpp, on its development branch from 2023-08-16 to 2023-08-29;
from then on finetune wrote GGUF.
"""

from __future__ import annotations

from typing import Any

from construct import this

from ggcp_schema.enums import HeaderLayout, Layout, NameFamily, OptimizerType
from ggcp_schema.language.checks import Check, value
from ggcp_schema.language.constructs import IfThenElse, Switch
from ggcp_schema.language.fields import U32, Field, Struct, computed, derived, field
from ggcp_schema.language.runs import End, Repeated, Signature
from ggcp_schema.model import (
    BLOCK_COUNT,
    EMBEDDING_LENGTH,
    HEAD_COUNT,
    ROPE_DIMENSION_COUNT,
    VOCABULARY_SIZE,
    Training,
)
from ggcp_schema.optimizer import AdamVersion1, Lbfgs, OptimizerVersion1
from ggcp_schema.tensor import ElementCount, Tensor
from ggcp_schema.variants import (
    FeedForwardLengthByRecord,
    HeaderLayoutByFirstRecord,
    NamesByRecord,
    TypeByRecords,
)

# fmt: off
HyperparametersWithMultiple = Struct(
    VOCABULARY_SIZE,
    EMBEDDING_LENGTH,
    field("feed_forward_multiple", U32,
        "n_mult", "Not always that of the base model: a constant 4 from 0564f4ed1 on.",
        Check(value > 0, "at least 1")),
    HEAD_COUNT,
    BLOCK_COUNT,
    ROPE_DIMENSION_COUNT,
    docs="The sizes of the base model.",
)

HyperparametersWithoutMultiple = Struct(
    VOCABULARY_SIZE,
    EMBEDDING_LENGTH,
    HEAD_COUNT,
    BLOCK_COUNT,
    ROPE_DIMENSION_COUNT,
    docs="The sizes of the base model as a few commits wrote them, 5ce92aed3 to ecb1b20c8 "
        "(2023-08-29): without n_mult.",
)

# finetune takes any number (--rank-wq N) without a check. With 0 the pair has no elements.
Ranks = Struct(
    field("attention_norm", U32,
        "n_rank_attention_norm", "Rank of the pairs for attention_norm; 1 by default."),
    field("wq", U32,
        "n_rank_wq", "Rank of the pairs for wq; 4 by default, as for the other matrices."),
    field("wk", U32,
        "n_rank_wk", "Rank of the pairs for wk."),
    field("wv", U32,
        "n_rank_wv", "Rank of the pairs for wv."),
    field("wo", U32,
        "n_rank_wo", "Rank of the pairs for wo."),
    field("ffn_norm", U32,
        "n_rank_ffn_norm", "Rank of the pairs for ffn_norm; 1 by default."),
    field("w1", U32,
        "n_rank_w1", "Rank of the pairs for w1."),
    field("w2", U32,
        "n_rank_w2", "Rank of the pairs for w2."),
    field("w3", U32,
        "n_rank_w3", "Rank of the pairs for w3."),
    field("tok_embeddings", U32,
        "n_rank_tok_embeddings", "Rank of the pair for tok_embeddings."),
    field("norm", U32,
        "n_rank_norm", "Rank of the pair for norm; 1 by default."),
    field("output", U32,
        "n_rank_output", "Rank of the pair for output."),
    docs="The rank of each kind of pair. With 0 its two tensors have no elements.",
)
# fmt: on


_CHANGE = (
    "at index i of its first and j of its second dimension, the sum over r of A[r, i]·B[r, j], "
    "without any factor"
)


def _other_names(name: str, half: str) -> dict[NameFamily, str]:
    """Return how other families call half of the pair of the tensor of this name."""
    names = {}
    if name.startswith("layers."):
        names[NameFamily.WITHOUT_LAYERS] = f"{name.removeprefix('layers.')}.lora{half}"
    if ".feed_forward." in name:
        names[NameFamily.W1_A] = f"{name.removesuffix('.weight')}_{half.lower()}.weight"
    return names


def _ordinary(part: Any) -> Any:
    """Return a part of the schema whose tensors have their ordinary names alone."""
    if isinstance(part, Tensor):
        return Tensor(part.tensor_name, *part.shape)
    members = ((m, _ordinary(m.subcon)) for m in part.subcons)
    return Struct(*(field(m.name, subcon, m.c_name, m.docs) for m, subcon in members))


def _named(state: Struct, optimizer: str) -> Struct:
    """Return the state of an optimizer whose vectors have a name in one of the families."""

    def with_names(member: Field) -> Any:
        family = {NameFamily.WITHOUT_LAYERS: f"optimizer.{optimizer}.{member.name}"}
        if isinstance(member.subcon, Tensor):
            return Tensor("", *member.subcon.shape, other_names=family)
        if isinstance(member.subcon, IfThenElse):  # the empty record has none
            then, otherwise = member.subcon.children
            choice = IfThenElse(
                member.subcon.condfunc, Tensor("", *then.shape, other_names=family), otherwise
            )
            choice.flagbuildnone = True
            return choice
        return member.subcon

    members = (Field(m.name, with_names(m), m.c_name, m.docs, m.checks) for m in state.subcons)
    return Struct(*members, docs=state.docs)


# fmt: off
class Pair(Struct):
    """The two records that stand for the change of one tensor of the base model.

    Args:
        name: name of that tensor, where ``{layer}`` stands for the layer's index.
        c_name: what finetune calls the pair, without ``_a`` and ``_b``.
        rank: expression for the first dimension of both.
        inputs: expression for the second dimension of A, the tensor's first.
        outputs: expression for the second dimension of B, the tensor's second; 1 for a vector.
    """

    def __init__(self, name: str, c_name: str, rank: Any, inputs: Any, outputs: Any) -> None:
        super().__init__(
            field("a", Tensor(f"{name}.loraA", rank, inputs, other_names=_other_names(name, "A")),
                f"{c_name}_a", "A: for each index of the tensor's first dimension, each rank."),
            field("b", Tensor(f"{name}.loraB", rank, outputs, other_names=_other_names(name, "B")),
                f"{c_name}_b", "B: for each index of the tensor's second dimension, each rank."),
            docs=f"The change of a tensor of the base model: {_CHANGE}.",
        )
        self.tensor_name = name


_ranks = this._root.ranks
_n_vocab = this._root.hyperparameters.vocabulary_size
_n_embd = this._root.hyperparameters.embedding_length
_n_ff = this._root.feed_forward_length

LoraAttention = Struct(
    field("wq", Pair("layers.{layer}.attention.wq.weight", "wq", _ranks.wq, _n_embd, _n_embd),
        "-", "Change of the projection to the queries."),
    field("wk", Pair("layers.{layer}.attention.wk.weight", "wk", _ranks.wk, _n_embd, _n_embd),
        "-", "Change of the projection to the keys."),
    field("wv", Pair("layers.{layer}.attention.wv.weight", "wv", _ranks.wv, _n_embd, _n_embd),
        "-", "Change of the projection to the values."),
    field("wo", Pair("layers.{layer}.attention.wo.weight", "wo", _ranks.wo, _n_embd, _n_embd),
        "-", "Change of the projection of the heads' output."),
    docs="Changes of the attention of a layer.",
)

LoraFeedForward = Struct(
    field("w1", Pair("layers.{layer}.feed_forward.w1.weight", "w1", _ranks.w1, _n_embd, _n_ff),
        "-", "Change of the gate."),
    field("w2", Pair("layers.{layer}.feed_forward.w2.weight", "w2", _ranks.w2, _n_ff, _n_embd),
        "-", "Change of the way down."),
    field("w3", Pair("layers.{layer}.feed_forward.w3.weight", "w3", _ranks.w3, _n_embd, _n_ff),
        "-", "Change of the way up."),
    docs="Changes of the feed-forward network of a layer.",
)

LoraLayer = Struct(
    field("attention_norm",
        Pair("layers.{layer}.attention_norm.weight", "attention_norm",
            _ranks.attention_norm, _n_embd, 1),
        "-", "Change of the RMS norm before the attention."),
    field("attention", LoraAttention,
        "-", "Changes of the four matrices of the attention."),
    field("ffn_norm",
        Pair("layers.{layer}.ffn_norm.weight", "ffn_norm", _ranks.ffn_norm, _n_embd, 1),
        "-", "Change of the RMS norm before the feed-forward network."),
    field("feed_forward", LoraFeedForward,
        "-", "Changes of the three matrices of the feed-forward network."),
    docs="Changes of a layer.",
)

LoraModel = Struct(
    field("tok_embeddings",
        Pair("tok_embeddings.weight", "tok_embeddings", _ranks.tok_embeddings, _n_embd, _n_vocab),
        "-", "Change of the vector of each token."),
    field("norm", Pair("norm.weight", "norm", _ranks.norm, _n_embd, 1),
        "-", "Change of the last RMS norm."),
    field("output", Pair("output.weight", "output", _ranks.output, _n_embd, _n_vocab),
        "-", "Change of the projection to the logits of each token."),
    field("layers", Repeated(this._root.hyperparameters.block_count, LoraLayer),
        "layers", "The layers, from the input up."),
    docs="The pairs of tensors. Each stands for the change of a tensor of the base model: "
        f"{_CHANGE}.",
)

_BEFORE_LAYERS = _ordinary(Struct(*LoraModel.subcons[:-1]))
_BEFORE_W1 = _ordinary(Struct(*LoraModel.subcons[:-1], *LoraLayer.subcons[:-1]))
_BEFORE_FEED_FORWARD_LENGTH = Struct(
    *LoraModel.subcons[:-1],
    *LoraLayer.subcons[:-1],
    LoraFeedForward.w1.subcon.a,
)

LoraAdam = _named(AdamVersion1, "adam")
LoraLbfgs = _named(Lbfgs, "lbfgs")
LORA_STATES = {OptimizerType.ADAM: LoraAdam, OptimizerType.LBFGS: LoraLbfgs}

_TYPE = OptimizerVersion1.type

LoraOptimizer = Struct(
    derived("version", U32, 1,
        "version", "Version of the optimizer context; finetune wrote no other."),
    computed("layout", Layout.VERSION_1,
        "-", "For tools that read both kinds of file; ignore it."),
    *OptimizerVersion1.subcons[1:-2],
    field("type", TypeByRecords(LORA_STATES), _TYPE.c_name, _TYPE.docs, *_TYPE.checks),
    field("state", Switch(this.type, LORA_STATES),
        "-", "What the optimizer has learnt."),
    docs="Optimizer context over the elements of the pairs. The same as version 1 in a training "
        "checkpoint; each pair stands where its tensor would (below: the order of the parameters).",
)

HYPERPARAMETERS = {
    HeaderLayout.WITH_MULTIPLE: HyperparametersWithMultiple,
    HeaderLayout.WITHOUT_MULTIPLE: HyperparametersWithoutMultiple,
}

LoraCheckpoint = Struct(
    field("magic", Signature(b"lcgg"),
        "magic", "The u32 'ggcl', low byte first."),
    derived("version", U32, 0,
        "version", "Version of the file; there was no other."),
    field("training", Training,
        "-", "How far the training got."),
    field("layout",
        HeaderLayoutByFirstRecord(
            HYPERPARAMETERS, Ranks, "tok_embeddings.weight.loraA", start=8 + Training.least),
        "-", "Whether n_mult is there, told by where the first record stands."),
    field("hyperparameters", Switch(this.layout, HYPERPARAMETERS),
        "hparams", "The sizes of the base model."),
    field("ranks", Ranks,
        "lora.hparams", "The rank of each pair, by the tensor of the base model that it changes."),
    field("names",
        NamesByRecord(_BEFORE_LAYERS, _BEFORE_W1,
            first_name="0.attention_norm.weight.loraA",
            w1_name="layers.0.feed_forward.w1_a.weight"),
        "-", "How the tensors of layers are called, and the vectors of the optimizer."),
    field("feed_forward_length", FeedForwardLengthByRecord(_BEFORE_FEED_FORWARD_LENGTH),
        "n_ff", "That of the base model, read off the first w1 B; 0 without layers."),
    field("model", LoraModel,
        "lora", "The pairs of tensors."),
    computed("parameter_count", ElementCount(LoraModel),
        "nx", "The elements of all pairs; stored in the optimizer context."),
    field("optimizer", LoraOptimizer,
        "opt", "The optimizer context, from which the training goes on."),
    field("end", End(),
        "-", "Nothing follows."),
    docs="A LoRA checkpoint. llama.cpp, examples/finetune, development branch: save_checkpoint, "
        "2023-08-16 to 2023-08-29.",
)
# fmt: on
