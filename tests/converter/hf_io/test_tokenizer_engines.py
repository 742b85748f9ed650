"""transformers gives the tokens that llama.cpp gives, for the same vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from exported import export, random_weights, write_checkpoint
from llama_keys import (
    BYTES,
    CONTROL,
    NORMAL,
    SPACE,
    THREE,
    UNUSED,
    USER_DEFINED,
    Token,
    llama_gguf,
)
from reference import llama_cpp, transformers_engine
from vocabulary_files import GGUF
from vocabulary_reading import read_vocabulary

from converter.hf_io.tokenizer import tokenizer_files
from ggcp_schema.synthetic import Synthetic

pytestmark = [
    pytest.mark.engines,
    # What these packages warn about among themselves is not about the files.
    pytest.mark.filterwarnings("ignore"),
]

PLAIN = [
    "",
    " ",
    "  ",
    "a",
    " a",
    "a ",
    "  a  ",
    "the cat and the hen",
    "The Cat, the hen.",
    "then there, and other things",
    "a  b   c    d     e      f",
    "\n",
    "\n\n",
    "\n\n\n and\n the\r\n\tend\n",
    " \n ",
    "\t\tthe",
    "Où est la forêt ? ¶",
    "e\u0301 is not é",
    "日本語 and 中文",
    "क्षि",
    "😀",
    "👨‍👩‍👧‍👦 the 🇫🇷",
    "\U0010ffff\ue000\u200b\ufeff",
    "\u00a0the\u3000and\u2028",
    "\x00\x01\x7f",
    "def f(x):\n    return [x, 'y'] # the \\n",
    "0123456789 -1.5e-3",
    "<0x0A> <0xFF",
    "< s> </ s> <unk",
    "ababab aabbaabb hehe",
    "t" * 100 + "the" * 30,
    "-----the--- - -------- --",
    *(" " * spaces + "the" + " " * spaces for spaces in range(3, 40)),
]

SPECIAL = [
    "<s>",
    "</s>",
    "<unk>",
    "<s><s>",
    "<s> the</s> and",
    "the</s>",
    "the </s> ",
    "the<unk>and",
    "  </s>  </s>  ",
    "</s>\n<s>",
    "<user>the<user> and",
    "<user><s>",
    "<us<user>er>",
    "<pad> <pad><pad>",
    "[EMPTY_259]the",
    "one\n\ntwo\n\n\n",
    "a\u2581b \u2581the\u2581",
]

_CHARACTERS = SPACE.decode() + "abcdehnrst.-"
_WORDS = ("th", "he", "the", "\u2581the", "\u2581t", "\u2581a", "an", "and", "er", "re", "here")

MIXED: tuple[Token, ...] = (
    (b"<unk>", -1000, CONTROL),  # as convert_hf_to_gguf.py writes it
    *THREE[1:],
    *BYTES,
    (b"", 0, CONTROL),
    (b"<user>", -1000, USER_DEFINED),
    (b"\n\n", -1000, USER_DEFINED),
    (b"<pad>", -1000, CONTROL),
    # The spaces of LLaMA, which all have one score, among them one that is no normal token.
    *((SPACE * length, -1e9, NORMAL) for length in (2, 4, 8, 5, 16, 6, 12, 3)),
    (SPACE * 7, -1e9, USER_DEFINED),
    *((b"-" * length, -50, NORMAL) for length in (4, 2, 3)),
    *((text.encode(), -1.0 - n, NORMAL) for n, text in enumerate(_WORDS)),
    (b"ther", -30, UNUSED),
    *((text.encode(), -100.0 - n, NORMAL) for n, text in enumerate(_CHARACTERS)),
)


@pytest.fixture(autouse=True)
def _engine() -> None:
    pytest.importorskip("torch", exc_type=ImportError)
    pytest.importorskip("transformers", exc_type=ImportError)


def assert_same_tokens(vocabulary: Path, count: int, folder: Path) -> Any:
    """Ask both engines for the tokens of all texts; return transformers' tokenizer."""
    synthetic = Synthetic(vocabulary_size=count, block_count=1)
    weights = random_weights(synthetic)
    checkpoint = write_checkpoint(folder / "checkpoint.bin", synthetic, weights)
    model = export(checkpoint, folder / "model.gguf", vocabulary=vocabulary, epsilon=1e-5)
    tokenizer_folder = folder / "tokenizer"
    tokenizer_folder.mkdir()
    metadata = read_vocabulary(vocabulary, token_count=count).metadata
    for name, data in tokenizer_files(metadata).items():
        (tokenizer_folder / name).write_bytes(data)
    tokenizer = transformers_engine.tokenizer(tokenizer_folder)
    assert len(tokenizer) == count

    texts = [*PLAIN, *SPECIAL]
    found = tokenizer(texts)
    assert set(found) == {"input_ids", "attention_mask"}  # what a model takes
    found = dict(zip(texts, found["input_ids"], strict=True))
    expected = dict(zip(texts, llama_cpp.token_ids(model, texts), strict=True))
    assert {text: found[text] for text in texts if found[text] != expected[text]} == {
        text: expected[text] for text in texts if found[text] != expected[text]
    }
    return tokenizer


def assert_decodes(tokenizer: Any, texts: Sequence[str]) -> None:
    decoded = [
        tokenizer.decode(tokens, skip_special_tokens=True) for tokens in tokenizer(texts).input_ids
    ]
    assert decoded == texts


def test_the_vocabulary_of_the_fixtures(tmp_path: Path) -> None:
    assert_decodes(assert_same_tokens(GGUF, 300, tmp_path), PLAIN)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"add_bos_token": False},
        {"add_eos_token": True},
        {"add_bos_token": False, "add_eos_token": True},
        {"add_space_prefix": False},
        {"bos_token_id": 2, "eos_token_id": 1, "padding_token_id": 262},
    ],
    ids=lambda options: ",".join(options) or "none",
)
def test_tokens_of_every_type(options: dict[str, int | bool], tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.gguf"
    path.write_bytes(llama_gguf(*MIXED, **options))
    tokenizer = assert_same_tokens(path, len(MIXED), tmp_path)
    # Behind a token of the user llama.cpp begins anew, with a space, which is in the tokens then.
    assert_decodes(tokenizer, [text for text in PLAIN if "\n\n" not in text])


def test_a_normal_token_as_begin_of_text(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.gguf"
    path.write_bytes(llama_gguf(*MIXED, bos_token_id=len(MIXED) - 1))
    assert_same_tokens(path, len(MIXED), tmp_path)
