"""tokenizer.model, byte by byte, and as the sentencepiece package reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from llama_keys import (
    BYTES,
    CONTROL,
    NORMAL,
    SPACE,
    THREE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Token,
    llama_keys,
)
from vocabulary_files import GGUF
from vocabulary_reading import read_vocabulary

from converter.hf_io.protobuf import varint
from converter.hf_io.tokenizer import tokenizer_files

# fmt: off
FOUR = bytes.fromhex(
    "0a 0e"                          # pieces, 14 bytes
    "  0a 05 3c 75 6e 6b 3e"         #   piece '<unk>'
    "  15 00 00 00 00"               #   score 0
    "  18 02"                        #   type UNKNOWN
    "0a 0c"                          # pieces, 12 bytes
    "  0a 03 3c 73 3e"               #   piece '<s>'
    "  15 00 00 00 00"               #   score 0
    "  18 03"                        #   type CONTROL
    "0a 0d"                          # pieces, 13 bytes
    "  0a 04 3c 2f 73 3e"            #   piece '</s>'
    "  15 00 00 00 00"               #   score 0
    "  18 03"                        #   type CONTROL
    "0a 0c"                          # pieces, 12 bytes
    "  0a 03 e2 96 81"               #   piece U+2581
    "  15 00 00 20 c0"               #   score -2.5
    "  18 01"                        #   type NORMAL
    "12 39"                          # trainer_spec, 57 bytes
    "  18 02"                        #   model_type BPE
    "  20 04"                        #   vocab_size 4
    "  98 02 00"                     #   byte_fallback false
    "  c0 02 00"                     #   unk_id 0
    "  c8 02 01"                     #   bos_id 1
    "  d0 02 02"                     #   eos_id 2
    "  d8 02 ff ff ff ff ff ff ff ff ff 01"  # pad_id -1
    "  ea 02 05 3c 75 6e 6b 3e"      #   unk_piece '<unk>'
    "  f2 02 03 3c 73 3e"            #   bos_piece '<s>'
    "  fa 02 04 3c 2f 73 3e"         #   eos_piece '</s>'
    "  82 03 05 3c 75 6e 6b 3e"      #   pad_piece '<unk>': there is none
    "1a 10"                          # normalizer_spec, 16 bytes
    "  0a 08 69 64 65 6e 74 69 74 79"  # name 'identity'
    "  18 01"                        #   add_dummy_prefix true
    "  20 00"                        #   remove_extra_whitespaces false
    "  28 01"                        #   escape_whitespaces true
)
# fmt: on


def model(*tokens: Token, **others: Any) -> bytes:
    return tokenizer_files(llama_keys(*tokens, **others))["tokenizer.model"]


def loaded(*tokens: Token, **others: Any) -> Any:
    return sentencepiece.SentencePieceProcessor(model_proto=model(*tokens, **others))


def test_every_byte() -> None:
    assert model(*THREE, (SPACE, -2.5, NORMAL)).hex(" ") == FOUR.hex(" ")


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (117, "0a 7e 0a 75"),  # 126 bytes: both keys and lengths, a score of 5 and a type of 2
        (118, "0a 7f 0a 76"),
        (119, "0a 80 01 0a 77"),  # a message of exactly 128 bytes
        (127, "0a 88 01 0a 7f"),
        (128, "0a 8a 01 0a 80 01"),
        (16_375, "0a 81 80 01 0a f7 7f"),
    ],
)
def test_lengths_where_one_more_byte_is_needed(size: int, head: str) -> None:
    first = FOUR.index(b"\x0a\x0c\x0a\x03\xe2")
    text = b"x" * size
    packed = bytes.fromhex(head) + text + bytes.fromhex("15 00 00 80 bf 18 01")
    written = model(*THREE, (text, -1, NORMAL))
    assert written[:first] == FOUR[:first]
    assert written[first:].startswith(packed + b"\x12")


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "80 01"),
        (300, "ac 02"),  # the example of the specification
        (16_383, "ff 7f"),
        (16_384, "80 80 01"),
        ((1 << 63) - 1, "ff ff ff ff ff ff ff ff 7f"),
        (-1, "ff ff ff ff ff ff ff ff ff 01"),
        (-2, "fe ff ff ff ff ff ff ff ff 01"),
    ],
)
def test_varints(value: int, encoded: str) -> None:
    assert varint(value) == bytes.fromhex(encoded)


MIXED: tuple[Token, ...] = (
    *THREE,
    *BYTES,
    (SPACE + b"a", -1.5, NORMAL),
    (b"a" * 119, -(2.0**-20), NORMAL),
    (b"\n\n", -1000, USER_DEFINED),
    (b"rare", -3e38, UNUSED),
    ("é日😀".encode(), -5, NORMAL),
    (b"[PAD]", 0, CONTROL),
    (b"", 0, CONTROL),
    *((character.encode(), -1000.0 - n, NORMAL) for n, character in enumerate("▁aé日😀")),
)


def test_the_package_reads_what_was_given() -> None:
    processor = loaded(*MIXED, padding_token_id=264)
    count = len(MIXED)
    assert processor.get_piece_size() == count
    pieces = [token[0].decode() for token in MIXED]
    pieces[265] = "[EMPTY_265]"
    assert [processor.id_to_piece(token) for token in range(count)] == pieces
    scores = [processor.get_score(token) for token in range(count)]
    assert scores == np.array([token[1] for token in MIXED], "<f4").tolist()
    kinds = [token[2] for token in MIXED]
    assert [processor.is_unknown(t) for t in range(count)] == [k == UNKNOWN for k in kinds]
    assert [processor.is_control(t) for t in range(count)] == [k == CONTROL for k in kinds]
    assert [processor.is_unused(t) for t in range(count)] == [k == UNUSED for k in kinds]
    assert [processor.is_byte(t) for t in range(count)] == [3 <= t < 259 for t in range(count)]
    ids = (processor.unk_id(), processor.bos_id(), processor.eos_id(), processor.pad_id())
    assert ids == (0, 1, 2, 264)


def test_our_reader_finds_the_same_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    named = [(text or b"[EMPTY_265]", score, kind) for text, score, kind in MIXED]
    ids = {"unknown_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "padding_token_id": 264}
    path.write_bytes(model(*MIXED, **ids))
    found = {key.key: key for key in read_vocabulary(path, token_count=len(MIXED)).metadata}
    for expected in llama_keys(*named, **ids):
        if expected.key.endswith("scores"):
            assert np.array_equal(found[expected.key].value, np.array(expected.value, "<f4"))
        else:
            assert found[expected.key] == expected


def test_the_vocabulary_of_the_fixtures(tmp_path: Path) -> None:
    given = read_vocabulary(GGUF, token_count=300).metadata
    path = tmp_path / "tokenizer.model"
    path.write_bytes(tokenizer_files(given)["tokenizer.model"])
    found = read_vocabulary(path, token_count=300).metadata
    assert [key.key for key in found] == [key.key for key in given]
    for ours, theirs in zip(found, given, strict=True):
        if ours.element_type:
            assert list(ours.value) == list(theirs.value)
        else:
            assert ours == theirs


def test_other_texts_for_begin_and_end() -> None:
    tokens = ((b"[UNK]", 0, UNKNOWN), (b"[BOS]", 0, CONTROL), (b"[EOS]", 0, CONTROL))
    processor = loaded(*tokens, (b"a", -1, NORMAL))
    assert (processor.unk_id(), processor.bos_id(), processor.eos_id()) == (0, 1, 2)


def test_a_token_for_padding_that_is_not_named_as_such() -> None:
    assert loaded(*THREE, (b"<pad>", 0, CONTROL)).pad_id() == -1


def test_no_token_for_padding_where_the_first_is_another_than_the_unknown_one() -> None:
    tokens = (THREE[1], THREE[0], THREE[2])
    processor = loaded(*tokens, bos_token_id=0, unknown_token_id=1)
    assert (processor.bos_id(), processor.unk_id(), processor.pad_id()) == (0, 1, -1)


def test_an_unknown_token_called_a_control_token_is_one_again() -> None:
    """The package loads no model without one."""
    processor = loaded((b"<unk>", -1000, CONTROL), *THREE[1:])
    assert processor.is_unknown(0)
    assert processor.get_score(0) == -1000


@pytest.mark.parametrize(("adds_space", "pieces"), [(True, ["▁", "a"]), (False, ["a"])])
def test_the_space_before_a_text(adds_space: bool, pieces: list[str]) -> None:
    tokens = (*THREE, (SPACE, -1, NORMAL), (b"a", -2, NORMAL))
    processor = loaded(*tokens, add_space_prefix=adds_space)
    assert processor.encode("a", out_type=str) == pieces


def test_bytes_spaces_and_merges() -> None:
    processor = loaded(*MIXED)
    assert processor.encode("a  é\nb") == [259, 266, 266, 268, 3 + ord("\n"), 3 + ord("b")]
