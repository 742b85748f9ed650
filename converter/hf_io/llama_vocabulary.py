"""A ``llama`` vocabulary as the files of a Hugging Face folder need it, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import Keys, TokenType

from converter.errors import ConversionError
from converter.llama_tokenizer import SPECIAL_IDS, byte_text
from converter.plan import Metadata
from ggcp_schema.language.checks import shown

_HINT = "give another copy of the vocabulary, or export without one"

_MARKED = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.USER_DEFINED)
_BYTE_TEXTS = dict.fromkeys(map(byte_text, range(256)))
"""In order, and looked up at once."""


@dataclass(frozen=True)
class Refusal:
    """Makes the error that says why no faithful tokenizer can be written.

    Attributes:
        file: where the vocabulary is from.
    """

    file: str

    def __call__(self, where: str, expected: str, found: str) -> ConversionError:
        """Return the error about a key of the GGUF, or an element of it."""
        return ConversionError(self.file, expected=f"{expected} ({where})", found=found, hint=_HINT)


@dataclass(frozen=True)
class LlamaVocabulary:
    """A vocabulary whose tokens have different texts, in UTF-8.

    Attributes:
        texts: of the tokens, by id, with U+2581 for a space and ``<0xXX>`` for a byte. A token
            without text has llama.cpp's name for it, ``[EMPTY_id]``.
        scores: float32, by id; a merge with a higher one goes first.
        types: ``TokenType``, by id.
        unknown: the id of the unknown token.
        begin: the id of the begin of text, or None.
        end: the id of the end of text, or None.
        padding: the id of the token for padding, or None.
        adds_begin: whether a text begins with ``begin``.
        adds_end: whether it ends with ``end``.
        adds_space: whether a space is put before a text.
        has_bytes: whether there is a token for each byte; otherwise there is none for any.
    """

    texts: Sequence[str]
    scores: npt.NDArray[np.float32]
    types: Sequence[int]
    unknown: int
    begin: int | None
    end: int | None
    padding: int | None
    adds_begin: bool
    adds_end: bool
    adds_space: bool
    has_bytes: bool

    def marked(self) -> list[int]:
        """Return the tokens that are cut out of a text before anything is merged."""
        return [token for token, kind in enumerate(self.types) if kind in _MARKED]

    def is_special(self, token: int) -> bool:
        """Return whether a token stands for no text."""
        return self.types[token] in (TokenType.UNKNOWN, TokenType.CONTROL)


def llama_vocabulary(metadata: Iterable[Metadata], refusal: Refusal) -> LlamaVocabulary:
    """Return the vocabulary among the keys ``tokenizer.ggml.*`` of a GGUF.

    What the keys do not say is as in llama.cpp: the ids 1, 2 and 0 for begin and end of text and
    the unknown token, begin of text before each text, no end behind it, a space before it.

    Args:
        metadata: the keys; others are ignored.
        refusal: makes the errors.

    Raises:
        ConversionError: it is no ``llama`` vocabulary, or one that the files cannot express.
    """
    return _Checked({entry.key: entry.value for entry in metadata}, refusal).vocabulary()


class _Checked:
    """The values of the keys, each checked on its way out."""

    def __init__(self, values: Mapping[str, Any], refusal: Refusal) -> None:
        self.values = values
        self.refusal = refusal

    def vocabulary(self) -> LlamaVocabulary:
        model = self.values.get(Keys.Tokenizer.MODEL)
        if model != "llama":
            raise self.refusal(
                Keys.Tokenizer.MODEL,
                "a llama tokenizer, as the trainers used",
                "none" if model is None else shown(str(model).encode()),
            )
        texts = self.texts()
        types = self.types(len(texts))
        return LlamaVocabulary(
            texts=texts,
            scores=self.scores(len(texts)),
            types=types,
            unknown=self.unknown(types),
            begin=self.token(Keys.Tokenizer.BOS_ID, len(texts)),
            end=self.token(Keys.Tokenizer.EOS_ID, len(texts)),
            padding=self.token(Keys.Tokenizer.PAD_ID, len(texts)),
            adds_begin=bool(self.values.get(Keys.Tokenizer.ADD_BOS, True)),
            adds_end=bool(self.values.get(Keys.Tokenizer.ADD_EOS, False)),
            adds_space=bool(self.values.get(Keys.Tokenizer.ADD_PREFIX, True)),
            has_bytes=self.has_bytes(texts, types),
        )

    def texts(self) -> list[str]:
        key = Keys.Tokenizer.LIST
        texts: list[str] = []
        ids: dict[str, int] = {}
        for token, raw in enumerate(self.values.get(key, ())):
            try:
                text = raw.decode() or f"[EMPTY_{token}]"
            except UnicodeDecodeError as error:
                raise self.refusal(f"{key}[{token}]", "UTF-8", shown(raw)) from error
            if ids.setdefault(text, token) != token:
                raise self.refusal(
                    f"{key}[{token}]",
                    "a text that no other token has",
                    f"{shown(text.encode())}, the text of token {ids[text]}",
                )
            texts.append(text)
        if not texts:
            raise self.refusal(key, "tokens", "none")
        return texts

    def numbers(self, key: str, dtype: str, count: int) -> npt.NDArray[Any]:
        numbers = np.asarray(self.values.get(key, ()), dtype)
        if len(numbers) != count:
            raise self.refusal(
                key,
                f"{count} elements, one for each token",
                str(len(numbers)) if key in self.values else "no such key",
            )
        return numbers

    def scores(self, count: int) -> npt.NDArray[np.float32]:
        key = Keys.Tokenizer.SCORES
        scores = self.numbers(key, "<f4", count)
        for token in np.flatnonzero(np.isnan(scores))[:1]:
            raise self.refusal(f"{key}[{token}]", "a number", "NaN")
        return scores

    def types(self, count: int) -> list[int]:
        key = Keys.Tokenizer.TOKEN_TYPE
        types = self.numbers(key, "<i4", count)
        for token in np.flatnonzero(~np.isin(types, list(TokenType)))[:1]:
            raise self.refusal(f"{key}[{token}]", "a token type, 1 to 6", str(types[token]))
        kinds: list[int] = types.tolist()
        return kinds

    def has_bytes(self, texts: Sequence[str], types: Sequence[int]) -> bool:
        missing = _BYTE_TEXTS.copy()
        for token, (text, kind) in enumerate(zip(texts, types, strict=True)):
            if (text in _BYTE_TEXTS) != (kind == TokenType.BYTE):
                raise self.refusal(
                    f"{Keys.Tokenizer.TOKEN_TYPE}[{token}]",
                    "type 6 for the tokens <0x00> to <0xFF>, and for no others",
                    f"{kind} for {shown(text.encode())}",
                )
            missing.pop(text, None)
        if missing and len(missing) < len(_BYTE_TEXTS):
            raise self.refusal(
                Keys.Tokenizer.LIST,
                "a token for each byte, or for none",
                f"none for {next(iter(missing))}",
            )
        return not missing

    def token(self, key: str, count: int) -> int | None:
        token: int | None = self.values.get(key, SPECIAL_IDS.get(key))
        if key in self.values and token is not None and token >= count:
            raise self.refusal(key, f"a token, 0 to {count - 1}", str(token))
        return None if token is None or token >= count else token

    def unknown(self, types: Sequence[int]) -> int:
        key = Keys.Tokenizer.UNK_ID
        token = self.token(key, len(types))
        unknown = [token for token, kind in enumerate(types) if kind == TokenType.UNKNOWN]
        if unknown == [token]:
            return unknown[0]
        if not unknown and token is not None and types[token] == TokenType.CONTROL:
            return token
        raise self.refusal(
            key,
            "one unknown token, of type 2",
            f"token {token} by its key, and by type {', '.join(map(str, unknown[:3])) or 'none'}",
        )
