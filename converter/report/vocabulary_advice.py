"""Where to get the vocabulary that a checkpoint does not hold."""

from __future__ import annotations

from typing import NamedTuple

from converter.report.report import Report
from converter.report.verdict import Verdict, verdict
from converter.report.words import number
from converter.vocabulary.beside import LLAMA_TOKENS, LLAMA_URL
from ggcp_schema import printable


class VocabularyAdvice(NamedTuple):
    """Which vocabulary a model needs.

    Attributes:
        token_count: how many tokens it has.
        kind: whose it is, in a few words.
        advice: what to take, as sentences.
        link: where to download one that fits; empty if nobody knows.
    """

    token_count: int
    kind: str
    advice: tuple[str, ...]
    link: str


def vocabulary_advice(report: Report) -> VocabularyAdvice | None:
    """Return which vocabulary a model needs to become text; None if it needs none.

    None is needed where the file holds one, for a LoRA, which becomes an adapter, and where there
    is no model to be had.
    """
    count = report.wanted_tokens
    if count is None or verdict(report) is Verdict.LOST:
        return None
    kind, link = f"not LLaMA's, which has {number(LLAMA_TOKENS)}", ""
    if count == LLAMA_TOKENS:
        kind, link = "LLaMA's, almost certainly", LLAMA_URL
    if report.vocabularies:
        return VocabularyAdvice(count, kind, (_found(report), _NOT_NOTICED), "")
    return VocabularyAdvice(count, kind, _OF_LLAMA if link else _OF_ANOTHER, link)


def _found(report: Report) -> str:
    first, *others = report.vocabularies
    more = ""
    if others:
        names = ", ".join(printable(each.name) for each in others[:_MOST_NAMED])
        left = f" and {number(len(others) - _MOST_NAMED)} more" * (len(others) > _MOST_NAMED)
        more = f" Others with as many: {names}{left}."
    return f"{printable(first.name)} has as many, and stands in the commands above.{more}"


_MOST_NAMED = 3  # of those beside the likeliest
_NOT_NOTICED = (
    "A vocabulary with another number of tokens is refused. One with the right number but other "
    "words is not noticed by any program: the model then talks nonsense."
)
_OF_LLAMA = (
    "Take ggml-vocab-llama-spm.gguf from llama.cpp's repository, any GGUF of LLaMA 1 or 2 in any "
    "size, any LLaMA model .bin of 2023, or the tokenizer.model of LLaMA 1 or 2.",
)
_OF_ANOTHER = (
    "Look for a file of yours with that many tokens: the --vocab-model of your command line or "
    "script, a tokenizer.model, or the ggml-….bin that the trainer wrote (--model-out), which "
    "holds a copy.",
    _NOT_NOTICED,
)
