"""The tables of the mapper: for each key of a GGUF its type and where a snapshot holds its value.

They are the same in both directions. Keys and names are those of the trainers (llama.cpp, examples/
train-text-from-scratch and examples/finetune, 44c117f41 to July 2024).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any, NamedTuple

from construct import Container
from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, MODEL_TENSOR, TENSOR_NAMES, Keys

from converter.gguf_io import keys
from converter.plan import Metadata
from converter.snapshot import Hyperparameters, Snapshot
from ggcp_schema.enums import OptimizerType
from ggcp_schema.gguf import ValueType
from ggcp_schema.lora import LoraModel
from ggcp_schema.model import Model
from ggcp_schema.tensor import slots

ARCHITECTURE = MODEL_ARCH_NAMES[MODEL_ARCH.LLAMA]

U32 = ValueType.UINT32
U64 = ValueType.UINT64
I32 = ValueType.INT32
F32 = ValueType.FLOAT32
BOOL = ValueType.BOOL
STRING = ValueType.STRING


class Row(NamedTuple):
    """A line of a table: the key, its type, and where in the snapshot its value is."""

    key: str
    type: ValueType
    path: str


class Fixed(NamedTuple):
    """A line of a table whose value is the same for every checkpoint."""

    key: str
    type: ValueType
    value: Any


def llama_key(key: str) -> str:
    """Return the name of one of the gguf package's keys for this architecture."""
    return key.format(arch=ARCHITECTURE)


RMS_EPSILON = llama_key(Keys.Attention.LAYERNORM_RMS_EPS)
CONTEXT_LENGTH = llama_key(Keys.LLM.CONTEXT_LENGTH)
EMBEDDING_LENGTH = llama_key(Keys.LLM.EMBEDDING_LENGTH)
BLOCK_COUNT = llama_key(Keys.LLM.BLOCK_COUNT)
FEED_FORWARD_LENGTH = llama_key(Keys.LLM.FEED_FORWARD_LENGTH)
HEAD_COUNT = llama_key(Keys.Attention.HEAD_COUNT)
HEAD_COUNT_KV = llama_key(Keys.Attention.HEAD_COUNT_KV)
ROPE_DIMENSION_COUNT = llama_key(Keys.Rope.DIMENSION_COUNT)
ROPE_FREQUENCY_BASE = llama_key(Keys.Rope.FREQ_BASE)
ROPE_SCALE_LINEAR = llama_key("{arch}.rope.scale_linear")

# fmt: off
COUNTER_ROWS = (
    Row(keys.TRAINING_ITERATION_COUNT, U32, "counters.iteration_count"),
    Row(keys.TRAINING_SAMPLE_COUNT, U32, "counters.sample_count"),
    Row(keys.TRAINING_TOKEN_COUNT, U32, "counters.token_count"),
)
SIZE_ROWS = (
    Row(EMBEDDING_LENGTH, U32, "hyperparameters.embedding_length"),
    Row(HEAD_COUNT, U32, "hyperparameters.head_count"),
    Row(BLOCK_COUNT, U32, "hyperparameters.block_count"),
    Row(ROPE_DIMENSION_COUNT, U32, "hyperparameters.rope_dimension_count"),
    Row(FEED_FORWARD_LENGTH, U32, "hyperparameters.feed_forward_length"),
)
RANK_ROWS = (
    Row(keys.TRAINING_LORA_RANK_TOKEN_EMBD, U32, "ranks.tok_embeddings"),
    Row(keys.TRAINING_LORA_RANK_OUTPUT_NORM, U32, "ranks.norm"),
    Row(keys.TRAINING_LORA_RANK_OUTPUT, U32, "ranks.output"),
    Row(keys.TRAINING_LORA_RANK_ATTN_NORM, U32, "ranks.attention_norm"),
    Row(keys.TRAINING_LORA_RANK_ATTN_Q, U32, "ranks.wq"),
    Row(keys.TRAINING_LORA_RANK_ATTN_K, U32, "ranks.wk"),
    Row(keys.TRAINING_LORA_RANK_ATTN_V, U32, "ranks.wv"),
    Row(keys.TRAINING_LORA_RANK_ATTN_OUT, U32, "ranks.wo"),
    Row(keys.TRAINING_LORA_RANK_FFN_NORM, U32, "ranks.ffn_norm"),
    Row(keys.TRAINING_LORA_RANK_FFN_GATE, U32, "ranks.w1"),
    Row(keys.TRAINING_LORA_RANK_FFN_DOWN, U32, "ranks.w2"),
    Row(keys.TRAINING_LORA_RANK_FFN_UP, U32, "ranks.w3"),
)
OPTIMIZER_ROWS = (
    Fixed(keys.OPTIMIZER_FILE_VERSION, U32, 0),
    Row(keys.OPTIMIZER_CONVERGENCE_PAST_COUNT, U32, "optimizer.convergence_past_count"),
    Row(keys.OPTIMIZER_PARAMETER_COUNT, U64, "optimizer.parameter_count"),
    Row(keys.OPTIMIZER_ITERATION_COUNT, U32, "optimizer.iteration_count"),
    Row(keys.OPTIMIZER_JUST_INITIALIZED, BOOL, "optimizer.just_initialized"),
)
STATE_ROWS: dict[OptimizerType, tuple[Row | Fixed, ...]] = {
    OptimizerType.ADAM: (
        Fixed(keys.OPTIMIZER_TYPE, STRING, "adam"),
        Row(keys.OPTIMIZER_ADAM_BEST_LOSS, F32, "optimizer.scalars.best_loss"),
        Row(keys.OPTIMIZER_ADAM_PREVIOUS_LOSS, F32, "optimizer.scalars.previous_loss"),
        Row(keys.OPTIMIZER_ADAM_NO_IMPROVEMENT_COUNT, U32,
            "optimizer.scalars.no_improvement_count"),
    ),
    OptimizerType.LBFGS: (
        Fixed(keys.OPTIMIZER_TYPE, STRING, "lbfgs"),
        Row(keys.OPTIMIZER_LBFGS_APPROX_HESSIAN_COUNT, U32, "optimizer.approx_hessian_count"),
        Row(keys.OPTIMIZER_LBFGS_BEST_LOSS, F32, "optimizer.scalars.best_loss"),
        Row(keys.OPTIMIZER_LBFGS_LINE_SEARCH_STEP, F32, "optimizer.scalars.line_search_step"),
        Row(keys.OPTIMIZER_LBFGS_LINE_SEARCH_J, I32, "optimizer.scalars.line_search_j"),
        Row(keys.OPTIMIZER_LBFGS_LINE_SEARCH_K, I32, "optimizer.scalars.line_search_k"),
        Row(keys.OPTIMIZER_LBFGS_LINE_SEARCH_END, I32, "optimizer.scalars.line_search_end"),
        Row(keys.OPTIMIZER_LBFGS_NO_IMPROVEMENT_COUNT, U32,
            "optimizer.scalars.no_improvement_count"),
    ),
}
STATE_TENSORS = {
    OptimizerType.ADAM: keys.ADAM_TENSORS,
    OptimizerType.LBFGS: keys.LBFGS_TENSORS,
}
"""For each of the optimizer's vectors its name in a GGUF, in the order of the trainers."""

