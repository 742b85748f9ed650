"""What every form of a ``llama`` tokenizer has in common: GGUF, SentencePiece, tokenizer.json."""

from __future__ import annotations

from gguf import Keys

SPACE = "\u2581"
"""What stands for a space in the tokens."""

SPECIAL_IDS = {Keys.Tokenizer.BOS_ID: 1, Keys.Tokenizer.EOS_ID: 2, Keys.Tokenizer.UNK_ID: 0}
"""The ids where a file names none (llama.cpp 44c117f41, ``llm_load_vocab``: the defaults)."""


def byte_text(byte: int) -> str:
    """Return the text of the token that stands for a byte."""
    return f"<0x{byte:02X}>"
