"""Mappings and lists as YAML: the little of it that a schema needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_PLAIN = re.compile(r"[a-z][a-z0-9_]*(-[a-z0-9]+)*")
_NOT_STRINGS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def yaml(document: Any) -> str:
    """Return nested mappings, lists, strings, numbers and booleans as YAML."""
    return "\n".join(_lines(document)) + "\n"


def _lines(item: Any) -> Iterator[str]:
    if isinstance(item, dict):
        for key, member in item.items():
            yield from _member(f"{_scalar(key)}:", member)
    else:
        for member in item:
            if isinstance(member, (dict, list)) and member:
                first, *others = _lines(member)
                yield f"- {first}"
                yield from (f"  {line}" for line in others)
            else:
                yield f"- {_scalar(member)}"


def _member(key: str, member: Any) -> Iterator[str]:
    if not isinstance(member, (dict, list)):
        yield f"{key} {_scalar(member)}"
    elif isinstance(member, list) and all(isinstance(item, int) for item in member):
        yield f"{key} [{', '.join(map(str, member))}]"
    else:
        yield key
        yield from (f"  {line}" for line in _lines(member))


def _scalar(item: Any) -> str:
    if isinstance(item, str):
        plain = _PLAIN.fullmatch(item) and item not in _NOT_STRINGS
        return item if plain else json.dumps(item, ensure_ascii=False)
    return json.dumps(item)
