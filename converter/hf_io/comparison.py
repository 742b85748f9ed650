"""Compares a file of a folder with what it should be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

from converter.plan import PlannedFile
from ggcp_schema import Source, printable
from ggcp_schema.language.source import BLOCK_BYTES

_MOST_BYTES_OF_JSON = 1 << 20
"""Of a file in which single values are compared; a tokenizer.json is larger, and only bytes."""

_MOST_CHARACTERS = 60
"""Of a key or a value in a message."""


def content_differences(
    planned: PlannedFile,
    found: Source,
    progress: Callable[[int], object] = lambda _: None,
    read: Callable[[bytes], object] = lambda _: None,
) -> Iterator[str]:
    """Yield one line for each difference: of values in JSON, of weights tensor by tensor.

    Args:
        planned: what should be in the file.
        found: the file.
        progress: called with the number of bytes after each block of data.
        read: called with each block of the file, in order: with all of it if nothing differs.

    Raises:
        FormatError: the file cannot be read.
    """
    name = planned.name
    if name.endswith(".json") and max(planned.length, found.size) <= _MOST_BYTES_OF_JSON:
        content = found.read_at(0, found.size)
        read(content)
        yield from _json_differences(planned, content)
        progress(planned.length)
        return
    if found.size != planned.length:
        yield f"{name}: expected {planned.length} bytes, found {found.size}"
        return
    regions = _regions(planned)
    told: str | None = None
    for offset in _differing(planned, found, progress, read):
        region = next(words for start, words in reversed(regions) if start <= offset)
        if region != told:
            told = region
            yield f"{name}{region}: the data differ from byte {offset:#x} of the file on"
        if not planned.tensors:
            return


def _regions(planned: PlannedFile) -> list[tuple[int, str]]:
    """Return where each tensor starts, and the words for it; first the head in front of them."""
    head = planned.length - sum(tensor.length for tensor in planned.tensors)
    starts = accumulate((tensor.length for tensor in planned.tensors), initial=head)
    named = (
        (start, f": tensor {tensor.name}")
        for start, tensor in zip(starts, planned.tensors, strict=False)
    )
    return [(0, ""), *named]


def _differing(
    planned: PlannedFile,
    found: Source,
    progress: Callable[[int], object],
    read: Callable[[bytes], object],
) -> Iterator[int]:
    """Yield the offset of the first byte that differs in each block that does."""
    offset = 0
    for made in planned.blocks():
        for start in range(0, len(made), BLOCK_BYTES):
            block = made[start : start + BLOCK_BYTES]
            actual = found.read_at(offset, len(block))
            read(actual)
            if actual != block:
                pairs = enumerate(zip(block, actual, strict=True))
                yield offset + next(index for index, (one, other) in pairs if one != other)
            offset += len(block)
            progress(len(block))


def _json_differences(planned: PlannedFile, found: bytes) -> Iterator[str]:
    expected = b"".join(planned.blocks())
    if expected == found:
        return
    try:
        wanted, actual = json.loads(expected), json.loads(found)
        lines = list(value_differences(wanted, actual))
    except (ValueError, RecursionError):  # the latter of brackets in brackets
        yield f"{planned.name}: expected JSON as it was written, found something else"
        return
    yield from (f"{planned.name}: {line}" for line in lines)
    if not lines:
        yield f"{planned.name}: the same values, written in another way"


def value_differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    """Yield one line for each value of JSON that differs, with its path."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in {**expected, **found}:
            name = _cut(key)
            inner = f"{path}.{name}" if path else name
            if key not in found:
                yield f"key {inner}: missing"
            elif key not in expected:
                yield f"key {inner}: not expected"
            else:
                yield from value_differences(expected[key], found[key], inner)
    elif type(expected) is not type(found) or expected != found:
        yield f"key {path}: expected {_short(expected)}, found {_short(found)}"


def _short(value: Any) -> str:
    return _cut(json.dumps(value))


def _cut(text: str) -> str:
    text = printable(text[: _MOST_CHARACTERS + 1])
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 3]}..."
