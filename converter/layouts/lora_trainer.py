"""From a parsed LoRA checkpoint to the plan of a GGUF, by tables, as ``mapper`` does for a model.

Keys, tensors and their order are those of ``examples/finetune`` at 0e76a8992 (2023-09-28): the keys
of convert-finetune-checkpoint-to-gguf.py, the tensors of ``save_llama_lora_gguf`` in finetune.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gguf import Keys

from converter.gguf_io import keys
from converter.layouts.trainer import (
    ARCHITECTURE,
    F32,
    HYPERPARAMETER_KEYS,
    OPTIMIZER_KEYS,
    RMS_EPSILON,
    STATE_KEYS,
    STRING,
    U32,
    Fixed,
    Row,
    as_stored,
    metadata,
    model_tensors,
    optimizer_tensors,
    provenance,
)
from converter.plan import Metadata, Plan, PlannedTensor
from ggcp_schema.enums import OptimizerType

MAGIC = b"lcgg"
A_SUFFIX, B_SUFFIX = ".weight.lora_a", ".weight.lora_b"

# fmt: off
TRAINING_KEYS = (
    Fixed(keys.TRAINING_FILE_VERSION, U32, 0),
    Fixed(keys.TRAINING_TYPE, STRING, "finetune_lora"),
    Row(keys.TRAINING_ITERATION_COUNT, U32, "training.iteration_count"),
    Row(keys.TRAINING_SAMPLE_COUNT, U32, "training.sample_count"),
    Row(keys.TRAINING_TOKEN_COUNT, U32, "training.token_count"),
)
SIZE_KEYS = (
    *HYPERPARAMETER_KEYS[:-1],
    # The checkpoint does not store it: the schema reads it off the first w1 B.
    HYPERPARAMETER_KEYS[-1]._replace(path="feed_forward_length"),
)
RANK_KEYS = (
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
# fmt: on


def is_lora(container: Any) -> bool:
    """Tell whether a parsed checkpoint is one of finetune."""
    return bool(container.magic == MAGIC)


def pair_tensors(container: Any) -> Iterator[PlannedTensor]:
    """Yield the pairs as they stand in the checkpoint, A before B; those of norms are matrices."""
    for _path, name, pair in model_tensors(container.model):
        yield PlannedTensor(name + A_SUFFIX, pair.a.shape, (pair.a.data,))
        yield PlannedTensor(name + B_SUFFIX, pair.b.shape, (pair.b.data,))


def lora_plan(container: Any, *, epsilon: float) -> Plan:
    """Return the plan of a GGUF with which the GGUF finetune trainers resume.

    The optimizer's vectors stay in the order of the checkpoint.

    Args:
        container: a parsed LoRA checkpoint.
        epsilon: the epsilon of the RMS norms, which the checkpoint does not hold.
    """
    return Plan(
        ARCHITECTURE,
        (
            Metadata(Keys.General.FILE_TYPE, U32, 0),
            Metadata(RMS_EPSILON, F32, epsilon),
            *metadata(TRAINING_KEYS, container),
            *metadata(SIZE_KEYS, container),
            *metadata(RANK_KEYS, container),
            *metadata(OPTIMIZER_KEYS, container),
            *metadata(STATE_KEYS[OptimizerType(container.optimizer.type)], container),
            *provenance(container),
        ),
        (*pair_tensors(container), *optimizer_tensors(container, as_stored)),
    )
