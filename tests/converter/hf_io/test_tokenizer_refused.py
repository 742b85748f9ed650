"""Vocabularies for which no faithful tokenizer can be written: one test each."""

from __future__ import annotations

import time
from typing import Any

import pytest
from llama_keys import BYTE, BYTES, NORMAL, THREE, UNKNOWN, USER_DEFINED, Token, llama_keys

from converter.errors import ConversionError
from converter.hf_io.tokenizer import tokenizer_files

A, B, C, DASH = ((text, -90 - n, NORMAL) for n, text in enumerate((b"a", b"b", b"c", b"-")))

HINT = "give another copy of the vocabulary, or export without one"


def refused(*tokens: Token, **others: Any) -> str:
    """What the error says, without the name of the file and the hint."""
    with pytest.raises(ConversionError) as caught:
        tokenizer_files(llama_keys(*tokens, **others), "vocab.gguf")
    assert caught.value.file == "vocab.gguf"
    assert caught.value.hint == HINT
    return str(caught.value).removeprefix("vocab.gguf: expected ").removesuffix(f"; {HINT}")


def test_the_file_that_is_not_written_is_named_if_no_other_is() -> None:
    with pytest.raises(ConversionError) as caught:
        tokenizer_files([])
    assert str(caught.value) == (
        "tokenizer.json: expected a llama tokenizer, as the trainers used (tokenizer.ggml.model), "
        f"found none; {HINT}"
    )


def test_another_tokenizer() -> None:
    assert refused(*THREE, model="gpt2") == (
        "a llama tokenizer, as the trainers used (tokenizer.ggml.model), found 'gpt2'"
    )


def test_no_tokens() -> None:
    assert refused() == "tokens (tokenizer.ggml.tokens), found none"


def test_no_key_with_tokens() -> None:
    assert refused(*THREE, tokens=None) == "tokens (tokenizer.ggml.tokens), found none"


def test_text_that_is_not_utf8() -> None:
    assert refused(*THREE, (b"\xff\x1b", -1, NORMAL)) == (
        "UTF-8 (tokenizer.ggml.tokens[3]), found '\\xff\\x1b'"
    )


def test_the_same_text_twice() -> None:
    assert refused(*THREE, A, B, A) == (
        "a text that no other token has (tokenizer.ggml.tokens[5]), found 'a', the text of token 3"
    )


def test_the_name_of_a_token_without_text() -> None:
    assert refused(*THREE, (b"[EMPTY_4]", -1, NORMAL), (b"", 0, NORMAL)) == (
        "a text that no other token has (tokenizer.ggml.tokens[4]), "
        "found '[EMPTY_4]', the text of token 3"
    )


@pytest.mark.parametrize("key", ["scores", "token_type"])
def test_no_scores_or_types(key: str) -> None:
    assert refused(*THREE, **{key: None}) == (
        f"3 elements, one for each token (tokenizer.ggml.{key}), found no such key"
    )


@pytest.mark.parametrize("key", ["scores", "token_type"])
@pytest.mark.parametrize("count", [2, 4])
def test_another_number_of_scores_or_types(count: int, key: str) -> None:
    assert refused(*THREE, **{key: (2, 3, 3, 3)[:count]}) == (
        f"3 elements, one for each token (tokenizer.ggml.{key}), found {count}"
    )


def test_a_score_that_is_no_number() -> None:
    assert refused(*THREE, (b"a", float("nan"), NORMAL)) == (
        "a number (tokenizer.ggml.scores[3]), found NaN"
    )


@pytest.mark.parametrize("kind", [0, 7, -1])
def test_a_type_that_there_is_not(kind: int) -> None:
    assert refused(*THREE, (b"a", -1, kind)) == (
        f"a token type, 1 to 6 (tokenizer.ggml.token_type[3]), found {kind}"
    )


def test_a_byte_without_a_token() -> None:
    assert refused(*THREE, *BYTES[:-1]) == (
        "a token for each byte, or for none (tokenizer.ggml.tokens), found none for <0xFF>"
    )


TYPES = "type 6 for the tokens <0x00> to <0xFF>, and for no others (tokenizer.ggml.token_type[3])"


def test_a_byte_token_of_another_type() -> None:
    assert refused(*THREE, (b"<0x0A>", 0, NORMAL)) == f"{TYPES}, found 1 for '<0x0A>'"


def test_a_byte_token_of_another_text() -> None:
    assert refused(*THREE, (b"<0x0a>", 0, BYTE)) == f"{TYPES}, found 6 for '<0x0a>'"


