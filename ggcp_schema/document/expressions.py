"""Expressions over ``this`` and ``value`` as syntax trees and as text."""

from __future__ import annotations

import ast
import enum
from abc import ABC, abstractmethod
from typing import Any

from ggcp_schema.tensor import ElementCount


def tree(expression: Any) -> ast.expr:
    """Return an expression over ``this`` and ``value`` as a syntax tree."""
    if isinstance(expression, tuple):
        return ast.Tuple([tree(item) for item in expression], ast.Load())
    if isinstance(expression, enum.Enum):
        return ast.Constant(expression.value)
    return ast.parse(repr(expression), mode="eval").body


def path_of(node: ast.expr) -> tuple[str, ...] | None:
    """Return the names in ``this.a.b`` or ``value``, the first of them included, or None."""
    names: list[str] = []
    while isinstance(node, ast.Subscript):
        if not isinstance(node.slice, ast.Constant):
            return None
        names.insert(0, str(node.slice.value))
        node = node.value
    return (node.id, *names) if isinstance(node, ast.Name) else None


_OPERATORS: dict[type[ast.AST], tuple[int, str]] = {
    ast.BitOr: (1, "or"),
    ast.BitAnd: (2, "and"),
    ast.Add: (4, "+"),
    ast.Sub: (4, "-"),
    ast.Mult: (5, "*"),
    ast.FloorDiv: (5, "div"),
    ast.Mod: (5, "%"),
    ast.Eq: (3, "=="),
    ast.NotEq: (3, "!="),
    ast.Lt: (3, "<"),
    ast.LtE: (3, "<="),
    ast.Gt: (3, ">"),
    ast.GtE: (3, ">="),
}

_DIVISIONS = (ast.FloorDiv, ast.Mod)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, *_DIVISIONS)


def _in_doubt(outer: type[ast.AST], inner: type[ast.AST]) -> bool:
    """Tell whether languages, or readers, might disagree on which operator is the stronger."""
    if outer in _ARITHMETIC and inner in _ARITHMETIC:
        return outer in _DIVISIONS or inner in _DIVISIONS
    return outer is ast.BitOr and inner is ast.BitAnd


class Writer(ABC):
    """Writes an expression as text; what names become, a subclass says."""

    division = "div"
    """The operator that divides integers."""

    @abstractmethod
    def name(self, path: tuple[str, ...]) -> str:
        """Return the text for a path, whose first item is ``this`` or ``value``."""

    @abstractmethod
    def length(self, path: tuple[str, ...]) -> str:
        """Return the text for the length of what is at a path."""

    def constant(self, value: Any) -> str:
        """Return the text of a constant."""
        return str(value)

    def write(self, expression: Any) -> str:
        """Return the text of an expression."""
        if isinstance(expression, ElementCount):
            return self.count(expression)
        return self._node(tree(expression), 0)

    def count(self, expression: ElementCount) -> str:
        """Return the text of the number of elements in a part of the schema."""
        groups: dict[str, list[str]] = {}
        for repetitions, shape in expression.terms:
            product = " * ".join(self.write(dimension) for dimension in shape)
            groups.setdefault(self.write(repetitions), []).append(product)
        return " + ".join(
            " + ".join(terms) if times == "1" else f"{times} * ({' + '.join(terms)})"
            for times, terms in groups.items()
        )

    def _node(self, node: ast.expr, outer: int, around: type[ast.AST] = ast.AST) -> str:
        path = path_of(node)
        if path:
            return self.name(path)
        if isinstance(node, ast.Constant):
            return self.constant(node.value)
        if isinstance(node, ast.Call):
            operand = path_of(node.args[0])
            if operand is not None:
                return self.length(operand)
        if isinstance(node, ast.Tuple):
            return "[" + ", ".join(self._node(item, 0) for item in node.elts) + "]"
        if isinstance(node, ast.BinOp):
            left, right = node.left, node.right
            kind: type[ast.AST] = type(node.op)
        elif isinstance(node, ast.Compare):
            left, right, kind = node.left, node.comparators[0], type(node.ops[0])
        else:
            raise TypeError(f"the documentation does not know {ast.dump(node)}")
        strength, symbol = _OPERATORS[kind]
        symbol = self.division if kind is ast.FloorDiv else symbol
        # The right operand of an equally strong operator needs parentheses: a - (b - c).
        operands = self._node(left, strength, kind), self._node(right, strength + 1, kind)
        words = f"{operands[0]} {symbol} {operands[1]}"
        return f"({words})" if strength < outer or _in_doubt(around, kind) else words
