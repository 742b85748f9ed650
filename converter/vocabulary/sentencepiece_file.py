"""The vocabulary of a SentencePiece model (``tokenizer.model``).

It is read by the ``sentencepiece`` package. The mapping to a ``llama``
tokenizer is that of llama.cpp's ``convert_hf_to_gguf.py`` (``_create_vocab_sentencepiece``): the
pieces hold U+2581 for a space and ``<0xXX>`` for a byte already.
"""

from __future__ import annotations

from gguf import Keys, TokenType

from converter.hf_io.protobuf import Model, Piece, fields
from converter.vocabulary.model import (
    WHOLE,
    Vocabulary,
    llama_metadata,
    require_distinct,
    require_token_count,
)
from ggcp_schema import FormatError, Source

FIRST_BYTE = b"\n"
"""A model is a protocol buffer (``ModelProto``) that starts with field 1, its pieces."""


def read(source: Source, token_count: int) -> Vocabulary:
    """Read a SentencePiece model, open at its first byte.

    Raises:
        FormatError: it is damaged, or holds another number of tokens; or the package is missing.
    """
    WHOLE.require(source, source.size)
    model = source.read(source.size)
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise FormatError(
            expected="the package that reads SentencePiece models",
            found="it is not installed",
            hint="pip install sentencepiece, or give the vocabulary as a GGUF",
        ) from error
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
        count = processor.get_piece_size()
        pieces = processor.id_to_piece(list(range(count)))
    except (RuntimeError, UnicodeDecodeError) as error:
        raise FormatError(
            offset=0,
            expected="a SentencePiece model",
            found="something that the sentencepiece package cannot read",
            hint="give the tokenizer.model that the model was trained with, or another copy of it",
        ) from error
    require_token_count(count, token_count, "pieces", 0)
    tokens = [piece.encode("utf-8") for piece in pieces]
    require_distinct(tokens, "pieces", 0)
    special_ids = {
        Keys.Tokenizer.BOS_ID: processor.bos_id(),
        Keys.Tokenizer.EOS_ID: processor.eos_id(),
        Keys.Tokenizer.UNK_ID: processor.unk_id(),
        Keys.Tokenizer.PAD_ID: processor.pad_id(),
    }
    types = [_type(piece) for number, piece in fields(model) if number == Model.PIECES]
    if len(types) != count:
        raise FormatError(
            offset=0,
            expected=f"{count} pieces, as the sentencepiece package finds",
            found=f"{len(types)}",
            hint="the file is damaged; look for another copy of it",
        )
    metadata = llama_metadata(
        tokens,
        processor.get_score(list(range(count))),
        types,
        {key: token for key, token in special_ids.items() if token >= 0},  # -1: there is none
    )
    return Vocabulary("SentencePiece", metadata, token_count)


def _type(piece: int | bytes) -> TokenType:
    """Return what a piece is, NORMAL by default; the package does not tell USER_DEFINED ones."""
    kind = dict(fields(piece)).get(Piece.TYPE) if isinstance(piece, bytes) else None
    return TokenType(kind) if kind in list(TokenType) else TokenType.NORMAL
