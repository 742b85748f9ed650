"""The LoRA finetune checkpoint: a header with ranks, pairs of tensors, the optimizer context.

llama.cpp, examples/finetune/finetune.cpp, on its development branch from 2023-08-16 to 2023-08-29;
from then on finetune wrote GGUF.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from typing import Any

from construct import Construct, Container, Switch, this

from ggcp_schema.language.checks import ANOTHER, DAMAGED, Check, shown, value
from ggcp_schema.language.errors import FormatError
from ggcp_schema.language.fields import U32, Struct, computed, derived, field
from ggcp_schema.language.runs import End, Repeated, Signature, read
from ggcp_schema.model import (
    BLOCK_COUNT,
    EMBEDDING_LENGTH,
    HEAD_COUNT,
    ROPE_DIMENSION_COUNT,
    VOCABULARY_SIZE,
    Training,
)
from ggcp_schema.optimizer import Layout, OptimizerVersion1
from ggcp_schema.tensor import F32_TYPE, ElementCount, Tensor

FIRST_NAME = "tok_embeddings.weight.loraA"
"""Name of the first record: where it stands tells the two layouts of the header apart."""


class HeaderLayout(enum.Enum):
    """The two layouts of the header, by what the hyperparameters hold."""

    WITH_MULTIPLE = "with n_mult"
    WITHOUT_MULTIPLE = "without n_mult"


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


class StoredHeaderLayout(Construct):  # type: ignore[misc]
    """Which layout the hyperparameters have, told by where the first record stands.

    Takes no bytes itself. Where a file has the first record at no place, parsing it as the layout
    of all other commits says what is wrong. Building takes what is given, by default that layout.

    Attributes:
        cases: the structs of the hyperparameters, which follow.
        between: what lies between them and the first record.
        docs: how the layout is told, for the documentation.
    """

    def __init__(self, cases: Mapping[HeaderLayout, Struct], between: Struct) -> None:
        super().__init__()
        self.cases = cases
        self.between = between
        self.flagbuildnone = True
        before = 8 + Training.least  # magic and version
        places = [before + case.least + between.least for case in cases.values()]
        numbers = " or ".join(map(str, places))
        names = " or ".join(str(place + 20) for place in places)
        self.docs = (
            "Not stored. All before the model is four bytes longer with n_mult, so the first "
            f"record, model.tok_embeddings.a, stands {numbers} bytes from the start of the file. "
            "Look at these places in this order: the layout is that of the first where n_dims, "
            f"name_length and type are 2, {len(FIRST_NAME)} and 0, or where the name, at {names}, "
            f"is {FIRST_NAME}. If there is no such place, the file is damaged: reject it, and name "
            "what is wrong when it is read with n_mult."
        )

    def _parse(self, stream: Any, context: Any, path: str) -> HeaderLayout:
        offset = stream.tell()
        name = FIRST_NAME.encode()
        numbers = struct.pack("<3L", 2, len(name), F32_TYPE)
        found = HeaderLayout.WITH_MULTIPLE
        for layout, hyperparameters in self.cases.items():
            stream.seek(offset + hyperparameters.least + self.between.least)
            record = stream.read(20 + len(name))  # the numbers, two dimensions, the name
            if record[:12] == numbers or record[20:] == name:
                found = layout
                break
        stream.seek(offset)
        return found

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> HeaderLayout:
        layout = HeaderLayout.WITH_MULTIPLE if obj is None else obj
        if not isinstance(layout, HeaderLayout):
            raise FormatError(
                offset=stream.tell(),
                expected=" or ".join(map(str, HeaderLayout)),
                found=shown(layout),
                hint=f"give one of them, or none for {HeaderLayout.WITH_MULTIPLE}",
            )
        return layout


class StoredFeedForwardLength(Construct):  # type: ignore[misc]
    """n_ff, the last dimension of the first layer's w1 B, looked up ahead; takes no bytes itself.

    It is 0 in a file without layers, which needs none, and in one that is wrong before that
    dimension: parsing the model says where and how. Building takes what is given.

    Attributes:
        before: the records before that one, none of whose shapes depends on n_ff.
        docs: where it is found, for the documentation.
    """

    def __init__(self, before: Struct) -> None:
        super().__init__()
        self.before = before
        self.docs = (
            "Not stored in the header, but shapes depend on it: it is the second dimension of "
            "layers.0.feed_forward.w1.weight.loraB, at least 1. It stands inside the model, but no "
            "look-ahead is needed: nothing before that record depends on it, all after it must "
            "agree. In a file without layers it is 0, and nothing needs it."
        )

    def _parse(self, stream: Any, context: Any, path: str) -> int:
        if context["hyperparameters"]["block_count"] == 0:
            return 0
        start = stream.tell()
        try:
            self.before._parse(stream, Container(_root=context["_root"], _index=0), "")
            record = read(stream, 20)
        except FormatError:
            return 0
        finally:
            found_at = stream.tell() - 4
            stream.seek(start)
        dimension_count, _, _, _, length = struct.unpack("<5L", record)
        if dimension_count != 2:
            return 0
        _require_some(length, found_at, DAMAGED)
        return int(length)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> None:
        if context["hyperparameters"]["block_count"] > 0:
            _require_some(obj, stream.tell(), ANOTHER)


def _require_some(length: Any, offset: int, hint: str) -> None:
    if length == 0:
        raise FormatError(offset=offset, expected="at least 1", found="0", hint=hint)


_CHANGE = (
    "at index i of its first and j of its second dimension, the sum over r of A[r, i]·B[r, j], "
    "without any factor"
)


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
            field("a", Tensor(f"{name}.loraA", rank, inputs),
                f"{c_name}_a", "A: for each index of the tensor's first dimension, each rank."),
            field("b", Tensor(f"{name}.loraB", rank, outputs),
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

_BEFORE_FEED_FORWARD_LENGTH = Struct(
    *LoraModel.subcons[:-1],
    *LoraLayer.subcons[:-1],
    LoraFeedForward.w1.subcon.a,
)

LoraOptimizer = Struct(
    derived("version", U32, 1,
        "version", "Version of the optimizer context; finetune wrote no other."),
    computed("layout", Layout.VERSION_1,
        "-", "For tools that read both kinds of file; ignore it."),
    *OptimizerVersion1.subcons[1:],
    docs="Optimizer context over the elements of the pairs, in an order that is not established. "
        "The same as version 1 in a training checkpoint.",
)

_HYPERPARAMETERS = {
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
    field("layout", StoredHeaderLayout(_HYPERPARAMETERS, Ranks),
        "-", "Whether n_mult is there, told by where the first record stands."),
    field("hyperparameters", Switch(this.layout, _HYPERPARAMETERS),
        "hparams", "The sizes of the base model."),
    field("ranks", Ranks,
        "lora.hparams", "The rank of each pair, by the tensor of the base model that it changes."),
    field("feed_forward_length", StoredFeedForwardLength(_BEFORE_FEED_FORWARD_LENGTH),
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
