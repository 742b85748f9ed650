"""The use case: compare a GGUF with what its checkpoint becomes."""

from __future__ import annotations

import os
from typing import Any

from converter.carry_out import Progress, silent
from converter.convert import plan_conversion
from converter.mapper import RMS_EPSILON
from converter.verify import differences, open_reader
from ggcp_schema import parse


def check(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    progress: Progress = silent,
) -> list[str]:
    """Return one line for each difference between a GGUF and what its checkpoint becomes.

    What the checkpoint does not hold, such as the epsilon of the RMS norms, is taken as the GGUF
    says.

    Raises:
        FormatError: the checkpoint or the GGUF is damaged.
        ConversionError: the gguf package cannot read the GGUF.
    """
    with parse(source) as checkpoint:
        chosen = _chosen(path)
        plan = plan_conversion(checkpoint, **chosen)
        with progress("Verifying", plan.length) as count:
            found = list(differences(plan, path, count))
        checkpoint.source.check_unchanged()
    return found


def _chosen(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read from a GGUF what was chosen when it was written."""
    fields = open_reader(path).fields
    chosen: dict[str, Any] = {}
    if RMS_EPSILON in fields:
        chosen["epsilon"] = fields[RMS_EPSILON].contents()
    return chosen
