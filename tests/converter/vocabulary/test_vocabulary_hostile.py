"""A file that is no vocabulary, or a damaged one, is refused at once, and one line says why."""

from __future__ import annotations

import os
import struct
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabulary_files import (
    GGJT,
    GGUF,
    SPECIAL,
    THREE,
    array,
    ggjt,
    gguf,
    pair,
    text,
    tokenizer,
)
from vocabulary_reading import read_vocabulary

from ggcp_schema import FormatError, Source

TRAINED_WITH = "give the vocabulary that the model was trained with (the trainer's --vocab-model)"
GIVE = "give the GGUF, the ggjt .bin or the tokenizer.model that was the trainer's --vocab-model"
CUT = "the file is cut short; look for a whole copy of it"
DAMAGED = "the file is damaged; look for another copy of it"
DAMAGED_GGUF = "the file is damaged, or not a GGUF; give another copy"
TOO_LARGE_GGUF = (
    "no GGUF in use is this large: the file is damaged or not a GGUF; give another copy"
)
TOO_LARGE = "no vocabulary is this large: the file is damaged or not a vocabulary; give another"
SOURCES = "expected a GGUF, a ggjt model file of 2023 or a SentencePiece model"
LOADS_NOT = f"llama.cpp loads no model with such a value; {TRAINED_WITH}"

AT_ONCE = 5 if sys.gettrace() else 1
"""Seconds; while coverage is measured, everything takes longer."""

MODEL, TOKENS, SCORES, TYPES = tokenizer(*THREE)
AFTER_HEADER = 24
AFTER_TOKENIZER = len(gguf(MODEL, TOKENS, SCORES, TYPES))
START_OF_TOKENS = len(gguf(MODEL)) + 8 + len("tokenizer.ggml.tokens") + 4


def after(key: str) -> int:
    """Offset of the value of a fifth key behind those of a tokenizer."""
    return AFTER_TOKENIZER + 8 + len(key) + 4


def with_key(key: str, kind: int, packed: bytes) -> bytes:
    return gguf(MODEL, TOKENS, SCORES, TYPES, pair(key, kind, packed))


BOS = "tokenizer.ggml.bos_token_id"
PADDING = "tokenizer.ggml.padding_token_id"

