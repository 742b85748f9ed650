"""What a GGUF says of its model: name, author and the like, and the name of its file."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gguf import Keys, naming_convention, size_label

from converter.errors import ConversionError
from converter.gguf_io.reader import Gguf
from converter.numeric.encode import Outtype
from converter.plan import Metadata
from converter.progress import LOGGER
from ggcp_schema import FormatError, Source, printable
from ggcp_schema.gguf import ValueType
from ggcp_schema.language.checks import shown
from ggcp_schema.language.errors import reason

MOST_BYTES = 1 << 20
"""Bytes of a file of metadata: llama.cpp's model cards take a few thousand."""

_TEXTS = (
    Keys.General.NAME,
    Keys.General.AUTHOR,
    Keys.General.VERSION,
    Keys.General.ORGANIZATION,
    Keys.General.FINETUNE,
    Keys.General.BASENAME,
    Keys.General.DESCRIPTION,
    Keys.General.QUANTIZED_BY,
    Keys.General.SIZE_LABEL,
    Keys.General.LICENSE,
    Keys.General.LICENSE_NAME,
    Keys.General.LICENSE_LINK,
    Keys.General.URL,
    Keys.General.DOI,
    Keys.General.UUID,
    Keys.General.REPO_URL,
    Keys.General.SOURCE_URL,
    Keys.General.SOURCE_DOI,
    Keys.General.SOURCE_UUID,
    Keys.General.SOURCE_REPO_URL,
)
_LISTS = (Keys.General.TAGS, Keys.General.LANGUAGES)
GENERAL_KEYS = (*_TEXTS, *_LISTS)
"""The keys that a file of metadata may give, in the order in which they are written."""

_FIXED = (
    Keys.General.TYPE,
    Keys.General.ARCHITECTURE,
    Keys.General.FILE_TYPE,
    Keys.General.ALIGNMENT,
    Keys.General.QUANTIZATION_VERSION,
)

_PLACES = ("ftype", "outtype")

_REFUSED_NAME = "mistral"
"""transformers 5.23 takes a llama model of this name for another architecture, and refuses it."""


def read_general(source: Source) -> dict[str, Any]:
    """Read keys ``general.*`` from a JSON file, as the one of ``convert_hf_to_gguf.py --metadata``.

    Returns:
        Texts, and lists of texts for tags and languages, by key.

    Raises:
        FormatError: the file cannot be read, is larger than 1 MiB, is not a JSON object, or has a
            key or a value that describes no model.
    """
    try:
        given = _parsed(source)
        for key, value in given.items():
            _check(key, value)
    except FormatError as error:
        error.file = source.label
        raise
    return given


