"""README.md of a folder: what it is, from where, and how training goes on, with its own numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from converter.layouts.folder.adam import Adam
from ggcp_schema import printable


@dataclass(frozen=True)
class Page:
    """What the page says.

    Attributes:
        checkpoint: name of the file that the folder was made from.
        kind: what it is, in words.
        context_length: tokens in a sample.
        epsilon: of the RMS norms.
        parameter_count: elements of all weights.
        dtype: type of the weights.
        has_tokenizer: whether the tokenizer is there.
        adam: the settings of Adam; None where there is no optimizer.pt.
        without_optimizer: why there is none.
    """

    checkpoint: str
    kind: str
    context_length: int
    epsilon: float
    parameter_count: int
    dtype: str
    has_tokenizer: bool
    adam: Adam | None
    without_optimizer: str

    def to_bytes(self) -> bytes:
        """Return the page, in Markdown."""
        return ("\n".join(self._lines()) + "\n").encode()

    def _lines(self) -> Iterator[str]:
        name = _verbatim(self.checkpoint)
        yield f"# {name}"
        yield ""
        yield f"A LLaMA model of {self.parameter_count:,} parameters ({self.dtype}) for transformers"
        yield f"and PyTorch, made by ggcp from {name}, {self.kind}. It was trained on samples of"
        yield f"{self.context_length} tokens; the epsilon of its norms is {self.epsilon:g}."
        if not self.has_tokenizer:
            yield ""
            yield "There is no tokenizer here: give ggcp the trainer's `--vocab-model` with `--vocab`."
        if self.adam is None:
            yield ""
            yield f"There is no optimizer.pt: {self.without_optimizer}."
            return
        yield ""
        yield "`optimizer.pt` holds the state of Adam, `scheduler.pt` and `trainer_state.json` where"
        yield "the training stood: it goes on as if it had never been interrupted."
        yield ""
        yield from _settings(self.adam)
        yield from self._continued(self.adam)
        yield from _traps(self.adam)

    def _continued(self, adam: Adam) -> Iterator[str]:
        yield ""
        yield "## Continue training"
        yield ""
        yield from _code(self._samples())
        yield ""
        yield "With PyTorch:"
        yield ""
        yield from _code(_pytorch(adam))
        yield ""
        yield "With the Trainer of transformers:"
        yield ""
        yield from _code(_trainer(adam))

    def _samples(self) -> Iterator[str]:
        length = self.context_length
        yield 'folder = "."  # this one'
        if not self.has_tokenizer:
            yield f"samples = [...]  # lists of {length} token ids, of the vocabulary of the training"
            return
        yield "from transformers import AutoTokenizer"
        yield ""
        yield 'text = open("../text.txt", encoding="utf-8").read()'
        yield "ids = AutoTokenizer.from_pretrained(folder)(text).input_ids"
        yield f"samples = [ids[at : at + {length}] for at in range(0, len(ids) - {length - 1}, {length})]"


def _code(lines: Iterator[str]) -> Iterator[str]:
    yield "```python"
    yield from lines
    yield "```"


def _verbatim(name: str) -> str:
    """Return a name of a file between marks that keep Markdown from reading it."""
    return f"`{printable(name).replace('`', chr(39))}`"


def _settings(adam: Adam) -> Iterator[str]:
    schedule, yes = adam.schedule, "the file" if adam.stored else "assumed"
    known = "the file" if schedule.known else "assumed"
    matrices = "" if adam.weight_decay_of_norms else ", matrices only"
    yield "| Setting | Value | From |"
    yield "|---|---|---|"
    yield f"| iterations done | {adam.iteration} | the file |"
    yield f"| learning rate | {adam.alpha:g}, now {adam.rate:g} | {yes} |"
    if schedule.is_new:
        yield (
            f"| schedule | ended; a new cosine from iteration {schedule.warmup} to {schedule.end} "
            "| chosen |"
        )
    else:
        yield (
            f"| schedule | warmup {schedule.warmup}, then a cosine to {schedule.smallest:g} at "
            f"iteration {schedule.end} | {known} |"
        )
    yield f"| betas | {adam.betas[0]:g}, {adam.betas[1]:g} | {yes} |"
    yield f"| epsilon | {adam.epsilon:g}{_of_rows(adam)} | {yes} |"
    yield f"| weight decay | {adam.weight_decay:g}{matrices} | {yes} |"
    yield f"| clipping | {f'norm {adam.clipping:g}' if adam.clipping else 'none'} | its trainer |"
    yield f"| batch | {adam.batch} | see `ggcp.json` |"
    if not (adam.stored and schedule.known):
        yield ""
        yield "What is assumed is what the trainer of that time did by default."


def _of_rows(adam: Adam) -> str:
    if adam.rows == 1:
        return ""
    return f", divided like the moments by {adam.rows} (rows of a batch, over which it summed)"


def _factor(adam: Adam) -> str:
    schedule = adam.schedule
    after = f"(t - {schedule.warmup})" if schedule.warmup else "t"
    least = f"{schedule.smallest:g} + " if schedule.smallest else ""
    half = f"{(1 - schedule.smallest) / 2:g}"
    falling = f"{least}{half} * (1 + math.cos(math.pi * {after} / 1000))"
    if not schedule.warmup:
        return falling
    return f"t / {schedule.warmup} if t < {schedule.warmup} else {falling}"


def _pytorch(adam: Adam) -> Iterator[str]:
    yield "import math, torch"
    yield "from transformers import AutoModelForCausalLM"
    yield ""
    yield "model = AutoModelForCausalLM.from_pretrained(folder)"
    yield 'state = torch.load(f"{folder}/optimizer.pt", weights_only=True)'
    yield "weights, groups = dict(model.named_parameters()), state[\"param_groups\"]"
    yield "optimizer = torch.optim.AdamW(["
    yield '    {"params": [weights[name] for name in group["param_names"]]} for group in groups])'
    yield "optimizer.load_state_dict(state)  # moments, rate, betas, epsilon, decay"
    yield f"schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, last_epoch={adam.iteration - 1},"
    yield f"    lr_lambda=lambda t: {_factor(adam)})"
    yield f"for batch in torch.tensor(samples).split({adam.batch}):"
    yield "    model(input_ids=batch, labels=batch).loss.backward()"
    if adam.clipping:
        yield f"    torch.nn.utils.clip_grad_norm_(model.parameters(), {adam.clipping:g})"
    yield "    optimizer.step(); schedule.step(); optimizer.zero_grad()"


def _trainer(adam: Adam) -> Iterator[str]:
    kind = '"cosine"'
    if adam.schedule.smallest:
        kind = f'"cosine_with_min_lr", lr_scheduler_kwargs={{"min_lr_rate": {adam.schedule.smallest:g}}}'
    yield "from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments"
    yield ""
    yield "class Resume(TrainerCallback):  # the rate of the first step, and how often to save"
    yield "    def on_train_begin(self, args, state, control, optimizer, lr_scheduler, **kwargs):"
    yield "        state.compute_steps(args, state.max_steps)"
    yield "        rates = zip(lr_scheduler.base_lrs, lr_scheduler.lr_lambdas)"
    yield "        for group, (rate, factor) in zip(optimizer.param_groups, rates):"
    yield '            group["lr"] = rate * factor(lr_scheduler.last_epoch)'
    yield ""
    yield f'arguments = TrainingArguments("../run", max_steps={adam.schedule.end},'
    yield f"    warmup_steps={adam.schedule.warmup}, lr_scheduler_type={kind},"
    yield (
        f"    max_grad_norm={adam.clipping}, per_device_train_batch_size={adam.batch}, "
        "ignore_data_skip=True)"
    )
    yield "model = AutoModelForCausalLM.from_pretrained(folder)"
    yield 'data = [{"input_ids": ids, "labels": [-100, *ids[1:]]} for ids in samples]'
    yield "trainer = Trainer(model=model, args=arguments, train_dataset=data, callbacks=[Resume()])"
    yield "trainer.train(resume_from_checkpoint=folder)"


def _traps(adam: Adam) -> Iterator[str]:
    yield ""
    yield "Worth knowing:"
    yield ""
    yield "- The rate, betas, epsilon and decay come from `optimizer.pt`; what a Trainer is told of"
    yield "  them is ignored. Of its arguments only the shape of the schedule counts."
    yield f"- A Trainer whose `max_steps` is {adam.iteration} or less stops after one step."
    yield "- A model in half precision would make the moments half precision: load it in float32."
    if adam.block is not None and adam.block > 1:
        yield f"- The old trainer kept the rate for {adam.block} iterations at a time; here it changes"
        yield "  with each."
