"""Vocabulary files packed by hand, field by field."""

from __future__ import annotations

import struct

from paths import FIXTURES

GGJT = FIXTURES / "vocab300.ggjt"
GGUF = FIXTURES / "vocab300.gguf"

NONE = 0xFFFFFFFF
"""The id that says that there is no such token."""


def text(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def pair(key: str, kind: int, packed: bytes) -> bytes:
    return text(key.encode()) + struct.pack("<I", kind) + packed


def array(key: str, element: int, count: int, packed: bytes) -> bytes:
    return pair(key, 9, struct.pack("<IQ", element, count) + packed)


def gguf(*pairs: bytes, version: int = 3, tensors: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, len(pairs)) + b"".join(pairs)


def tokenizer(*texts: bytes, model: bytes = b"llama") -> tuple[bytes, ...]:
    """The keys that a llama tokenizer cannot do without."""
    count = len(texts)
    scores = [-float(index) for index in range(count)]
    return (
        pair("tokenizer.ggml.model", 8, text(model)),
        array("tokenizer.ggml.tokens", 8, count, b"".join(map(text, texts))),
        array("tokenizer.ggml.scores", 6, count, struct.pack(f"<{count}f", *scores)),
        array("tokenizer.ggml.token_type", 5, count, struct.pack(f"<{count}i", *[1] * count)),
    )


THREE = (b"<unk>", b"<s>", b"</s>")


def ggjt(
    *tokens: tuple[bytes, float],
    magic: bytes = b"tjgg",
    version: int | None = 3,
    scored: bool = True,
) -> bytes:
    header = magic + (b"" if version is None else struct.pack("<I", version))
    # n_vocab, n_embd, n_mult, n_head, n_layer, n_rot, ftype
    header += struct.pack("<7I", len(tokens), 32, 32, 4, 1, 8, 0)
    for token, score in tokens:
        header += struct.pack("<I", len(token)) + token
        header += struct.pack("<f", score) if scored else b""
    return header


SPECIAL = ((b" \xe2\x81\x87 ", 0.0), (b"", 0.0), (b"", 0.0))
"""Tokens 0 to 2 as every LLaMA model file of 2023 has them."""
