"""The tokenizer of a GGUF, version 2 or 3: a model, or a vocabulary only.

Only the metadata are read; of the tensors not even the names.
"""

from __future__ import annotations

from typing import Any

from construct import Container
from gguf import GGUFValueType, Keys

from converter.gguf_io.layout import HEADER, METADATA
from converter.plan import Metadata
from converter.vocabulary.model import (
    SPECIAL_IDS,
    TRAINED_WITH,
    Vocabulary,
    require_distinct,
    require_token_count,
)
from ggcp_schema import FormatError, Source
from ggcp_schema.language.checks import shown

_PREFIX = b"tokenizer.ggml."

_ORDER = (
    Keys.Tokenizer.MODEL,
    Keys.Tokenizer.PRE,
    Keys.Tokenizer.LIST,
    Keys.Tokenizer.SCORES,
    Keys.Tokenizer.TOKEN_TYPE,
    Keys.Tokenizer.MERGES,
    Keys.Tokenizer.BOS_ID,
    Keys.Tokenizer.EOS_ID,
    Keys.Tokenizer.UNK_ID,
)
"""The order of llama.cpp's ``convert_hf_to_gguf.py``; all other keys follow in that of the file."""

_TYPES: dict[str, tuple[GGUFValueType, GGUFValueType | None]] = {
    Keys.Tokenizer.MODEL: (GGUFValueType.STRING, None),
    Keys.Tokenizer.PRE: (GGUFValueType.STRING, None),
    Keys.Tokenizer.LIST: (GGUFValueType.ARRAY, GGUFValueType.STRING),
    Keys.Tokenizer.SCORES: (GGUFValueType.ARRAY, GGUFValueType.FLOAT32),
    Keys.Tokenizer.TOKEN_TYPE: (GGUFValueType.ARRAY, GGUFValueType.INT32),
    Keys.Tokenizer.TOKEN_TYPE_COUNT: (GGUFValueType.UINT32, None),
    Keys.Tokenizer.MERGES: (GGUFValueType.ARRAY, GGUFValueType.STRING),
    Keys.Tokenizer.ADD_BOS: (GGUFValueType.BOOL, None),
    Keys.Tokenizer.ADD_EOS: (GGUFValueType.BOOL, None),
    Keys.Tokenizer.ADD_SEP: (GGUFValueType.BOOL, None),
    Keys.Tokenizer.ADD_PREFIX: (GGUFValueType.BOOL, None),
    Keys.Tokenizer.REMOVE_EXTRA_WS: (GGUFValueType.BOOL, None),
}
"""The types that llama.cpp insists on; a model with another type does not load there."""

_ID_TYPE = (GGUFValueType.UINT32, None)
_NO_ID = 0xFFFFFFFF
_TOKEN_TYPES = range(7)  # llama.h, llama_token_type; 0 is undefined
_DAMAGED = "the file is damaged; look for another copy of it"

_NEEDED = {
    Keys.Tokenizer.LIST: "a vocabulary",
    Keys.Tokenizer.MODEL: "the name of its tokenizer",
    Keys.Tokenizer.SCORES: "a score for each token of its llama tokenizer",
    Keys.Tokenizer.TOKEN_TYPE: "a type for each token of its llama tokenizer",
}


def read(source: Source, token_count: int) -> Vocabulary:
    """Read the tokenizer metadata of a GGUF, open at its first byte.

    Every key ``tokenizer.ggml.*`` is copied with its type; ``tokenizer.chat_template`` is none of
    them. There are three exceptions, after which any reader sees what llama.cpp sees in the source:

    - An id of 4294967295 is left out. It is -1, for no such token: the trainers' own GGUF files
      have it for the separator and for padding. llama.cpp warns, and takes the key as absent;
      transformers looks it up among the tokens and fails.
    - A ``llama`` tokenizer without an id for the begin or the end of text, or for the unknown
      token, gets llama.cpp's defaults 1, 2 and 0: transformers knows none of them.
    - An array without elements is left out: GGUFWriter cannot write it.

    Raises:
        FormatError: the file is damaged, holds no tokenizer, one that llama.cpp would not load, or
            another number of tokens; or a ``llama`` tokenizer lacks its scores or token types.
            They cannot be derived, and the trainers refused such a file (44c117f41,
            ``save_llama_model_gguf``): it is not what the model was trained with.
    """
    pairs = _pairs(source)
    _check_types(pairs)
    tokens = _required(pairs, Keys.Tokenizer.LIST)
    texts = tokens.value.elements
    require_token_count(len(texts), token_count, Keys.Tokenizer.LIST, tokens.offset)
    require_distinct(texts, Keys.Tokenizer.LIST, tokens.offset)
    llama = _required(pairs, Keys.Tokenizer.MODEL).value == b"llama"
    for key in (Keys.Tokenizer.SCORES, Keys.Tokenizer.TOKEN_TYPE):
        if llama or key in pairs:
            _check_count(_required(pairs, key), key, token_count)
    _check_token_types(pairs)
    metadata = {
        key: _metadata(key, pair)
        for key, pair in pairs.items()
        if pair.type != GGUFValueType.ARRAY or pair.value.count
    }
    for key in filter(_is_id, pairs):
        if pairs[key].value == _NO_ID:
            del metadata[key]
        else:
            _check_id(pairs[key], key, token_count)
    if llama:
        for key, token in SPECIAL_IDS.items():
            if token < token_count:
                metadata.setdefault(key, Metadata(key, GGUFValueType.UINT32, token))
    first = [metadata.pop(key) for key in _ORDER if key in metadata]
    return Vocabulary("GGUF", (*first, *metadata.values()), token_count)


