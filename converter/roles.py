"""What to do about a file that was given in a role which it cannot play."""

from __future__ import annotations

from enum import Enum

from ggcp_schema import FormatError
from ggcp_schema.foreign import Foreign, Kind

_GIVE = "give the GGUF, the ggjt .bin or the tokenizer.model that was the trainer's --vocab-model"
_NO_VOCABULARY = f"a checkpoint holds no vocabulary; {_GIVE}"
ANOTHER_BASE = "give the model that the checkpoint was trained on (finetune's --model-base)"
_AS_GGUF = "give the base model as a GGUF; llama.cpp's converters make one of older or other files"
_EXPORT_FIRST = "export it to a GGUF first, and give that"
_MADE = "give the checkpoint first, and second what ggcp convert or export made of it"
_MOMENTS = "it holds the state of an optimizer, which does not belong in a model"


class Role(Enum):
    """What a file was given as: what is expected there, and what to do where nothing fits better.

    A checkpoint has no row: the schema itself says what is none.
    """

    VOCABULARY = "a GGUF, a ggjt model file of 2023 or a SentencePiece model", _GIVE
    BASE = "a model (GGUF)", _AS_GGUF
    MADE = "a GGUF that was made of the checkpoint", _MADE

    def __init__(self, expected: str, hint: str) -> None:
        self.expected = expected
        self.hint = hint


_ADVICE: dict[Role, dict[Kind, str]] = {
    Role.VOCABULARY: {
        Kind.TRAINING: _NO_VOCABULARY,
        Kind.MAGICLESS: _NO_VOCABULARY,
        Kind.LORA: _NO_VOCABULARY,
        Kind.GGUF_TRAINING: f"this one holds no vocabulary; {_GIVE}",
        Kind.GGUF_LORA: _NO_VOCABULARY,
        Kind.GGLA: f"an adapter holds no vocabulary; {_GIVE}",
        Kind.GGUF_ADAPTER: f"an adapter holds no vocabulary; {_GIVE}",
        Kind.GGUF_MODEL: f"this one holds no vocabulary; {_GIVE}",
        Kind.TOKENIZER_JSON: f"it cannot be read; {_GIVE}",
        Kind.ZEROS: f"the file was never written, or was lost on the disk; {_GIVE}",
        Kind.LLAMA2C_TOKENIZER: "give the tokenizer.model that it was made from",
    },
    Role.BASE: {
        Kind.GGUF_TRAINING: f"{_MOMENTS}; {ANOTHER_BASE}",
        Kind.GGUF_LORA: f"it is a change of a model, not a model; {ANOTHER_BASE}",
        Kind.GGUF_ADAPTER: f"it is a change of a model, not a model; {ANOTHER_BASE}",
        Kind.GGUF_VOCABULARY: f"it holds no weights; {ANOTHER_BASE}",
        Kind.TRAINING: _EXPORT_FIRST,
        Kind.MAGICLESS: _EXPORT_FIRST,
        Kind.LORA: f"it is a change of a model, not a model; {ANOTHER_BASE}",
        Kind.GGLA: f"it is a change of a model, not a model; {ANOTHER_BASE}",
    },
    Role.MADE: {
        Kind.EMPTY: "convert the checkpoint again",
        Kind.ZEROS: f"{Kind.ZEROS.hint}, or convert the checkpoint again",
    },
}
"""What to do about a kind of file in a role, where it is not what the role says for all."""

_IN_EVERY_ROLE = (
    Kind.ZIP,
    Kind.GZIP,
    Kind.XZ,
    Kind.ZSTANDARD,
    Kind.BZIP2,
    Kind.SEVEN_ZIP,
    Kind.RAR,
    Kind.TAR,
    Kind.LFS_POINTER,
    Kind.HTML,
)
"""What has to be unpacked or downloaded again, whatever it was meant to be."""


def refused(role: Role, found: Foreign | None, shown: str) -> FormatError:
    """Return the error for a file that cannot play its role.

    Args:
        role: what it was given as.
        found: what it is; None if nobody knows.
        shown: its first bytes, for that case.
    """
    hint = role.hint
    if found is not None:
        default = found.kind.hint if found.kind in _IN_EVERY_ROLE else role.hint
        hint = _ADVICE[role].get(found.kind, default)
    return FormatError(
        path="magic",
        offset=0,
        expected=role.expected,
        found=shown if found is None else found.what,
        hint=hint,
    )