# What is wrong: the file, and the message behind its name.
DEFECTS = {
    "empty": (
        b"",
        f"magic at offset 0x0: {SOURCES}, found an empty file; {GIVE}",
    ),
    "zeros": (
        bytes(4096),
        f"magic at offset 0x0: {SOURCES}, found zeros; "
        f"the file was never written, or was lost on the disk; {GIVE}",
    ),
    "something else": (
        b"\x7fELF\x02\x01",
        f"magic at offset 0x0: {SOURCES}, found '\\x7fELF'; {GIVE}",
    ),
    "tokenizer.json": (
        b'{"version": "1.0", "truncation": null}',
        f"magic at offset 0x0: {SOURCES}, found a tokenizer.json; it cannot be read; {GIVE}",
    ),
    "JSON": (b"{}", f"magic at offset 0x0: {SOURCES}, found a JSON file; {GIVE}"),
    "whisper": (
        struct.pack("<8I", 0x67676D6C, 51864, 1500, 384, 6, 4, 448, 384),
        f"magic at offset 0x0: {SOURCES}, found a whisper.cpp model (ggml); {GIVE}",
    ),
    "llama2.c tokenizer": (
        struct.pack("<IfI5s", 27, 0, 5, b"<unk>"),
        f"magic at offset 0x0: {SOURCES}, found a llama2.c tokenizer (tokenizer.bin); "
        "give the tokenizer.model that it was made from",
    ),
    "GGUF adapter": (
        gguf(pair("general.type", 8, text(b"adapter"))),
        f"magic at offset 0x0: {SOURCES}, found an adapter (GGUF); "
        f"an adapter holds no vocabulary; {GIVE}",
    ),
    "GGUF LoRA checkpoint": (
        gguf(pair("training.lora.rank.output", 4, bytes(4))),
        f"magic at offset 0x0: {SOURCES}, found a LoRA checkpoint (GGUF); "
        f"a checkpoint holds no vocabulary; {GIVE}",
    ),
    "GGUF training checkpoint": (
        gguf(pair("optimizer.file_version", 4, bytes(4))),
        f"magic at offset 0x0: {SOURCES}, found a training checkpoint (GGUF); "
        f"this one holds no vocabulary; {GIVE}",
    ),
    "GGUF model": (
        gguf(tensors=1) + text(b"token_embd.weight") + struct.pack("<IQIQ", 1, 1, 0, 0),
        f"magic at offset 0x0: {SOURCES}, found a model (GGUF); "
        f"this one holds no vocabulary; {GIVE}",
    ),
    "checkpoint": (
        b"pcgg" + bytes(64),
        f"magic at offset 0x0: {SOURCES}, found a training checkpoint (ggcp); "
        f"a checkpoint holds no vocabulary; {GIVE}",
    ),
    "LoRA checkpoint": (
        b"lcgg" + bytes(64),
        f"magic at offset 0x0: {SOURCES}, found a LoRA checkpoint (ggcl); "
        f"a checkpoint holds no vocabulary; {GIVE}",
    ),
    "LoRA adapter": (
        b"algg" + bytes(64),
        f"magic at offset 0x0: {SOURCES}, found a LoRA adapter (ggla); "
        f"an adapter holds no vocabulary; {GIVE}",
    ),
    "zip": (
        b"PK\x03\x04" + bytes(64),
        f"magic at offset 0x0: {SOURCES}, found a zip archive; "
        "unpack it with unzip and give the file inside",
    ),
    "web page": (
        b"\n\n\n<!DOCTYPE html>",
        f"magic at offset 0x0: {SOURCES}, found a web page (HTML); "
        "the download failed; download the file again",
    ),
    "no protocol buffer": (
        b"\n\xff\xff",
        "file at offset 0x0: expected a SentencePiece model, "
        "found something that the sentencepiece package cannot read; "
        "give the tokenizer.model that the model was trained with, or another copy of it",
    ),
    "GGUF version 1": (
        b"GGUF" + struct.pack("<III", 1, 0, 0) + bytes(64),
        "version at offset 0x4: expected GGUF version 2 or 3, found 1; "
        "GGUF version 1 is of August 2023 and no current tool reads it; convert it again with a "
        "later llama.cpp, whose models/ggml-vocab-llama.gguf is LLaMA's vocabulary",
    ),
    "GGUF version 4": (
        gguf(*tokenizer(*THREE), version=4),
        "version at offset 0x4: expected GGUF version 2 or 3, found 4; "
        "the file is damaged, or newer than this program; convert it again to version 3",
    ),
    "big-endian GGUF": (
        b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        "version at offset 0x4: expected a little-endian GGUF, found 50331648; "
        "the file is of a big-endian machine; turn it with gguf-convert-endian (package gguf)",
    ),
    "cut header": (
        b"GGUF\x03\x00\x00\x00",
        f"tensor_count at offset 0x8: expected 8 bytes, found 0 bytes and the end of the file; "
        f"{CUT}",
    ),
    "2^63 keys": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63),
        "metadata_count at offset 0x10: expected at most 65536 pairs of key and value, "
        f"found 9223372036854775808; {TOO_LARGE_GGUF}",
    ),
    "more keys than there are": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + pair("a", 0, b"\x01"),
        "metadata[1].key at offset 0x26: expected 8 bytes, "
        f"found 0 bytes and the end of the file; {CUT}",
    ),
    "key past the end": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**64 - 1) + b"a",
        "metadata[0].key at offset 0x20: expected 18446744073709551615 bytes, "
        f"found 1 bytes and the end of the file; {CUT}",
    ),
    "text past the end": (
        gguf(pair("a", 8, struct.pack("<Q", 2**63))),
        "metadata[0].value at offset 0x2d: expected 9223372036854775808 bytes, "
        f"found 0 bytes and the end of the file; {CUT}",
    ),
    "number past the end": (
        gguf(pair("a", 10, b"\x01")),
        f"metadata[0].value at offset 0x25: expected 8 bytes, "
        f"found 1 bytes and the end of the file; {CUT}",
    ),
    "unknown type": (
        gguf(pair("a", 13, b"")),
        f"metadata[0].type at offset 0x21: expected a GGUF value type, 0 to 12, found 13; "
        f"{DAMAGED_GGUF}",
    ),
    "2^63 texts": (
        gguf(MODEL, array("tokenizer.ggml.tokens", 8, 2**63, b"")),
        f"metadata[1].value.count at offset {START_OF_TOKENS + 4:#x}: expected at most 2097152 "
        f"elements in all arrays, found 9223372036854775808; {TOO_LARGE_GGUF}",
    ),
    "2^63 numbers": (
        gguf(array("tokenizer.ggml.scores", 6, 2**63, b"")),
        "metadata[0].value.count at offset 0x3d: expected at most 2097152 "
        f"elements in all arrays, found 9223372036854775808; {TOO_LARGE_GGUF}",
    ),
    "more texts than fit": (
        gguf(MODEL, array("tokenizer.ggml.tokens", 8, 3, bytes(23))),
        f"metadata[1].value.elements at offset {START_OF_TOKENS + 12:#x}: expected 24 bytes, "
        f"found 23 bytes and the end of the file; {CUT}",
    ),
    "more numbers than fit": (
        gguf(array("tokenizer.ggml.scores", 6, 3, bytes(11))),
        "metadata[0].value.elements at offset 0x45: expected 12 bytes, "
        f"found 11 bytes and the end of the file; {CUT}",
    ),
    "text of an array past the end": (
        gguf(array("a", 8, 3, text(b"ab") + struct.pack("<Q", 100) + bytes(20))),
        "metadata[0].value.elements[1] at offset 0x43: expected 100 bytes, "
        f"found 20 bytes and the end of the file; {CUT}",
    ),
    "arrays of arrays": (
        gguf(array("a", 9, 1, struct.pack("<IQ", 9, 1) * 50)),
        "metadata[0].value.element_type at offset 0x25: expected an array of numbers or texts, "
        "found 9; llama.cpp reads no arrays of arrays (type 9) either; give another file",
    ),
    "unknown element type": (
        gguf(array("a", 77, 1, b"")),
        "metadata[0].value.element_type at offset 0x25: expected a GGUF value type, 0 to 12, "
        f"found 77; {DAMAGED_GGUF}",
    ),
    "more than two million elements": (
        gguf(array("a", 0, 1 << 21, bytes(1 << 21)), array("b", 0, 1, b"\x00")),
        "metadata[1].value.count at offset 0x200042: expected at most 2097152 elements in all "
        f"arrays, found 1; {TOO_LARGE_GGUF}",
    ),
    "truth value of 2": (
        gguf(pair("a", 7, b"\x02")),
        f"metadata[0].value at offset 0x25: expected 0 or 1, found 2; {DAMAGED_GGUF}",
    ),
    "truth value of 2 in an array": (
        gguf(array("a", 7, 3, b"\x00\x01\x02")),
        f"metadata[0].value.elements at offset 0x33: expected 0 or 1, found 2; {DAMAGED_GGUF}",
    ),
    "key that is no text": (
        gguf(text(b"tokenizer.ggml.\xff") + struct.pack("<I", 0) + b"\x00"),
        "metadata[0] at offset 0x18: expected a name in UTF-8, found 'tokenizer.ggml.\\xff'; "
        + DAMAGED_GGUF,
    ),
    "key that is not ASCII": (
        gguf(pair("tokenizer.ggml.é", 0, b"\x00")),
        f"metadata[0].key: expected ASCII, found 'tokenizer.ggml.\\xc3\\xa9'; {DAMAGED}",
    ),
    "key of two lines": (
        gguf(pair("tokenizer.ggml.a\n_token_id", 0, b"\x00")),
        f"metadata[0].key: expected ASCII, found 'tokenizer.ggml.a\\n_token_id'; {DAMAGED}",
    ),
    "name that is no text": (
        gguf(pair("tokenizer.ggml.model", 8, text(b"\xff")), TOKENS),
        f"tokenizer.ggml.model at offset 0x38: expected UTF-8, found '\\xff'; {DAMAGED}",
    ),
    "the same key twice": (
        gguf(MODEL, TOKENS, SCORES, TYPES, MODEL),
        f"metadata[4] at offset {AFTER_TOKENIZER:#x}: expected a name that no other has, "
        f"found 'tokenizer.ggml.model' again; {DAMAGED_GGUF}",
    ),
    "no tokens": (
        gguf(pair("general.architecture", 8, text(b"llama"))),
        "tokenizer.ggml.tokens: expected a GGUF with a vocabulary, found no such key; "
        f"{TRAINED_WITH}",
    ),
    "no model": (
        gguf(TOKENS),
        "tokenizer.ggml.model: expected a GGUF with the name of its tokenizer, "
        f"found no such key; {TRAINED_WITH}",
    ),
    "no scores": (
        gguf(MODEL, TOKENS, TYPES),
        "tokenizer.ggml.scores: expected a GGUF with a score for each token of its llama "
        f"tokenizer, found no such key; {TRAINED_WITH}",
    ),
    "no token types": (
        gguf(MODEL, TOKENS, SCORES),
        "tokenizer.ggml.token_type: expected a GGUF with a type for each token of its llama "
        f"tokenizer, found no such key; {TRAINED_WITH}",
    ),
    "tokens that are numbers": (
        gguf(MODEL, array("tokenizer.ggml.tokens", 5, 3, bytes(12))),
        f"tokenizer.ggml.tokens at offset {START_OF_TOKENS:#x}: expected array of string, "
        f"found array of int32; {LOADS_NOT}",
    ),
    "tokens that are one text": (
        gguf(MODEL, pair("tokenizer.ggml.tokens", 8, text(b"<unk>"))),
        f"tokenizer.ggml.tokens at offset {START_OF_TOKENS:#x}: expected array of string, "
        f"found string; {LOADS_NOT}",
    ),
    "model that is a number": (
        gguf(pair("tokenizer.ggml.model", 4, bytes(4)), TOKENS),
        "tokenizer.ggml.model at offset 0x38: expected string, found uint32; " + LOADS_NOT,
    ),
    "scores of eight bytes": (
        gguf(MODEL, TOKENS, TYPES, array("tokenizer.ggml.scores", 12, 3, bytes(24))),
        f"tokenizer.ggml.scores at offset {len(gguf(MODEL, TOKENS, TYPES)) + 33:#x}: "
        f"expected array of float32, found array of float64; {LOADS_NOT}",
    ),
    "unsigned token types": (
        gguf(array("tokenizer.ggml.token_type", 4, 3, bytes(12)), MODEL, TOKENS, SCORES),
        "tokenizer.ggml.token_type at offset 0x3d: expected array of int32, "
        f"found array of uint32; {LOADS_NOT}",
    ),
    "too few scores": (
        gguf(array("tokenizer.ggml.scores", 6, 2, bytes(8)), MODEL, TOKENS, TYPES),
        "tokenizer.ggml.scores at offset 0x39: expected 3 elements, one for each token, "
        f"found 2; {DAMAGED}",
    ),
    "too many token types": (
        gguf(array("tokenizer.ggml.token_type", 5, 4, bytes(16)), MODEL, TOKENS, SCORES),
        "tokenizer.ggml.token_type at offset 0x3d: expected 3 elements, one for each token, "
        f"found 4; {DAMAGED}",
    ),
    "unknown token type": (
        gguf(
            array("tokenizer.ggml.token_type", 5, 3, struct.pack("<3i", 1, 7, 1)),
            *(MODEL, TOKENS, SCORES),
        ),
        "tokenizer.ggml.token_type[1] at offset 0x3d: expected a token type, 0 to 6, found 7; "
        + DAMAGED,
    ),
    "two tokens of the same text": (
        gguf(*tokenizer(b"<unk>", b"a", b"a")),
        f"tokenizer.ggml.tokens[2] at offset {START_OF_TOKENS:#x}: "
        "expected a text that no other token has, found 'a', the text of token 1; "
        "llama.cpp aborts on such a vocabulary; look for another copy of it",
    ),
    "signed special id": (
        with_key(BOS, 5, struct.pack("<i", 1)),
        f"{BOS} at offset {after(BOS):#x}: expected uint32, found int32; {LOADS_NOT}",
    ),
    "special id that is a list": (
        with_key(BOS, 9, struct.pack("<IQI", 4, 1, 1)),
        f"{BOS} at offset {after(BOS):#x}: expected uint32, found array of uint32; {LOADS_NOT}",
    ),
    "switch that is a number": (
        with_key("tokenizer.ggml.add_bos_token", 4, struct.pack("<I", 1)),
        "tokenizer.ggml.add_bos_token at offset "
        f"{after('tokenizer.ggml.add_bos_token'):#x}: expected bool, found uint32; {LOADS_NOT}",
    ),
    "ggjt version 4": (
        ggjt(*SPECIAL, version=4),
        "version at offset 0x4: expected version 1, 2 or 3, found 4; "
        "llama.cpp never wrote another version; look for another copy of the file",
    ),
    "ggmf version 2": (
        ggjt(*SPECIAL, magic=b"fmgg", version=2),
        "version at offset 0x4: expected version 1, found 2; "
        "llama.cpp never wrote another version; look for another copy of the file",
    ),
    "ggjt of more than two million tokens": (
        b"tjgg" + struct.pack("<8I", 3, (1 << 21) + 1, 0, 0, 0, 0, 0, 0),
        "vocabulary_size at offset 0x8: expected at most 2097152 tokens, found 2097153; "
        + TOO_LARGE,
    ),
    "ggjt of two tokens": (
        ggjt(*SPECIAL[:2]),
        "vocabulary_size at offset 0x8: "
        "expected at least 3 tokens (unknown, begin and end of text), found 2; "
        "such a vocabulary is of no use to a model; look for another copy",
    ),
    "cut ggjt header": (
        ggjt(*SPECIAL)[:20],
        "head_count at offset 0x14: expected 4 bytes, found 0 bytes and the end of the file; "
        + CUT,
    ),
    "ggjt token past the end": (
        ggjt(*SPECIAL)[:36] + struct.pack("<I", 2**32 - 1) + bytes(40),
        "tokens[0] at offset 0x28: expected 4294967295 bytes, "
        f"found 40 bytes and the end of the file; {CUT}",
    ),
    "ggjt without its last tokens": (
        ggjt(*SPECIAL)[:-20],
        f"tokens at offset 0x24: expected 24 bytes, found 9 bytes and the end of the file; {CUT}",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_refused_with_its_message(tmp_path: Path, defect: str) -> None:
    data, message = DEFECTS[defect]
    path = tmp_path / "vocabulary"
    path.write_bytes(data)
    start = time.process_time()
    with pytest.raises(FormatError) as caught:
        read_vocabulary(path, token_count=3)
    assert time.process_time() - start < AT_ONCE
    assert str(caught.value) == f"{path}: {message}"


def test_model_file_tokens_that_become_the_same_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary"
    path.write_bytes(ggjt(*SPECIAL, (b" a", -1.0), ("\u2581a".encode(), -2.0)))
    with pytest.raises(FormatError) as caught:
        read_vocabulary(path, token_count=5)
    assert str(caught.value) == (
        f"{path}: tokens[4] at offset 0x24: expected a text that no other token has, "
        "found '\\xe2\\x96\\x81a', the text of token 3; "
        "llama.cpp aborts on such a vocabulary; look for another copy of it"
    )


def refused(path: Path, token_count: int = 300) -> FormatError:
    """Make sure that the file is refused within a second; return the error."""
    start = time.process_time()
    with pytest.raises(FormatError) as caught:
        read_vocabulary(path, token_count=token_count)
    assert time.process_time() - start < AT_ONCE
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path / "missing")
    assert str(error) == f"{tmp_path}/missing: no such file; check the name and the folder"
    assert isinstance(error.__cause__, FileNotFoundError)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert str(refused(tmp_path)).startswith(f"{tmp_path}: this is a folder; ")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in the file system")
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert str(refused(tmp_path / "pipe")).startswith(f"{tmp_path}/pipe: this is a pipe; ")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero")
def test_a_device_is_refused() -> None:
    assert str(refused(Path("/dev/zero"))).startswith("/dev/zero: this is a device; ")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything"
)
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(mode=0)
    assert isinstance(refused(tmp_path / "secret").__cause__, PermissionError)


