"""What a struct takes from the structs around it: the references of its expressions.

A reference is a path without its ``this``: ``("_root", "hyperparameters", "embedding_length")``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from construct import Computed, IfThenElse, Switch

from ggcp_schema.document.expressions import elements, path_of, tree
from ggcp_schema.document.walk import alternatives
from ggcp_schema.language.fields import Field, Struct
from ggcp_schema.language.runs import Bytes, Repeated
from ggcp_schema.lora import StoredFeedForwardLength
from ggcp_schema.optimizer import StoredRecords
from ggcp_schema.tensor import BeginningOf, Dimensions, ElementCount, Tensor, TensorData

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
    yield from _of_subcon(field.subcon)


def _of_subcon(subcon: Any) -> Iterator[Reference]:
    if isinstance(subcon, Struct):
        yield from map(lifted, outer(subcon))
    elif isinstance(subcon, Repeated):
        yield from _of_expression(subcon.count)
        yield from (r for r in _of_subcon(subcon.subcon) if r != ("_index",))
    elif isinstance(subcon, Tensor):
        yield from _of_expression(subcon.shape)
        if "{layer}" in subcon.tensor_name:
            yield ("_index",)
    elif isinstance(subcon, StoredFeedForwardLength):
        # The records before it are those of the first layer, whatever the index.
        yield from (lifted(r) for r in outer(subcon.before) if r != ("_index",))
    else:
        for expression in _expressions(subcon):
            yield from _of_expression(expression)
        candidates = subcon.states.values() if isinstance(subcon, StoredRecords) else ()
        for inner in (*candidates, *(case.subcon for case in alternatives(subcon))):
            yield from _of_subcon(inner)


def _expressions(subcon: Any) -> Iterator[Any]:
    if isinstance(subcon, Computed):
        yield subcon.func
    elif isinstance(subcon, Bytes):
        yield subcon.length
    elif isinstance(subcon, Dimensions):
        yield subcon.count
    elif isinstance(subcon, TensorData):
        yield subcon.shape
    elif isinstance(subcon, IfThenElse):
        yield subcon.condfunc
    elif isinstance(subcon, Switch):
        yield subcon.keyfunc


def _of_expression(expression: Any) -> Iterator[Reference]:
    if isinstance(expression, ElementCount):
        for repetitions, shape in elements(expression.subcon):
            yield from _of_expression(repetitions)
            yield from _of_expression(shape)
    elif isinstance(expression, BeginningOf):
        yield from _of_expression(expression.whole)
    else:
        yield from _of_node(tree(expression))


def _of_node(node: ast.AST) -> Iterator[Reference]:
    path = path_of(node) if isinstance(node, ast.expr) else None
    if path is None:
        for child in ast.iter_child_nodes(node):
            yield from _of_node(child)
    elif path[0] == "this":
        yield path[1:]
