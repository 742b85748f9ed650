"""The tokenizer of a Hugging Face folder, from that of a GGUF.

``tokenizer.json`` is what transformers reads: written so that token ids are llama.cpp's for any
text. The class is PreTrainedTokenizerFast, since LlamaTokenizer changes what is in that file:
where special tokens stand in a text, it puts no space behind them, as llama.cpp does.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

from converter.hf_io.llama_vocabulary import LlamaVocabulary, Refusal, llama_vocabulary
from converter.hf_io.merges import merges
from converter.hf_io.sentencepiece_model import sentencepiece_model
from converter.llama_tokenizer import SPACE
from converter.plan import Metadata


def tokenizer_files(metadata: Iterable[Metadata], file: str = "tokenizer.json") -> dict[str, bytes]:
    """Return the files of a tokenizer by name, from the keys ``tokenizer.ggml.*`` of a GGUF.

    The files are ``tokenizer.json``, ``tokenizer_config.json`` and ``tokenizer.model``.

    Args:
        metadata: the keys, as a ``Vocabulary`` holds them; others are ignored.
        file: where they are from, for errors.

    Raises:
        ConversionError: no such files do what llama.cpp does with this vocabulary; the folder is
            better off without. It is no ``llama`` tokenizer; its texts are not UTF-8 or not
            distinct; scores or types are missing, NaN or unknown; two tokens that others are
            merged into have the same score; only some bytes have tokens; there is not one unknown
            token; or the texts are too many or too long.
    """
    refusal = Refusal(file)
    vocabulary = llama_vocabulary(metadata, refusal)
    return {
        "tokenizer.json": _json(_tokenizer(vocabulary, merges(vocabulary, refusal))),
        "tokenizer_config.json": _json(_tokenizer_config(vocabulary), indent=2),
        "tokenizer.model": sentencepiece_model(vocabulary),
    }


def _json(value: Any, indent: int | None = None) -> bytes:
    """Return JSON in UTF-8, without a copy of it as text, which could take four times as much."""
    encoder = json.JSONEncoder(
        ensure_ascii=False, indent=indent, separators=(",", ":" if indent is None else ": ")
    )
    written = io.BytesIO()
    for text in encoder.iterencode(value):
        written.write(text.encode())
    return written.getvalue() + b"\n"


def _tokenizer(vocabulary: LlamaVocabulary, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Return ``tokenizer.json``."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(vocabulary, token) for token in vocabulary.marked()],
        "normalizer": _normalizer(vocabulary),
        "pre_tokenizer": None,
        "post_processor": _post_processor(vocabulary),
        "decoder": _decoder(vocabulary),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": vocabulary.texts[vocabulary.unknown],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": vocabulary.has_bytes,
            "ignore_merges": False,
            "vocab": {text: token for token, text in enumerate(vocabulary.texts)},
            "merges": pairs,
        },
    }


def _added_token(vocabulary: LlamaVocabulary, token: int) -> dict[str, Any]:
    return {
        "id": token,
        "content": vocabulary.texts[token],
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,  # found in the text as it is given, before a space becomes U+2581
        "special": vocabulary.is_special(token),
    }


def _normalizer(vocabulary: LlamaVocabulary) -> dict[str, Any]:
    """Return the steps before merging, which each text between special tokens goes through."""
    prepend = {"type": "Prepend", "prepend": SPACE}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    return {
        "type": "Sequence",
        "normalizers": [prepend, replace] if vocabulary.adds_space else [replace],
    }


def _decoder(vocabulary: LlamaVocabulary) -> dict[str, Any]:
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    return {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            *([strip] if vocabulary.adds_space else []),
        ],
    }


def _post_processor(vocabulary: LlamaVocabulary) -> dict[str, Any]:
    """Return what adds begin and end of text, to one text or a pair."""
    begin = vocabulary.begin if vocabulary.adds_begin else None
    end = vocabulary.end if vocabulary.adds_end else None

    def around(*sequences: tuple[str, int]) -> list[dict[str, Any]]:
        special = [
            [{"SpecialToken": {"id": vocabulary.texts[token], "type_id": 0}}]
            if token is not None
            else []
            for token in (begin, end)
        ]
        texts = [{"Sequence": {"id": name, "type_id": kind}} for name, kind in sequences]
        return special[0] + texts + special[1]

    return {
        "type": "TemplateProcessing",
        "single": around(("A", 0)),
        "pair": around(("A", 0), ("B", 1)),
        "special_tokens": {
            vocabulary.texts[token]: {
                "id": vocabulary.texts[token],
                "ids": [token],
                "tokens": [vocabulary.texts[token]],
            }
            for token in (begin, end)
            if token is not None
        },
    }


def _tokenizer_config(vocabulary: LlamaVocabulary) -> dict[str, Any]:
    """Return ``tokenizer_config.json``.

    It lists no ``added_tokens_decoder``: convert_hf_to_gguf.py would change the scores and types
    of what is in it.
    """
    named = {
        "bos_token": vocabulary.begin,
        "eos_token": vocabulary.end,
        "unk_token": vocabulary.unknown,
        "pad_token": vocabulary.padding,
    }
    marked = set(vocabulary.marked())
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        # A token that is named here is found in a text; one that is not marked must not be.
        **{name: vocabulary.texts[token] for name, token in named.items() if token in marked},
        # What convert_hf_to_gguf.py takes for granted otherwise.
        **({} if vocabulary.adds_begin else {"add_bos_token": False}),
        **({} if vocabulary.adds_space else {"add_prefix_space": False}),
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
