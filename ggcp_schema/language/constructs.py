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
    """What a construct tells those who walk the schema.

    Attributes:
        size: bytes, or None where that depends on the file.
        stored: whether it stands in the file; else other bytes, or fields, tell its value.
        expressions: its own expressions over ``this``.
        children: the constructs directly inside, in the order of the file.
        cases: those of them of which one stands there, by what selects it.
        ahead: constructs with which it looks at bytes further on, which others parse.
    """

    size: int | None = None
    stored: bool = True
    expressions: tuple[Any, ...] = ()
    children: tuple[Any, ...] = ()
    cases: Mapping[Any, Any] = MappingProxyType({})
    ahead: tuple[Any, ...] = ()

    @property
    def least(self) -> int:
        """Bytes that it takes at least, or 0 where nothing is known."""
        return self.size or 0

    def members(self, value: Any) -> list[Member] | None:
        """Return what a parsed value consists of, as far as it was parsed; None if of one piece."""
        return None

    def length_of(self, value: Any) -> int:
        """Return how many bytes a parsed value of one piece takes."""
        return len(value) if self.size is None else self.size


class _Choice(Described):
    """One of several cases: that whose fields a parsed value has."""

    def members(self, value: Any) -> list[Member] | None:
        members: list[Member] | None = None
        for case in self.children:
            members = case.members(value)
            if members is None or len(members) == len(value):
                break
        return members


class Switch(_Choice, construct.Switch):  # type: ignore[misc]
    """construct's Switch: the case that an expression selects."""

    def __init__(self, selector: Any, cases: Mapping[Any, Any]) -> None:
        super().__init__(selector, cases)
        self.expressions = (selector,)
        self.children = tuple(cases.values())


class IfThenElse(_Choice, construct.IfThenElse):  # type: ignore[misc]
    """construct's IfThenElse, whose cases are True and False."""

    def __init__(self, condition: Any, then: Any, otherwise: Any) -> None:
        super().__init__(condition, then, otherwise)
        self.expressions = (condition,)
        self.children = (then, otherwise)
        self.cases = {True: then, False: otherwise}


class Computed(Described, construct.Computed):  # type: ignore[misc]
    """construct's Computed: a value that follows from the fields before it."""

    size = 0
    stored = False

    def __init__(self, expression: Any) -> None:
        super().__init__(expression)
        self.expressions = (expression,)
