"""What the command line has for LoRA checkpoints. Loads nothing that takes time."""

from __future__ import annotations

import contextlib
from argparse import ArgumentParser, Namespace
from pathlib import Path

TRAINING_MAGIC, LORA_MAGIC = b"pcgg", b"lcgg"

ADAPTER_OUTTYPES = ("f32", "f16")
"""Types in which llama.cpp takes the pairs of an adapter, whatever their ranks."""

RANK_OPTIONS = {
    "rank-att-norm": "attention_norm",
    "rank-ffn-norm": "ffn_norm",
    "rank-out-norm": "norm",
    "rank-tok-embd": "tok_embeddings",
    "rank-out": "output",
    "rank-wq": "wq",
    "rank-wk": "wk",
    "rank-wv": "wv",
    "rank-wo": "wo",
    "rank-w1": "w1",
    "rank-w2": "w2",
    "rank-w3": "w3",
}
"""finetune's own names (llama.cpp 0e76a8992), and the kinds of ``ggcp_schema.lora.Ranks``."""

_OF_A_MODEL = ("vocab", "context_length", "eps", "model_name", "metadata", "rescue")
_OF_LORA = ("rank", "n_ff", "without_n_mult", *(o.replace("-", "_") for o in RANK_OPTIONS))
_NOT_OF_LORA = ("with_params", "unseen")


def add_merge_option(command: ArgumentParser) -> None:
    """Add the option that names the base model of a LoRA checkpoint."""
    command.add_argument(
        "--merge",
        metavar="BASE.gguf",
        help="for a LoRA checkpoint: the model it was trained on, to which its changes are added",
    )


def add_synth_options(command: ArgumentParser) -> None:
    """Add the options of a synthetic LoRA checkpoint."""
    lora = command.add_argument_group("LoRA")
    lora.add_argument("--lora", action="store_true", help="a LoRA checkpoint, as finetune wrote it")
    lora.add_argument(
        "--rank", type=_count, metavar="N", help="rank of the pairs of matrices (default: 4)"
    )
    for option, kind in RANK_OPTIONS.items():
        lora.add_argument(
            f"--{option}", type=_count, metavar="N", help=f"rank of the pairs of {kind}"
        )
    lora.add_argument(
        "--n-ff", type=_count, metavar="N", help="feed-forward length of the base (default: 96)"
    )
    lora.add_argument(
        "--without-n-mult", action="store_true", help="the header of a few commits, without n_mult"
    )


def _count(text: str) -> int:
    from converter.cli.grammar import whole

    return whole(0)(text)


def ranks(options: Namespace, default: int, norms: tuple[str, ...]) -> dict[str, int]:
    """Return the rank of each kind that ``--rank`` or an option of its own says.

    Args:
        options: what was given.
        default: the rank of matrices without ``--rank``.
        norms: the kinds that ``--rank`` says nothing of.
    """
    common = default if options.rank is None else options.rank
    found = {kind: common for kind in RANK_OPTIONS.values() if kind not in norms}
    for option, kind in RANK_OPTIONS.items():
        given = getattr(options, option.replace("-", "_"))
        if given is not None:
            found[kind] = given
    return found


def settle_lora(grammar: ArgumentParser, options: Namespace) -> None:
    """End with a usage error where options do not go together.

    Whether a file is a LoRA checkpoint is told by its first four bytes. Of one that cannot be read
    nothing is said here: the command says what is wrong with it.
    """
    if options.command == "export":
        _settle_export(grammar, options)
    if options.command == "synth":
        _settle_synth(grammar, options)


def _settle_synth(grammar: ArgumentParser, options: Namespace) -> None:
    for name in _NOT_OF_LORA if options.lora else _OF_LORA:
        given = getattr(options, name)
        if given if options.lora else given is not None and given is not False:
            words = "does not go with" if options.lora else "only goes with"
            grammar.error(f"{_option(name)} {words} --lora")


def _magic(path: str) -> bytes:
    """Return the first bytes of a regular file; opening a pipe would wait for a writer."""
    with contextlib.suppress(OSError, ValueError):
        if Path(path).is_file():
            with Path(path).open("rb") as file:
                return file.read(4)
    return b""


def _settle_export(grammar: ArgumentParser, options: Namespace) -> None:
    magic = _magic(options.input)
    if magic != LORA_MAGIC and options.merge is None:
        if magic == TRAINING_MAGIC and options.vocab is None:
            grammar.error("the following arguments are required: --vocab")
        return
    for name in _OF_A_MODEL:
        if getattr(options, name) not in (None, False):
            reason = (
                "the model takes everything but its weights from BASE.gguf"
                if options.merge is not None
                else "an adapter takes it from the model that it is used with"
            )
            of = "--merge" if options.merge is not None else "a LoRA checkpoint"
            grammar.error(f"{_option(name)} does not go with {of}: {reason}")
    if options.merge is None and options.outtype not in (None, *ADAPTER_OUTTYPES):
        grammar.error(
            f"--outtype {options.outtype} does not go with an adapter: "
            f"give {' or '.join(ADAPTER_OUTTYPES)}"
        )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
