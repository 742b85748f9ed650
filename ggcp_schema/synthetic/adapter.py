"""Synthetic LoRA adapters, written through the structs that parse real ones."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

from ggcp_schema.ggla import name_of
from ggcp_schema.synthetic.lora import DEFAULT_RANK, SyntheticLora
from ggcp_schema.tensor import F32_TYPE, slots


@dataclass(frozen=True)
class SyntheticAdapter(SyntheticLora):
    """What a synthetic adapter is made of: the pairs of a synthetic LoRA checkpoint.

    Attributes:
        lora_r: divides the changes.
        lora_alpha: multiplies them.
        gguf_names: whether tensors have the names of GGUF, as since August 2023, or those of
            checkpoints, as on finetune's branch.
    """

    _: KW_ONLY
    lora_r: int = DEFAULT_RANK
    lora_alpha: int = DEFAULT_RANK
    gguf_names: bool = True

    def container(self) -> dict[str, Any]:
        """Return what ``ggcp_schema.build`` takes; data are made while they are written.

        Raises:
            FormatError: no adapter can have these sizes.
        """
        header = self._header()
        counts = self._counts(header)
        return {
            "magic": b"algg",
            "lora_r": self.lora_r,
            "lora_alpha": self.lora_alpha,
            "tensors": [
                {
                    "type": F32_TYPE,
                    "shape": shape,
                    "name": name_of(path, gguf=self.gguf_names),
                    "data": self._values("model", path, counts),
                }
                for path, shape in slots(self._model, {"_root": header})
            ],
        }
