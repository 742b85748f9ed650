"""Target: ``ggcp_schema.parse``, and that ``build`` writes again what ``parse`` has read."""

from __future__ import annotations

import io
import random
import zlib
from collections.abc import Iterator
from typing import Any

from fuzz import common


def seeds() -> Iterator[bytes]:
    """Inputs to start from."""
    from fuzz.corpus import checkpoints

    return checkpoints()


def fresh(chance: random.Random) -> bytes:
    """A new input."""
    from fuzz.corpus import small

    return small(chance)


def target(data: bytes) -> None:
    """Parse a file, wholly or as far as it goes; a whole one must be built to the same bytes."""
    from ggcp_schema import FormatError, build, parse

    try:
        checkpoint = parse(io.BytesIO(data))
    except FormatError as error:
        common.require_good_message(error)
        if zlib.crc32(data) % 8 == 0:  # it takes twice the time
            _require_the_same_error(data, error)
        return
    with checkpoint:
        built = io.BytesIO()
        build(checkpoint, built)
    assert built.getvalue() == data


def _require_the_same_error(data: bytes, error: Any) -> None:
    """Parsing as far as it goes ends in the same place."""
    from ggcp_schema import FormatError, parse

    found: FormatError | None
    try:
        with parse(io.BytesIO(data), partial=True) as checkpoint:
            found = checkpoint.error
    except FormatError as other:
        found = other
    assert str(found) == str(error)


def load() -> Any:
    """Import what is tested."""
    import ggcp_schema  # noqa: F401 - instrumented
    from fuzz.mutation import mutator

    return target, mutator(fresh)


if __name__ == "__main__":
    common.main(load)
