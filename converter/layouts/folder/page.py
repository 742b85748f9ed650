"""README.md of a folder: what it is, from where, and how training goes on, with its own numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from string import Template

from converter.layouts.folder.adam import Adam
from ggcp_schema import printable

_MODEL = Template("""\
# $name

A LLaMA model of $parameters parameters ($dtype) for transformers and PyTorch, made by ggcp from
$name, $kind. It was trained on samples of $context_length tokens;
the epsilon of its norms is $epsilon.
""")

_NO_TOKENIZER = """
There is no tokenizer here: give ggcp the trainer's `--vocab-model` with `--vocab` to have one.
"""

_WITHOUT_OPTIMIZER = Template("""
There is no optimizer.pt: $why.
""")

_STATE = Template("""
`optimizer.pt` holds the state of Adam; `scheduler.pt` and `trainer_state.json` say where the
training stood. It goes on as if it had never been interrupted.

| Setting | Value | From |
|---|---|---|
$settings
$assumed
## Continue training

```python
$samples
```

With PyTorch:

```python
$pytorch
```

With the Trainer of transformers:

```python
$trainer
```

Worth knowing:

- Rate, betas, epsilon and decay come from `optimizer.pt`: what a Trainer is told of them is
  ignored. Of its arguments only the shape of the schedule counts.
- A Trainer whose `max_steps` is not above $iteration stops after one step.
- A model in half precision would make the moments half precision: load it in float32.
""")

_IN_BLOCKS = Template("""\
- The old trainer kept the rate for $block iterations at a time; here it changes with each.
""")

_ASSUMED = """
What is assumed is what the trainer of that time did by default.
"""

_SAMPLES = Template("""\
from transformers import AutoTokenizer

folder = "."  # this one
text = open("../text.txt", encoding="utf-8").read()
ids = AutoTokenizer.from_pretrained(folder)(text).input_ids
samples = [ids[at : at + $length] for at in range(0, len(ids) - $length + 1, $length)]""")

_OTHER_SAMPLES = Template("""\
folder = "."  # this one
samples = [...]  # lists of $length token ids, of the vocabulary of the training""")

_PYTORCH = Template("""\
import math, torch
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(folder)
state = torch.load(f"{folder}/optimizer.pt", weights_only=True)
weights, groups = dict(model.named_parameters()), state["param_groups"]
optimizer = torch.optim.AdamW(
    [{"params": [weights[name] for name in group["param_names"]]} for group in groups])
optimizer.load_state_dict(state)  # moments, rate, betas, epsilon, decay
schedule = torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda t: $factor, last_epoch=$before)
for batch in torch.tensor(samples).split($batch):
    model(input_ids=batch, labels=batch).loss.backward()$clip
    optimizer.step(); schedule.step(); optimizer.zero_grad()""")

_CLIP = Template("""
    torch.nn.utils.clip_grad_norm_(model.parameters(), $clipping)""")

