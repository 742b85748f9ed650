"""The tokenizer of a Hugging Face folder, file by file."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from llama_keys import (
    BYTES,
    CONTROL,
    NORMAL,
    SPACE,
    THREE,
    UNUSED,
    USER_DEFINED,
    Token,
    llama_keys,
)

from converter.hf_io.tokenizer import tokenizer_files

TINY: tuple[Token, ...] = (
    *THREE,
    (b"ab", -1, NORMAL),
    (SPACE + b"ab", -3, NORMAL),
    (SPACE + b"a", -2, NORMAL),
    (SPACE, -4, NORMAL),
    (b"a", -5, NORMAL),
    (b"b", -6, NORMAL),
)

# Written by hand, a part of the file to a line.
TINY_JSON = """
{"version":"1.0","truncation":null,"padding":null,"added_tokens":[
{"id":0,"content":"<unk>","single_word":false,"lstrip":false,"rstrip":false,
"normalized":false,"special":true},
{"id":1,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,
"normalized":false,"special":true},
{"id":2,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,
"normalized":false,"special":true}],
"normalizer":{"type":"Sequence","normalizers":[
{"type":"Prepend","prepend":"▁"},
{"type":"Replace","pattern":{"String":"~"},"content":"▁"}]},
"pre_tokenizer":null,
"post_processor":{"type":"TemplateProcessing",
"single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
"pair":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},
{"Sequence":{"id":"B","type_id":1}}],
"special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}},
"decoder":{"type":"Sequence","decoders":[
{"type":"Replace","pattern":{"String":"▁"},"content":"~"},
{"type":"ByteFallback"},{"type":"Fuse"},
{"type":"Strip","content":"~","start":1,"stop":0}]},
"model":{"type":"BPE","dropout":null,"unk_token":"<unk>","continuing_subword_prefix":null,
"end_of_word_suffix":null,"fuse_unk":true,"byte_fallback":false,"ignore_merges":false,
"vocab":{"<unk>":0,"<s>":1,"</s>":2,"ab":3,"▁ab":4,"▁a":5,"▁":6,"a":7,"b":8},
"merges":[["a","b"],["▁","a"],["▁","ab"],["▁a","b"]]}}
"""

TINY_CONFIG = """\
{
  "tokenizer_class": "PreTrainedTokenizerFast",
  "bos_token": "<s>",
  "eos_token": "</s>",
  "unk_token": "<unk>",
  "clean_up_tokenization_spaces": false,
  "model_input_names": [
    "input_ids",
    "attention_mask"
  ]
}
"""


def parsed(*tokens: Token, **others: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both JSON files, read."""
    files = tokenizer_files(llama_keys(*tokens, **others))
    return json.loads(files["tokenizer.json"]), json.loads(files["tokenizer_config.json"])


def merges(*tokens: Token) -> list[str]:
    return [" ".join(pair) for pair in parsed(*THREE, *tokens)[0]["model"]["merges"]]


def test_the_whole_of_a_tiny_vocabulary() -> None:
    files = tokenizer_files(llama_keys(*TINY))
    assert list(files) == ["tokenizer.json", "tokenizer_config.json", "tokenizer.model"]
    expected = TINY_JSON.replace("\n", "").replace("~", " ") + "\n"
    assert files["tokenizer.json"].decode() == expected
    assert files["tokenizer_config.json"].decode() == TINY_CONFIG


def test_a_token_for_each_byte() -> None:
    tokenizer, _ = parsed(*THREE, *BYTES)
    assert tokenizer["model"]["byte_fallback"] is True
    assert tokenizer["model"]["vocab"]["<0x0A>"] == 3 + 10
    assert tokenizer["model"]["merges"] == []


def test_text_beyond_ascii_is_written_as_it_is() -> None:
    files = tokenizer_files(llama_keys(*THREE, ('é"\\\n\x00😀'.encode(), -1, USER_DEFINED)))
    assert '"é\\"\\\\\\n\\u0000😀":3'.encode() in files["tokenizer.json"]


@pytest.mark.parametrize(
    ("add_bos", "add_eos", "single"),
    [
        (None, None, ["<s>", "A"]),
        (True, False, ["<s>", "A"]),
        (False, False, ["A"]),
        (True, True, ["<s>", "A", "</s>"]),
        (False, True, ["A", "</s>"]),
    ],
)
def test_begin_and_end_of_text(
    add_bos: bool | None, add_eos: bool | None, single: list[str]
) -> None:
    tokenizer, config = parsed(*TINY, add_bos_token=add_bos, add_eos_token=add_eos)
    template = tokenizer["post_processor"]
    assert [next(iter(part.values()))["id"] for part in template["single"]] == single
    pair = [*single]
    pair.insert(single.index("A") + 1, "B")
    assert [next(iter(part.values()))["id"] for part in template["pair"]] == pair
    assert list(template["special_tokens"]) == [name for name in single if name != "A"]
    assert config.get("add_bos_token") is (False if add_bos is False else None)


def test_without_a_space_before_the_text() -> None:
    tokenizer, config = parsed(*TINY, add_space_prefix=False)
    assert [step["type"] for step in tokenizer["normalizer"]["normalizers"]] == ["Replace"]
    steps = [step["type"] for step in tokenizer["decoder"]["decoders"]]
    assert steps == ["Replace", "ByteFallback", "Fuse"]
    assert config["add_prefix_space"] is False


