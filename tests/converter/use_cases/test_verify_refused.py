"""Two files that cannot be compared: which of them is in the way, and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from exported import VOCABULARY

from converter import ConversionError
from converter.use_cases.verify import verify


def test_a_vocabulary_is_no_model_of_a_lora(fixtures: Path) -> None:
    source = fixtures / "ggcl_v1_adam_1a5f0a30e.bin"
    with pytest.raises(ConversionError) as caught:
        verify(source, VOCABULARY)
    assert str(caught.value) == (
        f"{source}: expected a training checkpoint (ggcp), which holds a model, found a LoRA "
        "checkpoint (ggcl); it holds only what finetune changed in another model: without --vocab "
        "it becomes an adapter, with --merge BASE.gguf a whole model"
    )
