"""Which bytes hold which field: what was parsed, laid beside the constructs that parsed it.

All of it works with files that were parsed only as far as they go, and stops where that stopped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ggcp_schema.language.constructs import Described
from ggcp_schema.language.source import Span


class Place(NamedTuple):
    """The bytes of one field.

    Attributes:
        path: the field's path, such as ``model.layers[0].attention.wq.data``.
        offset: where it starts in the file.
        length: how many bytes it takes; 0 for a value that is not stored.
        value: what was parsed.
        construct: what parsed it.
    """

    path: str
    offset: int
    length: int
    value: Any
    construct: Described

    @property
    def stop(self) -> int:
        """The byte behind the last."""
        return self.offset + self.length


def places(construct: Described, value: Any, offset: int = 0, path: str = "") -> Iterator[Place]:
    """Yield every field of a parsed value in the order of the file, without a gap.

    Args:
        construct: what parsed it.
        value: what came out, whole or as far as it was parsed.
        offset: where it starts in the file.
        path: what its fields' paths begin with.
    """
    members = construct.members(value)
    if members is None:
        yield Place(path, offset, construct.length_of(value), value, construct)
        return
    for name, inner, member in members:
        separator = "." if path and not name.startswith("[") else ""
        for found in places(inner, member, offset, f"{path}{separator}{name}"):
            yield found
            offset = found.stop


def place(construct: Described, value: Any, path: str, offset: int = 0) -> int:
    """Return where one field starts, without looking at each that stands before it.

    Args:
        construct: what parsed the value that the path starts from.
        value: what came out, whole or as far as it was parsed.
        path: of the field, such as ``optimizer.params.adam.iteration_limit``.
        offset: where the value starts in the file.

    Raises:
        LookupError: there is no such field, or the value was not parsed as far.
    """
    for name in re.findall(r"\w+|\[\d+\]", path):
        for member in construct.members(value) or ():
            if member.name == name:
                construct, value = member.construct, member.value
                break
            offset = stop(member.construct, member.value, offset)
        else:
            raise LookupError(f"{path} was not parsed")
    return offset


def stop(construct: Described, value: Any, offset: int = 0) -> int:
    """Return where a parsed value, which starts at ``offset``, stops: the byte behind its last.

    A span says itself where it is. So nothing is looked at but what stands behind the last of them.
    """
    length, is_stop = _measured(construct, value)
    return length if is_stop else offset + length


def _measured(construct: Described, value: Any) -> tuple[int, bool]:
    """Return the length of a value without a span, and False; else where it stops, and True."""
    if isinstance(value, Span):
        return value.offset + value.length, True
    members = construct.members(value)
    if members is None:
        return construct.length_of(value), False
    total = 0
    for member in reversed(members):
        length, is_stop = _measured(member.construct, member.value)
        total += length
        if is_stop:
            return total, True
    return total, False
