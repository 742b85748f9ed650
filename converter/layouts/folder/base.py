"""The model that a LoRA and its base make together, as a snapshot of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gguf import Keys, RopeScalingType

from converter.gguf_io.reader import Gguf
from converter.layouts.merged import merge_plan
from converter.layouts.tables import (
    CONTEXT_LENGTH,
    HEAD_COUNT_KV,
    RMS_EPSILON,
    ROPE_DIMENSION_COUNT,
    ROPE_FREQUENCY_BASE,
    SIZE_ROWS,
    llama_key,
    tensor_name,
    weight_shapes,
)
from converter.numeric.rounding import widened
from converter.parts import Array, Computed
from converter.plan import PlannedTensor
from converter.snapshot import Hyperparameters, Rope, Snapshot
from ggcp_schema import FormatError
from ggcp_schema.gguf import TensorType
from ggcp_schema.language.checks import shown
from ggcp_schema.order import Order, paths
from ggcp_schema.tensor import element_count

_HINT = "transformers has no such model in this form; merge it into a GGUF, without --format hf"
_WIDENED = (TensorType.F32, TensorType.F16, TensorType.BF16)


def merged_snapshot(snapshot: Snapshot, base: Gguf) -> Snapshot:
    """Return a base model with the changes of a LoRA, its weights in float32.

    Its vocabulary is not read.

    Args:
        snapshot: the LoRA.
        base: the model that it was trained on.

    Raises:
        FormatError: base and checkpoint do not fit, or the base has what a folder cannot express.
    """
    plan = merge_plan(snapshot, base, outtype="f32")
    try:
        sizes = _sizes(base)
        weights = dict(_weights({tensor.name: tensor for tensor in plan.tensors}, sizes))
        return replace(
            snapshot,
            kind=f"{snapshot.kind}, merged into its base model",
            sizes=sizes,
            weights=weights,
            ranks=None,
            optimizer=None,
            context_length=_whole(base, CONTEXT_LENGTH),
            epsilon=_number(base, RMS_EPSILON, None),
            rope=_rope(base),
            vocabulary=None,
            kept=None,
        )
    except FormatError as error:
        error.file = base.source.label
        raise


def _sizes(base: Gguf) -> Hyperparameters:
    heads, length = (_whole(base, row.key) for row in (SIZE_ROWS[1], SIZE_ROWS[0]))
    given = _whole(base, HEAD_COUNT_KV, heads)
    if length % heads or heads % given:
        raise _unfit(SIZE_ROWS[1].key, f"a divisor of {length}, and a multiple of {given}", heads)
    sizes = {}
    for row in SIZE_ROWS:
        default = length // heads if row.key == ROPE_DIMENSION_COUNT else None
        sizes[row.path.rpartition(".")[2]] = _whole(base, row.key, default)
    name = tensor_name("tok_embeddings")
    if name not in base.tensors or len(base.tensors[name].data.shape) != 2:
        raise _unfit(f"tensor {name}", "a matrix", None)
    count = base.tensors[name].data.shape[1]
    return Hyperparameters(**sizes, vocabulary_size=count, key_value_head_count=given)


def _weights(
    tensors: Mapping[str, PlannedTensor], sizes: Hyperparameters
) -> Iterator[tuple[str, Array]]:
    if sizes.block_count > len(tensors):  # before anything is looped over
        raise _unfit(SIZE_ROWS[2].key, "as many layers as the file has tensors for", None)
    wanted = {tensor_name(path): path for path in paths(Order.SCRATCH, sizes.block_count)}
    shapes = dict(weight_shapes(sizes, None))
    for name in tensors:
        if name not in wanted:
            raise _unfit(f"tensor {shown(name)}", "only the tensors of a LLaMA model", "another")
    for name, path in wanted.items():
        if name not in tensors:
            raise _unfit(f"tensor {name}", "a tensor of this name", None)
        tensor, shape = tensors[name], shapes[path]
        if tensor.type not in _WIDENED:
            raise _unfit(f"tensor {name}", "F32, F16 or BF16", tensor.type.name)
        if path.endswith((".wk", ".wv")):  # less where heads share them
            shape = (shape[0], sizes.key_value_length)
        if tensor.shape != shape:
            raise _unfit(f"tensor {name}", f"the dimensions {shown(shape)}", shown(tensor.shape))
        yield path, Array(shape, (Computed(4 * element_count(shape), _InFloat32(tensor)),))


@dataclass(frozen=True)
class _InFloat32:
    """The bytes of a tensor of F32, F16 or BF16 in float32."""

    tensor: PlannedTensor

    def __call__(self) -> Iterator[bytes]:
        kind = self.tensor.type
        for part in self.tensor.parts:
            for block in part.blocks():
                if kind is TensorType.F32:
                    yield block
                else:
                    yield widened(np.frombuffer(block, np.uint8), kind).astype("<f4").tobytes()


def _rope(base: Gguf) -> Rope:
    kind = base.value(llama_key(Keys.Rope.SCALING_TYPE), RopeScalingType.NONE.value)
    known = (RopeScalingType.NONE.value, RopeScalingType.LINEAR.value)
    if kind not in known:
        raise _unfit(llama_key(Keys.Rope.SCALING_TYPE), " or ".join(known), kind)
    factor = _number(base, llama_key(Keys.Rope.SCALING_FACTOR), 1.0)
    scaled = kind == RopeScalingType.LINEAR.value and factor
    theta = _number(base, ROPE_FREQUENCY_BASE, 10000.0)
    return Rope(theta, 1 / factor if scaled else 1.0)


def _whole(base: Gguf, key: str, default: int | None = None) -> int:
    value = base.value(key, default)
    if type(value) is not int or value < 1:
        raise _unfit(key, "a whole number above 0", value)
    return value


def _number(base: Gguf, key: str, default: float | None) -> float:
    value = base.value(key, default)
    if not isinstance(value, float):
        raise _unfit(key, "a number", value)
    return value


def _unfit(path: str, expected: str, found: Any) -> FormatError:
    words = "none" if found is None else found if isinstance(found, str) else shown(found)
    return FormatError(path=path, expected=expected, found=words, hint=_HINT)