def _pairs(source: Source) -> dict[str, Container]:
    """Return type, value and offset of each key of the tokenizer, in the order of the file."""
    count = HEADER._parse(source, Container(), "").metadata_count
    pairs: dict[str, Container] = {}
    elements = 0
    for index in range(count):
        try:
            pair = METADATA._parse(source, Container(elements_before=elements), "")
            if pair.type == GGUFValueType.ARRAY:
                elements += pair.value.count
            if not pair.key.startswith(_PREFIX):
                continue
            key = pair.key.decode("latin-1")
            if not (key.isascii() and key.isprintable()):
                raise FormatError(
                    path="key", expected="ASCII", found=shown(pair.key), hint=_DAMAGED
                )
        except FormatError as error:
            error.within(f"metadata[{index}]")
            raise
        if key in pairs:
            raise FormatError(
                path=key,
                offset=pair.offset,
                expected="each key once",
                found=f"a second value, the first is at offset {pairs[key].offset:#x}",
                hint=_DAMAGED,
            )
        pairs[key] = pair
    return pairs


def _required(pairs: dict[str, Container], key: str) -> Container:
    if key not in pairs:
        raise FormatError(
            path=key,
            expected=f"a GGUF with {_NEEDED[key]}",
            found="no such key",
            hint=TRAINED_WITH,
        )
    return pairs[key]


def _is_id(key: str) -> bool:
    return key.endswith("_token_id")  # the rule by which the specification names them


def _check_types(pairs: dict[str, Container]) -> None:
    for key, pair in pairs.items():
        expected = _ID_TYPE if _is_id(key) else _TYPES.get(key)
        found = (pair.type, pair.value.element_type if pair.type == GGUFValueType.ARRAY else None)
        if expected not in (None, found):
            raise FormatError(
                path=key,
                offset=pair.offset,
                expected=_type_name(*expected),
                found=_type_name(*found),
                hint=f"llama.cpp loads no model with such a value; {TRAINED_WITH}",
            )


def _type_name(kind: int, element: int | None) -> str:
    name = GGUFValueType(kind).name.lower()
    return name if element is None else f"{name} of {GGUFValueType(element).name.lower()}"


def _check_count(pair: Container, key: str, token_count: int) -> None:
    if pair.value.count != token_count:
        raise FormatError(
            path=key,
            offset=pair.offset,
            expected=f"{token_count} elements, one for each token",
            found=str(pair.value.count),
            hint=_DAMAGED,
        )


def _check_token_types(pairs: dict[str, Container]) -> None:
    key = Keys.Tokenizer.TOKEN_TYPE
    if key not in pairs:
        return
    types = pairs[key].value.elements
    wrong = set(types) - set(_TOKEN_TYPES)
    if wrong:
        index = next(index for index, kind in enumerate(types) if kind in wrong)
        raise FormatError(
            path=f"{key}[{index}]",
            offset=pairs[key].offset,
            expected="a token type, 0 to 6",
            found=str(types[index]),
            hint=_DAMAGED,
        )


def _check_id(pair: Container, key: str, token_count: int) -> None:
    if pair.value >= token_count:
        raise FormatError(
            path=key,
            offset=pair.offset,
            expected=f"a token, 0 to {token_count - 1}",
            found=str(pair.value),
            hint=TRAINED_WITH,
        )


def _metadata(key: str, pair: Container) -> Metadata:
    kind = GGUFValueType(pair.type)
    if kind is GGUFValueType.ARRAY:
        array = pair.value
        return Metadata(key, kind, array.elements, GGUFValueType(array.element_type))
    value: Any = pair.value
    if kind is GGUFValueType.STRING:
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(
                path=key, offset=pair.offset, expected="UTF-8", found=shown(value), hint=_DAMAGED
            ) from error
    return Metadata(key, kind, value)
