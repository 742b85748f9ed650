"""A vocabulary as a SentencePiece model (``tokenizer.model``), written without its package.

llama.cpp's ``convert_hf_to_gguf.py`` takes scores and token types from this file.
"""

from __future__ import annotations

from gguf import TokenType

from converter.hf_io.llama_vocabulary import LlamaVocabulary
from converter.hf_io.protobuf import (
    Model,
    NormalizerSpec,
    Piece,
    TrainerSpec,
    delimited,
    fixed32,
    number,
)

_BPE = 2  # TrainerSpec.ModelType


def sentencepiece_model(vocabulary: LlamaVocabulary) -> bytes:
    """Return the bytes of ``tokenizer.model``.

    The unknown token is of type UNKNOWN there, even where the GGUF calls it a CONTROL token:
    SentencePiece loads no model without one.
    """
    model = bytearray()
    pieces = zip(vocabulary.texts, vocabulary.scores.tolist(), vocabulary.types, strict=True)
    for token, (text, score, kind) in enumerate(pieces):
        model += delimited(
            Model.PIECES,
            delimited(Piece.TEXT, text.encode())
            + fixed32(Piece.SCORE, score)
            + number(Piece.TYPE, TokenType.UNKNOWN if token == vocabulary.unknown else kind),
        )
    model += delimited(Model.TRAINER_SPEC, _trainer_spec(vocabulary))
    model += delimited(Model.NORMALIZER_SPEC, _normalizer_spec(vocabulary))
    return bytes(model)


def _trainer_spec(vocabulary: LlamaVocabulary) -> bytes:
    special = (
        (TrainerSpec.UNKNOWN_ID, TrainerSpec.UNKNOWN_TEXT, vocabulary.unknown),
        (TrainerSpec.BEGIN_ID, TrainerSpec.BEGIN_TEXT, vocabulary.begin),
        (TrainerSpec.END_ID, TrainerSpec.END_TEXT, vocabulary.end),
        (TrainerSpec.PADDING_ID, TrainerSpec.PADDING_TEXT, vocabulary.padding),
    )
    ids = (number(field, -1 if token is None else token) for field, _, token in special)
    # The package finds the ids by these texts: only control tokens, so the unknown token is none.
    texts = (
        delimited(field, vocabulary.texts[vocabulary.unknown if token is None else token].encode())
        for _, field, token in special
    )
    return b"".join(
        (
            number(TrainerSpec.MODEL_TYPE, _BPE),
            number(TrainerSpec.VOCABULARY_SIZE, len(vocabulary.texts)),
            number(TrainerSpec.BYTE_FALLBACK, vocabulary.has_bytes),
            *ids,
            *texts,
        )
    )


def _normalizer_spec(vocabulary: LlamaVocabulary) -> bytes:
    return b"".join(
        (
            delimited(NormalizerSpec.NAME, b"identity"),
            number(NormalizerSpec.ADD_DUMMY_PREFIX, vocabulary.adds_space),
            number(NormalizerSpec.REMOVE_EXTRA_WHITESPACES, False),
            number(NormalizerSpec.ESCAPE_WHITESPACES, True),
        )
    )