_TRAINER = Template("""\
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

class Resume(TrainerCallback):  # the rate of the first step, and how often to save
    def on_train_begin(self, args, state, control, optimizer, lr_scheduler, **kwargs):
        state.compute_steps(args, state.max_steps)
        rates = zip(lr_scheduler.base_lrs, lr_scheduler.lr_lambdas)
        for group, (rate, factor) in zip(optimizer.param_groups, rates):
            group["lr"] = rate * factor(lr_scheduler.last_epoch)

arguments = TrainingArguments(
    "../run", max_steps=$end, warmup_steps=$warmup, lr_scheduler_type=$kind,
    max_grad_norm=$clipping, per_device_train_batch_size=$batch, ignore_data_skip=True)
model = AutoModelForCausalLM.from_pretrained(folder)
data = [{"input_ids": ids, "labels": [-100, *ids[1:]]} for ids in samples]
trainer = Trainer(model=model, args=arguments, train_dataset=data, callbacks=[Resume()])
trainer.train(resume_from_checkpoint=folder)""")


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
        page = _MODEL.substitute(
            name=_verbatim(self.checkpoint),
            parameters=f"{self.parameter_count:,}",
            dtype=self.dtype,
            kind=self.kind,
            context_length=self.context_length,
            epsilon=f"{self.epsilon:g}",
        )
        if not self.has_tokenizer:
            page += _NO_TOKENIZER
        if self.adam is None:
            return (page + _WITHOUT_OPTIMIZER.substitute(why=self.without_optimizer)).encode()
        adam = self.adam
        samples = _SAMPLES if self.has_tokenizer else _OTHER_SAMPLES
        page += _STATE.substitute(
            settings="\n".join(_settings(adam)),
            assumed="" if adam.stored and adam.schedule.known else _ASSUMED,
            samples=samples.substitute(length=self.context_length),
            pytorch=_pytorch(adam),
            trainer=_trainer(adam),
            iteration=adam.iteration,
        )
        if adam.block is not None and adam.block > 1:
            page += _IN_BLOCKS.substitute(block=adam.block)
        return page.encode()


def _verbatim(name: str) -> str:
    """Return a name of a file between marks that keep Markdown from reading it."""
    return f"`{printable(name).replace('`', chr(39))}`"


def _settings(adam: Adam) -> Iterator[str]:
    """Yield the rows of a table: a setting, its value, and where that is from."""
    schedule = adam.schedule
    stored = "the file" if adam.stored else "assumed"
    yield f"| iterations done | {adam.iteration} | the file |"
    yield f"| learning rate | {adam.alpha:g}, now {adam.rate:g} | {stored} |"
    if schedule.is_new:
        words, known = f"ended; a new cosine to iteration {schedule.end}", "chosen"
    else:
        words = f"warmup {schedule.warmup}, cosine to {schedule.smallest:g} at {schedule.end}"
        known = "the file" if schedule.known else "assumed"
    yield f"| schedule | {words} | {known} |"
    yield f"| betas | {adam.betas[0]:g}, {adam.betas[1]:g} | {stored} |"
    divided = "" if adam.rows == 1 else f", divided as the moments by {adam.rows} rows of a batch"
    yield f"| epsilon | {adam.epsilon:g}{divided} | {stored} |"
    of = "all" if adam.weight_decay_of_norms == adam.weight_decay else "matrices only"
    yield f"| weight decay | {adam.weight_decay:g} ({of}) | {stored} |"
    clipping = f"norm of {adam.clipping:g}" if adam.clipping else "none"
    yield f"| clipping | {clipping} | the trainer |"
    yield f"| batch | {adam.batch} | `ggcp.json` |"


def _pytorch(adam: Adam) -> str:
    return _PYTORCH.substitute(
        factor=_factor(adam),
        before=adam.iteration - 1,
        batch=adam.batch,
        clip=_CLIP.substitute(clipping=adam.clipping) if adam.clipping else "",
    )


def _factor(adam: Adam) -> str:
    """Return the factor of the schedule at an iteration ``t``, in Python."""
    schedule = adam.schedule
    after = f"(t - {schedule.warmup})" if schedule.warmup else "t"
    least = f"{schedule.smallest:g} + " if schedule.smallest else ""
    half = f"{(1 - schedule.smallest) / 2:g}"
    falling = f"{least}{half} * (1 + math.cos(math.pi * {after} / 1000))"
    if not schedule.warmup:
        return falling
    return f"t / {schedule.warmup} if t < {schedule.warmup} else {falling}"


def _trainer(adam: Adam) -> str:
    kind, smallest = '"cosine"', adam.schedule.smallest
    if smallest:
        kind = f'"cosine_with_min_lr",\n    lr_scheduler_kwargs={{"min_lr_rate": {smallest:g}}}'
    return _TRAINER.substitute(
        end=adam.schedule.end,
        warmup=adam.schedule.warmup,
        kind=kind,
        clipping=adam.clipping,
        batch=adam.batch,
    )
