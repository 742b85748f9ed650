"""The vocabulary of a model file of 2023: ggjt (versions 1 to 3), ggmf and ggml.

The layout is that of llama.cpp's ``llama_file_loader`` at e32089b2c, which the first trainer used.
Tokens come before tensors, which are not read. The mapping to a ``llama`` tokenizer is that of
llama.cpp's ``convert-llama-ggml-to-gguf.py`` (``add_vocab``) at ea2c85d5d.
"""

from __future__ import annotations

import numpy as np
from construct import Construct, Container
from gguf import TokenType

from converter.llama_tokenizer import SPACE, SPECIAL_IDS, byte_text
from converter.vocabulary.model import (
    BEGIN_TEXT,
    END_TEXT,
    MOST_TOKENS,
    TOO_LARGE,
    UNKNOWN_TEXT,
    WHOLE,
    Vocabulary,
    llama_metadata,
    require_distinct,
    require_token_count,
)
from ggcp_schema import Source
from ggcp_schema.language.checks import Check, one_of, value
from ggcp_schema.language.fields import U32, Field, Struct, field
from ggcp_schema.language.runs import Signature
from ggcp_schema.language.texts import Texts, read_texts

_OTHER_VERSION = "llama.cpp never wrote another version; look for another copy of the file"

# fmt: off
_HYPERPARAMETERS = (
    field("vocabulary_size", U32,
        "n_vocab", "Tokens in the vocabulary.",
        Check(value >= 3, "at least 3 tokens (unknown, begin and end of text)",
            "such a vocabulary is of no use to a model; look for another copy"),
        Check(value <= MOST_TOKENS, f"at most {MOST_TOKENS} tokens", TOO_LARGE)),
    field("embedding_length", U32,
        "n_embd", "Not used here, as all that follow."),
    field("feed_forward_multiple", U32,
        "n_mult", ""),
    field("head_count", U32,
        "n_head", ""),
    field("block_count", U32,
        "n_layer", ""),
    field("rope_dimension_count", U32,
        "n_rot", ""),
    field("file_type", U32,
        "ftype", "How the tensors are stored."),
)


def _versioned(magic: bytes, versions: tuple[int, ...], names: str) -> tuple[Field, ...]:
    return (
        field("magic", Signature(magic),
            "magic", "What the file is."),
        field("version", U32,
            "version", "Version of the layout.",
            one_of(versions, names, _OTHER_VERSION)),
    )


LAYOUTS = {
    b"tjgg": Struct(*_versioned(b"tjgg", (1, 2, 3), "version 1, 2 or 3"), *_HYPERPARAMETERS),
    b"fmgg": Struct(*_versioned(b"fmgg", (1,), "version 1"), *_HYPERPARAMETERS),
    b"lmgg": Struct(
        field("magic", Signature(b"lmgg"),
            "magic", "What the file is; it has no version."),
        *_HYPERPARAMETERS,
    ),
}
"""The header by magic: the u32 'ggjt', 'ggmf' and 'ggml', low byte first."""


class Tokens(Construct):  # type: ignore[misc]
    """The tokens, in the order of their ids: u32 length, text, and the score as a float32.

    Unversioned ggml files hold no scores; llama.cpp took 0 for each, and so did the trainer.
    """

    def __init__(self, scored: bool) -> None:
        super().__init__()
        self.scored = scored

    def _parse(self, stream: Source, context: Container, path: str) -> tuple[Texts, bytes]:
        count = context._.vocabulary_size
        texts, scores = read_texts(stream, count, 4, WHOLE, 4 if self.scored else 0)
        return texts, scores or bytes(4 * count)


TOKENS = Struct(
    field("tokens", Tokens(scored=True),
        "vocab.id_to_token", "Text and score of each token."),
)
UNSCORED_TOKENS = Struct(
    field("tokens", Tokens(scored=False),
        "vocab.id_to_token", "Text of each token."),
)
# fmt: on

_KINDS = {
    b"tjgg": ("ggjt", TOKENS),
    b"fmgg": ("ggmf", TOKENS),
    b"lmgg": ("ggml", UNSCORED_TOKENS),
}

_SPECIAL_TOKENS = (
    (UNKNOWN_TEXT, TokenType.UNKNOWN),
    (BEGIN_TEXT, TokenType.CONTROL),
    (END_TEXT, TokenType.CONTROL),
)
"""Tokens 0 to 2. Their text in the file is for printing: `` ⁇ ``, empty and empty in LLaMA's."""

_BYTE_IDS = range(3, 259)


def read(source: Source, token_count: int) -> Vocabulary:
    """Read the vocabulary of a ggjt, ggmf or ggml model file, open at its first byte.

    Raises:
        FormatError: it is damaged, or holds another number of tokens.
    """
    magic = source.read(4)
    source.seek(0)
    kind, layout = _KINDS[magic]
    header = LAYOUTS[magic]._parse(source, Container(), "")
    require_token_count(
        header.vocabulary_size, token_count, "vocabulary_size", 4 if kind == "ggml" else 8
    )
    offset = source.tell()
    texts, scores = layout._parse(source, header, "").tokens
    tokens, types = zip(*map(_mapped, range(len(texts)), texts), strict=True)
    require_distinct(tokens, "tokens", offset)
    return Vocabulary(
        kind=kind,
        metadata=llama_metadata(tokens, np.frombuffer(scores, "<f4").tolist(), types, SPECIAL_IDS),
        token_count=token_count,
    )


def _mapped(token: int, text: bytes) -> tuple[bytes, TokenType]:
    """Return text and type of a token in a GGUF."""
    if token < len(_SPECIAL_TOKENS):
        return _SPECIAL_TOKENS[token]
    if not text:
        return text, TokenType.CONTROL
    if token in _BYTE_IDS and len(text) == 1:
        return byte_text(text[0]).encode(), TokenType.BYTE
    return text.replace(b" ", SPACE.encode()), TokenType.NORMAL
