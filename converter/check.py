"""The use case: compare a GGUF with what its checkpoint becomes."""

from __future__ import annotations

import os
from typing import Any

from gguf import GGUFReader

from converter import keys
from converter.carry_out import Progress, silent
from converter.convert import plan_conversion
from converter.mapper import RMS_EPSILON
from converter.parameter_order import find_order
from converter.resume import Resumption
from converter.verify import differences, open_reader
from ggcp_schema import parse
from ggcp_schema.order import Order


def check(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    progress: Progress = silent,
) -> list[str]:
    """Return one line for each difference between a GGUF and what its checkpoint becomes.

    What the checkpoint does not hold is taken as the GGUF says: the epsilon of the RMS norms, the
    order of the reading trainer, the rows by which the moments were divided.

    Raises:
        FormatError: the checkpoint or the GGUF is damaged.
        ConversionError: the gguf package cannot read the GGUF.
    """
    with parse(source) as checkpoint:
        reader = open_reader(path)
        epsilon = _value(reader, RMS_EPSILON)
        resumption = _resumption(reader)
        found = []
        if resumption is not None:
            finding = find_order(checkpoint.container, thorough=True)
            if resumption.stored not in finding.candidates and not finding.contradiction:
                found.append(f"reordered from {resumption.stored.value}: {finding.evidence[0]}")
        plan = plan_conversion(
            checkpoint,
            epsilon=epsilon if isinstance(epsilon, float) else None,
            resumption=resumption,
        )
        with progress("Verifying", plan.length) as count:
            found += differences(plan, path, count)
        checkpoint.source.check_unchanged()
    return found


def _value(reader: GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    try:
        return None if field is None else field.contents()
    except UnicodeDecodeError:
        return None


def _resumption(reader: GGUFReader) -> Resumption | None:
    orders = {order.value: order for order in Order}
    target = orders.get(_value(reader, keys.GGCP_PARAMETER_ORDER))
    stored = orders.get(_value(reader, keys.GGCP_STORED_PARAMETER_ORDER))
    rows = _value(reader, keys.GGCP_GRADIENT_ROWS)
    if target is None or stored is None or not isinstance(rows, int) or rows < 1:
        return None
    return Resumption(stored, target, rows)
