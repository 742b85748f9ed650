"""Walking parsed checkpoints, and the mappings that build takes, by path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ggcp_schema import Span


def leaves(members: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of everything in nested mappings and lists; a tensor is one value."""
    if isinstance(members, Mapping) and "data" not in members:
        for name, member in members.items():
            yield from leaves(member, f"{path}.{name}" if path else name)
    elif isinstance(members, list):
        for index, member in enumerate(members):
            yield from leaves(member, f"{path}[{index}]")
    else:
        yield path, members


def tensors(members: Any) -> dict[str, Any]:
    """The records of a parsed checkpoint, by path."""
    return {path: leaf for path, leaf in leaves(members) if isinstance(leaf, Mapping)}


def values(members: Any) -> dict[str, Any]:
    """All else in a parsed checkpoint, by path."""
    return {path: leaf for path, leaf in leaves(members) if not isinstance(leaf, Mapping)}


def span(members: Any, path: str) -> Span:
    """The data of the tensor at ``path``."""
    found: Span = tensors(members)[path]["data"]
    return found


def changed(members: Any, path: str, value: Any) -> Any:
    """A copy of nested mappings and lists with another value at ``path``; None leaves it out."""
    first, _, rest = path.partition(".")
    if first.endswith("]"):
        name, _, index = first[:-1].partition("[")
        items = list(members[name])
        items[int(index)] = changed(items[int(index)], rest, value) if rest else value
        return {**members, name: items}
    if rest:
        return {**members, first: changed(members[first], rest, value)}
    copy = {name: member for name, member in members.items() if name != first}
    return copy if value is None else {**copy, first: value}
