"""Mutations that know what such files are made of: counts, records, texts with lengths, floats."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

_RECORD = re.compile(rb"[\x00-\x04]\x00\x00\x00[\x00-\x40]\x00\x00\x00\x00\x00\x00\x00")
"""n_dims, name_len and type of a tensor record in a checkpoint."""

_LABEL = re.compile(rb"[a-z_0-9.]{4,60}")
"""A name; numbers stand before and behind it."""

_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 31, 32, 33, 255, 256, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_LARGE_NUMBERS = (*_NUMBERS, 2**32, 2**53, 2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
_FLOATS = ("0000807f", "000080ff", "0000c07f", "010080ff", "00000000", "00000080", "01000000")
_FLOATS = (*_FLOATS, "ffff7f7f", "ffff7fff", "00002041", "17b7d138")

Mutation = Callable[[random.Random, bytearray], None]


def _places(data: bytes, pattern: re.Pattern[bytes]) -> list[int]:
    return [match.start() for match in pattern.finditer(data, 0, 1 << 14)]


def _place(chance: random.Random, data: bytearray) -> int:
    """Where a number may stand."""
    kind = chance.random()
    if kind < 0.3:
        return 4 * chance.randrange(40)  # the header
    places = _places(bytes(data[: 1 << 14]), _RECORD if kind < 0.6 else _LABEL)
    if places and kind < 0.9:
        return max(0, chance.choice(places) + 4 * chance.randrange(-4, 12))
    return chance.randrange(len(data) + 1)


def _number(chance: random.Random, data: bytearray) -> None:
    size = chance.choice((1, 4, 4, 4, 8))
    start = _place(chance, data)
    old = int.from_bytes(data[start : start + size], "little")
    near = old + chance.choice((-32, -8, -4, -2, -1, 1, 2, 4, 8, 32))
    new = near if chance.random() < 0.5 else chance.choice(_LARGE_NUMBERS)
    data[start : start + size] = (new % 256**size).to_bytes(size, "little")


def _float(chance: random.Random, data: bytearray) -> None:
    start = chance.randrange(len(data) + 1) // 4 * 4
    count = chance.choice((1, 1, 1, 4, 64))
    data[start : start + 4 * count] = bytes.fromhex(chance.choice(_FLOATS)) * count


def _cut(chance: random.Random, data: bytearray) -> None:
    del data[chance.choice((_place(chance, data), len(data) - 1 - chance.randrange(200))) :]


def _grow(chance: random.Random, data: bytearray) -> None:
    data += chance.choice((b"\0", b"\xff")) * chance.choice((1, 4, 8, 32, 100))


def _records(chance: random.Random, data: bytearray) -> None:
    """Leave a record out, or have it twice, or swap it with another."""
    places = [*_places(bytes(data[: 1 << 14]), chance.choice((_RECORD, _LABEL))), len(data)]
    if len(places) < 3:
        return
    one = chance.randrange(len(places) - 2)
    start, stop = places[one], places[one + 1]
    record = bytes(data[start:stop])
    kind = chance.randrange(3)
    if kind != 1:
        del data[start:stop]
    if kind:
        there = chance.choice(places)
        data[there:there] = record


def _bytes(chance: random.Random, data: bytearray) -> None:
    start = _place(chance, data)
    data[start : start + 1] = bytes([chance.randrange(256)])


def _text(chance: random.Random, data: bytearray) -> None:
    """Other characters, as many, in a name."""
    places = _places(bytes(data[: 1 << 14]), _LABEL)
    if places:
        start = chance.choice(places) + chance.randrange(8)
        new = chance.choice((b"\n", b"\xff", b"\0", b"\x1b[2J", b"\xc3\xa9", b"9", b"."))
        data[start : start + len(new)] = new


_MUTATIONS: Sequence[Mutation] = (
    *[_number] * 6,
    *[_float] * 2,
    _cut,
    _grow,
    *[_records] * 2,
    _bytes,
    _text,
)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The file with one to four things changed."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        chance.choice(_MUTATIONS)(chance, changed)
    return bytes(changed)


def mutator(
    fresh: Callable[[random.Random], bytes],
    changed: Callable[[bytes, random.Random], bytes] = mutated,
) -> Callable[[bytes, int, int], bytes]:
    """Return what atheris calls to change an input.

    Args:
        fresh: makes a new file.
        changed: changes things in one.
    """
    import atheris

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        kind = chance.random()
        if kind < 0.02:
            return fresh(chance)[:max_size]
        if kind < 0.35:
            return bytes(atheris.Mutate(data, min(max_size, len(data) + 64)))
        return changed(data, chance)[:max_size]

    return mutate
