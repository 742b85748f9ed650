"""A report as JSON, for scripts; docs/json.md says what each member is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from converter.facts import OptimizerFacts, TensorFacts
from converter.report.advice import notes, steps
from converter.report.report import Report
from converter.report.verdict import verdict
from ggcp_schema import FormatError, printable
from ggcp_schema.foreign import ForeignFileError

if TYPE_CHECKING:
    from converter.numeric.statistics import Statistics

FORMAT = 1


def as_json(report: Report, *, tensors: bool = True) -> dict[str, Any]:
    """Return a report as JSON values; see docs/json.md for the structure.

    Args:
        report: what to show.
        tensors: whether the list of all tensors is part of it.
    """
    values: dict[str, Any] = {
        "format": FORMAT,
        "file": {"name": printable(report.file), "bytes": report.length},
        **_identity(report),
        "kind": report.kind_code,
        "layout": {
            "optimizer": (report.optimizer.layout if report.optimizer else "") or None,
            "header": report.header_layout or None,
        },
        "written_by": report.written_by or None,
        "complete": report.error is None,
        "verdict": verdict(report).value,
        "error": _error(report),
        "training": report.training,
        "context_length": report.context_length,
        "hyperparameters": report.hyperparameters,
        "ranks": report.ranks if report.lora else None,
        "parameter_count": report.parameter_count,
        "optimizer": _optimizer(report.optimizer) if report.optimizer else None,
        "parameter_order": _order(report),
        "vocabulary": {
            "wanted_tokens": report.wanted_tokens,
            "found": [
                {"name": printable(each.name), "what": each.what} for each in report.vocabularies
            ],
        },
        "likely_epsilon": report.likely_epsilon and report.likely_epsilon._asdict(),
    }
    if tensors:
        values["tensors"] = [
            _tensor(tensor, report.statistics.get(tensor.path)) for tensor in report.tensors
        ]
    values["notes"] = notes(report)
    values["next"] = [step._asdict() for step in steps(report)]
    result: dict[str, Any] = _plain(values)
    return result


def foreign_as_json(file: str, error: ForeignFileError) -> dict[str, Any]:
    """Return what a file is that is no checkpoint, as JSON values.

    Args:
        file: its name.
        error: what was raised for it.
    """
    found = error.foreign
    return {
        "format": FORMAT,
        "file": {"name": printable(file), "bytes": error.size},
        "kind": "foreign",
        "complete": None,
        "error": _members(error),
        "foreign": {
            "kind": found.kind.name.lower() if found else None,
            "what": found.what if found else None,
            "token_count": found.token_count if found else None,
        },
        "hint": error.hint,
    }


def refused_as_json(file: str, error: FormatError) -> dict[str, Any]:
    """Return what is wrong with one of several files, as JSON values.

    Args:
        file: its name.
        error: what was raised for it.
    """
    if isinstance(error, ForeignFileError):
        return foreign_as_json(file, error)
    return {
        "format": FORMAT,
        "file": {"name": printable(file), "bytes": None},
        "kind": "unreadable",
        "complete": None,
        "error": _members(error),
        "hint": error.hint,
    }


def folder_as_json(
    name: str,
    manifest: Mapping[str, Any],
    *,
    checked: bool = False,
    error: FormatError | None = None,
) -> dict[str, Any]:
    """Return what a folder that ggcp made says of itself, as JSON values.

    Args:
        name: of the folder.
        manifest: what stands in it.
        checked: whether its files were compared with that.
        error: the first difference.
    """
    wrong = None
    if error is not None:
        wrong = {"file": printable(error.file or ""), **_members(error)}
    return {
        "format": FORMAT,
        "file": {"name": printable(name), "bytes": None},
        "kind": "folder",
        "complete": error is None if checked else None,
        "error": wrong,
        "manifest": _plain(manifest),
    }


def _identity(report: Report) -> dict[str, str]:
    found = {}
    if report.sha256 is not None:
        found["sha256"] = report.sha256
    if report.modified is not None:
        found["modified"] = report.modified.isoformat().replace("+00:00", "Z")
    return found


def _error(report: Report) -> dict[str, Any] | None:
    return None if report.error is None else _members(report.error)


def _members(error: FormatError) -> dict[str, Any]:
    names = ("path", "offset", "expected", "found", "hint")
    return {name: getattr(error, name) for name in names}


def _optimizer(optimizer: OptimizerFacts) -> dict[str, Any]:
    return {
        "type": None if optimizer.type is None else optimizer.type.name.lower(),
        "counters": optimizer.counters,
        "params": _params(optimizer),
        "state": optimizer.state,
        "past_losses": optimizer.past_losses,
    }


def _params(optimizer: OptimizerFacts) -> dict[str, Any] | None:
    if optimizer.params is None:
        return None
    groups = {"adam": optimizer.adam, "lbfgs": optimizer.lbfgs}
    return {**optimizer.params, **{name: g for name, g in groups.items() if g is not None}}


def _order(report: Report) -> dict[str, Any] | None:
    finding = report.order
    if finding is None:
        return None
    return {
        "candidates": [order.value for order in finding.candidates],
        "evidence": finding.evidence,
        "indifferent": finding.indifferent,
        "sampled": not report.thorough,
    }


def _tensor(tensor: TensorFacts, found: Statistics | None) -> dict[str, Any]:
    statistics = None
    if found is not None:
        statistics = {
            "minimum": found.minimum,
            "maximum": found.maximum,
            "mean": found.mean,
            "standard_deviation": found.deviation,
            "norm": found.norm,
            "zeros": found.zeros,
            "nan": found.nan,
            "infinities": found.infinities,
            "histogram": vars(found.histogram) if found.histogram else None,
        }
    return {
        "path": tensor.path,
        "name": tensor.name,
        "shape": tensor.shape,
        "offset": tensor.offset,
        "bytes": tensor.length,
        "statistics": statistics,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(member) for member in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
