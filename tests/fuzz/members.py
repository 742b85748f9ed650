"""A folder as the bytes of an input: its files, links, folders and pipes; and mutations of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

from fuzz import mutation

LISTING = b"ggcp.json"
HUGE = (1 << 40) + 4097
"""Bytes of a file that is a hole; no manifest gets that size, or its hash would be looked for."""

_LINKS = ("README.md", "config.json", "itself", ".", "..", "/dev/zero", "/dev/null", "not-there")
_MOST_MEMBERS = 40
_HEAD = struct.Struct("<BBI")


class Kind(IntEnum):
    """What has a name in a folder."""

    FILE = 0
    LINK = 1
    FOLDER = 2
    PIPE = 3
    HUGE = 4


class Member(NamedTuple):
    """What is in a folder.

    Attributes:
        name: its name, which may be no text.
        content: bytes of a file; of a link the first chooses what it leads to.
        kind: what it is.
    """

    name: bytes
    content: bytes = b""
    kind: Kind = Kind.FILE


def packed(checkpoint: int, members: list[Member]) -> bytes:
    """An input: which checkpoint the folder is compared with, and what is in the folder."""
    data = bytes([checkpoint])
    for name, content, kind in members:
        data += _HEAD.pack(kind, len(name), len(content)) + name + content
    return data


def unpacked(data: bytes) -> tuple[int, list[Member]]:
    """What ``packed`` was given; any bytes mean something."""
    members: list[Member] = []
    at = 1
    while at + _HEAD.size <= len(data) and len(members) < _MOST_MEMBERS:
        kind, name_length, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        name = data[at : at + name_length]
        at += name_length
        members.append(Member(name, data[at : at + length], Kind(kind % len(Kind))))
        at += length
    return data[0] if data else 0, members


def read(folder: Path) -> list[Member]:
    """The files of a folder, its ggcp.json first."""
    members = [Member(os.fsencode(path.name), path.read_bytes()) for path in folder.iterdir()]
    return sorted(members, key=lambda member: (member.name != LISTING, member.name))


def lay(members: list[Member], folder: Path) -> None:
    """Make a folder of them, those left out that cannot be."""
    folder.mkdir()
    for name, content, kind in members:
        if b"/" in name or b"\0" in name or name in (b"", b".", b".."):
            continue
        with contextlib.suppress(FileExistsError):
            _make(folder / os.fsdecode(name), content, kind)


def _make(path: Path, content: bytes, kind: Kind) -> None:
    if kind is Kind.LINK:
        path.symlink_to(_LINKS[content[0] % len(_LINKS) if content else 0])
    elif kind is Kind.FOLDER:
        path.mkdir()
    elif kind is Kind.PIPE:
        os.mkfifo(path)
    else:
        with path.open("xb") as file:
            file.write(content)
            if kind is Kind.HUGE:
                file.truncate(HUGE)


# fmt: off
_NAMES = (
    b"new", b"a\nb", b"\x1b[2J", b"\xff\xfe", b"\xe2\x80\xae", b"config.json ", b"itself",
    b"Config.json", b"x" * 200, b"README.md", b"optimizer.pt", b"adapter_config.json",
)
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, 3, -1, 1.5, 0.0, -0.0, 1e-45, 5e-324, 1e308, 2**31, 2**32, 2**53,
    2**63 - 1, 2**63, 2**64, 10**400, "", "a", "\n", "\x1b[2J", "\u202e", "\ud800", "x" * 5000,
    [], {}, [[]], {"": 0}, [None] * 1000, {"\x1b]0;": {}}, "flash", "plain", "scratch", "f16",
    "bf16", "checkpoint", "vocabulary", "0" * 64,
)
_TEXTS = (
    b"NaN", b"1e999", b"-Infinity", b"9" * 5000, b'"', b"\\", b"\xff", b"\xef\xbb\xbf", b"\0",
    b'{"a":' * 17, b"[" * 400, b"[" * 980 + b"]" * 980, b"[" * 100_000, b'"\\ud800"', b",",
)
# fmt: on


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The folder with one to four things changed, and often listed as it is then."""
    checkpoint, members = unpacked(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if not members:
            break
        _change(chance, members)
    if chance.random() < 0.1:
        checkpoint = chance.randrange(256)
    if chance.random() < 0.5:
        members = _listed_again(members)
    return packed(checkpoint, members)


def _change(chance: random.Random, members: list[Member]) -> None:
    at = chance.randrange(len(members))
    if chance.random() < 0.4:  # most of what is decided is decided by this one
        listings = (index for index, each in enumerate(members) if each.name == LISTING)
        at = next(listings, at)
    member = members[at]
    kind = chance.random()
    if kind < 0.55:
        members[at] = member._replace(content=_content(chance, member.content)[: 1 << 20])
    elif kind < 0.65:
        members[at] = member._replace(kind=chance.choice(list(Kind)), content=b"%c" % (at + 1))
    elif kind < 0.75:
        members[at] = member._replace(name=chance.choice((*_NAMES, chance.choice(members).name)))
    elif kind < 0.85:
        del members[at]
    else:
        name = chance.choice(_NAMES)
        members.append(Member(name, chance.randbytes(4), chance.choice(list(Kind))))


def _content(chance: random.Random, content: bytes) -> bytes:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return mutation.mutated(content, chance)
    if chance.random() < 0.25 or not isinstance(value, dict):
        start = chance.randrange(len(content) + 1)
        return content[:start] + chance.choice(_TEXTS) + content[start + chance.randrange(4) :]
    _change_value(chance, value)
    with contextlib.suppress(ValueError, RecursionError):  # too many digits, or too deep
        return json.dumps(value, indent=2).encode() + b"\n"
    return content


def _change_value(chance: random.Random, value: dict[str, Any]) -> None:
    """Change one member, anywhere within."""
    key = chance.choice(list(value) or [""])
    inner = value.get(key)
    if isinstance(inner, dict) and inner and chance.random() < 0.8:
        _change_value(chance, inner)
        return
    kind = chance.random()
    if kind < 0.7:
        value[key] = chance.choice(_VALUES)
    elif kind < 0.85:
        value.pop(key, None)
    else:
        value[os.fsdecode(chance.choice(_NAMES))] = chance.choice(_VALUES)


def _listed_again(members: list[Member]) -> list[Member]:
    """The same with the sizes and hashes of the files as they are, where ggcp.json still is one."""
    return [
        member._replace(content=_listing(member.content, members))
        if member.name == LISTING
        else member
        for member in members
    ]


def _listing(content: bytes, members: list[Member]) -> bytes:
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(content)
        if isinstance(value, dict) and isinstance(value.get("files"), dict):
            value["files"] = dict(_files(members))
            return json.dumps(value, indent=2).encode() + b"\n"
    return content


def _files(members: list[Member]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, content, kind in members:
        if name != LISTING and kind is not Kind.HUGE:
            sha256 = hashlib.sha256(content).hexdigest()
            yield os.fsdecode(name), {"size": len(content), "sha256": sha256}
