"""What a file is, told by its first bytes."""

from __future__ import annotations

import codecs
import struct
from collections.abc import Collection
from typing import Any

from ggcp_schema.foreign.kinds import Foreign, Kind
from ggcp_schema.language.errors import FormatError
from ggcp_schema.language.fields import outer_scope
from ggcp_schema.magicless import is_magicless

HEAD_BYTES = 512
"""As many bytes are looked at; of a GGUF, all before its data."""

SIGNATURES: dict[bytes, Kind] = {
    b"pcgg": Kind.TRAINING,
    b"lcgg": Kind.LORA,
    b"GGUF": Kind.GGUF,
    b"algg": Kind.GGLA,
    b"tjgg": Kind.GGJT,
    b"fmgg": Kind.GGMF,
    b"lmgg": Kind.GGML,
    b"ggcp": Kind.BIG_ENDIAN_TRAINING,
    b"ggcl": Kind.BIG_ENDIAN_LORA,
    b"PK\x03\x04": Kind.ZIP,
    b"\x1f\x8b": Kind.GZIP,
    b"\xfd7zXZ\0": Kind.XZ,
    b"\x28\xb5\x2f\xfd": Kind.ZSTANDARD,
    b"BZh": Kind.BZIP2,
    b"7z\xbc\xaf\x27\x1c": Kind.SEVEN_ZIP,
    b"Rar!\x1a\x07": Kind.RAR,
    b"24ka": Kind.LLAMA2C,
    b"\x80\x02": Kind.PYTORCH,
    b"version https://git-lfs": Kind.LFS_POINTER,
}
"""First bytes, and what begins with them. A zip archive may be PyTorch's, ggml whisper.cpp's."""

_TOKEN_COUNT_AT = {Kind.GGJT: 8, Kind.GGMF: 8, Kind.GGML: 4}
_WHISPER = struct.pack("<2I", 1500, 448)
"""n_audio_ctx and n_text_ctx of every whisper.cpp model, where LLaMA's have n_embd and n_rot."""

_LIST = b"tokenizer.ggml.tokens"


def recognised(stream: Any) -> Foreign | None:
    """Say what a file is; None if nobody knows.

    Args:
        stream: an open Source; its position is lost.
    """
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    kind = next((k for magic, k in SIGNATURES.items() if head.startswith(magic)), None)
    if kind is Kind.GGUF:
        return _gguf(stream)
    if kind is Kind.ZIP and b"/data.pkl" in head:
        return Foreign(Kind.PYTORCH)
    if kind is Kind.GGML and head[8:12] + head[24:28] == _WHISPER:
        return Foreign(Kind.WHISPER)
    if kind in _TOKEN_COUNT_AT and len(head) >= 12:
        return Foreign(kind, *struct.unpack_from("<I", head, _TOKEN_COUNT_AT[kind]))
    kind = kind or _without_signature(head, stream.size)
    return None if kind is None else Foreign(kind)


def _without_signature(head: bytes, size: int) -> Kind | None:
    start = head.lstrip()[:64].lower()
    if not head:
        return Kind.EMPTY
    if not head.strip(b"\0"):
        return Kind.ZEROS
    if is_magicless(head):
        return Kind.MAGICLESS
    if head[257:262] == b"ustar":
        return Kind.TAR
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return Kind.SAFETENSORS
    if head[4:17] == bytes(4) + b"\5\0\0\0<unk>":  # behind the longest length: score, length, text
        return Kind.LLAMA2C_TOKENIZER
    if head[:1] == b"\n" and head[2:3] == b"\n" and b"<unk>" in head[:16]:
        return Kind.SENTENCEPIECE
    if start.startswith((b"<!doctype html", b"<html")):
        return Kind.HTML
    if start.startswith(b"{"):
        return Kind.TOKENIZER_JSON if b'"truncation"' in head else Kind.JSON
    return Kind.TEXT if len(head) >= 4 and _is_text(head) else None


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the last letter may be cut
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter in "\t\n\r" for letter in text)


def gguf_kind(keys: Collection[str], tensors: Collection[str], general_type: Any) -> Kind:
    """Tell which of the kinds of GGUF a file is, in the order in which they exclude each other.

    Args:
        keys: the names of its keys.
        tensors: the names of its tensors.
        general_type: the value of ``general.type``, which a file need not have.
    """
    if general_type == "adapter":
        return Kind.GGUF_ADAPTER
    if any(key.startswith("training.lora.rank.") for key in keys):
        return Kind.GGUF_LORA
    if "optimizer.file_version" in keys:
        return Kind.GGUF_TRAINING
    if "token_embd.weight" in tensors:
        return Kind.GGUF_MODEL
    if _LIST.decode() in keys and not tensors:
        return Kind.GGUF_VOCABULARY
    return Kind.GGUF


def _gguf(stream: Any) -> Foreign:
    """Tell the kind of a GGUF; its head is read within the limits of one."""
    from ggcp_schema import gguf  # with NumPy, which no other file needs

    values: dict[bytes, Any] = {}
    tensors: set[str] = set()
    stream.seek(0)
    try:
        header = gguf.HEADER._parse(stream, outer_scope(), "")
        scope = outer_scope(elements_before=0, alignment=1)
        for _ in range(header.metadata_count):
            pair = gguf.KEY_VALUE._parse(stream, scope, "")
            if pair.type == gguf.ValueType.ARRAY:
                scope.elements_before += pair.value.count
                values[pair.key] = pair.value.count
            else:
                values[pair.key] = pair.value
        for _ in range(min(header.tensor_count, gguf.MOST_TENSORS)):
            info = gguf.TENSOR_INFO._parse(stream, scope, "")
            tensors.add(info.name.decode("latin-1"))
    except FormatError:  # who reads it for its content says what is damaged
        return Foreign(Kind.DAMAGED_GGUF)
    general_type = values.get(b"general.type")
    keys = [key.decode("latin-1") for key in values]
    text = general_type.decode("latin-1") if isinstance(general_type, bytes) else None
    kind = gguf_kind(keys, tensors, text)
    count = values.get(_LIST) if kind in (Kind.GGUF_MODEL, Kind.GGUF_VOCABULARY) else None
    return Foreign(kind, count if isinstance(count, int) else None)
