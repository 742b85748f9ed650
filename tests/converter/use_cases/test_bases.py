"""What cannot be the base of a merge is refused for what it is, and nothing is written."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from fuzz import corpus
from tiny_files import write_inputs
from vocabulary_files import gguf, pair, text, tokenizer

from converter import export_lora, verify
from ggcp_schema import FormatError

ANOTHER = "give the model that the checkpoint was trained on (finetune's --model-base)"
CHANGE = f"it is a change of a model, not a model; {ANOTHER}"
AS_GGUF = "give the base model as a GGUF; llama.cpp's converters make one of older or other files"


def with_key(key: str, kind: int = 4, value: bytes = bytes(4)) -> bytes:
    """A model that fits, with one more key, and another that keeps its data aligned."""
    model = next(corpus.models())
    (count,) = struct.unpack_from("<Q", model, 16)
    packed = pair(key, kind, value)
    filling = pair("x" * (-(len(packed) + 8 + 4 + 1) % 32), 7, bytes(1))
    return model[:16] + struct.pack("<Q", count + 2) + packed + filling + model[24:]


BASES = {
    "training checkpoint (GGUF)": (
        with_key("optimizer.file_version"),
        "a training checkpoint (GGUF)",
        f"it holds the state of an optimizer, which does not belong in a model; {ANOTHER}",
    ),
    "LoRA checkpoint (GGUF)": (
        with_key("training.lora.rank.token_embd"),
        "a LoRA checkpoint (GGUF)",
        CHANGE,
    ),
    "adapter (GGUF)": (
        gguf(pair("general.type", 8, text(b"adapter"))),
        "an adapter (GGUF)",
        CHANGE,
    ),
    "vocabulary (GGUF)": (
        gguf(*tokenizer(b"<unk>", b"<s>", b"</s>")),
        "a vocabulary (GGUF) with 3 tokens",
        f"it holds no weights; {ANOTHER}",
    ),
    "checkpoint": (
        b"pcgg",
        "a training checkpoint (ggcp)",
        "export it to a GGUF first, and give that",
    ),
    "LoRA checkpoint": (b"lcgg", "a LoRA checkpoint (ggcl)", CHANGE),
    "ggla": (b"algg", "a LoRA adapter (ggla)", CHANGE),
    "ggjt": (
        struct.pack("<9I", 0x67676A74, 3, 32000, 4096, 256, 32, 32, 128, 0),
        "a LLaMA model file (ggjt) with 32000 tokens",
        AS_GGUF,
    ),
    "xz": (
        b"\xfd7zXZ\0",
        "an xz archive",
        "unpack it with unxz and give the file inside",
    ),
    "unknown": (b"\xff\xfe\xfd\xfc", r"'\xff\xfe\xfd\xfc'", AS_GGUF),
}


@pytest.mark.parametrize("name", BASES)
def test_it_is_refused(name: str, tmp_path: Path) -> None:
    data, found, hint = BASES[name]
    write_inputs(tmp_path)
    base = tmp_path / "given"
    base.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        export_lora(tmp_path / "lora.bin", tmp_path / "out.gguf", base=base)
    assert str(caught.value) == (
        f"{base}: magic at offset 0x0: expected a model (GGUF), found {found}; {hint}"
    )
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(
    ("kind", "payload"),
    [(6, b"\x01\0\x80\x7f"), (6, b"\x34\x12\xc0\xff"), (12, b"\x01\0\0\0\0\0\xf0\x7f")],
)
def test_the_payload_of_a_nan_is_kept(kind: int, payload: bytes, tmp_path: Path) -> None:
    """Signalling ones too, which a conversion to another type would turn into quiet ones."""
    write_inputs(tmp_path)
    base, merged = tmp_path / "base.gguf", tmp_path / "out.gguf"
    base.write_bytes(with_key("a.nan", kind, payload))
    export_lora(tmp_path / "lora.bin", merged, base=base)
    written = merged.read_bytes()
    assert pair("a.nan", kind, payload) in written
    assert verify(tmp_path / "lora.bin", merged, base=base) == []
    other = payload[:1] + b"\1" + payload[2:]
    merged.write_bytes(written.replace(pair("a.nan", kind, payload), pair("a.nan", kind, other)))
    assert verify(tmp_path / "lora.bin", merged, base=base) == [
        f"key a.nan: expected nan ({payload.hex(' ')}), found nan ({other.hex(' ')})"
    ]
