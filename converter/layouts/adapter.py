"""From a LoRA checkpoint to the plan of an adapter that today's llama.cpp takes with ``--lora``.

What its loader wants: llama.cpp, src/llama-adapter.cpp, ``llama_adapter_lora_init_impl``,
c392e5094. Its scale is alpha / rank for each pair, or 1 where alpha is 0: what finetune trained
with, whatever the ranks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gguf import MODEL_TENSOR, TENSOR_NAMES, GGMLQuantizationType, GGUFType, Keys

from converter.errors import ConversionError
from converter.gguf_io import keys
from converter.layouts.lora_trainer import A_SUFFIX, B_SUFFIX
from converter.layouts.trainer import ARCHITECTURE, F32, STRING, U32, model_tensors
from converter.numeric.delta import Delta, transposed
from converter.numeric.encode import OUTTYPES, encoded
from converter.plan import Computed, Metadata, Plan, PlannedTensor
from converter.progress import LOGGER
from converter.version import __version__
from ggcp_schema import Span

_TOKEN_EMBEDDINGS = TENSOR_NAMES[MODEL_TENSOR.TOKEN_EMBD]


def adapter_plan(container: Any, *, outtype: str = "f32") -> Plan:
    """Return the plan of an adapter: the pairs of all matrices whose rank is not 0.

    An adapter cannot carry the pairs of norms; see ``tell_of_norms``.

    Args:
        container: a parsed LoRA checkpoint.
        outtype: one of ADAPTER_OUTTYPES.
    """
    stored = OUTTYPES[outtype]
    return Plan(
        ARCHITECTURE,
        (
            Metadata(Keys.General.TYPE, STRING, GGUFType.ADAPTER),
            Metadata(Keys.General.FILE_TYPE, U32, int(stored.file_type)),
            Metadata(Keys.Adapter.TYPE, STRING, "lora"),
            Metadata(Keys.Adapter.LORA_ALPHA, F32, 0.0),
            Metadata(keys.GGCP_VERSION, STRING, __version__),
        ),
        tuple(_tensors(container.model, stored.type)),
    )


def require_pairs(plan: Plan, file: str) -> None:
    """Make sure that there is something in an adapter: llama.cpp does not take an empty one.

    Raises:
        ConversionError: there is not.
    """
    if not plan.tensors:
        raise ConversionError(
            file,
            expected="a matrix that the training could change",
            found="rank 0 for all of them",
            hint="an adapter would be empty; changes of norms can be merged into the base model "
            "(--merge BASE.gguf)",
        )


def tell_of_norms(container: Any) -> None:
    """Warn the user if the training changed norms, which an adapter leaves out."""
    largest, where = 0.0, ""
    for path, _name, pair in model_tensors(container.model):
        delta = Delta.of(pair)
        if _is_norm(path) and delta.rank:
            change = delta.largest()
            if change > largest or math.isnan(change):
                largest, where = change, path
    if where:
        LOGGER.warning(
            "an adapter cannot carry what the training changed in the norms: up to %.3g where the "
            "weights are about 1 (%s); nothing is left out if you merge it into the base model: "
            "--merge BASE.gguf",
            largest,
            where,
        )


def _is_norm(path: str) -> bool:
    return path.endswith("norm")


def _tensors(model: Any, kind: GGMLQuantizationType) -> Iterator[PlannedTensor]:
    for path, name, pair in model_tensors(model):
        a, b = pair.a.data, pair.b.data
        if _is_norm(path) or not a.shape[0]:
            continue
        name_a, name_b = name + A_SUFFIX, name + B_SUFFIX
        if name == _TOKEN_EMBEDDINGS:  # llama.cpp takes rows of lora_a, then multiplies by lora_b
            yield encoded(name_a, b.shape, (b,), kind)
            yield encoded(name_b, a.shape, (a,), kind)
        else:
            turned = Computed(a.length, _Transposed(a))
            yield encoded(name_a, a.shape[::-1], (turned,), kind)
            yield encoded(name_b, b.shape, (b,), kind)


@dataclass(frozen=True)
class _Transposed:
    """The elements of a matrix, transposed."""

    span: Span

    def __call__(self) -> Iterator[bytes]:
        for block in transposed(self.span):
            yield block.tobytes()
