"""Target: the readers of vocabularies, GGUF, ggjt and its elders, SentencePiece."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

from fuzz import common
from fuzz.null import NullOutput

_COUNT = re.compile(r"(\d{1,4}) tokens")


def seeds() -> Iterator[bytes]:
    """Inputs to start from."""
    from fuzz.corpus import vocabularies

    return vocabularies()


def fresh(chance: random.Random) -> bytes:
    """A new input."""
    from fuzz.corpus import vocabularies

    return chance.choice([data for data in vocabularies() if len(data) < 1000])


def target(data: bytes) -> None:
    """Read a vocabulary of as many tokens as it claims, write it to a GGUF and read it again."""
    from vocabulary_reading import read_vocabulary

    from converter.gguf_io.writer import write
    from converter.plan import Plan

    path = common.file("input").fill(data)
    found = _read(path, 3)
    if found is None:
        return
    output = NullOutput(common.file("output"))
    write(Plan("llama", found.metadata, ()), output)  # type: ignore[arg-type] - enough
    again = read_vocabulary(output.path, token_count=found.token_count)
    assert _without_ids(again) == _without_ids(found)


def _without_ids(vocabulary: Any) -> list[str]:
    """All but the special tokens: a GGUF that names none gets llama.cpp's defaults."""
    return [
        repr((item.key, item.type, item.element_type, _plain(item)))
        for item in vocabulary.metadata
        if not item.key.endswith("_token_id")
    ]


def _plain(item: Any) -> Any:
    """The elements of an array as a list, whatever sequence they were read into."""
    if item.element_type is None:
        return item.value
    return item.value.tolist() if hasattr(item.value, "tolist") else list(item.value)


def _read(path: str, count: int) -> Any:
    from vocabulary_reading import read_vocabulary

    from ggcp_schema import FormatError

    try:
        return read_vocabulary(path, token_count=count)
    except FormatError as error:
        common.require_good_message(error)
        claimed = _COUNT.fullmatch(error.found)
    if not claimed or not int(claimed[1]) or int(claimed[1]) == count:
        return None
    try:
        return read_vocabulary(path, token_count=int(claimed[1]))
    except FormatError as error:
        common.require_good_message(error)
        return None


def load() -> Any:
    """Import what is tested."""
    from fuzz.mutation import mutator

    return target, mutator(fresh)


if __name__ == "__main__":
    common.main(load)
