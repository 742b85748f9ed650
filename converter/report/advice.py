"""What is worth knowing of a checkpoint beyond its facts, and what can be done with it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import NamedTuple

from converter.report.report import Report
from converter.report.verdict import Verdict, verdict
from converter.report.words import number
from converter.shell import completion, shell_word
from ggcp_schema import printable
from ggcp_schema.enums import OptimizerType
from ggcp_schema.history import (
    MAGICLESS_CONTEXT_LENGTH,
    MAGICLESS_NOTE,
    MOST_ROTATED,
    NAMES_WHOLE_SINCE,
    NO_MEAN_LOSSES,
    dated,
)
from ggcp_schema.order import Order

SUMMED_GRADIENTS = (
    "The moments are those of gradients summed over a batch; later trainers take the "
    "mean. convert --resume-with divides them, and estimates the batch size, which is not "
    "in the file: if you know the trainer's -b, add --batch."
)
"""What is to be known of the moments of some trainers."""


class Step(NamedTuple):
    """Something to do next: what for, and the command."""

    purpose: str
    command: str


def notes(report: Report) -> tuple[str, ...]:
    """Return what is unusual, or easily misunderstood, one sentence each."""
    return (*_record_notes(report), *_model_notes(report), *_optimizer_notes(report))


def _record_notes(report: Report) -> Iterator[str]:
    cut = sum(tensor.name_cut for tensor in report.tensors)
    if cut:
        yield (
            f"The names of {cut} tensors are cut, as the first trainers, of 2023-05-17 to "
            f"{dated(NAMES_WHOLE_SINCE)}, wrote names of more than 31 bytes. Nothing is lost."
        )
    padded = [tensor.path for tensor in report.tensors if not tensor.padding_zero]
    if padded:
        yield (
            f"The padding before the data of {len(padded)} tensors, {padded[0]} first, is not "
            "zero. No trainer of llama.cpp wrote that; it does no harm."
        )
    for what, attribute in (("NaN", "nan"), ("infinite values", "infinities")):
        held = [path for path, found in report.statistics.items() if getattr(found, attribute)]
        if held:
            yield f"There are {what} in {len(held)} tensors, {held[0]} first."


def _model_notes(report: Report) -> Iterator[str]:
    sizes = report.hyperparameters
    head, rotated = sizes.get("head_dimension", 0), sizes.get("rope_dimension_count", 0)
    if rotated and rotated != min(MOST_ROTATED, head):
        usual = min(MOST_ROTATED, head)
        yield f"{rotated} dimensions of each head rotate, not {usual}: the trainer's --rotmax."
    if rotated and rotated < head:
        yield (
            f"Only {rotated} of the {head} dimensions of a head rotate. llama.cpp runs such a "
            "model exactly once it is exported; transformers does not."
        )
    if report.header_note:
        yield report.header_note
    if report.kind_code == "magicless":
        yield MAGICLESS_NOTE
    elif report.training and report.context_length is None:
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
    if not optimizer.losses_are_means and optimizer.state:
        yield NO_MEAN_LOSSES
    if sums_gradients(report):
        yield SUMMED_GRADIENTS
    if report.order is not None and report.known_order is None and not report.order.indifferent:
        then = "asks" if report.thorough else "reads everything to find it, and if need be asks"
        yield (
            f"The order of the parameters is not certain; convert --resume-with {then} for --order."
        )
    losses = (*optimizer.state.values(), *optimizer.past_losses)
    if not all(map(math.isfinite, losses)):
        yield "A loss is not a finite number: the training may have diverged."


def sums_gradients(report: Report) -> bool:
    """Tell whether its moments have to be scaled for later trainers."""
    optimizer = report.optimizer
    if optimizer is None or optimizer.type is not OptimizerType.ADAM:
        return False
    return optimizer.sums_gradients


def steps(report: Report) -> tuple[Step, ...]:
    """Return what can be done with the file; ``VOCAB`` and ``BASE`` stand for other files.

    A vocabulary that was found beside the file, and an epsilon that its date makes probable, are
    filled in: who pastes a command has read it.
    """
    if report.error is not None:
        return tuple(_rescue(report))
    return tuple(_lora_steps(report) if report.lora else _training_steps(report))


def _rescue(report: Report) -> Iterator[Step]:
    if verdict(report) is not Verdict.RESCUABLE:
        return
    if report.lora:
        yield from _lora_exports(report, "--rescue")
    else:
        zeros = report.aborted_save
        missing = ", with zeros for what is missing" if zeros else ", all of which is there"
        vocabulary = _vocabulary(report)
        yield Step(
            f"Rescue the model{missing}{_hints(report)}",
            _export(report, f"{vocabulary}{_epsilon(report)}--rescue"),
        )


def _vocabulary(report: Report) -> str:
    """Return the option that names the vocabulary; of what was found, the likeliest."""
    if report.vocabulary_tokens:
        return ""
    found = report.vocabularies
    return f"--vocab {shell_word(found[0].name) if found else 'VOCAB'} "


def _epsilon(report: Report) -> str:
    likely = report.likely_epsilon
    return f"--eps {likely.words} " if likely else ""


def _hints(report: Report) -> str:
    """Return what a command takes for granted, or leaves to be filled in, in parentheses."""
    hints = []
    if report.wanted_tokens is not None:
        count = f"{report.wanted_tokens:,} tokens"
        if report.vocabularies:
            hints.append(f"{printable(report.vocabularies[0].name)} has its {count}")
        else:
            hints.append(f"VOCAB: the vocabulary it was trained with, {count}")
    if report.likely_epsilon:
        hints.append(report.likely_epsilon.sentence)
    return f" ({'; '.join(hints)})" if hints else ""


def _training_steps(report: Report) -> Iterator[Step]:
    if report.vocabulary_tokens is None:
        length = f"-c {MAGICLESS_CONTEXT_LENGTH}" if report.kind_code == "magicless" else ""
        yield Step(
            f"Run the model{_hints(report)}",
            _export(report, f"{_vocabulary(report)}{_epsilon(report)}{length}"),
        )
    elif report.optimizer:
        yield Step("Run the model", _export(report, ""))
    elif report.converted:
        words = completion(shell_word(report.file), report.context_length)
        yield Step("It is ready to run, and needs nothing more", words)
        return
    else:
        yield Step(
            "llama.cpp runs this file as it is; make one that transformers reads right, too",
            _export(report, ""),
        )
        return
    source, target = shell_word(report.file), _beside(report.file, "resume")
    if report.optimizer is not None and report.optimizer.type is OptimizerType.ADAM:
        folder = _beside(report.file, "pytorch", end="")
        options = f"{_vocabulary(report)}{_epsilon(report)}".rstrip()
        yield Step(
            "Continue the training in PyTorch, from a Hugging Face folder",
            f"ggcp export {source} {folder} --format hf {options}".rstrip(),
        )
    if report.optimizer is None:
        target = _beside(report.file, "model")
    elif report.context_length is None and sums_gradients(report):
        yield Step("Keep everything in a GGUF, as it is stored", f"ggcp convert {source} {target}")
    else:
        yield from _resuming(report, source, target)
    yield Step("Compare the result with this file", f"ggcp verify {source} {target}")


def _lora_steps(report: Report) -> Iterator[Step]:
    source, target = shell_word(report.file), _beside(report.file, "resume")
    yield from _lora_exports(report)
    if report.kind_code == "adapter":
        target = _beside(report.file, "adapter")
    else:
        yield from _resuming(report, source, target)
    yield Step("Compare the result with this file", f"ggcp verify {source} {target}")


def _lora_exports(report: Report, option: str = "") -> Iterator[Step]:
    yield Step("Use it as an adapter with llama.cpp --lora", _export(report, option, "adapter"))
    yield Step(
        f"Merge it into its base model (BASE.gguf{_fitting_base(report)})",
        _export(report, f"--merge BASE.gguf {option}".rstrip(), "merged"),
    )


def _fitting_base(report: Report) -> str:
    """Return which sizes a base model must have that fits."""
    sizes = report.hyperparameters
    words = (
        ("vocabulary_size", "tokens"),
        ("block_count", "layers"),
        ("embedding_length", "embedding elements"),
        ("feed_forward_length", "feed-forward elements"),
        ("head_count", "heads"),
    )
    return "".join(f", {sizes[name]} {what}" for name, what in words if name in sizes)


def _resuming(report: Report, source: str, target: str) -> Iterator[Step]:
    batch = "; add --batch with the trainer's -b, if you know it" if sums_gradients(report) else ""
    options = _epsilon(report).rstrip()
    for order, trainers in (
        (Order.FLASH, "llama.cpp of August 2023 to May 2024"),
        (Order.PLAIN, "that of July 2024, or --no-flash"),
    ):
        yield Step(
            f"Continue the training with {trainers}{batch}",
            f"ggcp convert {source} {target} --resume-with {order.value} {options}".rstrip(),
        )
        batch = ""


def _export(report: Report, options: str, kind: str = "model") -> str:
    target = _beside(report.file, kind)
    return f"ggcp export {shell_word(report.file)} {target} {options}".rstrip()


def _beside(name: str, kind: str, end: str = ".gguf") -> str:
    stem = os.path.splitext(name)[0]  # noqa: PTH122 - names stay as given
    return shell_word(f"{stem}-{kind}{end}")


def summary(report: Report) -> str:
    """Return in one line what the file is."""
    sizes = report.hyperparameters
    kind = "A LoRA of" if report.lora else "A model of"
    if report.parameter_count is None or "block_count" not in sizes:
        return "A damaged file, of which only the beginning can be read."
    layers = f"{number(sizes['block_count'])} layer" + "s" * (sizes["block_count"] != 1)
    text = f"{kind} {number(report.parameter_count)} parameters in {layers}"
    done = report.training.get("iteration_count", 0)
    text += f", after {number(done)} iteration{'s' * (done != 1)} of training" if done else ""
    return text + (". The file is damaged." if report.error else ".")