_TENSORS = {
    "tok_embeddings": MODEL_TENSOR.TOKEN_EMBD,
    "norm": MODEL_TENSOR.OUTPUT_NORM,
    "output": MODEL_TENSOR.OUTPUT,
    "attention_norm": MODEL_TENSOR.ATTN_NORM,
    "attention.wq": MODEL_TENSOR.ATTN_Q,
    "attention.wk": MODEL_TENSOR.ATTN_K,
    "attention.wv": MODEL_TENSOR.ATTN_V,
    "attention.wo": MODEL_TENSOR.ATTN_OUT,
    "ffn_norm": MODEL_TENSOR.FFN_NORM,
    "feed_forward.w1": MODEL_TENSOR.FFN_GATE,
    "feed_forward.w2": MODEL_TENSOR.FFN_DOWN,
    "feed_forward.w3": MODEL_TENSOR.FFN_UP,
}
_HALVES = {"a": ".lora_a", "b": ".lora_b"}
# fmt: on
_LAYER = re.compile(r"layers\[(\d+)\]\.(.+)")


def tensor_name(path: str) -> str:
    """Return the name in a GGUF of the tensor, or half of a pair, at a path of the schema."""
    tensor, _, half = path.rpartition(".")
    if half in _HALVES:
        return tensor_name(tensor) + _HALVES[half]
    layer = _LAYER.match(path)
    if layer is None:
        return f"{TENSOR_NAMES[_TENSORS[path]]}.weight"
    return f"{TENSOR_NAMES[_TENSORS[layer[2]]].format(bid=layer[1])}.weight"


def value_at(snapshot: Snapshot, path: str) -> Any:
    """Return what stands at a dotted path in a snapshot."""

    def member(whole: Any, name: str) -> Any:
        return whole[name] if isinstance(whole, Mapping) else getattr(whole, name)

    return reduce(member, path.split("."), snapshot)


def metadata(rows: tuple[Row | Fixed, ...], snapshot: Snapshot) -> Iterator[Metadata]:
    """Yield the metadata that a table says, with values from the snapshot."""
    for row in rows:
        value = row.value if isinstance(row, Fixed) else value_at(snapshot, row.path)
        yield Metadata(row.key, row.type, value)


def weight_shapes(
    sizes: Hyperparameters, ranks: Mapping[str, int] | None
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield path and shape of each tensor of a model, or of each half of a pair, by the schema.

    Args:
        sizes: of the model, all of whose heads have keys and values of their own.
        ranks: of a LoRA, by kind of pair; None for a whole model.
    """
    root = {
        "hyperparameters": vars(sizes),
        "ranks": ranks,
        "feed_forward_length": sizes.feed_forward_length,
    }
    return slots(Model if ranks is None else LoraModel, {"_root": _attributes(root)})


def _attributes(members: Mapping[str, Any]) -> Any:
    return Container(
        {
            name: _attributes(member) if isinstance(member, Mapping) else member
            for name, member in members.items()
        }
    )
