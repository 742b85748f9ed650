"""What each construct of the schema says of itself, and those of construct that learn to say it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import construct


class Member(NamedTuple):
    """A part of something that was parsed.

    Attributes:
        name: its field, or ``[index]``.
        construct: what parsed it.
        value: what came out.
    """

    name: str
    construct: Any
    value: Any


class Described:
    """What a construct tells those who walk the schema: its parts, its size, its expressions.

    Attributes:
        size: bytes, or None where that depends on the file.
        stored: whether it stands in the file; else other bytes, or fields, tell its value.
        cases: what may stand here, by what selects it; empty where there is no choice.
    """

    size: int | None = None
    stored: bool = True
    cases: Mapping[Any, Any] = MappingProxyType({})

    @property
    def least(self) -> int:
        """Bytes that it takes at least, or 0 where nothing is known."""
        return self.size or 0

    def children(self) -> tuple[Any, ...]:
        """Return the constructs directly inside, in the order of the file; all of the cases."""
        return tuple(self.cases.values())

    def looks_at(self) -> tuple[Any, ...]:
        """Return the constructs with which it looks at bytes further on, which others parse."""
        return ()

    def expressions(self) -> tuple[Any, ...]:
        """Return its own expressions over ``this``."""
        return ()

    def members(self, value: Any) -> list[Member] | None:
        """Return what a parsed value consists of, as far as it was parsed; None if of one piece."""
        return None

    def length_of(self, value: Any) -> int:
        """Return how many bytes a parsed value of one piece takes.

        Raises:
            TypeError: the construct has no size, and does not say how to tell it from a value.
        """
        if self.size is None:
            raise TypeError(f"{type(self).__name__} does not say how many bytes it takes")
        return self.size


class _Choice(Described):
    """One of several cases: that whose fields a parsed value has."""

    def members(self, value: Any) -> list[Member] | None:
        members: list[Member] | None = None
        for case in self.cases.values():
            members = case.members(value)
            if members is None or len(members) == len(value):
                break
        return members


class Switch(_Choice, construct.Switch):  # type: ignore[misc]
    """construct's Switch: the case that ``keyfunc`` selects."""

    def expressions(self) -> tuple[Any, ...]:
        """Return what selects the case."""
        return (self.keyfunc,)


class IfThenElse(_Choice, construct.IfThenElse):  # type: ignore[misc]
    """construct's IfThenElse, whose cases are True and False."""

    def __init__(self, condition: Any, then: Any, otherwise: Any) -> None:
        super().__init__(condition, then, otherwise)
        self.cases = {True: then, False: otherwise}

    def expressions(self) -> tuple[Any, ...]:
        """Return the condition."""
        return (self.condfunc,)


class Computed(Described, construct.Computed):  # type: ignore[misc]
    """construct's Computed: a value that follows from the fields before it."""

    size = 0
    stored = False

    def expressions(self) -> tuple[Any, ...]:
        """Return what it follows from."""
        return (self.func,)