def test_a_disk_that_cannot_be_read_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("ggcp_schema.Source.read", broken)
    error = refused(GGUF)
    assert str(error) == (
        f"{GGUF}: file: expected a file that can be read, found 'Input/output error'; "
        "the disk cannot read the file; copy it to another disk and try again"
    )
    assert isinstance(error.__cause__, OSError)


def test_a_file_that_shrinks_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "vocabulary"
    path.write_bytes(gguf(*tokenizer(*(b"%d" % index for index in range(10000)))))
    open_source = Source.open

    def shrinking(name: Path) -> Source:
        source = open_source(name)
        os.truncate(name, 0x1000)
        return source

    monkeypatch.setattr(Source, "open", shrinking)
    assert str(refused(path, 10000)) == (
        f"{path}: metadata[1].value.elements at offset 0x1000: "
        f"expected more bytes, found the end of the file; {CUT}"
    )


HEAD = b"GGUF" + struct.pack("<IQQ", 3, 0, 4096)
EMPTY_TEXTS = array("tokenizer.ggml.a", 8, (1 << 21) - 1, bytes(8 * ((1 << 21) - 1)))

# The first bytes of a file that is zero from there to its end, 1 TiB away.
SPARSE = {
    "nothing": b"",
    "empty keys": HEAD,
    "a long text": HEAD + text(b"tokenizer.ggml.a") + struct.pack("<IQ", 8, 1 << 39),
    "a long array": HEAD + array("tokenizer.ggml.a", 12, 1 << 36, b""),
    "many texts": HEAD + array("tokenizer.ggml.a", 8, 1 << 36, b""),
    "arrays of empty texts": HEAD + EMPTY_TEXTS + array("tokenizer.ggml.b", 8, 1 << 21, b""),
    "ggjt": b"tjgg" + struct.pack("<8I", 3, 300, 0, 0, 0, 0, 0, 0) + struct.pack("<I", 2**32 - 1),
    "SentencePiece": b"\n",
}


