"""A GGUF that today's engines run: the weights, and what inference needs besides.

Which keys llama.cpp and transformers need was found out by leaving each out. Without
``head_count_kv`` transformers gives wrong numbers in silence; tensors beyond the model's own make
llama.cpp refuse the file. Queries and keys need no permutation: the trainer rotated as llama.cpp's
'normal' rope does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from gguf import (
    GGML_QUANT_VERSION,
    MODEL_TENSOR,
    TENSOR_NAMES,
    Keys,
    RopeScalingType,
)

from converter.errors import ConversionError
from converter.gguf_io.reader import Gguf
from converter.layouts.general import default_name, stored_general
from converter.layouts.provenance import damage, provenance
from converter.layouts.tables import (
    ARCHITECTURE,
    BLOCK_COUNT,
    CONTEXT_LENGTH,
    EMBEDDING_LENGTH,
    F32,
    FEED_FORWARD_LENGTH,
    HEAD_COUNT,
    HEAD_COUNT_KV,
    RMS_EPSILON,
    ROPE_DIMENSION_COUNT,
    ROPE_FREQUENCY_BASE,
    STRING,
    U32,
    Row,
    llama_key,
    metadata,
    tensor_name,
)
from converter.layouts.trainer import stored_epsilon
from converter.numeric.encode import OUTTYPES, Outtype, encoded, stored_type
from converter.parts import Computed
from converter.plan import Metadata, Plan, PlannedTensor
from converter.snapshot import Hyperparameters, Rope, Snapshot
from ggcp_schema.gguf import TensorType
from ggcp_schema.history import HISTORICAL_EPSILON

NOT_ROTATED = 1e30
"""Divides the angle of a dimension that the trainer left alone: it turns by nothing."""

# fmt: off
_MODEL_ROWS = (
    Row(EMBEDDING_LENGTH, U32, "hyperparameters.embedding_length"),
    Row(BLOCK_COUNT, U32, "hyperparameters.block_count"),
    Row(FEED_FORWARD_LENGTH, U32, "hyperparameters.feed_forward_length"),
    Row(HEAD_COUNT, U32, "hyperparameters.head_count"),
    Row(HEAD_COUNT_KV, U32, "hyperparameters.head_count"),
)
_ROPE_ROWS = (
    # llama.cpp refuses any other number of dimensions than that of the head.
    Row(ROPE_DIMENSION_COUNT, U32, "hyperparameters.head_dimension"),
    Row(ROPE_FREQUENCY_BASE, F32, "rope.base"),
    Row(llama_key(Keys.LLM.VOCAB_SIZE), U32, "hyperparameters.vocabulary_size"),
)
# fmt: on


@dataclass(frozen=True)
class Choices:
    """What a model's GGUF says that the checkpoint does not.

    Attributes:
        context_length: tokens that the model was trained to take at once.
        epsilon: the epsilon of the RMS norms.
        outtype: the type of the matrices.
        general: the keys ``general.*`` that describe the model.
        tokenizer: the keys ``tokenizer.ggml.*``.
    """

    context_length: int
    epsilon: float
    outtype: Outtype
    general: tuple[Metadata, ...]
    tokenizer: tuple[Metadata, ...]


def recognises(finished: Gguf) -> bool:
    """Tell whether a GGUF is a model with its vocabulary."""
    return Keys.Tokenizer.LIST in finished.keys


def stored_choices(finished: Gguf, snapshot: Snapshot, tokenizer: tuple[Metadata, ...]) -> Choices:
    """Return the choices that a GGUF shows; a default for what it does not say, or says wrongly."""
    context_length, epsilon = finished.value(CONTEXT_LENGTH), stored_epsilon(finished)
    file_type = finished.value(Keys.General.FILE_TYPE)
    outtypes = [o for o in OUTTYPES.values() if int(o.file_type) == file_type]
    if not isinstance(context_length, int):
        context_length = snapshot.context_length or 1
    return Choices(
        context_length=context_length,
        epsilon=HISTORICAL_EPSILON if epsilon is None else epsilon,
        outtype=outtypes[0] if outtypes else OUTTYPES["f32"],
        general=stored_general(finished, default_name(snapshot.file)),
        tokenizer=tokenizer,
    )


def require_that_it_runs(snapshot: Snapshot) -> None:
    """Make sure that an engine can run the model.

    Raises:
        ConversionError: llama.cpp would abort on it.
    """
    dimension = snapshot.hyperparameters.head_dimension
    if dimension % 2:
        expected, found = "heads of an even dimension", f"{dimension} (n_embd / n_head)"
    elif not snapshot.hyperparameters.block_count:
        expected, found = "at least one layer", "none (n_layer)"
    else:
        return
    raise ConversionError(
        snapshot.file,
        expected=expected,
        found=found,
        hint="llama.cpp aborts on such a model; ggcp convert keeps it for the trainers",
    )


def model_plan(snapshot: Snapshot, choices: Choices) -> Plan:
    """Return the plan of a GGUF to run a model with.

    Args:
        snapshot: a checkpoint whose model is whole.
        choices: what is not in it.
    """
    tensors = tuple(_tensors(snapshot, choices.outtype))
    quantized = any(tensor.type is TensorType.Q8_0 for tensor in tensors)
    version = (Metadata(Keys.General.QUANTIZATION_VERSION, U32, GGML_QUANT_VERSION),)
    return Plan(
        ARCHITECTURE,
        (
            *choices.general,
            Metadata(Keys.General.FILE_TYPE, U32, int(choices.outtype.file_type)),
            *(version if quantized else ()),
            Metadata(CONTEXT_LENGTH, U32, choices.context_length),
            *metadata(_MODEL_ROWS, snapshot),
            Metadata(RMS_EPSILON, F32, choices.epsilon),
            *metadata(_ROPE_ROWS, snapshot),
            *_scaling(snapshot.required_rope),
            *provenance(snapshot),
            *damage(snapshot),
            *choices.tokenizer,
        ),
        tensors,
    )


def _tensors(snapshot: Snapshot, outtype: Outtype) -> Iterator[PlannedTensor]:
    for path, array in snapshot.weights.items():
        kind = stored_type(array.shape, outtype)
        yield encoded(tensor_name(path), array.shape, array.parts, kind)
    if snapshot.hyperparameters.rotates_in_part:
        yield _rope_factors(snapshot.hyperparameters, snapshot.required_rope.base)


def _scaling(rope: Rope) -> Iterator[Metadata]:
    if rope.scale != 1:
        yield Metadata(llama_key(Keys.Rope.SCALING_TYPE), STRING, RopeScalingType.LINEAR.value)
        yield Metadata(llama_key(Keys.Rope.SCALING_FACTOR), F32, 1 / rope.scale)


def _rope_factors(hyperparameters: Hyperparameters, base: float) -> PlannedTensor:
    """Return what divides the angles of rope, so that llama.cpp rotates as the trainer did.

    llama.cpp turns the pair i of a head by base^(-2i / head dimension) a position; the trainer
    turned the first n_rot / 2 pairs by base^(-2i / n_rot), the others not at all.
    """
    dimension = hyperparameters.head_dimension
    rotated = hyperparameters.rope_dimension_count
    factors = np.full(dimension // 2, NOT_ROTATED)
    pair = np.arange(rotated // 2)
    factors[: rotated // 2] = base ** (2 * pair / rotated - 2 * pair / dimension)
    data = factors.astype("<f4").tobytes()
    name = TENSOR_NAMES[MODEL_TENSOR.ROPE_FREQS]
    return PlannedTensor(f"{name}.weight", (len(factors),), (Computed(len(data), lambda: (data,)),))
