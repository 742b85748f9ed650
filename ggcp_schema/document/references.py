"""What a struct takes from the structs around it: the references of its expressions.

A reference is a path without its ``this``: ``("_root", "hyperparameters", "embedding_length")``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from ggcp_schema.document.expressions import path_of, tree
from ggcp_schema.language.constructs import Described
from ggcp_schema.language.fields import Field, Struct
from ggcp_schema.language.runs import Repeated
from ggcp_schema.tensor import BeginningOf, ElementCount

Reference = tuple[str, ...]

OUTSIDE = ("_", "_root", "_index")
"""How a reference begins that leaves the struct."""


def outer(struct: Struct) -> list[Reference]:
    """Return what a struct and all below it take from outside, each once."""
    found = [r for field in struct.subcons for r in _of_field(field) if r[0] in OUTSIDE]
    return list(dict.fromkeys(found))


def lifted(reference: Reference) -> Reference:
    """Return how a reference of an inner struct reads in the struct around it."""
    return reference[1:] if reference[0] == "_" else reference


def _of_field(field: Field) -> Iterator[Reference]:
    if field.derived is not None:
        yield from _of_expression(field.derived)
    for check in field.checks:
        yield from _of_expression(check.expression)
    yield from _of_construct(field.subcon)


def _of_construct(construct: Described) -> Iterator[Reference]:
    if isinstance(construct, Struct):
        yield from map(lifted, outer(construct))
        return
    for expression in construct.expressions:
        yield from _of_expression(expression)
    for inner in construct.ahead:
        yield from _without_index(inner)  # it looks at the first layer, whatever the index
    for child in construct.children:
        yield from (_without_index if isinstance(construct, Repeated) else _of_construct)(child)


def _without_index(construct: Described) -> Iterator[Reference]:
    return (r for r in _of_construct(construct) if r != ("_index",))


def _of_expression(expression: Any) -> Iterator[Reference]:
    if isinstance(expression, (ElementCount, BeginningOf)):
        for part in expression.expressions:
            yield from _of_expression(part)
    else:
        yield from _of_node(tree(expression))


def _of_node(node: ast.AST) -> Iterator[Reference]:
    path = path_of(node) if isinstance(node, ast.expr) else None
    if path is None:
        for child in ast.iter_child_nodes(node):
            yield from _of_node(child)
    elif path[0] == "this":
        yield path[1:]
