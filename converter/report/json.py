"""A report as JSON, for scripts.

The structure is stable: members are only added, and ``format`` is increased should one ever change
or go. What a damaged file does not tell is ``null``, or missing in the objects marked with a star,
which hold as many members as were read. Numbers that JSON does not have are the texts ``"nan"``,
``"inf"`` and ``"-inf"``.

=============================== ===================================================================
``format``                      1
``file``                        ``name`` (escaped where it is not printable) and ``bytes``
``kind``                        ``"training"``, ``"magicless"`` (a training checkpoint of May 2023,
                                without optimizer), ``"lora"`` or ``"adapter"``
``layout``                      ``optimizer``: ``"version 0"``, ``"version 1"`` or
                                ``"version 1 with params"``; ``header`` (LoRA): ``"with n_mult"``
                                or ``"without n_mult"``
``written_by``                  which trainers write such files, in words
``complete``                    whether the file is whole and right
``error``                       ``null``, or ``path``, ``offset``, ``expected``, ``found``, ``hint``
``training`` *                  ``iteration_count``, ``sample_count``, ``token_count``
``context_length``              tokens in a sample; ``null`` if that is no whole number
``hyperparameters`` *           by the names of the schema; also ``feed_forward_length`` and
                                ``head_dimension``
``ranks`` *                     of a LoRA checkpoint, else ``null``
``parameter_count``             elements of all tensors of the model
``optimizer``                   ``null`` if the file ends before it, or
``optimizer.type``              ``"adam"`` or ``"lbfgs"``
``optimizer.counters`` *        ``parameter_count``, ``iteration_count``, ``just_initialized``,
                                ``convergence_past_count``, ``approx_hessian_count``
``optimizer.params`` *          all settings by the names of the schema, with the groups ``adam``
                                and ``lbfgs``; ``null`` where the layout does not store them
``optimizer.state`` *           losses and line search
``optimizer.past_losses``       the oldest first; the newest 10,000 if there are more
``parameter_order``             ``null`` if unknown, or
``parameter_order.candidates``  the orders that the evidence allows
``parameter_order.evidence``    each sign in words
``parameter_order.indifferent`` whether every order gives the same bytes
``parameter_order.sampled``     whether only a sample of each tensor was read
``tensors``                     a list in the order of the file; left out with ``--no-tensors``
``tensors[].path``              where it is in the schema
``tensors[].name``              as stored; ``""`` for those of the optimizer
``tensors[].shape``             elements along each dimension, the fastest-varying first
``tensors[].offset``            where the data start in the file
``tensors[].bytes``             of data
``tensors[].statistics``        ``null`` without ``--stats``, or ``minimum``, ``maximum``,
                                ``mean``, ``standard_deviation``, ``norm`` (all of the finite
                                elements), ``zeros``, ``nan``, ``infinities``, ``histogram``
``…statistics.histogram``       ``null``, or ``scale``, ``low``, ``width``, ``counts``: with the
                                scale ``"linear"`` bin i holds the values from low + i·width; with
                                ``"magnitude"`` those of 2^(low + i) to 2^(low + i + 1), of either
                                sign
``notes``                       a list of sentences
``next``                        a list of ``purpose`` and ``command``
=============================== ===================================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from converter.facts import OptimizerFacts, TensorFacts
from converter.numeric.statistics import Statistics
from converter.report.advice import notes, steps
from converter.report.report import Report
from ggcp_schema import printable

FORMAT = 1


def as_json(report: Report, *, tensors: bool = True) -> dict[str, Any]:
    """Return a report as JSON values; see the module's documentation for the structure.

    Args:
        report: what to show.
        tensors: whether the list of all tensors is part of it.
    """
    values: dict[str, Any] = {
        "format": FORMAT,
        "file": {"name": printable(report.file), "bytes": report.length},
        "kind": report.kind_code,
        "layout": {
            "optimizer": (report.optimizer.layout if report.optimizer else "") or None,
            "header": report.header_layout or None,
        },
        "written_by": report.written_by or None,
        "complete": report.error is None,
        "error": _error(report),
        "training": report.training,
        "context_length": report.context_length,
        "hyperparameters": report.hyperparameters,
        "ranks": report.ranks if report.lora else None,
        "parameter_count": report.parameter_count,
        "optimizer": _optimizer(report.optimizer) if report.optimizer else None,
        "parameter_order": _order(report),
    }
    if tensors:
        values["tensors"] = [
            _tensor(tensor, report.statistics.get(tensor.path)) for tensor in report.tensors
        ]
    values["notes"] = notes(report)
    values["next"] = [step._asdict() for step in steps(report)]
    result: dict[str, Any] = _plain(values)
    return result


def _error(report: Report) -> dict[str, Any] | None:
    error = report.error
    if error is None:
        return None
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
