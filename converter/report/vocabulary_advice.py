"""Where to get the vocabulary that a checkpoint does not hold."""

from __future__ import annotations

from typing import NamedTuple

from converter.facts import Facts
from converter.report.verdict import Verdict, verdict
from converter.report.words import number
from converter.vocabulary.beside import LLAMA_TOKENS, LLAMA_URL


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


def vocabulary_advice(facts: Facts) -> VocabularyAdvice | None:
    """Return which vocabulary a model needs to become text; None if it needs none.

    None is needed where the file holds one, for a LoRA, which becomes an adapter, and where there
    is no model to be had.
    """
    count = facts.hyperparameters.get("vocabulary_size")
    unneeded = facts.lora or facts.vocabulary_tokens is not None
    if unneeded or count is None or verdict(facts) is Verdict.LOST:
        return None
    if count == LLAMA_TOKENS:
        return VocabularyAdvice(count, "LLaMA's, almost certainly", _OF_LLAMA, LLAMA_URL)
    return VocabularyAdvice(
        count, f"not LLaMA's, which has {number(LLAMA_TOKENS)}", _OF_ANOTHER, ""
    )


_OF_LLAMA = (
    "Take ggml-vocab-llama-spm.gguf from llama.cpp's repository, any GGUF of LLaMA 1 or 2 in any "
    "size, any LLaMA model .bin of 2023, or the tokenizer.model of LLaMA 1 or 2 (that one needs "
    "pip install sentencepiece).",
)
_OF_ANOTHER = (
    "Look for a file of yours with that many tokens: the --vocab-model of your command line or "
    "script, a tokenizer.model, or the ggml-….bin that the trainer wrote (--model-out), which "
    "holds a copy.",
    "A vocabulary with another number of tokens is refused. One with the right number but other "
    "words is not noticed by any program: the model then talks nonsense.",
)
