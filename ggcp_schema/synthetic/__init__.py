"""Complete synthetic checkpoints of any size, written through the structs that parse real ones."""

from __future__ import annotations

from ggcp_schema.synthetic.adapter import SyntheticAdapter
from ggcp_schema.synthetic.lora import SyntheticLora
from ggcp_schema.synthetic.magicless import SyntheticMagicless
from ggcp_schema.synthetic.training import Synthetic

__all__ = ["Synthetic", "SyntheticAdapter", "SyntheticLora", "SyntheticMagicless"]
