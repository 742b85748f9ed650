"""Many files in a line each, to choose one of them."""

from __future__ import annotations

from converter.report.report import Report
from converter.report.screen import last_loss
from converter.report.verdict import Verdict, verdict
from converter.report.words import number
from ggcp_schema import printable

_KINDS = {
    "training": "training",
    "magicless": "May 2023",
    "lora": "LoRA",
    "adapter": "adapter",
    "model": "model",
}
_FOOTNOTES = {
    "*": "* no mean loss: compare it with those of the same trainer only",
    Verdict.RESCUABLE: "rescue: damaged, but ggcp export --rescue gets the model, or the LoRA, out",
}
_WHOLE = {Verdict.WHOLE: "yes", Verdict.RESCUABLE: "rescue", Verdict.LOST: "no"}

_FORM = "{:<{}}  {:<8}  {:>9}  {:>10}  {:>10}  {}"
_REST = len(_FORM.format("", 0, "", "", "", "", "rescue"))
_LEAST_NAME = 20


class Listing:
    """Makes the lines, and knows in the end what the marks in them mean.

    Args:
        width: columns of the terminal, of which no more are used.
    """

    def __init__(self, width: int = 80) -> None:
        self._width = width
        self._name_width = max(_LEAST_NAME, width - _REST)
        self._footnotes: dict[str, None] = {}

    def heading(self) -> str:
        """Return the line above the others."""
        return self._line("file", "kind", "size", "iterations", "loss ", "whole")

    def report(self, report: Report) -> str:
        """Return what a checkpoint is, how large, how far it got, its loss, and if it is whole."""
        optimizer, loss, found = report.optimizer, last_loss(report), verdict(report)
        done = report.training.get("iteration_count")
        mark = " "
        if optimizer is not None:
            done = max(done or 0, optimizer.iterations_done)
            mark = " " if loss is None or optimizer.losses_are_means else "*"
        self._footnotes |= dict.fromkeys(
            _FOOTNOTES[sign] for sign in (mark, found) if sign in _FOOTNOTES
        )
        return self._line(
            report.file,
            _KINDS[report.kind_code],
            short_size(report.length),
            "-" if done is None else number(done),
            "- " if loss is None else f"{loss:.5g}{mark}",
            _WHOLE[found],
        )

    def other(self, file: str, what: str) -> str:
        """Return what a file is that is no checkpoint, or why it cannot be read."""
        name = _cut(printable(file), self._name_width).ljust(self._name_width)
        return f"{name}  {_cut_end(what, self._width - len(name) - 2)}"

    def footnotes(self) -> tuple[str, ...]:
        """Return what the marks in the lines so far mean."""
        return tuple(self._footnotes)

    def _line(self, file: str, *cells: str) -> str:
        name = _cut(printable(file), self._name_width)
        return _FORM.format(name, self._name_width, *cells).rstrip()


def _cut(name: str, width: int) -> str:
    """Return a name that fits: its end tells it from others of its folder."""
    return name if len(name) <= width else f"...{name[3 - width :]}"


def _cut_end(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(width - 3, 0)]}..."


def short_size(length: int) -> str:
    """Return a length in the largest unit of which it is at least one."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if length >= 1 << power:
            return f"{length / (1 << power):.1f} {unit}"
    return f"{length} B"
