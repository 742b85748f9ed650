"""The tokenizer of a GGUF, key by key."""

from __future__ import annotations

import struct
from typing import Any

from vocabulary_files import array, gguf, pair, text

from converter.plan import Metadata
from ggcp_schema.gguf import ValueType

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

Token = tuple[bytes, float, int]

THREE: tuple[Token, ...] = ((b"<unk>", 0, UNKNOWN), (b"<s>", 0, CONTROL), (b"</s>", 0, CONTROL))
BYTES: tuple[Token, ...] = tuple((b"<0x%02X>" % byte, 0, BYTE) for byte in range(256))
SPACE = "\u2581".encode()

_VALUE_TYPES = {str: ValueType.STRING, int: ValueType.UINT32, bool: ValueType.BOOL}


def llama_keys(*tokens: Token, **others: Any) -> list[Metadata]:
    """The keys of a llama tokenizer; others by the end of their names, None for none."""
    texts, scores, types = zip(*tokens, strict=True) if tokens else ((), (), ())
    array_of = ValueType.ARRAY
    values = {
        "model": ("llama", ValueType.STRING, None),
        "tokens": (texts, array_of, ValueType.STRING),
        "scores": (scores, array_of, ValueType.FLOAT32),
        "token_type": (types, array_of, ValueType.INT32),
    }
    for name, value in others.items():
        _, kind, element = values.get(name, (None, _VALUE_TYPES.get(type(value)), None))
        values[name] = (value, kind, element)
    return [
        Metadata(f"tokenizer.ggml.{name}", kind, value, element)
        for name, (value, kind, element) in values.items()
        if value is not None
    ]


def llama_gguf(*tokens: Token, **others: int | bool) -> bytes:
    """The same as a GGUF without tensors."""
    texts, scores, types = zip(*tokens, strict=True)
    count, name = len(tokens), "tokenizer.ggml."
    return gguf(
        pair(f"{name}model", 8, text(b"llama")),
        array(f"{name}tokens", 8, count, b"".join(map(text, texts))),
        array(f"{name}scores", 6, count, struct.pack(f"<{count}f", *scores)),
        array(f"{name}token_type", 5, count, struct.pack(f"<{count}i", *types)),
        *(
            pair(name + key, 7, struct.pack("<?", value))
            if isinstance(value, bool)
            else pair(name + key, 4, struct.pack("<I", value))
            for key, value in others.items()
        ),
    )
