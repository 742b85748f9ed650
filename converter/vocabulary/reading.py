"""The vocabulary that a model was trained with, as the tokenizer metadata of a GGUF.

A checkpoint does not hold its vocabulary: the trainers read it from another file, their
``--vocab-model``. That file, or another copy of the same vocabulary, is read here: a GGUF, a model
file of 2023 (ggjt, and the older ggmf and ggml) or a SentencePiece model. Tensors are not read.
"""

from __future__ import annotations

from gguf import Keys

from converter.gguf_io.reader import read_keys
from converter.roles import Role, refused
from converter.vocabulary import ggjt_file, sentencepiece_file
from converter.vocabulary.gguf_file import tokenizer_of
from converter.vocabulary.model import Vocabulary
from ggcp_schema import FormatError, Source
from ggcp_schema.foreign import Foreign, Kind, recognised
from ggcp_schema.language.checks import shown
from ggcp_schema.language.errors import reason

__all__ = ["Vocabulary", "read_vocabulary"]


def read_vocabulary(source: Source, *, token_count: int, complete: bool = True) -> Vocabulary:
    """Read the vocabulary of a model of ``token_count`` tokens (C: ``n_vocab``).

    Time and memory are bounded, whatever the file claims: at most 64 MiB of it are read.

    Args:
        source: the file.
        token_count: tokens of the model.
        complete: whether ids that a GGUF lacks are filled in; see ``tokenizer_of``.

    Raises:
        FormatError: the file cannot be read, is damaged, holds no vocabulary or another number of
            tokens; or it is a SentencePiece model and the package that reads it is not installed.
    """
    source.seek(0)
    try:
        return _read(source, token_count, complete)
    except FormatError as error:
        error.file = source.label
        raise
    except OSError as error:
        raise FormatError(
            file=source.label,
            expected="a file that can be read",
            found=reason(error),
            hint="the disk cannot read the file; copy it to another disk and try again",
        ) from error


def _read(source: Source, token_count: int, complete: bool) -> Vocabulary:
    magic = source.read(4)
    if magic == b"GGUF":
        source.seek(0)
        keys = read_keys(source)
        found = None if Keys.Tokenizer.LIST in keys else recognised(source)
        if found is None or found.kind is Kind.GGUF:
            return tokenizer_of(keys, token_count, complete=complete)
    else:
        found = recognised(source)
        source.seek(0)
        if magic in ggjt_file.LAYOUTS and found != Foreign(Kind.WHISPER):
            return ggjt_file.read(source, token_count)
        if magic.startswith(sentencepiece_file.FIRST_BYTE) and found != Foreign(Kind.HTML):
            return sentencepiece_file.read(source, token_count)
    raise refused(Role.VOCABULARY, found, shown(magic))
