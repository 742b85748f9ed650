"""The merges of a ``llama`` vocabulary, which ``tokenizer.json`` lists and a GGUF does not.

llama.cpp merges two neighbours if their texts make up a token, the one with the highest score
first. ``tokenizers`` looks up the pair in a list instead, and the first in it goes first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
from gguf import Keys, TokenType

from converter.errors import ConversionError
from converter.hf_io.llama_vocabulary import ANOTHER, LlamaVocabulary
from converter.llama_tokenizer import SPACE
from ggcp_schema.language.checks import shown

MOST_WORK = 1 << 31
"""How many characters may be looked at, 64 for each place where a token could be divided.

A vocabulary of 256,000 tokens takes a tenth of it, and this a few seconds.
"""

MOST_MERGE_BYTES = 1 << 28
"""Memory that the merges may take: for each, 64 bytes and 4 for a character of its token."""

_STEP = 64


def merges(vocabulary: LlamaVocabulary, file: str) -> list[tuple[str, str]]:
    """Return all pairs of tokens that make up a token, the one that goes first first.

    They are ordered by the token's score, then its id, then where it is divided. Time is bounded:
    a token is divided only where both halves have a length that some token has, so that one far
    longer than all others costs nothing.

    Tokens of the types UNKNOWN, CONTROL and USER_DEFINED are cut out of a text before it is merged,
    and have no merges; those with U+2581 do, for a text may have a space in its place.

    Args:
        vocabulary: the vocabulary.
        file: where it is from, for errors.

    Raises:
        ConversionError: no list of merges does what llama.cpp does: two tokens have the same score
            (there the leftmost goes first, whichever it is), or a character that is not a token is
            merged. Or the texts are too many or too long.
    """
    return list(_Merges(vocabulary, file))


class _Merges:
    def __init__(self, vocabulary: LlamaVocabulary, file: str) -> None:
        self.texts = vocabulary.texts
        self.scores = vocabulary.scores
        self.file = file
        self.ids = {text: token for token, text in enumerate(self.texts)}
        types = vocabulary.types
        self.merged = {t: t for i, t in enumerate(self.texts) if _is_merged(t, types[i])}
        self.lengths = sorted({1, *map(len, self.merged)})
        self.known_lengths = frozenset(self.lengths)
        self.work = self.bytes = 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        before: int | None = None
        for token in np.argsort(-self.scores, kind="stable").tolist():
            if self.texts[token] not in self.merged:
                continue
            pairs = self.divided(token)
            if not pairs:
                continue
            if before is not None and self.scores[before] == self.scores[token]:
                raise self.error(
                    Keys.Tokenizer.SCORES,
                    "another score for each token that others are merged into",
                    f"{self.scores[token]} for the tokens {before} and {token}",
                )
            before = token
            yield from pairs

    def divided(self, token: int) -> list[tuple[str, str]]:
        """Return the pairs that make up a token."""
        text, merged = self.texts[token], self.merged
        size = len(text)
        lengths = self.lengths[: bisect_left(self.lengths, size)]
        self.count(token, work=len(lengths) * (_STEP + size))
        pairs = []
        for length in lengths:
            if size - length not in self.known_lengths:
                continue
            left, right = text[:length], text[length:]
            if left in merged and right in merged:
                pairs.append((merged[left], merged[right]))
            elif self.is_symbol(left) and self.is_symbol(right):
                missing = left if self.is_missing(left) else right
                raise self.error(
                    f"{Keys.Tokenizer.LIST}[{token}]",
                    "a text of characters that are tokens themselves",
                    f"{shown(text.encode())}, and no token {shown(missing.encode())}",
                )
        self.count(token, memory=len(pairs) * (_STEP + 4 * size))
        return pairs

    def is_symbol(self, text: str) -> bool:
        """Return whether llama.cpp merges it: a token, or any character."""
        return text in self.merged or self.is_missing(text)

    def is_missing(self, text: str) -> bool:
        return len(text) == 1 and text not in self.ids

    def count(self, token: int, work: int = 0, memory: int = 0) -> None:
        self.work += work
        self.bytes += memory
        if self.work > MOST_WORK or self.bytes > MOST_MERGE_BYTES:
            raise self.error(
                f"{Keys.Tokenizer.LIST}[{token}]",
                "tokens of a few characters, as a vocabulary has",
                "too many ways to merge them",
            )

    def error(self, where: str, expected: str, found: str) -> ConversionError:
        return ConversionError(
            self.file, expected=f"{expected} ({where})", found=found, hint=ANOTHER
        )


def _is_merged(text: str, kind: int) -> bool:
    if kind == TokenType.BYTE or " " in text:
        return False
    return kind in (TokenType.NORMAL, TokenType.UNUSED) or SPACE in text
