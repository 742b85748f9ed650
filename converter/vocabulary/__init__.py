"""The vocabulary that a model was trained with, as the tokenizer metadata of a GGUF.

A checkpoint does not hold its vocabulary: the trainers read it from another file, their
``--vocab-model``. That file, or another copy of the same vocabulary, is read here: a GGUF, a model
file of 2023 (ggjt, and the older ggmf and ggml) or a SentencePiece model. Tensors are not read.
"""

from __future__ import annotations

from collections.abc import Callable

from converter.vocabulary import ggjt_file, gguf_file, sentencepiece_file
from converter.vocabulary.model import Vocabulary
from ggcp_schema import FormatError, Source
from ggcp_schema.language.checks import shown
from ggcp_schema.language.errors import reason

__all__ = ["Vocabulary", "read_vocabulary"]

_READERS: dict[bytes, Callable[[Source, int], Vocabulary]] = {
    b"GGUF": gguf_file.read,
    b"tjgg": ggjt_file.read,
    b"fmgg": ggjt_file.read,
    b"lmgg": ggjt_file.read,
}

_GIVE = "give the GGUF, the ggjt .bin or the tokenizer.model that was the trainer's --vocab-model"

_NO_VOCABULARY = {
    b"pcgg": ("a training checkpoint (ggcp)", f"a checkpoint holds no vocabulary; {_GIVE}"),
    b"lcgg": ("a LoRA checkpoint (ggcl)", f"a checkpoint holds no vocabulary; {_GIVE}"),
    b"algg": ("a LoRA adapter (ggla)", f"an adapter holds no vocabulary; {_GIVE}"),
    b"PK\x03\x04": ("a zip archive", "unpack it and give the vocabulary inside"),
    b"": ("an empty file", _GIVE),
}
"""First bytes of files that people take for a vocabulary: what each is, and what to do."""


def read_vocabulary(source: Source, *, token_count: int) -> Vocabulary:
    """Read the vocabulary of a model of ``token_count`` tokens (C: ``n_vocab``).

    Time and memory are bounded, whatever the file claims: at most 64 MiB of it are read.

    Raises:
        FormatError: the file cannot be read, is damaged, holds no vocabulary or another number of
            tokens; or it is a SentencePiece model and the package that reads it is not installed.
    """
    source.seek(0)
    try:
        return _read(source, token_count)
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


def _read(source: Source, token_count: int) -> Vocabulary:
    magic = source.read(4)
    source.seek(0)
    if magic in _READERS:
        return _READERS[magic](source, token_count)
    if magic.startswith(sentencepiece_file.FIRST_BYTE):
        return sentencepiece_file.read(source, token_count)
    if magic.lstrip().startswith(b"{"):
        found, hint = "a JSON file", f"a tokenizer.json cannot be read; {_GIVE}"
    elif magic and not magic.strip(b"\0"):
        found, hint = "zeros", f"the file was never written, or was lost on the disk; {_GIVE}"
    else:
        found, hint = _NO_VOCABULARY.get(magic, (shown(magic), _GIVE))
    raise FormatError(
        path="magic",
        offset=0,
        expected="a GGUF, a ggjt model file of 2023 or a SentencePiece model",
        found=found,
        hint=hint,
    )
