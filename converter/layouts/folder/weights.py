"""Which tensors make up each parameter of transformers, and their bytes.

The order is that of ``named_parameters()``, by which an optimizer counts them. Names, and what of
queries, keys and values is one matrix, are those of modeling_llama.py and modeling_phi3.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from converter.hf_io.rope_rows import halved
from converter.numeric.encode import Outtype, encoded
from converter.parts import ELEMENT_BYTES, Array, Computed, Part
from converter.plan import PlannedTensor
from converter.snapshot import Hyperparameters

_LLAMA_LAYER = {
    "self_attn.q_proj": ("attention.wq",),
    "self_attn.k_proj": ("attention.wk",),
    "self_attn.v_proj": ("attention.wv",),
    "self_attn.o_proj": ("attention.wo",),
    "mlp.gate_proj": ("feed_forward.w1",),
    "mlp.up_proj": ("feed_forward.w3",),
    "mlp.down_proj": ("feed_forward.w2",),
    "input_layernorm": ("attention_norm",),
    "post_attention_layernorm": ("ffn_norm",),
}
_PHI3_LAYER = {
    "self_attn.o_proj": ("attention.wo",),
    "self_attn.qkv_proj": ("attention.wq", "attention.wk", "attention.wv"),
    "mlp.gate_up_proj": ("feed_forward.w1", "feed_forward.w3"),
    "mlp.down_proj": ("feed_forward.w2",),
    "input_layernorm": ("attention_norm",),
    "post_attention_layernorm": ("ffn_norm",),
}
_ROTATED = (".wq", ".wk")


@dataclass(frozen=True)
class Parameter:
    """A parameter of transformers.

    Attributes:
        name: its name.
        paths: the tensors that it is made of, by their paths in the schema, one below the other.
        shape: elements along each dimension, the fastest-varying first.
    """

    name: str
    paths: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def is_norm(self) -> bool:
        """Whether it belongs to a norm, which Trainers do not decay by default."""
        return len(self.shape) == 1


def parameters(sizes: Hyperparameters, weights: Mapping[str, Array]) -> tuple[Parameter, ...]:
    """Return all parameters, in the order of ``named_parameters()``."""
    return tuple(
        Parameter(f"{name}.weight", paths, _shape([weights[path].shape for path in paths]))
        for name, paths in _named(sizes)
    )


def _named(sizes: Hyperparameters) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "model.embed_tokens", ("tok_embeddings",)
    layer = _PHI3_LAYER if sizes.rotates_in_part else _LLAMA_LAYER
    for index in range(sizes.block_count):
        for name, paths in layer.items():
            inside = tuple(f"layers[{index}].{path}" for path in paths)
            yield f"model.layers.{index}.{name}", inside
    yield "model.norm", ("norm",)
    yield "lm_head", ("output",)


def _shape(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    first, *others = shapes
    if not others:
        return first
    return first[0], sum(shape[1] for shape in shapes)


def weights(
    sizes: Hyperparameters, arrays: Mapping[str, Array], outtype: Outtype
) -> tuple[PlannedTensor, ...]:
    """Return the tensors of the safetensors file: all of one type, as transformers wants them."""
    return tuple(
        encoded(each.name, each.shape, parts_of(each, sizes, arrays), outtype.type)
        for each in parameters(sizes, arrays)
    )


def parts_of(
    parameter: Parameter, sizes: Hyperparameters, arrays: Mapping[str, Array]
) -> tuple[Part, ...]:
    """Return the bytes of a parameter, in float32.

    Args:
        parameter: which.
        sizes: of the model.
        arrays: the weights, or anything else of which there is one for each, such as moments.
    """
    return tuple(part for path in parameter.paths for part in _moved(path, arrays[path], sizes))


def _moved(path: str, array: Array, sizes: Hyperparameters) -> tuple[Part, ...]:
    """Return the bytes of a tensor with its rows where transformers expects them."""
    if not path.endswith(_ROTATED):
        return array.parts
    row_bytes = ELEMENT_BYTES * array.shape[0]
    rows = sizes.head_dimension, sizes.rope_dimension_count
    return (halved(_one(array.parts), row_bytes, *rows),)


def _one(parts: tuple[Part, ...]) -> Part:
    if len(parts) == 1:
        return parts[0]
    return Computed(
        sum(part.length for part in parts),
        lambda: (block for part in parts for block in part.blocks()),
    )
