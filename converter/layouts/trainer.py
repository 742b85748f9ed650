"""From the parsed checkpoint to the plan of a GGUF, by tables; no I/O, and no float is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, MODEL_TENSOR, TENSOR_NAMES, GGUFValueType, Keys

from converter.gguf_io import keys
from converter.plan import Metadata, Part, Plan, PlannedTensor
from converter.version import __version__
from ggcp_schema import Span
from ggcp_schema.enums import OptimizerType

ARCHITECTURE = MODEL_ARCH_NAMES[MODEL_ARCH.LLAMA]

U32 = GGUFValueType.UINT32
U64 = GGUFValueType.UINT64
I32 = GGUFValueType.INT32
F32 = GGUFValueType.FLOAT32
BOOL = GGUFValueType.BOOL
STRING = GGUFValueType.STRING


class Row(NamedTuple):
    """A line of a table: the key, its type, and where in the container its value is."""

    key: str
    type: GGUFValueType
    path: str


class Fixed(NamedTuple):
    """A line of a table whose value is the same for every checkpoint."""

    key: str
    type: GGUFValueType
    value: Any


def llama_key(key: str) -> str:
    """Return the name of one of the gguf package's keys for this architecture."""
    return key.format(arch=ARCHITECTURE)


RMS_EPSILON = llama_key(Keys.Attention.LAYERNORM_RMS_EPS)

# fmt: off
TRAINING_KEYS = (
    Fixed(keys.TRAINING_FILE_VERSION, U32, 0),
    Fixed(keys.TRAINING_TYPE, STRING, "train_model"),
    Row(keys.TRAINING_ITERATION_COUNT, U32, "training.iteration_count"),
    Row(keys.TRAINING_SAMPLE_COUNT, U32, "training.sample_count"),
    Row(keys.TRAINING_TOKEN_COUNT, U32, "training.token_count"),
)
HYPERPARAMETER_KEYS = (
    Row(llama_key(Keys.LLM.EMBEDDING_LENGTH), U32, "hyperparameters.embedding_length"),
    Row(llama_key(Keys.Attention.HEAD_COUNT), U32, "hyperparameters.head_count"),
    Row(llama_key(Keys.LLM.BLOCK_COUNT), U32, "hyperparameters.block_count"),
    Row(llama_key(Keys.Rope.DIMENSION_COUNT), U32, "hyperparameters.rope_dimension_count"),
    Row(llama_key(Keys.LLM.FEED_FORWARD_LENGTH), U32, "hyperparameters.feed_forward_length"),
)
OPTIMIZER_KEYS = (
    Fixed(keys.OPTIMIZER_FILE_VERSION, U32, 0),
    Row(keys.OPTIMIZER_CONVERGENCE_PAST_COUNT, U32, "optimizer.convergence_past_count"),
    Row(keys.OPTIMIZER_PARAMETER_COUNT, U64, "optimizer.parameter_count"),
    Row(keys.OPTIMIZER_ITERATION_COUNT, U32, "optimizer.iteration_count"),
    Row(keys.OPTIMIZER_JUST_INITIALIZED, BOOL, "optimizer.just_initialized"),
)
STATE_KEYS = {
    OptimizerType.ADAM: (
        Fixed(keys.OPTIMIZER_TYPE, STRING, "adam"),
        Row(keys.OPTIMIZER_ADAM_BEST_LOSS, F32, "optimizer.state.best_loss"),
        Row(keys.OPTIMIZER_ADAM_PREVIOUS_LOSS, F32, "optimizer.state.previous_loss"),
        Row(keys.OPTIMIZER_ADAM_NO_IMPROVEMENT_COUNT, U32, "optimizer.state.no_improvement_count"),
    ),
    OptimizerType.LBFGS: (
        Fixed(keys.OPTIMIZER_TYPE, STRING, "lbfgs"),
        Row(keys.OPTIMIZER_LBFGS_APPROX_HESSIAN_COUNT, U32, "optimizer.approx_hessian_count"),
        Row(keys.OPTIMIZER_LBFGS_BEST_LOSS, F32, "optimizer.state.best_loss"),
        Row(keys.OPTIMIZER_LBFGS_LINE_SEARCH_STEP, F32, "optimizer.state.line_search_step"),
        Row(keys.OPTIMIZER_LBFGS_LINE_SEARCH_J, I32, "optimizer.state.line_search_j"),
        Row(keys.OPTIMIZER_LBFGS_LINE_SEARCH_K, I32, "optimizer.state.line_search_k"),
        Row(keys.OPTIMIZER_LBFGS_LINE_SEARCH_END, I32, "optimizer.state.line_search_end"),
        Row(keys.OPTIMIZER_LBFGS_NO_IMPROVEMENT_COUNT, U32, "optimizer.state.no_improvement_count"),
    ),
}
STATE_TENSORS = {
    OptimizerType.ADAM: keys.ADAM_TENSORS,
    OptimizerType.LBFGS: keys.LBFGS_TENSORS,
}

