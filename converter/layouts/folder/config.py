"""config.json and generation_config.json, as transformers 4 and 5 read them.

The base of rope stands twice: transformers 5 reads it in ``rope_parameters``, 4 at the top, and
ignores the other place without a word; so does the scale. LlamaForCausalLM ignores
``partial_rotary_factor``: where only a part of each head is rotated the model is a
Phi3ForCausalLM, which is the same but for that (configuration_phi3.py, modeling_phi3.py).
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

from converter.errors import ConversionError
from converter.snapshot import Hyperparameters, Rope, Snapshot

_DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


class SpecialIds(NamedTuple):
    """The ids of begin and end of text; None where there is none."""

    begin: int | None
    end: int | None


def require_class(snapshot: Snapshot, epsilon: float) -> None:
    """Make sure that a class of transformers computes what the trainer did.

    Args:
        snapshot: a model.
        epsilon: of the RMS norms.

    Raises:
        ConversionError: none does.
    """
    sizes, rope = snapshot.hyperparameters, snapshot.required_rope
    rotated = sizes.rope_dimension_count
    numbers = {"epsilon": epsilon, "base of rope": rope.base, "scale of rope": rope.scale}
    wrong = [f"{value:g} ({name})" for name, value in numbers.items() if not 0 < value < math.inf]
    if wrong:
        expected, found = "finite numbers above 0", wrong[0]
    elif rotated % 2 or not 2 <= rotated <= sizes.head_dimension:
        expected = f"an even number of rotated dimensions from 2 to {sizes.head_dimension}"
        found = f"{rotated} (n_rot)"
    elif sizes.rotates_in_part and rope.scale != 1:
        expected = "positions that are not scaled, where only a part of each head is rotated"
        found = (
            f"{rotated} of {sizes.head_dimension} dimensions, positions scaled by {rope.scale:g}"
        )
    else:
        return
    raise ConversionError(
        snapshot.file,
        expected=expected,
        found=found,
        hint="transformers has no such model; make a GGUF of it, without --format hf",
    )


def config(
    sizes: Hyperparameters,
    rope: Rope,
    *,
    context_length: int,
    epsilon: float,
    outtype: str,
    special: SpecialIds,
) -> dict[str, Any]:
    """Return config.json.

    Args:
        sizes: of the model.
        rope: how it rotates.
        context_length: tokens that it takes at once.
        epsilon: of the RMS norms.
        outtype: the type of the weights, as on the command line.
        special: begin and end of text.
    """
    partial = sizes.rotates_in_part
    return {
        "architectures": ["Phi3ForCausalLM" if partial else "LlamaForCausalLM"],
        "model_type": "phi3" if partial else "llama",
        "vocab_size": sizes.vocabulary_size,
        "hidden_size": sizes.embedding_length,
        "intermediate_size": sizes.feed_forward_length,
        "num_hidden_layers": sizes.block_count,
        "num_attention_heads": sizes.head_count,
        "num_key_value_heads": sizes.key_value_head_count,
        "head_dim": sizes.head_dimension,
        "hidden_act": "silu",
        "max_position_embeddings": context_length,
        "rms_norm_eps": epsilon,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": special.begin,
        "eos_token_id": special.end,
        "pad_token_id": None,
        "dtype": _DTYPES[outtype],
        **(_phi3(sizes, rope, context_length) if partial else _llama(rope)),
    }


def _llama(rope: Rope) -> dict[str, Any]:
    kind: dict[str, Any] = {"rope_type": "default"}
    if rope.scale != 1:
        kind = {"rope_type": "linear", "factor": 1 / rope.scale}
    parameters = {**kind, "rope_theta": rope.base}
    return {
        "mlp_bias": False,
        "rope_theta": rope.base,
        "rope_parameters": parameters,
        "rope_scaling": parameters if rope.scale != 1 else None,
    }


def _phi3(sizes: Hyperparameters, rope: Rope, context_length: int) -> dict[str, Any]:
    factor = rotary_factor(sizes.rope_dimension_count, sizes.head_dimension)
    return {
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "sliding_window": None,
        "original_max_position_embeddings": context_length,
        "partial_rotary_factor": factor,
        "rope_theta": rope.base,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": rope.base,
            "partial_rotary_factor": factor,
            "original_max_position_embeddings": context_length,
        },
        "rope_scaling": None,
    }


def rotary_factor(rotated: int, dimension: int) -> float:
    """Return the factor from which transformers gets the rotated dimensions back.

    It takes ``int(dimension * factor)``, which for 64 of 98 is 63 with the nearest number to 64/98.
    """
    factor = rotated / dimension
    while int(dimension * factor) < rotated:
        factor = math.nextafter(factor, 1.0)
    return factor


def generation_config(special: SpecialIds) -> dict[str, Any]:
    """Return generation_config.json."""
    return {"bos_token_id": special.begin, "eos_token_id": special.end, "pad_token_id": None}


def as_json(value: Any) -> bytes:
    """Return a small file of JSON."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
