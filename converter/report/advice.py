"""What is worth knowing of a checkpoint beyond its facts, and what can be done with it."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from converter.report.report import Report
from converter.report.words import known_order, number, optimizer_layout
from ggcp_schema import printable
from ggcp_schema.checkpoint import ABORTED_SAVE
from ggcp_schema.enums import HeaderLayout, Layout, OptimizerType
from ggcp_schema.order import Order

_MOST_ROTATED = 64  # the trainer's default for --rotmax
_LORA_MULTIPLE = 4  # constant in finetune from 0564f4ed1 on


class Step(NamedTuple):
    """Something to do next: what for, and the command."""

    purpose: str
    command: str


def shell_word(name: str) -> str:
    """Return a file name as one word for a shell, on one line and never an option."""
    name = f"./{name}" if name.startswith("-") else name
    if printable(name) == name:
        return shlex.quote(name)
    # Only this kind of quotes holds newlines and bytes that are no characters; bash and zsh
    # have it.
    return "$'" + "".join(_ansi_c(byte) for byte in os.fsencode(name)) + "'"


def _ansi_c(byte: int) -> str:
    character = chr(byte)
    if character in "'\\":
        return f"\\{character}"
    return character if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"


def notes(report: Report) -> tuple[str, ...]:
    """Return what is unusual, or easily misunderstood, one sentence each."""
    return (*_record_notes(report), *_model_notes(report), *_optimizer_notes(report))


def _record_notes(report: Report) -> Iterator[str]:
    cut = sum(tensor.name_cut for tensor in report.tensors)
    if cut:
        yield (
            f"The names of {cut} tensors are cut, as trainers before 2023-06-26 (eaa6ca5a6) wrote "
            "names of more than 31 bytes. Nothing is lost."
        )
    padded = [tensor.path for tensor in report.tensors if not tensor.padding_zero]
    if padded:
        yield (
            f"The padding before the data of {len(padded)} tensors, {padded[0]} first, is not "
            "zero. No trainer of llama.cpp wrote that; it does no harm."
        )
    for what, attribute in (("NaN", "nan"), ("infinite values", "infinities")):
        held = [t.path for t in report.tensors if t.statistics and getattr(t.statistics, attribute)]
        if held:
            yield f"There are {what} in {len(held)} tensors, {held[0]} first."


def _model_notes(report: Report) -> Iterator[str]:
    sizes = report.hyperparameters
    head, rotated = sizes.get("head_dimension", 0), sizes.get("rope_dimension_count", 0)
    if rotated and rotated != min(_MOST_ROTATED, head):
        usual = min(_MOST_ROTATED, head)
        yield f"{rotated} dimensions of each head rotate, not {usual}: the trainer's --rotmax."
    if rotated and rotated < head:
        yield (
            f"Only {rotated} of the {head} dimensions of a head rotate. llama.cpp runs such a "
            "model exactly once it is exported; transformers does not."
        )
    if report.header_layout is HeaderLayout.WITHOUT_MULTIPLE:
        yield (
            "The header is that of a few commits of 2023-08-29 (5ce92aed3 to ecb1b20c8), without "
            "n_mult. The feed-forward length was read off the tensors."
        )
    elif report.lora and sizes.get("feed_forward_multiple") == _LORA_MULTIPLE:
        yield (
            "n_mult is 4, a constant in finetune from 0564f4ed1 on. The feed-forward length was "
            "read off the tensors."
        )
    if report.training and report.context_length is None:
        yield (
            "The context length does not follow from the counters: tokens / samples is no whole "
            "number."
        )


def _optimizer_notes(report: Report) -> Iterator[str]:
    optimizer = report.optimizer
    if optimizer is None:
        return
    if optimizer.counters.get("just_initialized"):
        yield "The optimizer was set up, but no iteration was computed yet."
    if optimizer.layout is Layout.VERSION_0 and optimizer.state:
        yield (
            "The losses are no mean losses: this layout sums the loss of a batch's last row over "
            "the threads."
        )
    if _sums_gradients(report):
        yield (
            "The moments are those of gradients summed over a batch; later trainers take the "
            "mean. convert --resume-with divides them, and estimates the batch size, which is not "
            "in the file: if you know the trainer's -b, add --batch."
        )
    if report.order is not None and known_order(report) is None and not report.order.indifferent:
        then = "asks" if report.thorough else "reads everything to find it, and if need be asks"
        yield (
            f"The order of the parameters is not certain; convert --resume-with {then} for --order."
        )
    if report.lora:
        yield "In which order finetune kept the parameters of a LoRA is not established."
    losses = (*optimizer.state.values(), *optimizer.past_losses)
    if not all(map(math.isfinite, losses)):
        yield "A loss is not a finite number: the training may have diverged."


def _sums_gradients(report: Report) -> bool:
    optimizer = report.optimizer
    summed = (Layout.VERSION_0, Layout.VERSION_1_WITH_PARAMS)
    return (
        optimizer is not None
        and optimizer.type is OptimizerType.ADAM
        and optimizer.layout in summed
    )


def steps(report: Report) -> tuple[Step, ...]:
    """Return what can be done with the file; ``VOCAB`` and ``BASE`` stand for other files."""
    if report.error is not None:
        return tuple(_rescue(report))
    return tuple(_lora_steps(report) if report.lora else _training_steps(report))


def _rescue(report: Report) -> Iterator[Step]:
    aborted = report.error is not None and report.error.hint == ABORTED_SAVE
    if not report.lora and (aborted or report.parameter_count is not None):
        missing = ", with zeros for what is missing" if aborted else ", all of which is there"
        yield Step(
            f"Rescue the model{missing} (VOCAB: the vocabulary it was trained with)",
            _export(report, "--vocab VOCAB --rescue"),
        )


def _training_steps(report: Report) -> Iterator[Step]:
    yield Step(
        "Run the model (VOCAB: its vocabulary, a GGUF, a .bin of 2023 or a tokenizer.model)",
        _export(report, "--vocab VOCAB"),
    )
    source, target = shell_word(report.file), _beside(report.file, "resume")
    if report.context_length is None and _sums_gradients(report):
        yield Step("Keep everything in a GGUF, as it is stored", f"ggcp convert {source} {target}")
    else:
        for order, trainers in (
            (Order.FLASH, "llama.cpp of August 2023 to May 2024"),
            (Order.PLAIN, "that of July 2024, or --no-flash"),
        ):
            yield Step(
                f"Continue the training with {trainers}",
                f"ggcp convert {source} {target} --resume-with {order.value}",
            )
    yield Step("Compare the result with this file", f"ggcp verify {source} {target}")


def _lora_steps(report: Report) -> Iterator[Step]:
    source, target = shell_word(report.file), _beside(report.file, "resume")
    yield Step("Use it as an adapter with llama.cpp --lora", _export(report, "", "adapter"))
    yield Step(
        "Merge it into its base model (BASE.gguf)", _export(report, "--merge BASE.gguf", "merged")
    )
    yield Step("Keep everything in a GGUF", f"ggcp convert {source} {target}")
    yield Step("Compare the result with this file", f"ggcp verify {source} {target}")


def _export(report: Report, options: str, kind: str = "model") -> str:
    target = _beside(report.file, kind)
    return f"ggcp export {shell_word(report.file)} {target} {options}".rstrip()


def _beside(name: str, kind: str) -> str:
    stem = os.path.splitext(name)[0]  # noqa: PTH122 - names stay as given
    return shell_word(f"{stem}-{kind}.gguf")


def summary(report: Report) -> str:
    """Return in one line what the file is."""
    sizes = report.hyperparameters
    kind = "A LoRA of" if report.lora else "A model of"
    if report.parameter_count is None or "block_count" not in sizes:
        return "A damaged file, of which only the beginning can be read."
    layers = f"{number(sizes['block_count'])} layer" + "s" * (sizes["block_count"] != 1)
    text = f"{kind} {number(report.parameter_count)} parameters in {layers}"
    done = report.training.get("iteration_count", 0)
    text += f", after {number(done)} iterations of training" if done else ""
    unknown = optimizer_layout(report) is None
    return text + (". The file is damaged." if unknown or report.error else ".")
