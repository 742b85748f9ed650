"""The last byte token, the types that llama.cpp insists on, and lengths of more than seven bits."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from vocabulary_files import SPECIAL, THREE, array, ggjt, gguf, pair, text, tokenizer
from vocabulary_reading import read_vocabulary

from converter.vocabulary.model import Vocabulary
from ggcp_schema import FormatError

NORMAL, USER_DEFINED, BYTE = 1, 4, 6  # llama.h: llama_token_type


def read(folder: Path, data: bytes, token_count: int) -> Vocabulary:
    path = folder / "vocabulary"
    path.write_bytes(data)
    return read_vocabulary(path, token_count=token_count)


def values(vocabulary: Vocabulary) -> dict[str, Any]:
    return {entry.key.rpartition(".")[2]: entry.value for entry in vocabulary.metadata}


def test_byte_tokens_are_3_to_258(tmp_path: Path) -> None:
    letters = [(b"%c" % byte, 0.0) for byte in range(256)]
    # Tokens of one byte each; 259 is one of the texts that were learnt.
    found = values(read(tmp_path, ggjt(*SPECIAL, *letters, (b"e", -1.0)), 260))
    assert (found["token_type"][3], found["tokens"][3]) == (BYTE, b"<0x00>")
    assert (found["token_type"][258], found["tokens"][258]) == (BYTE, b"<0xFF>")
    assert (found["token_type"][259], found["tokens"][259]) == (NORMAL, b"e")


# llama.cpp, src/llama-vocab.cpp: what it reads each key as; the types by their numbers in GGUF.
STRING, BOOL, U32, F32S, I32S, STRINGS = (8, None), (7, None), (4, None), (9, 6), (9, 5), (9, 8)
TYPES = {
    "model": STRING,
    "pre": STRING,
    "tokens": STRINGS,
    "scores": F32S,
    "token_type": I32S,
    "token_type_count": U32,
    "merges": STRINGS,
    "add_bos_token": BOOL,
    "add_eos_token": BOOL,
    "add_sep_token": BOOL,
    "add_space_prefix": BOOL,
    "remove_extra_whitespaces": BOOL,
    "bos_token_id": U32,
    "eos_token_id": U32,
    "unknown_token_id": U32,
    "padding_token_id": U32,
    "seperator_token_id": U32,
    "cls_token_id": U32,
}
GIVEN: dict[tuple[int, int | None], tuple[str, bytes]] = {
    STRING: ("string", text(b"llama")),
    BOOL: ("bool", b"\x01"),
    U32: ("uint32", struct.pack("<I", 1)),
    (5, None): ("int32", struct.pack("<i", 1)),
    (10, None): ("uint64", struct.pack("<Q", 1)),
    (6, None): ("float32", struct.pack("<f", 1)),
    F32S: ("array of float32", struct.pack("<IQ3f", 6, 3, 0, 0, 0)),
    (9, 12): ("array of float64", struct.pack("<IQ3d", 12, 3, 0, 0, 0)),
    I32S: ("array of int32", struct.pack("<IQ3i", 5, 3, 1, 1, 1)),
    (9, 4): ("array of uint32", struct.pack("<IQ3I", 4, 3, 1, 1, 1)),
    STRINGS: ("array of string", struct.pack("<IQ", 8, 3) + b"".join(map(text, THREE))),
}


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: GIVEN[given][0].replace(" ", "-"))
@pytest.mark.parametrize("name", TYPES)
def test_the_type_of_each_key(name: str, given: tuple[int, int | None], tmp_path: Path) -> None:
    key, packed = f"tokenizer.ggml.{name}", GIVEN[given][1]
    others = [each for each in tokenizer(*THREE) if not each.startswith(text(key.encode()))]
    data = gguf(*others, pair(key, given[0], packed))
    if given == TYPES[name]:
        assert values(read(tmp_path, data, 3))
        return
    with pytest.raises(FormatError) as caught:
        read(tmp_path, data, 3)
    assert caught.value.path == key
    assert (caught.value.expected, caught.value.found) == (GIVEN[TYPES[name]][0], GIVEN[given][0])


@pytest.mark.parametrize("model", [b"llama", b"gpt2", b"bert"])
@pytest.mark.parametrize(("name", "kind", "code"), [("scores", 6, "f"), ("token_type", 5, "i")])
@pytest.mark.parametrize("count", [2, 4])
def test_as_many_as_tokens_whatever_the_tokenizer(
    model: bytes, name: str, kind: int, code: str, count: int, tmp_path: Path
) -> None:
    key = f"tokenizer.ggml.{name}"
    others = [
        each for each in tokenizer(*THREE, model=model) if not each.startswith(text(key.encode()))
    ]
    packed = struct.pack(f"<{count}{code}", *[1] * count)
    with pytest.raises(FormatError) as caught:
        read(tmp_path, gguf(*others, array(key, kind, count, packed)), 3)
    assert str(caught.value).partition("expected ")[2] == (
        f"3 elements, one for each token, found {count}; "
        "the file is damaged; look for another copy of it"
    )


@pytest.mark.parametrize(("length", "packed"), [(127, "7f"), (128, "8001"), (129, "8101")])
def test_a_piece_of_any_length(length: int, packed: str, tmp_path: Path) -> None:
    """Its length is a number in base 128: 128 bytes are the first that take two digits."""
    text_length = length - len("\n_") - len("\x15____") - len("\x18\x04")  # and score and type
    symbol = "~" * text_length
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat", "a rat ate the oats"] * 50),
        model_writer=model,
        model_type="bpe",
        vocab_size=40,
        user_defined_symbols=[symbol],
        minloglevel=2,
    )
    data = model.getvalue()
    piece = b"\n" + bytes([text_length]) + symbol.encode() + b"\x15"
    assert b"\n" + bytes.fromhex(packed) + piece in data
    found = values(read(tmp_path, data, 40))
    place = found["tokens"].index(symbol.encode())
    assert found["token_type"][place] == USER_DEFINED
    assert found["token_type"].count(USER_DEFINED) == 1
    assert found["token_type"][-1] == NORMAL
