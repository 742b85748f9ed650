"""The parts of a checkpoint in the order of the file, for a map to scale."""

from __future__ import annotations

import re
from dataclasses import dataclass

from converter.report.report import Report, Tensor

_HEADER = 28
_HEADER_WITH_PARAMS = 116
_LABELS = {"tok_embeddings": "token embeddings", "norm": "last norm"}
_LAYER = re.compile(r"model\.(layers\[\d+\])\.")


@dataclass(frozen=True)
class Part:
    """A run of bytes of the file that belongs together.

    Attributes:
        label: what it is.
        kind: ``header``, ``table`` (embeddings and output), ``norm``, ``layer``, ``optimizer``
            (a vector), ``numbers`` (the optimizer's header and last numbers) or ``unread``.
        start: its first byte.
        stop: the byte behind its last.
        tensors: those in it.
    """

    label: str
    kind: str
    start: int
    stop: int
    tensors: tuple[Tensor, ...] = ()

    @property
    def length(self) -> int:
        """Bytes of the part."""
        return self.stop - self.start


def file_parts(report: Report) -> tuple[Part, ...]:
    """Return the parts of a file, without a hole; a record belongs to its tensor's part."""
    parts = [Part("header", "header", 0, report.header_length)]
    for group in _grouped(report.tensors):
        start, stop = parts[-1].stop, group[-1].offset + group[-1].length
        label, kind = _named(group[0])
        if kind == "optimizer" and parts[-1].kind not in ("optimizer", "numbers"):
            params = report.optimizer is not None and report.optimizer.params is not None
            head = start + (_HEADER_WITH_PARAMS if params else _HEADER)
            parts.append(Part("optimizer header", "numbers", start, head))
            start = head
        parts.append(Part(label, kind, start, stop, tuple(group)))
    rest = report.length - parts[-1].stop
    if rest > 0:
        damaged = report.error is not None
        label, kind = ("not read", "unread") if damaged else ("last numbers", "numbers")
        parts.append(Part(label, kind, parts[-1].stop, report.length))
    return tuple(parts)


def _grouped(tensors: tuple[Tensor, ...]) -> list[list[Tensor]]:
    groups: list[list[Tensor]] = []
    before = None
    for tensor in tensors:
        if not tensor.length:  # the head of a tensor that does not exist is too small to see
            continue
        name = _named(tensor)
        if name != before:
            groups.append([])
        groups[-1].append(tensor)
        before = name
    return groups


def _named(tensor: Tensor) -> tuple[str, str]:
    layer = _LAYER.match(tensor.path)
    if layer:
        return layer[1].replace("[", " ").replace("]", "").replace("layers", "layer"), "layer"
    name = tensor.path.split(".")[1 if tensor.path.startswith("model.") else 2]
    label = _LABELS.get(name, name.replace("_", " "))
    if tensor.path.startswith("optimizer."):
        return label, "optimizer"
    return label, "norm" if name == "norm" else "table"