GLOBAL_TENSORS = (
    ("tok_embeddings", MODEL_TENSOR.TOKEN_EMBD),
    ("norm", MODEL_TENSOR.OUTPUT_NORM),
    ("output", MODEL_TENSOR.OUTPUT),
)
LAYER_TENSORS = (
    ("attention_norm", MODEL_TENSOR.ATTN_NORM),
    ("attention.wq", MODEL_TENSOR.ATTN_Q),
    ("attention.wk", MODEL_TENSOR.ATTN_K),
    ("attention.wv", MODEL_TENSOR.ATTN_V),
    ("attention.wo", MODEL_TENSOR.ATTN_OUT),
    ("ffn_norm", MODEL_TENSOR.FFN_NORM),
    ("feed_forward.w1", MODEL_TENSOR.FFN_GATE),
    ("feed_forward.w2", MODEL_TENSOR.FFN_DOWN),
    ("feed_forward.w3", MODEL_TENSOR.FFN_UP),
)
# fmt: on


def at(container: Any, path: str) -> Any:
    """Return what stands at a dotted path in a container."""
    for name in path.split("."):
        container = container[name]
    return container


def trained_context_length(training: Mapping[str, int]) -> int | None:
    """Return the tokens of a sample, from the training counters; None if they do not say.

    The trainer counts exactly this many tokens with each sample
    (llama.cpp e32089b2c, train-text-from-scratch: ``train_tokens += n_batch * n_tokens``).
    """
    samples, tokens = training.get("sample_count", 0), training.get("token_count", 0)
    return tokens // samples if samples and tokens and tokens % samples == 0 else None


def metadata(rows: tuple[Row | Fixed, ...], container: Any) -> Iterator[Metadata]:
    """Yield the metadata that a table says, with values from the container."""
    for row in rows:
        value = row.value if isinstance(row, Fixed) else at(container, row.path)
        yield Metadata(row.key, row.type, bool(value) if row.type is BOOL else value)


def model_tensors(model: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield path, GGUF name (without ``.weight``) and member of each tensor of a model, in order.

    The path is that of the schema, such as ``layers[0].attention.wq``.
    """
    for path, tensor in GLOBAL_TENSORS:
        yield path, TENSOR_NAMES[tensor], model[path]
    for index, layer in enumerate(model.layers):
        for path, tensor in LAYER_TENSORS:
            name = TENSOR_NAMES[tensor].format(bid=index)
            yield f"layers[{index}].{path}", name, at(layer, path)


def model_weights(container: Any) -> Iterator[PlannedTensor]:
    """Yield the weights as they stand in the checkpoint."""
    for _path, name, record in model_tensors(container.model):
        yield PlannedTensor(f"{name}.weight", record.shape, (record.data,))


def provenance(container: Any) -> Iterator[Metadata]:
    """Yield what made the GGUF, and from what."""
    yield Metadata(keys.GGCP_VERSION, STRING, __version__)
    yield Metadata(keys.GGCP_OPTIMIZER_VERSION, U32, container.optimizer.version)


Rearrange = Callable[[str, Span], tuple[Part, ...]]
"""How the data of a member of the optimizer's state get into the GGUF."""


def as_stored(member: str, data: Span) -> tuple[Part, ...]:
    """Leave a vector of the optimizer as it stands in the checkpoint."""
    return (data,)


def optimizer_tensors(container: Any, rearrange: Rearrange) -> Iterator[PlannedTensor]:
    """Yield the tensors of the optimizer's state; one without elements is left out."""
    state = container.optimizer.state
    for member, name in STATE_TENSORS[OptimizerType(container.optimizer.type)].items():
        record = state[member]
        if record.shape:
            yield PlannedTensor(name, record.shape, rearrange(member, record.data))


def trainer_plan(
    container: Any,
    *,
    epsilon: float,
    rearrange: Rearrange = as_stored,
    extra: tuple[Metadata, ...] = (),
) -> Plan:
    """Return the plan of a GGUF with which the GGUF trainers resume.

    Args:
        container: a parsed training checkpoint.
        epsilon: the epsilon of the RMS norms, which the checkpoint does not hold.
        rearrange: how the optimizer's vectors are written.
        extra: further provenance.
    """
    optimizer_type = OptimizerType(container.optimizer.type)
    return Plan(
        ARCHITECTURE,
        (
            Metadata(Keys.General.FILE_TYPE, U32, 0),
            Metadata(RMS_EPSILON, F32, epsilon),
            *metadata(TRAINING_KEYS, container),
            *metadata(HYPERPARAMETER_KEYS, container),
            *metadata(OPTIMIZER_KEYS, container),
            *metadata(STATE_KEYS[optimizer_type], container),
            *provenance(container),
            *extra,
        ),
        (*model_weights(container), *optimizer_tensors(container, rearrange)),
    )
