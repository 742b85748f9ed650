"""What must hold for a value: expressions over ``value`` and ``this``, and words for a failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

from construct.expr import ExprMixin, Path

from ggcp_schema.language.errors import FormatError, printable

T = TypeVar("T")

value = Path("value")
"""In a check: the value of the field that is checked."""

CUT = "the file is cut short; look for a whole copy of it"
DAMAGED = "the file is damaged, or not what its first bytes say; look for another copy"
ANOTHER = "give another value"


def compiled(expression: Any) -> Callable[[Any, Any], Any]:
    """Turn an expression over ``value`` and ``this`` into a function of the two.

    construct evaluates such an expression node by node; a compiled one costs a fifth.
    """
    if isinstance(expression, tuple):
        return _function(f"({''.join(f'{item!r},' for item in expression)})")
    if callable(expression) and not isinstance(expression, ExprMixin):
        return lambda _value, this: expression(this)
    return _function(repr(expression))


@cache  # many tensors have the same shape
def _function(source: str) -> Callable[[Any, Any], Any]:
    function: Callable[[Any, Any], Any] = eval(f"lambda value, this: {source}", {"len_": len})
    return function


class Check:
    """A fact about a field: an expression that holds, what that means in words, what to do if not.

    The words may name fields of the same struct in braces, whose values are filled in, or be a
    function of ``this``.
    """

    def __init__(
        self, expression: Any, expected: str | Callable[[Any], str], hint: str = DAMAGED
    ) -> None:
        self.expression = expression
        self.expected = expected
        self.hint = hint
        self._holds = compiled(expression)

    def __call__(self, found: Any, scope: Mapping[str, Any], offset: int | None) -> None:
        """Raise FormatError unless the fact holds."""
        if not self._holds(found, scope):
            words = self.expected
            raise FormatError(
                offset=offset,
                expected=words(scope) if callable(words) else words.format_map(scope),
                found=shown(found),
                hint=self.hint,
            )


def shown(found: Any) -> str:
    """Return a value from a file as text for a message, on one line."""
    if isinstance(found, bytes):
        return repr(found[:80])[1:] + (" and more" if len(found) > 80 else "")
    if isinstance(found, (tuple, list)):
        return "[" + ", ".join(map(shown, found)) + "]"
    return printable(str(found)[:80])


def one_of(choices: Iterable[int], names: str, hint: str = DAMAGED) -> Check:
    """Check that a value is one of the known ones; an unknown one is never taken for another."""
    first, *others = map(int, choices)
    expression = value == first
    for other in others:
        expression = expression | (value == other)
    return Check(expression, names, hint)


def chosen(known: Iterable[T], given: Any, default: T, offset: int) -> T:
    """Return what was given, if it is one of those that are known.

    Args:
        known: members of an enum.
        given: what a caller wants built.
        default: what is taken where nothing is given, for the message.
        offset: where it would stand.

    Raises:
        FormatError: it is none of them.
    """
    for member in known:
        if given is member:
            return member
    raise FormatError(
        offset=offset,
        expected=" or ".join(map(str, known)),
        found=shown(given),
        hint=f"give one of them, or none for {default}",
    )
