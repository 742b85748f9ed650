"""The merges of a ``llama`` vocabulary, which ``tokenizer.json`` lists and a GGUF does not.

llama.cpp (``llm_tokenizer_spm_session``) merges two neighbours if their texts make up a token: that
with the highest score first, the leftmost of those with the same score. ``tokenizers`` looks up the
pair in a list instead; that which stands first goes first, the leftmost if it is there twice.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
from gguf import Keys, TokenType

from converter.hf_io.llama_vocabulary import LlamaVocabulary, Refusal
from converter.llama_tokenizer import SPACE
from ggcp_schema.language.checks import shown

MOST_WORK = 1 << 30
"""How many characters may be looked at, and 64 for each place where a token may be divided.

LLaMA's 32,000 tokens take a hundredth of it, and all of it takes some seconds.
"""

MOST_MERGE_BYTES = 1 << 28
"""Memory that the merges may take: for each, 64 bytes and 4 for each character of its token.

LLaMA's take five million.
"""

_STEP = 64
_TWICE = re.compile(r"(.)\1", re.DOTALL)


def merges(vocabulary: LlamaVocabulary, refusal: Refusal) -> list[tuple[str, str]]:
    """Return all pairs of tokens that make up a token, that which goes first in front.

    They are ordered by the token's score, then by its length, the longest in front (see
    ``check_ties``), then by its id, then by where it is divided. Time is bounded: a token is
    divided only where both parts have a length that some token has, so that one far longer than
    all others costs nothing.

    Tokens of the types UNKNOWN, CONTROL and USER_DEFINED are cut out of a text before it is merged,
    and have no merges; those with U+2581 do, since a text may have a space in its place.

    Args:
        vocabulary: the vocabulary.
        refusal: makes the errors.

    Raises:
        ConversionError: no list of merges does what llama.cpp does: two tokens have the same score,
            or a character that is no token is merged. Or the texts are too many or too long.
    """
    return list(_Merges(vocabulary, refusal))


class _Merges:
    def __init__(self, vocabulary: LlamaVocabulary, refusal: Refusal) -> None:
        self.texts = vocabulary.texts
        self.scores = vocabulary.scores
        self.refusal = refusal
        self.all = frozenset(self.texts)
        kinds = zip(self.texts, vocabulary.types, strict=True)
        # Each by itself: pairs share these texts, instead of holding copies.
        self.merged = {text: text for text, kind in kinds if _is_merged(text, kind)}
        self.lengths = sorted({1, *map(len, self.merged)})
        self.known_lengths = frozenset(self.lengths)
        self.work = self.memory = 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        before: int | None = None
        ties = []
        lengths = np.array([len(text) for text in self.texts])
        for token in np.lexsort((-lengths, -self.scores)).tolist():
            if self.texts[token] not in self.merged:
                continue
            pairs = self.divided(token)
            if not pairs:
                continue
            if before is not None and self.scores[before] == self.scores[token]:
                ties.append((before, token))
            before = token
            yield from pairs
        if ties:
            self.check_ties(ties)

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
            left = text[:length]
            if left not in merged and not self.is_missing(left):
                continue
            right = text[length:]
            if left in merged and right in merged:
                pairs.append((merged[left], merged[right]))
            elif right in merged or self.is_missing(right):
                missing = right if left in merged else left
                raise self.refusal(
                    f"{Keys.Tokenizer.LIST}[{token}]",
                    "a text of characters that are tokens themselves",
                    f"{shown(text.encode())}, and no token {shown(missing.encode())}",
                )
        self.count(token, memory=len(pairs) * (_STEP + 4 * size))
        return pairs

    def is_missing(self, text: str) -> bool:
        """Return whether it is a character that llama.cpp merges although it is no token."""
        return len(text) == 1 and text not in self.all

    def count(self, token: int, work: int = 0, memory: int = 0) -> None:
        self.work += work
        self.memory += memory
        if self.work > MOST_WORK or self.memory > MOST_MERGE_BYTES:
            raise self.refusal(
                f"{Keys.Tokenizer.LIST}[{token}]",
                "tokens of a few characters, as a vocabulary has",
                "too many ways to merge them",
            )

    def check_ties(self, ties: list[tuple[int, int]]) -> None:
        """Make sure that tokens with the same score are merged as if the leftmost went first.

        LLaMA's tokens of two to sixteen spaces all have the same score. There the leftmost grows
        as long as it can, and so does that which makes the longest token. It holds if nothing else
        is merged within such a run: all tokens of a character repeated have the score, and no other
        token has the character twice in a row.
        """
        scores: dict[str, set[float]] = {}
        mixed: set[str] = set()
        for text, score in zip(self.texts, self.scores.tolist(), strict=True):
            if text in self.merged and len(text) > 1:
                if _is_run(text):
                    scores.setdefault(text[0], set()).add(score)
                else:
                    mixed.update(_TWICE.findall(text))
        for pair in ties:
            for text in (self.texts[token] for token in pair):
                if not _is_run(text) or len(scores[text[0]]) > 1 or text[0] in mixed:
                    raise self.refusal(
                        Keys.Tokenizer.SCORES,
                        "another score for each token that others are merged into",
                        f"{self.scores[pair[0]]:g} for the tokens {pair[0]} and {pair[1]}",
                    )


def _is_merged(text: str, kind: int) -> bool:
    if kind == TokenType.BYTE or " " in text:
        return False
    return kind in (TokenType.NORMAL, TokenType.UNUSED) or SPACE in text


def _is_run(text: str) -> bool:
    """Return whether a text is one character repeated."""
    return text.count(text[0]) == len(text)
