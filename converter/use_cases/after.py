"""What to do with a file that was just written: the command, as a sentence for a note."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from converter.shell import completion, shell_word
from converter.snapshot import Snapshot
from ggcp_schema import printable
from ggcp_schema.enums import OptimizerType
from ggcp_schema.history import READERS
from ggcp_schema.order import Order

_RANK_OPTIONS = {
    "attention_norm": "--rank-att-norm",
    "ffn_norm": "--rank-ffn-norm",
    "norm": "--rank-out-norm",
    "tok_embeddings": "--rank-tok-embd",
    "output": "--rank-out",
    "wq": "--rank-wq",
    "wk": "--rank-wk",
    "wv": "--rank-wv",
    "wo": "--rank-wo",
    "w1": "--rank-w1",
    "w2": "--rank-w2",
    "w3": "--rank-w3",
}
"""finetune's options for the ranks, the first three of which are 1 by default, the rest lora-r."""

_NORMS = tuple(_RANK_OPTIONS)[:3]
_RENAMED = tuple(_RANK_OPTIONS)[-3:]


def after_export(path: str, *, adapter: bool, context_length: int | None) -> str:
    """Return how a model, or an adapter, is tried out.

    Args:
        path: name of the file that was written.
        adapter: whether it is an adapter, which runs beside its base model.
        context_length: tokens that the model takes at once; None if it is not known.
    """
    name = shell_word(path)
    model = f"BASE.gguf --lora {name}" if adapter else name
    return f"Try it: {completion(model, context_length)}"


def after_export_folder(path: str) -> str:
    """Return where the code stands with which a Hugging Face folder is run and trained on.

    Args:
        path: name of the folder that was written.
    """
    return f"Go on in PyTorch: {printable(path)}/README.md has the code, with all numbers filled in"


def after_convert(path: str, snapshot: Snapshot, target: Order | None, batch: int | None) -> str:
    """Return how a trainer goes on from a converted checkpoint.

    It refuses the file if it is told other ranks, or another number of past losses, than the
    checkpoint has, and takes the length of the context from its options alone.

    Args:
        path: name of the file that was written.
        snapshot: the checkpoint that it was made from.
        target: the order that the trainer expects; None if that was not said.
        batch: the batch size, if it was given.
    """
    lora, optimizer = snapshot.ranks is not None, snapshot.optimizer
    trainer = "finetune" if lora else "train-text-from-scratch"
    words = [trainer, "--model-base BASE.gguf" if lora else "--vocab-model VOCAB.gguf"]
    words += [f"--checkpoint-in {shell_word(path)}", "--train-data TEXT.txt"]
    if snapshot.context_length is not None:
        words.append(f"--ctx {snapshot.context_length}")
    if batch is not None:
        words.append(f"-b {batch}")
    if optimizer is not None and optimizer.type is OptimizerType.LBFGS:
        words.append("--use-lbfgs")
    if optimizer is not None and optimizer.convergence_past_count:
        words.append(f"--opt-past {optimizer.convergence_past_count}")
    words += _rank_options(snapshot.ranks or {})
    era = "" if target is None else f" with the trainer of {READERS[target]}"
    renamed = any(_RANK_OPTIONS[name] in " ".join(words) for name in _RENAMED)
    later = " (w1, w2, w3 are ffn_gate, ffn_down, ffn_up in 2024)" if renamed else ""
    return f"Go on{era}: {' '.join(words)}{later}"


def _rank_options(ranks: Mapping[str, int]) -> Iterator[str]:
    matrices = [ranks[name] for name in ranks if name not in _NORMS]
    if not matrices:
        return
    usual = Counter(matrices).most_common(1)[0][0]
    yield f"--lora-r {usual}"
    for name, option in _RANK_OPTIONS.items():
        if ranks[name] != (1 if name in _NORMS else usual):
            yield f"{option} {ranks[name]}"
