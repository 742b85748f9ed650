"""transformers on PyTorch: the engine people reach when they load a GGUF from Python."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def logits(gguf_path: Path, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
    """The logits [n_tokens, n_vocab] in float32, with the attention written out."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when transformers is imported
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        gguf_path.parent,
        gguf_file=gguf_path.name,
        dtype=torch.float32,
        attn_implementation="eager",
    )
    with torch.inference_mode():
        result = model.eval()(torch.tensor([list(token_ids)])).logits[0]
    return np.asarray(result.numpy())


def tokenizer(folder: Path) -> Any:
    """The tokenizer of a Hugging Face folder."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)
