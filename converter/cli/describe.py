"""A plan as text and as JSON, for --dry-run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from converter.assumptions import NAMES, Assumption
from converter.gguf_io.comparison import Subject
from converter.plan import FolderPlan, Metadata, Plan, PlannedTensor
from converter.use_cases.comparison import Comparison
from ggcp_schema import printable
from ggcp_schema.language.texts import Texts


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON values; floats that JSON does not have are texts."""
    return {
        "architecture": plan.architecture,
        "metadata": [
            {"key": item.key, "type": _type(item), "value": _json_value(item.value)}
            for item in plan.metadata
        ],
        "tensors": _tensors_as_json(plan),
        "assumptions": assumptions_as_json(plan.assumptions),
    }


def folder_plan_as_json(plan: FolderPlan) -> dict[str, Any]:
    """Return the plan of a folder as JSON values."""
    return {
        "files": [{"name": file.name, "bytes": file.length} for file in plan.files],
        "tensors": _tensors_as_json(plan),
        **plan.choices,
    }


def folder_plan_as_text(plan: FolderPlan) -> list[str]:
    """Return the plan of a folder as the lines of two tables: its files and its tensors."""
    files = [(file.name, f"{file.length} bytes") for file in plan.files]
    tensors = [_tensor_row(tensor) for tensor in plan.tensors]
    total = f"{len(plan.files)} files, {len(plan.tensors)} tensors, {plan.length} bytes"
    return "\n\n".join((_table(files), _table(tensors), total)).split("\n")


def _tensors_as_json(plan: Plan | FolderPlan) -> list[dict[str, Any]]:
    return [
        {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "type": tensor.type.name,
            "bytes": tensor.length,
        }
        for tensor in plan.tensors
    ]


def assumptions_as_json(assumptions: tuple[Assumption, ...]) -> dict[str, Any]:
    """Return what a result rests on by its names; what plays no part in it is None."""
    found = {a.name: {"value": _json_value(a.value), "basis": a.basis.value} for a in assumptions}
    return {name: found.get(name) for name in NAMES}


def comparison_as_json(comparison: Comparison) -> dict[str, Any]:
    """Return what ``verify`` found as JSON values."""
    differing = comparison.differing
    return {
        "same": not differing,
        "differences": comparison.lines,
        "compared": comparison.count,
        "different": differing.total(),
        "weights_identical": not (differing[Subject.WEIGHTS] or differing[Subject.TYPE]),
    }


def headline(comparison: Comparison) -> str:
    """Return in a line how much of a GGUF differs, and whether its weights are the checkpoint's."""
    differing = comparison.differing
    words = f"different: {differing.total()} of {comparison.count} things"
    if differing[Subject.WEIGHTS]:
        return (
            f"{words}: not made from this checkpoint, or changed since; give the right two, or "
            "make it again"
        )
    weights = "weights identical"
    if differing[Subject.TYPE]:
        weights = f"weights of another type ({differing[Subject.TYPE]})"
    parts = [
        f"{differing[subject]} {one if differing[subject] == 1 else several}"
        for subject, one, several in _COUNTED
        if differing[subject]
    ]
    if not parts:
        return f"{words}: {weights}"
    verb = "differs" if sum(differing[subject] for subject, _, _ in _COUNTED) == 1 else "differ"
    return f"{words}: {weights}, {' and '.join(parts)} {verb}"


_COUNTED = (
    (Subject.KEY, "key", "keys"),
    (Subject.OPTIMIZER, "tensor of the optimizer", "tensors of the optimizer"),
    (Subject.FILE, "order or size", "orders or sizes"),
    (Subject.MEMBER, "file", "files"),
)


def plan_as_text(plan: Plan) -> str:
    """Return a plan as two tables: the metadata and the tensors."""
    metadata: list[tuple[str, ...]] = [("general.architecture", "STRING", plan.architecture)]
    metadata += [(item.key, _type(item), _text_value(item.value)) for item in plan.metadata]
    tensors = [_tensor_row(tensor) for tensor in plan.tensors]
    total = f"{len(plan.tensors)} tensors, {plan.length} bytes of data"
    return "\n\n".join((_table(metadata), _table(tensors), total))


def _tensor_row(tensor: PlannedTensor) -> tuple[str, ...]:
    shape = " × ".join(map(str, tensor.shape))
    return (tensor.name, tensor.type.name, shape, f"{tensor.length} bytes")


def _type(item: Metadata) -> str:
    if item.element_type is None:
        return item.type.name
    return f"{item.type.name} of {item.element_type.name}"


def _json_value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _json_value(value.tolist())
    if isinstance(value, (tuple, list, Texts)):
        return [_json_value(element) for element in value]
    if isinstance(value, bytes):
        return printable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _text_value(value: Any) -> str:
    if isinstance(value, (tuple, list, Texts, np.ndarray)):
        return f"{len(value)} elements"
    return printable(value) if isinstance(value, bytes) else str(value)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join(lines)
