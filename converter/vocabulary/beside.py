"""Finds the vocabulary of a checkpoint in its folder, where it usually is, and says where else.

Nothing that is found is taken: as many tokens are a sign, not a proof, that it is the right one.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from converter.shell import shell_word
from ggcp_schema import FormatError, Source, printable
from ggcp_schema.foreign import Foreign, Kind, recognised

MOST_FILES = 64
"""So many files of a folder are opened, those first whose names promise most."""

MOST_ENTRIES = 4096
"""So many names of a folder are looked at."""

MOST_BYTES = 1 << 20
"""So much of each file is read. LLaMA's vocabulary takes 0.4 to 0.7 MB in every kind of file."""

LLAMA_TOKENS = 32_000

LLAMA_URL = (
    "https://github.com/ggml-org/llama.cpp/raw/c392e5094deaf2d1a7c18683214f007fad3fe42b/"
    "models/ggml-vocab-llama-spm.gguf"
)
"""LLaMA's vocabulary alone, 723,869 bytes, at a commit, so that it stays what it is."""

_PREFERRED = (
    Kind.GGUF_VOCABULARY,
    Kind.GGJT,
    Kind.GGMF,
    Kind.GGML,
    Kind.GGUF_MODEL,
    Kind.SENTENCEPIECE,
)
"""The kinds of files that hold one, the best first: the last needs a package to be read."""


class Beside(NamedTuple):
    """A file beside a checkpoint that holds as many tokens.

    Attributes:
        name: its name, as the checkpoint was named: with the folder, if that was given.
        what: what it is, in words.
    """

    name: str
    what: str


def vocabularies_beside(checkpoint: str | os.PathLike[str], token_count: int) -> tuple[Beside, ...]:
    """Return the files in the folder of a checkpoint that hold ``token_count`` tokens.

    Only regular files are opened, no links, pipes or devices, so nothing is waited for; what cannot
    be read is passed over. The best kind comes first, then by name.

    Args:
        checkpoint: the name of the checkpoint.
        token_count: tokens that its model has (C: ``n_vocab``).
    """
    folder, own = os.path.split(os.fspath(checkpoint))
    found = []
    for name in _names(folder or os.curdir, own):
        path = os.path.join(folder, name)  # noqa: PTH118 - names stay as given
        foreign = _vocabulary(path)
        if foreign is not None and foreign.token_count == token_count:
            rank = _PREFERRED.index(foreign.kind)
            found.append((rank, name, Beside(path, foreign.what)))
    return tuple(each for _, _, each in sorted(found))


def advice(token_count: int, beside: tuple[Beside, ...]) -> str:
    """Return where to get the vocabulary of a checkpoint, as a sentence without a full stop.

    Args:
        token_count: tokens that it must have.
        beside: what ``vocabularies_beside`` found.
    """
    if beside:
        first, *others = beside
        more = f" (and {len(others)} more)" if others else ""
        return (
            f"found {printable(first.name)}{more} with {token_count:,} tokens: if the model was "
            f"trained with it, add --vocab {shell_word(first.name)}"
        )
    if token_count == LLAMA_TOKENS:
        return (
            "32,000 are LLaMA's: any GGUF or .bin of LLaMA 1 or 2 holds them, their "
            f"tokenizer.model, and {LLAMA_URL}"
        )
    return (
        "not LLaMA's, which has 32,000: look for the file that was the trainer's --vocab-model, "
        "for its --model-out (ggml-NAME.bin), or for a tokenizer.model"
    )


def _names(folder: str, own: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            regular = [
                entry.name
                for entry in islice(entries, MOST_ENTRIES)
                if entry.name != own and entry.is_file(follow_symlinks=False)
            ]
    except OSError:
        return iter(())
    return iter(sorted(regular, key=_promise)[:MOST_FILES])


def _promise(name: str) -> tuple[bool, str]:
    return not any(word in name.lower() for word in ("vocab", "tokenizer")), name


def _vocabulary(path: str) -> Foreign | None:
    """Return what a file is, and of how many tokens, if it can be given as a vocabulary."""
    try:
        with Source.open(path) as file:
            size = file.size
            head = file.read_at(0, min(size, MOST_BYTES))
    except FormatError:
        return None
    with Source.over(io.BytesIO(head)) as start:
        found = recognised(start)
    if found is None or found.kind not in _PREFERRED:
        return None
    if found.kind is Kind.SENTENCEPIECE:
        return Foreign(found.kind, _pieces(head)) if size == len(head) else None
    return found


def _pieces(model: bytes) -> int | None:
    from converter.hf_io.protobuf import Model, fields  # which only a tokenizer.model needs

    try:
        return sum(number == Model.PIECES for number, _ in fields(model))
    except (FormatError, IndexError):
        return None
