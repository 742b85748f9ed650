"""The plan of a GGUF that today's engines run: the weights, and what inference needs besides.

Which keys llama.cpp and transformers need was found out by leaving each out. Without
``head_count_kv`` transformers gives wrong numbers in silence; tensors beyond the model's own make
llama.cpp refuse the file. Queries and keys need no permutation: the trainer rotated as llama.cpp's
'normal' rope does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gguf import (
    GGML_QUANT_VERSION,
    MODEL_TENSOR,
    TENSOR_NAMES,
    GGMLQuantizationType,
    Keys,
)

from converter.gguf_io import keys
from converter.layouts.trainer import (
    ARCHITECTURE,
    F32,
    RMS_EPSILON,
    STRING,
    U32,
    U64,
    Fixed,
    Row,
    llama_key,
    metadata,
    model_tensors,
)
from converter.numeric.encode import Outtype, encoded, stored_type
from converter.plan import Computed, Metadata, Plan, PlannedTensor
from converter.version import __version__
from ggcp_schema import Span

CONTEXT_LENGTH = llama_key(Keys.LLM.CONTEXT_LENGTH)

ROPE_BASE = 10000.0
"""Fixed in the trainer (e32089b2c: the ``ggml_rope`` of its time)."""

NOT_ROTATED = 1e30
"""Divides the angle of a dimension that the trainer left alone: it turns by nothing."""

# fmt: off
MODEL_KEYS = (
    Row(llama_key(Keys.LLM.EMBEDDING_LENGTH), U32, "hyperparameters.embedding_length"),
    Row(llama_key(Keys.LLM.BLOCK_COUNT), U32, "hyperparameters.block_count"),
    Row(llama_key(Keys.LLM.FEED_FORWARD_LENGTH), U32, "hyperparameters.feed_forward_length"),
    Row(llama_key(Keys.Attention.HEAD_COUNT), U32, "hyperparameters.head_count"),
    Row(llama_key(Keys.Attention.HEAD_COUNT_KV), U32, "hyperparameters.head_count"),
)
ROPE_KEYS = (
    Fixed(llama_key(Keys.Rope.FREQ_BASE), F32, ROPE_BASE),
    Row(llama_key(Keys.LLM.VOCAB_SIZE), U32, "hyperparameters.vocabulary_size"),
)
# fmt: on


@dataclass(frozen=True)
class ModelFacts:
    """What a model's GGUF says that the checkpoint does not.

    Attributes:
        context_length: tokens that the model was trained to take at once.
        epsilon: the epsilon of the RMS norms.
        outtype: the type of the matrices.
        general: the keys ``general.*`` that describe the model.
        tokenizer: the keys ``tokenizer.ggml.*``.
        missing: how many values at the end of the model were missing and are zero, for a rescued
            model; None for one from a whole checkpoint.
    """

    context_length: int
    epsilon: float
    outtype: Outtype
    general: tuple[Metadata, ...]
    tokenizer: tuple[Metadata, ...]
    missing: int | None = None


def head_dimension(hyperparameters: Any) -> int:
    """Return the elements of each head (C: ``n_embd / n_head``)."""
    return int(hyperparameters.embedding_length // hyperparameters.head_count)


def rotates_in_part(hyperparameters: Any) -> bool:
    """Tell whether only the first dimensions of each head are rotated."""
    return bool(hyperparameters.rope_dimension_count < head_dimension(hyperparameters))


def model_plan(container: Any, facts: ModelFacts) -> Plan:
    """Return the plan of a GGUF to run a model with.

    Args:
        container: a parsed training checkpoint, whose model is whole.
        facts: what is not in it.
    """
    hyperparameters = container.hyperparameters
    tensors = tuple(_tensors(container, facts.outtype))
    quantized = any(tensor.type is GGMLQuantizationType.Q8_0 for tensor in tensors)
    version = (Metadata(Keys.General.QUANTIZATION_VERSION, U32, GGML_QUANT_VERSION),)
    return Plan(
        ARCHITECTURE,
        (
            *facts.general,
            Metadata(Keys.General.FILE_TYPE, U32, int(facts.outtype.file_type)),
            *(version if quantized else ()),
            Metadata(CONTEXT_LENGTH, U32, facts.context_length),
            *metadata(MODEL_KEYS, container),
            Metadata(RMS_EPSILON, F32, facts.epsilon),
            # llama.cpp refuses any other number than the head dimension.
            Metadata(llama_key(Keys.Rope.DIMENSION_COUNT), U32, head_dimension(hyperparameters)),
            *metadata(ROPE_KEYS, container),
            *_provenance(container, facts),
            *facts.tokenizer,
        ),
        tensors,
    )


def _provenance(container: Any, facts: ModelFacts) -> Iterator[Metadata]:
    yield Metadata(keys.GGCP_VERSION, STRING, __version__)
    if "version" in container.get("optimizer", ()):
        yield Metadata(keys.GGCP_OPTIMIZER_VERSION, U32, container.optimizer.version)
    if facts.missing is not None:
        yield Metadata(keys.GGCP_MISSING_VALUES, U64, facts.missing)


def _tensors(container: Any, outtype: Outtype) -> Iterator[PlannedTensor]:
    hyperparameters = container.hyperparameters
    for _path, name, record in model_tensors(container.model):
        kind = stored_type(record.shape, outtype)
        yield encoded(f"{name}.weight", record.shape, _parts(record), kind)
    if rotates_in_part(hyperparameters):
        yield _rope_factors(hyperparameters)


def _parts(record: Any) -> tuple[Span | Computed, ...]:
    missing = record.get("missing", 0)
    if not missing:
        return (record.data,)
    zeros = Computed(4 * missing, lambda: _zeros(4 * missing))
    return (record.data, zeros) if record.data.length else (zeros,)


def _zeros(count: int) -> Iterator[bytes]:
    for start in range(0, count, 1 << 20):
        yield bytes(min(1 << 20, count - start))


def _rope_factors(hyperparameters: Any) -> PlannedTensor:
    """Return what divides the angles of rope, so that llama.cpp rotates as the trainer did.

    llama.cpp turns the pair i of a head by 10000^(-2i / head dimension) a position; the trainer
    turned the first n_rot / 2 pairs by 10000^(-2i / n_rot), the others not at all.
    """
    dimension = head_dimension(hyperparameters)
    rotated = hyperparameters.rope_dimension_count
    factors = np.full(dimension // 2, NOT_ROTATED)
    pair = np.arange(rotated // 2)
    factors[: rotated // 2] = ROPE_BASE ** (2 * pair / rotated - 2 * pair / dimension)
    data = factors.astype("<f4").tobytes()
    name = TENSOR_NAMES[MODEL_TENSOR.ROPE_FREQS]
    return PlannedTensor(f"{name}.weight", (len(factors),), (Computed(len(data), lambda: (data,)),))
