"""A vocabulary becomes the same tokenizer metadata, whichever file it is read from."""

from __future__ import annotations

import io
import struct
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from gguf import GGUFReader, GGUFWriter
from packed import checkpoint as packed
from vocabulary_files import (
    GGJT,
    GGUF,
    NONE,
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

from converter import ExportOptions, Writing, export, verify
from converter.plan import Metadata
from converter.vocabulary.model import Vocabulary
from ggcp_schema import FormatError
from ggcp_schema.gguf import ValueType

ARRAY, STRING = ValueType.ARRAY, ValueType.STRING
FLOAT32, INT32, UINT32 = ValueType.FLOAT32, ValueType.INT32, ValueType.UINT32


def read(tmp_path: Path, data: bytes, token_count: int) -> Vocabulary:
    path = tmp_path / "vocabulary"
    path.write_bytes(data)
    return read_vocabulary(path, token_count=token_count)


def values(vocabulary: Vocabulary) -> dict[str, Any]:
    return {entry.key: entry.value for entry in vocabulary.metadata}


def as_the_gguf_package_reads_it(path: Path) -> dict[str, Any]:
    fields = GGUFReader(path).fields
    return {
        key: field.contents() for key, field in fields.items() if key.startswith("tokenizer.ggml.")
    }


def decoded(vocabulary: Vocabulary) -> dict[str, Any]:
    """The values as GGUFReader gives them."""
    return {
        entry.key: [item.decode() if isinstance(item, bytes) else item for item in entry.value]
        if entry.type is ARRAY
        else entry.value
        for entry in vocabulary.metadata
    }


def test_a_gguf_vocabulary_is_copied() -> None:
    vocabulary = read_vocabulary(GGUF, token_count=300)
    assert vocabulary.kind == "GGUF"
    assert vocabulary.token_count == 300
    assert decoded(vocabulary) == as_the_gguf_package_reads_it(GGUF)
    assert [(entry.key, entry.type, entry.element_type) for entry in vocabulary.metadata] == [
        ("tokenizer.ggml.model", STRING, None),
        ("tokenizer.ggml.tokens", ARRAY, STRING),
        ("tokenizer.ggml.scores", ARRAY, FLOAT32),
        ("tokenizer.ggml.token_type", ARRAY, INT32),
        ("tokenizer.ggml.bos_token_id", UINT32, None),
        ("tokenizer.ggml.eos_token_id", UINT32, None),
        ("tokenizer.ggml.unknown_token_id", UINT32, None),
    ]


def test_ggjt_and_gguf_of_the_same_vocabulary_are_the_same() -> None:
    vocabulary = read_vocabulary(GGJT, token_count=300)
    assert vocabulary.kind == "ggjt"
    assert vocabulary.token_count == 300
    assert decoded(vocabulary) == as_the_gguf_package_reads_it(GGUF)
    assert vocabulary.metadata == read_vocabulary(GGUF, token_count=300).metadata


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_of_ggjt_is_read(tmp_path: Path, version: int) -> None:
    data = GGJT.read_bytes()
    data = data[:4] + struct.pack("<I", version) + data[8:]
    assert read(tmp_path, data, 300) == read_vocabulary(GGJT, token_count=300)


def test_ggmf_is_read(tmp_path: Path) -> None:
    vocabulary = read(tmp_path, ggjt(*SPECIAL, (b"a", -1.5), magic=b"fmgg", version=1), 4)
    assert vocabulary.kind == "ggmf"
    assert values(vocabulary)["tokenizer.ggml.scores"] == (0.0, 0.0, 0.0, -1.5)


def test_ggml_without_version_has_no_scores(tmp_path: Path) -> None:
    data = ggjt(*SPECIAL, (b"a", 0), (b"bc", 0), magic=b"lmgg", version=None, scored=False)
    vocabulary = read(tmp_path, data, 5)
    assert vocabulary.kind == "ggml"
    found = values(vocabulary)
    assert found["tokenizer.ggml.tokens"] == (*THREE, b"<0x61>", b"bc")
    assert found["tokenizer.ggml.scores"] == (0.0, 0.0, 0.0, 0.0, 0.0)


def test_texts_of_a_model_file_become_tokens(tmp_path: Path) -> None:
    byte_tokens = [(bytes([byte]), 0.0) for byte in range(256)]
    others = [(b" the  end", -1.0), (b"\n\n", -2.0), (b"", -3.0), (b"\xff\xfe", -4.0), (b"a", -5.0)]
    found = values(read(tmp_path, ggjt(*SPECIAL, *byte_tokens, *others), 264))
    space = b"\xe2\x96\x81"  # U+2581
    assert found["tokenizer.ggml.tokens"] == (
        *THREE,
        *(f"<0x{byte:02X}>".encode() for byte in range(256)),
        space + b"the" + space * 2 + b"end",
        b"\n\n",
        b"",
        b"\xff\xfe",
        b"a",
    )
    # unknown, control, control, bytes, then normal; a token without a text is a control token
    assert found["tokenizer.ggml.token_type"] == (2, 3, 3, *[6] * 256, 1, 1, 3, 1, 1)
    assert found["tokenizer.ggml.scores"][259:] == (-1.0, -2.0, -3.0, -4.0, -5.0)


def test_what_follows_the_vocabulary_of_a_model_file_is_not_read(tmp_path: Path) -> None:
    data = GGJT.read_bytes() + b"\xff" * 100
    assert read(tmp_path, data, 300) == read_vocabulary(GGJT, token_count=300)


def test_tensors_of_a_gguf_are_not_read(tmp_path: Path) -> None:
    data = gguf(*tokenizer(*THREE), tensors=2**63) + b"\xff" * 100
    assert values(read(tmp_path, data, 3))["tokenizer.ggml.tokens"] == THREE


def test_versions_2_and_3_of_gguf_are_read(tmp_path: Path) -> None:
    third = read(tmp_path, gguf(*tokenizer(*THREE), version=3), 3)
    assert read(tmp_path, gguf(*tokenizer(*THREE), version=2), 3) == third


def test_only_the_tokenizer_is_copied_and_never_a_chat_template(tmp_path: Path) -> None:
    data = gguf(
        pair("general.architecture", 8, text(b"llama")),
        array("general.tags", 8, 2, text(b"a") + text(b"b")),
        pair("tokenizer.chat_template", 8, text(b"{{ messages }}")),
        pair("tokenizer.chat_template.tool_use", 8, text(b"{{ messages }}")),
        array("tokenizer.chat_templates", 8, 1, text(b"tool_use")),
        *tokenizer(*THREE),
        pair("tokenizer.huggingface.json", 8, text(b"{}")),
    )
    assert list(values(read(tmp_path, data, 3))) == [
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.scores",
        "tokenizer.ggml.token_type",
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.eos_token_id",
        "tokenizer.ggml.unknown_token_id",
    ]


def test_keys_come_in_the_order_of_llama_cpp(tmp_path: Path) -> None:
    model, tokens, scores, types = tokenizer(*THREE, model=b"gpt2")
    data = gguf(
        pair("tokenizer.ggml.add_bos_token", 7, b"\x01"),
        pair("tokenizer.ggml.padding_token_id", 4, struct.pack("<I", 0)),
        pair("tokenizer.ggml.unknown_token_id", 4, struct.pack("<I", 0)),
        pair("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 2)),
        pair("tokenizer.ggml.bos_token_id", 4, struct.pack("<I", 1)),
        array("tokenizer.ggml.merges", 8, 1, text(b"< s")),
        *(types, scores, tokens),
        pair("tokenizer.ggml.pre", 8, text(b"default")),
        model,
    )
    assert [entry.key.rpartition(".")[2] for entry in read(tmp_path, data, 3).metadata] == [
        *("model", "pre", "tokens", "scores", "token_type", "merges"),
        *("bos_token_id", "eos_token_id", "unknown_token_id", "add_bos_token", "padding_token_id"),
    ]


SCALARS = [
    (0, "B", 255),
    (1, "b", -128),
    (2, "H", 65535),
    (3, "h", -32768),
    (4, "I", 2**32 - 1),
    (5, "i", -(2**31)),
    (6, "f", 0.10000000149011612),
    (7, "?", True),
    (10, "Q", 2**64 - 1),
    (11, "q", -(2**63)),
    (12, "d", 0.1),
]


@pytest.mark.parametrize(("kind", "code", "value"), SCALARS)
def test_other_keys_are_copied_with_their_type(
    tmp_path: Path, kind: int, code: str, value: float
) -> None:
    data = gguf(
        *tokenizer(*THREE),
        pair("tokenizer.ggml.one", kind, struct.pack("<" + code, value)),
        array("tokenizer.ggml.many", kind, 2, struct.pack("<2" + code, value, 0)),
    )
    one, many = read(tmp_path, data, 3).metadata[-2:]
    assert one == Metadata("tokenizer.ggml.one", ValueType(kind), value)
    assert many == Metadata("tokenizer.ggml.many", ARRAY, (value, 0), ValueType(kind))
    assert type(one.value) is type(many.value[1].item()) is type(value)
    assert many.value.dtype == np.dtype("<" + code)


def test_tokens_that_are_not_utf_8_keep_their_bytes_through_the_writer(tmp_path: Path) -> None:
    texts = (*THREE, b"\xff\xfe\x00", "\u2581ß".encode(), b"\xc3")
    vocabulary = read(tmp_path, gguf(*tokenizer(*texts)), 6)
    assert values(vocabulary)["tokenizer.ggml.tokens"] == texts
    writer = GGUFWriter(tmp_path / "written.gguf", "llama")
    for entry in vocabulary.metadata:
        value = entry.value.tolist() if isinstance(entry.value, np.ndarray) else entry.value
        writer.add_key_value(entry.key, value, entry.type, entry.element_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert read_vocabulary(tmp_path / "written.gguf", token_count=6) == vocabulary
    field = GGUFReader(tmp_path / "written.gguf").fields["tokenizer.ggml.tokens"]
    assert tuple(bytes(field.parts[index]) for index in field.data) == texts


def test_an_id_of_no_token_is_left_out(tmp_path: Path) -> None:
    # As the trainers' own GGUF files have it.
    data = gguf(
        *tokenizer(*THREE),
        pair("tokenizer.ggml.bos_token_id", 4, struct.pack("<I", 1)),
        pair("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 2)),
        pair("tokenizer.ggml.unknown_token_id", 4, struct.pack("<I", 0)),
        pair("tokenizer.ggml.seperator_token_id", 4, struct.pack("<I", NONE)),
        pair("tokenizer.ggml.padding_token_id", 4, struct.pack("<I", NONE)),
    )
    ids = {key: value for key, value in values(read(tmp_path, data, 3)).items() if "_id" in key}
    assert ids == {
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


@pytest.mark.parametrize("token", [3, 2**32 - 2])
def test_an_id_outside_the_vocabulary_is_left_out_with_a_warning(
    token: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """llama.cpp: "bad special token: …, using default id"."""
    ids = [
        pair("tokenizer.ggml.bos_token_id", 4, struct.pack("<I", token)),
        pair("tokenizer.ggml.padding_token_id", 4, struct.pack("<I", token)),
        pair("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 0)),
    ]
    found = values(read(tmp_path, gguf(*tokenizer(*THREE), *ids), 3))
    assert "tokenizer.ggml.padding_token_id" not in found
    assert found["tokenizer.ggml.bos_token_id"] == 1  # llama.cpp's default
    assert found["tokenizer.ggml.eos_token_id"] == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"tokenizer.ggml.{name}_token_id is {token}, which is no token (there are 3): left out, as "
        "llama.cpp does"
        for name in ("bos", "padding")
    ]


def test_a_llama_tokenizer_gets_the_ids_that_llama_cpp_takes_for_granted(tmp_path: Path) -> None:
    data = gguf(
        *tokenizer(*THREE),
        pair("tokenizer.ggml.bos_token_id", 4, struct.pack("<I", 2)),
        pair("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", NONE)),
    )
    assert read(tmp_path, data, 3).metadata[-3:] == (
        Metadata("tokenizer.ggml.bos_token_id", UINT32, 2),
        Metadata("tokenizer.ggml.eos_token_id", UINT32, 2),
        Metadata("tokenizer.ggml.unknown_token_id", UINT32, 0),
    )


def test_an_id_that_would_be_out_of_range_is_not_taken_for_granted(tmp_path: Path) -> None:
    assert read(tmp_path, gguf(*tokenizer(b"a", b"b")), 2).metadata[-2:] == (
        Metadata("tokenizer.ggml.bos_token_id", UINT32, 1),
        Metadata("tokenizer.ggml.unknown_token_id", UINT32, 0),
    )


def test_another_tokenizer_needs_no_scores_and_gets_no_ids(tmp_path: Path) -> None:
    model, tokens, _, types = tokenizer(*THREE, model=b"gpt2")
    assert list(values(read(tmp_path, gguf(model, tokens, types), 3))) == [
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.token_type",
    ]


def test_an_array_without_elements_is_left_out(tmp_path: Path) -> None:
    data = gguf(*tokenizer(*THREE), array("tokenizer.ggml.merges", 8, 0, b""))
    assert "tokenizer.ggml.merges" not in values(read(tmp_path, data, 3))


def test_several_tokens_may_be_empty(tmp_path: Path) -> None:
    texts = (*THREE, b"", b"")
    assert values(read(tmp_path, gguf(*tokenizer(*texts)), 5))["tokenizer.ggml.tokens"] == texts


def test_a_vocabulary_of_128000_tokens_is_read_at_once(tmp_path: Path) -> None:
    count = 128_000
    merges = array("tokenizer.ggml.merges", 8, count, b"".join([text(b"a b")] * count))
    data = gguf(*tokenizer(*(b"token %d" % index for index in range(count))), merges)
    (tmp_path / "large.gguf").write_bytes(data)
    start = time.process_time()
    vocabulary = read_vocabulary(tmp_path / "large.gguf", token_count=count)
    assert time.process_time() - start < 1.5
    assert values(vocabulary)["tokenizer.ggml.tokens"][-1] == b"token 127999"


@pytest.fixture(scope="module")
def sentencepiece_model() -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat", "a rat ate the oats"] * 50),
        model_writer=model,
        model_type="bpe",
        vocab_size=300,
        byte_fallback=True,
        pad_id=3,
        user_defined_symbols=["<sep>"],
        control_symbols=["<call>"],
        minloglevel=2,
    )
    return model.getvalue()


def test_a_sentencepiece_model_is_read(tmp_path: Path, sentencepiece_model: bytes) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model)
    vocabulary = read(tmp_path, sentencepiece_model, 300)
    assert vocabulary.kind == "SentencePiece"
    assert vocabulary.token_count == 300
    assert [(entry.key, entry.type, entry.element_type) for entry in vocabulary.metadata] == [
        ("tokenizer.ggml.model", STRING, None),
        ("tokenizer.ggml.tokens", ARRAY, STRING),
        ("tokenizer.ggml.scores", ARRAY, FLOAT32),
        ("tokenizer.ggml.token_type", ARRAY, INT32),
        ("tokenizer.ggml.bos_token_id", UINT32, None),
        ("tokenizer.ggml.eos_token_id", UINT32, None),
        ("tokenizer.ggml.unknown_token_id", UINT32, None),
        ("tokenizer.ggml.padding_token_id", UINT32, None),
    ]
    found = values(vocabulary)
    ids = range(300)
    assert found["tokenizer.ggml.model"] == "llama"
    assert found["tokenizer.ggml.tokens"] == tuple(processor.id_to_piece(i).encode() for i in ids)
    assert found["tokenizer.ggml.scores"] == tuple(processor.get_score(i) for i in ids)
    types = found["tokenizer.ggml.token_type"]
    assert [i for i in ids if types[i] == 2] == [i for i in ids if processor.is_unknown(i)] == [0]
    assert [i for i in ids if types[i] == 3] == [i for i in ids if processor.is_control(i)]
    assert [i for i in ids if types[i] == 6] == [i for i in ids if processor.is_byte(i)]
    assert [i for i in ids if types[i] == 4] == [processor.piece_to_id("<sep>")]
    assert [i for i in ids if types[i] == 1] == list(range(262, 300))
    assert [
        found[f"tokenizer.ggml.{n}_token_id"] for n in ("bos", "eos", "unknown", "padding")
    ] == [*(1, 2, 0, 3)]


def test_ids_that_a_sentencepiece_model_lacks_are_left_out(tmp_path: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat"] * 50),
        model_writer=model,
        model_type="bpe",
        vocab_size=20,
        bos_id=-1,
        eos_id=1,
        minloglevel=2,
    )
    found = values(read(tmp_path, model.getvalue(), 20))
    assert {key: value for key, value in found.items() if key.endswith("_id")} == {
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def test_a_model_without_an_end_of_text_verifies_as_it_was_written(tmp_path: Path) -> None:
    """llama.cpp takes an id of its own for it; that one is not in the file, and need not be."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat"] * 50),
        model_writer=model,
        model_type="bpe",
        vocab_size=20,
        eos_id=-1,
        minloglevel=2,
    )
    (tmp_path / "tokenizer.model").write_bytes(model.getvalue())
    checkpoint, path = tmp_path / "in.bin", tmp_path / "out.gguf"
    checkpoint.write_bytes(packed(0, n_vocab=20, n_layer=1).data)
    options = ExportOptions(tmp_path / "tokenizer.model", context_length=8)
    export(checkpoint, path, options, writing=Writing(verify=True, sync=False))
    assert b"tokenizer.ggml.eos_token_id" not in path.read_bytes()
    assert verify(checkpoint, path) == []


def test_a_damaged_sentencepiece_model_is_refused(
    tmp_path: Path, sentencepiece_model: bytes
) -> None:
    with pytest.raises(FormatError) as caught:
        read(tmp_path, sentencepiece_model.replace("\u2581".encode(), b"\xe2(\x81"), 300)
    assert str(caught.value) == (
        f"{tmp_path}/vocabulary: file at offset 0x0: expected a SentencePiece model, "
        "found something that the sentencepiece package cannot read; "
        "give the tokenizer.model that the model was trained with, or another copy of it"
    )
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)


def test_a_sentencepiece_model_with_a_group_is_refused(
    tmp_path: Path, sentencepiece_model: bytes
) -> None:
    # Field 15 as a group: start (wire type 3) and end (4).
    with pytest.raises(FormatError) as caught:
        read(tmp_path, sentencepiece_model + b"\x7b\x7c", 300)
    assert str(caught.value) == (
        f"{tmp_path}/vocabulary: file at offset {len(sentencepiece_model):#x}: "
        "expected fields of a SentencePiece model, found a field of wire type 3; "
        "the file is damaged; look for another copy of it"
    )


def test_without_the_package_a_sentencepiece_model_names_it(
    tmp_path: Path, sentencepiece_model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(FormatError) as caught:
        read(tmp_path, sentencepiece_model, 300)
    assert str(caught.value) == (
        f"{tmp_path}/vocabulary: file: expected the package that reads SentencePiece models, "
        "found it is not installed; pip install sentencepiece, or give the vocabulary as a GGUF"
    )
    assert isinstance(caught.value.__cause__, ImportError)


COUNTS = {
    "ggjt": (GGJT, "vocabulary_size at offset 0x8"),
    "GGUF": (GGUF, "tokenizer.ggml.tokens at offset 0x206"),
}


@pytest.mark.parametrize("kind", COUNTS)
def test_another_number_of_tokens_than_the_checkpoint_has_is_refused(kind: str) -> None:
    path, where = COUNTS[kind]
    with pytest.raises(FormatError) as caught:
        read_vocabulary(path, token_count=32000)
    assert str(caught.value) == (
        f"{path}: {where}: expected 32000 tokens, as many as the checkpoint has (n_vocab), "
        "found 300 tokens; "
        "give the vocabulary that the model was trained with (the trainer's --vocab-model)"
    )


def test_another_number_of_pieces_than_the_checkpoint_has_tokens_is_refused(
    tmp_path: Path, sentencepiece_model: bytes
) -> None:
    with pytest.raises(FormatError) as caught:
        read(tmp_path, sentencepiece_model, 32000)
    assert str(caught.value) == (
        f"{tmp_path}/vocabulary: pieces at offset 0x0: "
        "expected 32000 tokens, as many as the checkpoint has (n_vocab), found 300 tokens; "
        "give the vocabulary that the model was trained with (the trainer's --vocab-model)"
    )
