"""The use case: compare a GGUF with what its checkpoint becomes."""

from __future__ import annotations

import os

from converter.gguf_io import keys
from converter.gguf_io.comparison import as_made_by_its_version, differences, opened
from converter.gguf_io.reader import Gguf
from converter.layouts.lora_trainer import is_lora
from converter.layouts.trainer import RMS_EPSILON
from converter.progress import Progress, silent
from converter.resume.decide import doubts
from converter.resume.rearrange import Resumption
from converter.use_cases.convert import plan_conversion
from converter.use_cases.lora_verification import is_lora_export, verify_lora
from converter.use_cases.model_verification import is_model, verify_model
from ggcp_schema import parse
from ggcp_schema.order import Order


def verify(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> list[str]:
    """Return one line for each difference between a GGUF and what its checkpoint becomes.

    What the checkpoint does not hold is taken as the GGUF says: the epsilon of the RMS norms, the
    order of the reading trainer, the rows by which the moments were divided; for a model also the
    context length, the type, the vocabulary and the description. A GGUF from a LoRA checkpoint may
    also be an adapter or a merged model, whose base is ``base``.

    Raises:
        FormatError: the checkpoint or the GGUF is damaged.
        ConversionError: the two, or what is said of them, do not go together.
    """
    with opened(path) as made:
        if is_lora_export(source, made, base):
            return verify_lora(source, path, made, base, progress)
        if is_model(made):
            return verify_model(source, path, made, progress)
        return _verify_conversion(source, made, progress)


def _verify_conversion(source: str | os.PathLike[str], made: Gguf, progress: Progress) -> list[str]:
    with parse(source) as checkpoint:
        epsilon = made.value(RMS_EPSILON)
        resumption = None if is_lora(checkpoint.container) else _resumption(made)
        found = [] if resumption is None else list(doubts(checkpoint, resumption))
        plan = plan_conversion(
            checkpoint,
            epsilon=epsilon if isinstance(epsilon, float) else None,
            resumption=resumption,
        )
        with progress("Verifying", plan.length) as count:
            found += differences(as_made_by_its_version(plan, made), made, count)
        checkpoint.source.check_unchanged()
    return found


def _resumption(made: Gguf) -> Resumption | None:
    orders = {order.value: order for order in Order}
    target = orders.get(str(made.value(keys.GGCP_PARAMETER_ORDER)))  # also an array
    stored = orders.get(str(made.value(keys.GGCP_STORED_PARAMETER_ORDER)))
    rows = made.value(keys.GGCP_GRADIENT_ROWS)
    if target is None or stored is None or not isinstance(rows, int) or rows < 1:
        return None
    return Resumption(stored, target, rows)
