"""The grammar of the commands for developers of other tools. Loads nothing that takes time."""

from __future__ import annotations

import argparse

from converter.cli.options import ORDERS, add_output_options, whole
from converter.cli.parsing import listed, one_of

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

_OF_LORA = ("rank", "n_ff", "without_n_mult", *(o.replace("-", "_") for o in RANK_OPTIONS))
_OF_TRAINING = ("with_params", "unseen")


def add_synth_arguments(command: argparse.ArgumentParser) -> None:
    """Add what ``synth`` takes."""
    count = whole(0)
    command.add_argument("output", metavar="OUT", help="the checkpoint to write")
    sizes = command.add_argument_group("hyperparameters")
    sizes.add_argument("--n-vocab", type=count, default=300, help="tokens (default: 300)")
    sizes.add_argument("--n-embd", type=count, default=32, help="embedding length (default: 32)")
    sizes.add_argument(
        "--n-mult", type=count, default=32, help="feed-forward multiple (default: 32)"
    )
    sizes.add_argument("--n-head", type=count, default=4, help="attention heads (default: 4)")
    sizes.add_argument("--n-layer", type=count, default=2, help="layers (default: 2)")
    sizes.add_argument("--n-rot", type=count, help="rotated dimensions (default: as the trainer)")
    state = command.add_argument_group("optimizer")
    state.add_argument(
        "--optimizer",
        type=one_of("adam", "lbfgs"),
        metavar=listed(("adam", "lbfgs")),
        default="adam",
        help="which wrote the state (default: adam)",
    )
    state.add_argument(
        "--optimizer-version",
        type=whole(0, 1),
        metavar="{0,1}",
        default=0,
        help="version of the optimizer context (default: 0)",
    )
    state.add_argument(
        "--with-params", action="store_true", help="version 1 with params, the layout of one commit"
    )
    state.add_argument("--past", type=whole(0, 2**31 - 1), default=0, help="losses kept")
    state.add_argument("--lbfgs-m", type=whole(1, 2**31 - 1), default=6, help="corrections kept")
    state.add_argument(
        "--order",
        type=one_of(*ORDERS),
        metavar=listed(ORDERS),
        help="order of the parameters in the optimizer's vectors (default: scratch; LoRA: flash)",
    )
    state.add_argument("--unseen", type=count, help="tokens never seen in training")
    command.add_argument(
        "--magicless",
        action="store_true",
        help="a checkpoint of May 2023, without a magic and without an optimizer",
    )
    _add_lora_options(command)
    command.add_argument("--seed", type=count, default=0, help="same seed, same bytes (default: 0)")
    add_output_options(command)


def _add_lora_options(command: argparse.ArgumentParser) -> None:
    """Add the options of a synthetic LoRA checkpoint."""
    lora = command.add_argument_group("LoRA")
    lora.add_argument("--lora", action="store_true", help="a LoRA checkpoint, as finetune wrote it")
    lora.add_argument(
        "--adapter", action="store_true", help="a LoRA adapter (ggla), without training state"
    )
    lora.add_argument(
        "--lora-alpha", type=whole(0), metavar="N", help="factor of an adapter (default: its rank)"
    )
    lora.add_argument(
        "--rank", type=whole(0), metavar="N", help="rank of the pairs of matrices (default: 4)"
    )
    for option, kind in RANK_OPTIONS.items():
        lora.add_argument(
            f"--{option}", type=whole(0), metavar="N", help=f"rank of the pairs of {kind}"
        )
    lora.add_argument(
        "--n-ff", type=whole(0), metavar="N", help="feed-forward length of the base (default: 96)"
    )
    lora.add_argument(
        "--without-n-mult", action="store_true", help="the header of a few commits, without n_mult"
    )


def add_document_arguments(command: argparse.ArgumentParser) -> None:
    """Add what ``document`` takes."""
    command.add_argument(
        "--format",
        type=one_of("markdown", "html", "ksy"),
        metavar=listed(("markdown", "html", "ksy")),
        default="markdown",
        help="markdown (default), html, or ksy for Kaitai Struct",
    )
    place = command.add_mutually_exclusive_group()
    place.add_argument("-o", "--output", metavar="OUT", help="the file to write (default: print)")
    place.add_argument("--check", metavar="FILE", help="exit with 1 if FILE is not up to date")
    add_output_options(command)


def ranks(options: argparse.Namespace, default: int, norms: tuple[str, ...]) -> dict[str, int]:
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


def check_synth(grammar: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with a usage error where options of a synthetic checkpoint do not go together."""
    kinds = [f"--{kind}" for kind in ("lora", "adapter", "magicless") if getattr(options, kind)]
    if kinds[1:]:
        grammar.error(f"{kinds[1]} does not go with {kinds[0]}")
    pairs = options.lora or options.adapter
    for name in (*_OF_TRAINING, *_OF_LORA, "lora_alpha"):
        given = getattr(options, name)
        if given is None or given is False:
            continue
        option = f"--{name.replace('_', '-')}"
        if name in _OF_TRAINING and kinds:
            grammar.error(f"{option} does not go with {kinds[0]}")
        if name in _OF_LORA and not pairs:
            grammar.error(f"{option} only goes with --lora")
        if name == "lora_alpha" and not options.adapter:
            grammar.error(f"{option} only goes with --adapter")
