"""A vocabulary as GGUF metadata, and the checks that are the same for every source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gguf import Keys, TokenType

from converter.plan import Metadata
from ggcp_schema import FormatError
from ggcp_schema.gguf import MOST_ELEMENTS, MOST_HEAD_BYTES, ValueType
from ggcp_schema.language.checks import shown
from ggcp_schema.language.texts import Limit

TRAINED_WITH = "give the vocabulary that the model was trained with (the trainer's --vocab-model)"

TOO_LARGE = "no vocabulary is this large: the file is damaged or not a vocabulary; give another"

MOST_TOKENS = MOST_ELEMENTS
"""As many as a GGUF may have, since all vocabularies end there."""

WHOLE = Limit(MOST_HEAD_BYTES, "a vocabulary", TOO_LARGE)
"""As much as is read of a file that is no GGUF."""

UNKNOWN_TEXT, BEGIN_TEXT, END_TEXT = b"<unk>", b"<s>", b"</s>"


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer of a model.

    Attributes:
        kind: what it was read from, for messages: ``GGUF``, ``ggjt``, ``ggmf``, ``ggml`` or
            ``SentencePiece``.
        metadata: the keys ``tokenizer.ggml.*``, in the order of llama.cpp's own converter. Texts
            in arrays (tokens, merges) are bytes: they need not be UTF-8.
        token_count: how many tokens there are.
    """

    kind: str
    metadata: tuple[Metadata, ...]
    token_count: int


def require_token_count(found: int, token_count: int, path: str, offset: int | None) -> None:
    """Make sure that the vocabulary has as many tokens as the model.

    Raises:
        FormatError: it has more or fewer.
    """
    if found != token_count:
        raise FormatError(
            path=path,
            offset=offset,
            expected=f"{token_count} tokens, as many as the checkpoint has (n_vocab)",
            found=f"{found} tokens",
            hint=TRAINED_WITH,
        )


def require_distinct(tokens: Sequence[bytes], path: str, offset: int | None) -> None:
    """Make sure that no two tokens have the same text: llama.cpp aborts on such a vocabulary.

    Empty texts may repeat: llama.cpp names each after its id (``llama_vocab::impl::load``).

    Raises:
        FormatError: two tokens have the same text.
    """
    first_ids: dict[bytes, int] = {}
    for index, token in enumerate(tokens):
        first = first_ids.setdefault(token, index)
        if first != index and token:
            raise FormatError(
                path=f"{path}[{index}]",
                offset=offset,
                expected="a text that no other token has",
                found=f"{shown(token)}, the text of token {first}",
                hint="llama.cpp aborts on such a vocabulary; look for another copy of it",
            )


def llama_metadata(
    tokens: Sequence[bytes],
    scores: Sequence[float],
    types: Sequence[TokenType],
    special_ids: dict[str, int],
) -> tuple[Metadata, ...]:
    """Return the metadata of a ``llama`` tokenizer, in the order of llama.cpp's converter.

    Args:
        tokens: the texts, with U+2581 for a space and ``<0xXX>`` for a byte.
        scores: the rank of each token when two are merged; the higher goes first.
        types: what each token is.
        special_ids: key and id of each special token.
    """
    array, string = ValueType.ARRAY, ValueType.STRING
    return (
        Metadata(Keys.Tokenizer.MODEL, string, "llama"),
        Metadata(Keys.Tokenizer.LIST, array, tuple(tokens), string),
        Metadata(Keys.Tokenizer.SCORES, array, tuple(scores), ValueType.FLOAT32),
        Metadata(Keys.Tokenizer.TOKEN_TYPE, array, tuple(map(int, types)), ValueType.INT32),
        *(Metadata(key, ValueType.UINT32, token) for key, token in special_ids.items()),
    )
