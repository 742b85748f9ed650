"""Synthetic LoRA checkpoints, written through the structs that parse real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from ggcp_schema.enums import HeaderLayout, NameFamily
from ggcp_schema.history import LORA_MULTIPLE
from ggcp_schema.language.errors import FormatError
from ggcp_schema.language.fields import Struct
from ggcp_schema.lora import HYPERPARAMETERS, LoraModel, Ranks
from ggcp_schema.optimizer import VERSION_1_STATES
from ggcp_schema.order import Order
from ggcp_schema.synthetic.base import SyntheticCheckpoint, checked

DEFAULT_RANK = 4
"""What finetune took for the matrices without ``--lora-r``."""

NORMS = ("attention_norm", "ffn_norm", "norm")
"""Kinds whose rank was 1 unless finetune was told another for that kind."""


@dataclass(frozen=True)
class SyntheticLora(SyntheticCheckpoint):
    """What a synthetic LoRA checkpoint is made of.

    Attributes:
        feed_forward_length: n_ff, that of the base model.
        ranks: one number, which is that of the matrices, as with ``--lora-r`` (the norms have 1);
            or a number for each kind that is to have another one than without options, as with
            ``--rank-wq`` and its like. Kinds are the fields of ``ggcp_schema.lora.Ranks``.
        names: the family of names.
    """

    feed_forward_multiple: int | None = LORA_MULTIPLE
    _: KW_ONLY
    feed_forward_length: int = 96
    ranks: int | Mapping[str, int] = DEFAULT_RANK
    order: Order = Order.FLASH
    names: NameFamily = NameFamily.ORDINARY

    _model: ClassVar[Struct] = LoraModel
    _pairs: ClassVar[bool] = True

    @property
    def rank_of_each_kind(self) -> dict[str, int]:
        """The stored ranks, by the names of the schema."""
        given = self.ranks
        matrices, named = (DEFAULT_RANK, given) if isinstance(given, Mapping) else (given, {})
        kinds = (member.name for member in Ranks.subcons)
        return {kind: named.get(kind, 1 if kind in NORMS else matrices) for kind in kinds}

    def _header(self) -> dict[str, Any]:
        self._check_kinds()
        multiple = self.feed_forward_multiple is not None
        layout = HeaderLayout.WITH_MULTIPLE if multiple else HeaderLayout.WITHOUT_MULTIPLE
        struct = HYPERPARAMETERS[layout]
        return {
            "magic": b"lcgg",
            "layout": layout,
            "names": self.names,
            "hyperparameters": checked("hyperparameters", struct, self.hyperparameters),
            "ranks": checked("ranks", Ranks, self.rank_of_each_kind),
            "feed_forward_length": self.feed_forward_length,
        }

    def _check_kinds(self) -> None:
        kinds = [member.name for member in Ranks.subcons]
        for kind in self.ranks if isinstance(self.ranks, Mapping) else ():
            if kind not in kinds:
                raise FormatError(
                    path="ranks",
                    expected=", ".join(kinds),
                    found=str(kind),
                    hint="give ranks by the names of these kinds",
                )

    def _optimizer(self, lengths: Mapping[str, int]) -> tuple[Struct, dict[str, Any]]:
        context = {**lengths, "type": int(self.optimizer_type)}
        return VERSION_1_STATES[self.optimizer_type], context
