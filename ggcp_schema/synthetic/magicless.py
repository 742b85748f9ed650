"""Synthetic checkpoints without a magic, written through the structs that parse real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ggcp_schema.checkpoint import MAGICLESS
from ggcp_schema.history import MOST_ROTATED
from ggcp_schema.language.fields import Struct
from ggcp_schema.model import Hyperparameters, Model
from ggcp_schema.synthetic.base import SyntheticFile, checked


@dataclass(frozen=True)
class SyntheticMagicless(SyntheticFile):
    """What a synthetic checkpoint without a magic is made of."""

    feed_forward_multiple: int | None = 32

    _model: ClassVar[Struct] = Model
    _most_rotated: ClassVar[float] = MOST_ROTATED

    def _header(self) -> dict[str, Any]:
        found = checked("hyperparameters", Hyperparameters, self.hyperparameters)
        return {"magic": MAGICLESS, "hyperparameters": found}