def _parsed(source: Source) -> dict[str, Any]:
    if source.size > MOST_BYTES:
        raise FormatError(
            expected=f"a JSON file of at most {MOST_BYTES} bytes",
            found=f"{source.size} bytes",
            hint="give the file that describes the model, not the model",
        )
    try:
        given = json.loads(source.read_at(0, source.size), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise FormatError(
            expected="JSON",
            found=reason(error),
            hint='give a file such as {"general.author": "Me", "general.tags": ["tiny"]}',
        ) from error
    if not isinstance(given, dict):
        raise FormatError(
            expected="a JSON object",
            found=_kind(given),
            hint='give a file such as {"general.author": "Me", "general.tags": ["tiny"]}',
        )
    return given


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise FormatError(
                path=printable(key[:80]),
                expected="each key once",
                found="a second value",
                hint="leave one of them out",
            )
        found[key] = value
    return found


def _check(key: str, value: Any) -> None:
    path = printable(key[:80])
    if key in _FIXED:
        raise FormatError(
            path=path,
            expected="keys that describe the model",
            found="one that follows from the checkpoint and the options",
            hint="leave it out",
        )
    if key not in GENERAL_KEYS:
        raise FormatError(
            path=path,
            expected="one of " + ", ".join(GENERAL_KEYS),
            found="another key",
            hint="leave it out, or correct its name",
        )
    if not _describes(key, value):
        raise FormatError(
            path=path,
            expected="a list of at least one text" if key in _LISTS else "a text",
            found=_kind(value),
            hint="correct the value, or leave the key out",
        )


def _describes(key: str, value: Any) -> bool:
    """Tell whether a value is one that a key ``general.*`` may have: a text, or a list of some."""
    texts = value if key in _LISTS else [value]
    return isinstance(texts, list) and bool(texts) and all(map(_is_text, texts))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not any(0xD800 <= ord(c) <= 0xDFFF for c in value)


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "a text" if _is_text(value) else "half a character (a surrogate)"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object" if isinstance(value, dict) else f"the number {shown(value)}"


def default_name(checkpoint: str | os.PathLike[str]) -> str:
    """Return how a model is called of which nothing is known but the name of its checkpoint."""
    return printable(Path(os.fspath(checkpoint)).stem)


def describe_model(
    checkpoint: str | os.PathLike[str], given: Mapping[str, Any], name: str | None
) -> tuple[Metadata, ...]:
    """Return the keys ``general.*`` of a model.

    Args:
        checkpoint: the file that it comes from, after which it is named if nothing else is said.
        given: what ``read_general`` returned.
        name: the name that the user gave, which goes before that of ``given``.

    Raises:
        ConversionError: the name is no text.
    """
    if name is not None and not _is_text(name):
        raise ConversionError(
            checkpoint,
            expected="a model's name in UTF-8",
            found=printable(name),
            hint="give another --model-name",
        )
    given_name = name or given.get(Keys.General.NAME)
    values = {**given, Keys.General.NAME: given_name or default_name(checkpoint)}
    if values[Keys.General.NAME] == _REFUSED_NAME:
        LOGGER.warning(
            "transformers does not load a GGUF whose name is exactly %r (NotImplementedError); "
            "give another with --model-name if it should",
            _REFUSED_NAME,
        )
    return _general_metadata(values)


def stored_general(finished: Gguf, name: str) -> tuple[Metadata, ...]:
    """Return the keys ``general.*`` of a finished GGUF that describe its model.

    Args:
        finished: the GGUF.
        name: the model's name if the GGUF gives none.
    """
    found = {key: _as_given(finished.value(key)) for key in GENERAL_KEYS}
    said = {key: value for key, value in found.items() if _describes(key, value)}
    return _general_metadata({Keys.General.NAME: name, **said})


def _as_given(value: Any) -> Any:
    """Return a value of a GGUF as a file of metadata would give it."""
    if not isinstance(value, Metadata):
        return value
    if value.element_type is not ValueType.STRING:
        return None
    try:
        return [text.decode("utf-8") for text in value.value]
    except UnicodeDecodeError:
        return None


def _general_metadata(values: Mapping[str, Any]) -> tuple[Metadata, ...]:
    """Return texts and lists of texts as metadata, in the order in which they are written."""
    array, string = ValueType.ARRAY, ValueType.STRING
    return tuple(
        Metadata(key, array, tuple(values[key]), string)
        if key in _LISTS
        else Metadata(key, string, values[key])
        for key in GENERAL_KEYS
        if key in values
    )


def output_path(
    path: str | os.PathLike[str],
    general: tuple[Metadata, ...],
    parameter_count: int,
    outtype: Outtype,
) -> str:
    """Return the name of the file to write.

    ``{ftype}`` and ``{outtype}`` in a name stand for the type, in capitals if they are. In a folder
    the file is named after the model, its size and its type, as ggml's ``docs/gguf.md`` proposes.
    """
    name = os.fspath(path)
    for place in _PLACES:
        name = name.replace(f"{{{place}}}", outtype.name)
        name = name.replace(f"{{{place.upper()}}}", outtype.name.upper())
    if not os.path.isdir(name):  # noqa: PTH112 - unlike Path.is_dir it never raises
        return name
    values = {item.key: item.value for item in general}
    proposed = naming_convention(
        values[Keys.General.NAME],
        values.get(Keys.General.BASENAME),
        values.get(Keys.General.FINETUNE),
        values.get(Keys.General.VERSION),
        values.get(Keys.General.SIZE_LABEL) or size_label(parameter_count, 0, 0, 0),
        outtype.name,
    )
    return os.path.join(name, _file_name(proposed) + ".gguf")  # noqa: PTH118 - names stay as given


def _file_name(proposed: str) -> str:
    """Replace what no name of a file may hold, or what would lead to another folder."""
    return "".join(
        "-" if c in '/\\:*?"<>|' or unicodedata.category(c)[0] == "C" else c for c in proposed
    )