@pytest.mark.parametrize("start", SPARSE)
def test_a_huge_file_is_refused_at_once(tmp_path: Path, start: str) -> None:
    path = tmp_path / "huge"
    path.write_bytes(SPARSE[start])
    os.truncate(path, 1 << 40)
    refused(path)


MEBIBYTE = 1 << 20

# Files of which as much is held as of any.
LARGE = {
    "text": HEAD + text(b"tokenizer.ggml.a") + struct.pack("<IQ", 8, 63 * MEBIBYTE),
    "numbers": HEAD + array("tokenizer.ggml.a", 12, (1 << 21) - 1, b""),
}


@pytest.mark.parametrize("start", LARGE)
def test_memory_is_bounded(tmp_path: Path, start: str) -> None:
    path = tmp_path / "huge"
    path.write_bytes(LARGE[start])
    os.truncate(path, 1 << 40)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            read_vocabulary(path, token_count=300)
        assert tracemalloc.get_traced_memory()[1] < 256 * MEBIBYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("whole", [GGJT, GGUF], ids=["ggjt", "GGUF"])
def test_a_vocabulary_cut_anywhere_is_refused(tmp_path: Path, whole: Path) -> None:
    path = tmp_path / "cut"
    data = whole.read_bytes()
    for length in [*range(300), *range(300, len(data), 13)]:
        path.write_bytes(data[:length])
        with pytest.raises(FormatError):
            read_vocabulary(path, token_count=300)


@settings(max_examples=300, deadline=1000)
@given(
    whole=st.sampled_from([GGJT, GGUF]),
    changes=st.lists(
        st.tuples(st.integers(0, 7172), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4
    ),
)
def test_whatever_is_changed_in_a_vocabulary_only_format_errors_escape(
    tmp_path_factory: pytest.TempPathFactory,
    whole: Path,
    changes: list[tuple[int, bytes]],
) -> None:
    data = bytearray(whole.read_bytes())
    for offset, changed in changes:
        start = offset % len(data)
        data[start : start + len(changed)] = changed
    path = tmp_path_factory.mktemp("changed") / "vocabulary"
    path.write_bytes(data)
    message = f"{path}: "
    counts = [300] * 3
    try:
        vocabulary = read_vocabulary(path, token_count=300)
        found = {item.key.rpartition(".")[2]: item.value for item in vocabulary.metadata}
        counts = [len(found[key]) for key in ("tokens", "scores", "token_type")]
    except FormatError as error:
        message = str(error)
    assert counts == [300] * 3
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