def test_ids_other_than_llama_has_them() -> None:
    tokens = ((b"x", -1, NORMAL), *THREE, (b"[PAD]", 0, CONTROL))
    tokenizer, config = parsed(
        *tokens, unknown_token_id=1, bos_token_id=2, eos_token_id=3, padding_token_id=4
    )
    names = ("unk_token", "bos_token", "eos_token", "pad_token")
    assert [config[name] for name in names] == ["<unk>", "<s>", "</s>", "[PAD]"]
    assert [token["id"] for token in tokenizer["added_tokens"]] == [1, 2, 3, 4]
    assert tokenizer["post_processor"]["special_tokens"]["<s>"]["ids"] == [2]


def test_a_token_without_text_has_the_name_that_llama_cpp_gives_it() -> None:
    tokenizer, _ = parsed(*THREE, (b"", 0, CONTROL), (b"", -1, NORMAL))
    assert list(tokenizer["model"]["vocab"])[3:] == ["[EMPTY_3]", "[EMPTY_4]"]
    assert [token["content"] for token in tokenizer["added_tokens"]][3:] == ["[EMPTY_3]"]


def test_a_token_of_the_user_is_found_in_a_text_but_not_left_out_of_it() -> None:
    tokenizer, _ = parsed(*THREE, (b"\n\n", -1000, USER_DEFINED))
    assert tokenizer["added_tokens"][3] == {
        "id": 3,
        "content": "\n\n",
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": False,
    }


def test_a_normal_token_is_not_made_special_by_its_id() -> None:
    tokens = (THREE[0], (b"a", -1, NORMAL), (b"b", -2, NORMAL))
    tokenizer, config = parsed(*tokens, bos_token_id=1)
    assert "bos_token" not in config
    assert [token["id"] for token in tokenizer["added_tokens"]] == [0]
    assert tokenizer["post_processor"]["special_tokens"]["a"]["ids"] == [1]


def test_an_unknown_token_called_a_control_token() -> None:
    tokenizer, config = parsed((b"<unk>", -1000, CONTROL), *THREE[1:])
    assert tokenizer["model"]["unk_token"] == config["unk_token"] == "<unk>"


def test_ids_that_the_vocabulary_is_too_small_for_are_left_out() -> None:
    tokenizer, config = parsed(THREE[0])
    assert "bos_token" not in config
    assert "eos_token" not in config
    assert len(tokenizer["post_processor"]["single"]) == 1


def test_arrays_as_the_reader_of_a_gguf_gives_them() -> None:
    texts, scores, types = zip(*TINY, strict=True)
    arrays = llama_keys(
        *TINY, scores=np.array(scores, "<f4"), token_type=np.array(types, "<i4"), tokens=list(texts)
    )
    assert tokenizer_files(arrays) == tokenizer_files(llama_keys(*TINY))


A, B, C, DASH = ((text, -90 - n, NORMAL) for n, text in enumerate((b"a", b"b", b"c", b"-")))


def test_merges_by_score_then_id_then_place() -> None:
    assert merges((b"abc", -2, NORMAL), (b"bc", -3, NORMAL), (b"ab", -1, NORMAL), A, B, C) == [
        "a b",
        "a bc",
        "ab c",
        "b c",
    ]


def test_places_are_between_characters() -> None:
    texts = ("é日", "é", "日", "é日😀", "😀")
    tokens = [(text.encode(), -float(n), NORMAL) for n, text in enumerate(texts)]
    assert merges(*tokens) == ["é 日", "é日 😀"]


def test_unused_tokens_are_merged_as_llama_cpp_does() -> None:
    tokenizer, _ = parsed(*THREE, (b"ab", -1, UNUSED), A, B)
    assert tokenizer["model"]["merges"] == [["a", "b"]]
    assert [token["id"] for token in tokenizer["added_tokens"]] == [0, 1, 2]


@pytest.mark.parametrize("kind", [CONTROL, USER_DEFINED])
def test_tokens_that_are_cut_out_of_a_text_are_not_merged(kind: int) -> None:
    assert merges((b"ab", -1, kind), A, B) == []


@pytest.mark.parametrize("kind", [CONTROL, USER_DEFINED])
def test_but_those_with_a_space_are_not_found_in_it(kind: int) -> None:
    space: Token = (SPACE, -9, NORMAL)
    assert merges((SPACE + b"a", -1, kind), space, A) == ["▁ a"]


def test_tokens_with_a_plain_space_are_never_reached() -> None:
    assert merges((b" a", -1, NORMAL), (b" ", -2, NORMAL), A) == []


@pytest.mark.parametrize("kind", [NORMAL, CONTROL])
def test_runs_of_a_character_may_have_the_same_score(kind: int) -> None:
    runs = [(b"-" * length, -50, kind if length == 9 else NORMAL) for length in (2, 4, 3)]
    pairs = ["- ---", "-- --", "--- -", "- --", "-- -", "- -"]
    assert merges(*runs, DASH, A) == pairs


def test_the_same_score_does_not_matter_where_nothing_is_merged() -> None:
    assert merges((b"ab", -1, NORMAL), (b"a", -1, NORMAL), (b"b", -1, NORMAL)) == ["a b"]


def test_a_llama_vocabulary_takes_a_second() -> None:
    """32,000 tokens, and one of 16 MiB that nothing makes up."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts = [*letters, *(a + b for a in letters for b in letters)]
    texts += [a + b for a in texts[26:] for b in texts[26:] if a < b][:31_000]
    tokens = [(text.encode(), -float(n), NORMAL) for n, text in enumerate(texts)]
    keys = llama_keys(*THREE, *BYTES, *tokens, (b"ab" * (1 << 23), -1e6, NORMAL))
    started = time.process_time()
    files = tokenizer_files(keys)
    assert time.process_time() - started < 10
    assert len(json.loads(files["tokenizer.json"])["model"]["merges"]) == 26 * 26 + 31_000
