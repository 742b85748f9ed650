"""The tokenizer of a GGUF, version 2 or 3: a model, or a vocabulary only.

Only the metadata are read; of the tensors not even the names.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from gguf import Keys

from converter.gguf_io.reader import Value
from converter.llama_tokenizer import SPECIAL_IDS
from converter.plan import Metadata
from converter.progress import LOGGER
from converter.vocabulary.model import (
    TRAINED_WITH,
    Vocabulary,
    require_distinct,
    require_token_count,
)
from ggcp_schema import FormatError
from ggcp_schema.gguf import ValueType
from ggcp_schema.language.checks import shown

_PREFIX = "tokenizer.ggml."

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

_TYPES: dict[str, tuple[ValueType, ValueType | None]] = {
    Keys.Tokenizer.MODEL: (ValueType.STRING, None),
    Keys.Tokenizer.PRE: (ValueType.STRING, None),
    Keys.Tokenizer.LIST: (ValueType.ARRAY, ValueType.STRING),
    Keys.Tokenizer.SCORES: (ValueType.ARRAY, ValueType.FLOAT32),
    Keys.Tokenizer.TOKEN_TYPE: (ValueType.ARRAY, ValueType.INT32),
    Keys.Tokenizer.TOKEN_TYPE_COUNT: (ValueType.UINT32, None),
    Keys.Tokenizer.MERGES: (ValueType.ARRAY, ValueType.STRING),
    Keys.Tokenizer.ADD_BOS: (ValueType.BOOL, None),
    Keys.Tokenizer.ADD_EOS: (ValueType.BOOL, None),
    Keys.Tokenizer.ADD_SEP: (ValueType.BOOL, None),
    Keys.Tokenizer.ADD_PREFIX: (ValueType.BOOL, None),
    Keys.Tokenizer.REMOVE_EXTRA_WS: (ValueType.BOOL, None),
}
"""The types that llama.cpp insists on; a model with another type does not load there."""

_ID_TYPE = (ValueType.UINT32, None)
_NO_ID = 0xFFFFFFFF
_TOKEN_TYPES = range(7)  # llama.h, llama_token_type; 0 is undefined
_DAMAGED = "the file is damaged; look for another copy of it"

_NEEDED = {
    Keys.Tokenizer.LIST: "a vocabulary",
    Keys.Tokenizer.MODEL: "the name of its tokenizer",
    Keys.Tokenizer.SCORES: "a score for each token of its llama tokenizer",
    Keys.Tokenizer.TOKEN_TYPE: "a type for each token of its llama tokenizer",
}


def tokenizer_of(
    keys: Mapping[str, Value], token_count: int, *, complete: bool = True
) -> Vocabulary:
    """Return the tokenizer metadata among the keys of a GGUF.

    Every key ``tokenizer.ggml.*`` is copied with its type; ``tokenizer.chat_template`` is none of
    them. There are three exceptions, after which any reader sees what llama.cpp sees in the source:

    - An id of 4294967295 is left out. It is -1, for no such token: the trainers' own GGUF files
      have it for the separator and for padding. llama.cpp warns, and takes the key as absent;
      transformers looks it up among the tokens and fails. Any other id that is no token is left
      out with a warning, too.
    - A ``llama`` tokenizer without an id for the begin or the end of text, or for the unknown
      token, gets llama.cpp's defaults 1, 2 and 0: transformers knows none of them.
    - An array without elements is left out: GGUFWriter cannot write it.

    Args:
        keys: of the GGUF.
        token_count: tokens of the model.
        complete: whether ids that are missing get those defaults; a file that was made from a
            SentencePiece model without them has none, and is as it should be.

    Raises:
        FormatError: the keys hold no tokenizer, one that llama.cpp would not load, or another
            number of tokens; or a ``llama`` tokenizer lacks its scores or token types. They cannot
            be derived, and the trainers refused such a file (44c117f41,
            ``save_llama_model_gguf``): it is not what the model was trained with.
    """
    values = _tokenizer_values(keys)
    _check_types(values)
    tokens = _required(values, Keys.Tokenizer.LIST)
    texts = tokens.metadata.value
    require_token_count(len(texts), token_count, Keys.Tokenizer.LIST, tokens.offset)
    require_distinct(texts, Keys.Tokenizer.LIST, tokens.offset)
    llama = _required(values, Keys.Tokenizer.MODEL).metadata.value == "llama"
    for key in (Keys.Tokenizer.SCORES, Keys.Tokenizer.TOKEN_TYPE):
        if llama or key in values:
            _check_count(_required(values, key), token_count)
    _check_token_types(values)
    metadata = {
        key: given.metadata
        for key, given in values.items()
        if given.metadata.element_type is None or len(given.metadata.value)
    }
    for key in filter(_is_id, values):
        token = values[key].metadata.value
        if token >= token_count:
            del metadata[key]
            if token != _NO_ID:
                LOGGER.warning(
                    "%s is %d, which is no token (there are %d): left out, as llama.cpp does",
                    key,
                    token,
                    token_count,
                )
    if llama and complete:
        for key, token in SPECIAL_IDS.items():
            if token < token_count:
                metadata.setdefault(key, Metadata(key, ValueType.UINT32, token))
    first = [metadata.pop(key) for key in _ORDER if key in metadata]
    return Vocabulary("GGUF", (*first, *metadata.values()), token_count)


def _tokenizer_values(keys: Mapping[str, Value]) -> dict[str, Value]:
    """Return the keys of the tokenizer, in the order of the file."""
    values: dict[str, Value] = {}
    for index, (key, given) in enumerate(keys.items()):
        if not key.startswith(_PREFIX):
            continue
        if not (key.isascii() and key.isprintable()):
            raise FormatError(
                path=f"metadata[{index}].key",
                expected="ASCII",
                found=shown(key.encode()),
                hint=_DAMAGED,
            )
        values[key] = given
    return values


def _required(values: dict[str, Value], key: str) -> Value:
    if key not in values:
        raise FormatError(
            path=key,
            expected=f"a GGUF with {_NEEDED[key]}",
            found="no such key",
            hint=TRAINED_WITH,
        )
    return values[key]


def _is_id(key: str) -> bool:
    return key.endswith("_token_id")  # the rule by which the specification names them


def _check_types(values: dict[str, Value]) -> None:
    for key, given in values.items():
        expected = _ID_TYPE if _is_id(key) else _TYPES.get(key)
        found = (given.metadata.type, given.metadata.element_type)
        if expected not in (None, found):
            raise FormatError(
                path=key,
                offset=given.offset,
                expected=_type_name(*expected),
                found=_type_name(*found),
                hint=f"llama.cpp loads no model with such a value; {TRAINED_WITH}",
            )
        if isinstance(given.metadata.value, bytes):  # the reader could not decode it
            raise FormatError(
                path=key,
                offset=given.offset,
                expected="UTF-8",
                found=shown(given.metadata.value),
                hint=_DAMAGED,
            )


def _type_name(kind: ValueType, element: ValueType | None) -> str:
    name = kind.name.lower()
    return name if element is None else f"{name} of {element.name.lower()}"


def _check_count(given: Value, token_count: int) -> None:
    if len(given.metadata.value) != token_count:
        raise FormatError(
            path=given.metadata.key,
            offset=given.offset,
            expected=f"{token_count} elements, one for each token",
            found=str(len(given.metadata.value)),
            hint=_DAMAGED,
        )


def _check_token_types(values: dict[str, Value]) -> None:
    key = Keys.Tokenizer.TOKEN_TYPE
    if key not in values:
        return
    types = values[key].metadata.value
    wrong = np.flatnonzero(~np.isin(types, _TOKEN_TYPES))
    if wrong.size:
        raise FormatError(
            path=f"{key}[{wrong[0]}]",
            offset=values[key].offset,
            expected="a token type, 0 to 6",
            found=str(types[wrong[0]]),
            hint=_DAMAGED,
        )