def test_an_id_that_there_is_not() -> None:
    assert refused(*THREE, padding_token_id=3) == (
        "a token, 0 to 2 (tokenizer.ggml.padding_token_id), found 3"
    )


UNKNOWNS = "one unknown token, of type 2 (tokenizer.ggml.unknown_token_id), found token"


def test_two_unknown_tokens() -> None:
    assert refused(*THREE, (b"?", 0, UNKNOWN)) == f"{UNKNOWNS} 0 by its key, and by type 0, 3"


def test_another_unknown_token_by_its_key() -> None:
    assert refused(*THREE, unknown_token_id=1) == f"{UNKNOWNS} 1 by its key, and by type 0"


@pytest.mark.parametrize("kind", [NORMAL, USER_DEFINED])
def test_no_unknown_token(kind: int) -> None:
    assert refused((b"<unk>", 0, kind), *THREE[1:]) == (
        f"{UNKNOWNS} 0 by its key, and by type none"
    )


TIE = "another score for each token that others are merged into (tokenizer.ggml.scores), found"


def test_no_scores_in_files_of_the_first_weeks() -> None:
    tokens = [(text, 0, NORMAL) for text in (b"a", b"b", b"c", b"ab", b"bc")]
    assert refused(*THREE, *tokens) == f"{TIE} 0 for the tokens 6 and 7"


def test_a_run_with_the_score_of_another_token() -> None:
    assert refused(*THREE, A, B, DASH, (b"ab", -5, NORMAL), (b"--", -5, NORMAL)) == (
        f"{TIE} -5 for the tokens 6 and 7"
    )


def test_runs_of_which_one_has_another_score() -> None:
    runs = [(b"-" * length, -5 - (length == 3), NORMAL) for length in (2, 3, 4)]
    assert refused(*THREE, DASH, *runs) == f"{TIE} -5 for the tokens 6 and 4"


def test_a_run_within_another_token() -> None:
    runs = [(b"--", -5, NORMAL), (b"---", -5, NORMAL), (b"a--", -1, NORMAL)]
    assert refused(*THREE, A, DASH, *runs) == f"{TIE} -5 for the tokens 6 and 5"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"ax", "'ax', and no token 'x'"),
        (b"xa", "'xa', and no token 'x'"),
        (b"xx", "'xx', and no token 'x'"),
        ("aé".encode(), "'a\\xc3\\xa9', and no token '\\xc3\\xa9'"),
    ],
)
def test_a_character_without_a_token(text: bytes, found: str) -> None:
    assert refused(*THREE, A, (text, -1, NORMAL)) == (
        f"a text of characters that are tokens themselves (tokenizer.ggml.tokens[4]), found {found}"
    )


def test_a_run_of_newlines_within_another_token() -> None:
    newline = (b"\n", -95, NORMAL)
    runs = [(b"\n\n", -5, NORMAL), (b"\n\n\n", -5, NORMAL), (b"a\n\n", -1, NORMAL)]
    assert refused(*THREE, A, newline, *runs) == f"{TIE} -5 for the tokens 6 and 5"


def test_no_character_has_a_token() -> None:
    """llama.cpp merges a and b all the same: it looks up no more than the text of both."""
    assert refused(*THREE, (b"ab", -1, NORMAL)) == (
        "a text of characters that are tokens themselves (tokenizer.ggml.tokens[3]), "
        "found 'ab', and no token 'a'"
    )


def test_each_token_one_longer_than_the_one_before() -> None:
    """Fifty million ways to merge; each of the tokens is the beginning of the next."""
    stairs = [(b"a" * length, -float(length), NORMAL) for length in range(1, 10_000)]
    keys = llama_keys(*THREE, *stairs)
    started = time.process_time()
    with pytest.raises(ConversionError) as caught:
        tokenizer_files(keys)
    assert time.process_time() - started < 20
    assert caught.value.expected.startswith("tokens of a few characters, as a vocabulary has (tok")
    assert caught.value.found == "too many ways to merge them"


def test_the_same_where_nothing_is_merged() -> None:
    stairs = [(b"a" + b"b" * (n - 1) + b"c", -float(n), NORMAL) for n in range(1, 10_000)]
    keys = llama_keys(*THREE, A, B, C, *stairs)
    started = time.process_time()
    with pytest.raises(ConversionError) as caught:
        tokenizer_files(keys)
    assert time.process_time() - started < 20
    assert caught.value.found == "too many ways to merge them"
