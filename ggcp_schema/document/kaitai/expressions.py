"""Expressions and names of the Kaitai schema, seen from one struct."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable
from typing import Any

from ggcp_schema.checkpoint import CHECKPOINT_FILE
from ggcp_schema.document.expressions import Writer
from ggcp_schema.document.references import OUTSIDE, Reference, lifted, outer
from ggcp_schema.document.walk import (
    Alternative,
    alternatives,
    struct_name,
    structs,
)
from ggcp_schema.language.fields import Struct
from ggcp_schema.tensor import Tensor, TensorData

_EXPECTED_SHAPE = ("_", "expected_shape")
_EXPECTED_NAME = ("_", "expected_name")
_NAMES = ("_root", "names")

RANK = "expected_n_dims"
"""Name of the parameter for the length of a tensor's expected shape."""


def most_dimensions() -> int:
    """Return how many dimensions the tensor with the most of them has."""
    tensors = [f.subcon for struct in structs() for f in struct.subcons]
    return max(len(tensor.shape) for tensor in tensors if isinstance(tensor, Tensor))


def type_name(struct: Struct) -> str:
    """Return the name of a struct's type; one without a name is called after where it stands."""
    name = struct_name(struct)
    if name:
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    for holder in structs():
        for field in holder.subcons:
            if field.subcon is struct:
                return f"{type_name(holder)}_{field.name}"
    raise LookupError("a struct that stands nowhere")


def is_root(struct: Struct) -> bool:
    """Tell whether a struct is a whole file, to which ``this._root`` leads."""
    return any(struct is root for root in CHECKPOINT_FILE.cases.values())


def taken(struct: Struct) -> list[Reference]:
    """Return the references that have to come to a struct from outside."""
    return [r for r in outer(struct) if not (is_root(struct) and r[0] == "_root")]


def parameter_names(struct: Struct) -> dict[Reference, str]:
    """Return what the parameters of a struct's type are called, by the references they stand for.

    Each is called by the last name of its path, unless a field or another parameter is.
    """
    used = {field.name for field in struct.subcons}
    names: dict[Reference, str] = {}
    for reference in taken(struct):
        if reference == ("_index",):
            name = "layer"
        else:
            words = [word for word in reference if word not in OUTSIDE]
            whole = "_".join(words)
            choices = (words[-1], whole, f"outer_{whole}")
            name = next(choice for choice in choices if choice not in used)
        used.add(name)
        names[reference] = name
    return names


def parameters(struct: Struct) -> list[tuple[str, str]]:
    """Return name and type of each parameter of a struct's type."""
    result: list[tuple[str, str]] = []
    for reference, name in parameter_names(struct).items():
        if reference == _EXPECTED_SHAPE:
            # Kaitai cannot hand a list of numbers to a type: its length and its items go instead.
            result.append((RANK, "s8"))
            result += [(f"expected_ne_{i}", "s8") for i in range(most_dimensions())]
        else:
            result.append((name, "str" if reference in (_EXPECTED_NAME, _NAMES) else "s8"))
    return result


def constant(value: Any) -> Any:
    """Return a value that selects a case, as a key of a Kaitai switch."""
    value = value.value if isinstance(value, enum.Enum) else value
    return json.dumps(value) if isinstance(value, str) else value


def tensor_arguments(tensor: Tensor, expressions: Expressions) -> list[str]:
    """Return what a record is told: the number of dimensions, each of them, the name."""
    dimensions = [expressions.write(dimension) for dimension in tensor.shape]
    missing = most_dimensions() - len(dimensions)
    name = expressions.by_family(tensor, lambda name: _name(name, expressions))
    return [str(len(dimensions)), *dimensions, *["0"] * missing, name]


def _name(name: str, expressions: Expressions) -> str:
    words = json.dumps(name)
    if "{layer}" in words:
        layer = expressions.name(("this", "_index"))
        words = words.replace("{layer}", f'" + {layer}.to_s + "')
    return words


class Expressions(Writer):
    """Writes expressions as they read inside the type of one struct.

    Attributes:
        struct: the struct.
        instances: of its type; those for the members of alternatives are added here.
        level: how many structs further in the expressions stand that are written.
        layer: the text for the layer's index where it is known.
    """

    division = "/"

    def __init__(self, struct: Struct) -> None:
        self.struct = struct
        self.instances: dict[str, dict[str, Any]] = {}
        self.level = 0
        self.layer: str | None = None

    def inside(self, layer: str | None = None) -> Expressions:
        """Return a writer of the expressions of a struct in this one, as they read here."""
        inner = Expressions(self.struct)
        inner.instances = self.instances
        inner.level = self.level + 1
        inner.layer = layer
        return inner

    def write(self, expression: Any, outer_strength: int = 0) -> str:
        """Return the text of an expression, in parentheses where a stronger operator is near."""
        words = super().write(expression)
        weak = outer_strength and " " in words
        return f"({words})" if weak else words

    def constant(self, value: Any) -> str:
        """Return the text of a constant."""
        return json.dumps(value)

    def name(self, path: tuple[str, ...]) -> str:
        """Return the text for a path."""
        if path == ("value",):
            return "_"
        reference = path[1:]
        for _ in range(self.level):
            reference = lifted(reference)
        if reference == ("_index",) and self.layer is not None:
            return self.layer
        return self.reference(reference)

    def length(self, path: tuple[str, ...]) -> str:
        """Return the text for the length of what is at a path."""
        return RANK if path[1:] == _EXPECTED_SHAPE else f"{self.name(path)}.length"

    def reference(self, reference: Reference) -> str:
        """Return the text for a reference: a parameter or a member."""
        if reference[0] == "_root" and is_root(self.struct):
            return self._member(reference[1:])
        if reference[0] in OUTSIDE:
            return parameter_names(self.struct)[reference]
        return self._member(reference)

    def _member(self, path: Reference) -> str:
        field = next(field for field in self.struct.subcons if field.name == path[0])
        choice = alternatives(field.subcon)
        if len(path) > 1 and choice:
            name = "_".join(path)
            self.instances[name] = {"value": self._chosen(field.subcon, path, choice)}
            return name
        return ".".join(path)

    def _chosen(self, subcon: Any, path: Reference, choice: list[Alternative]) -> str:
        """Return the member of whichever alternative stands there."""
        selector = self.write(subcon.keyfunc)
        *others, last = [
            (case, f"{path[0]}.as<{type_name(case.construct)}>.{'.'.join(path[1:])}")
            for case in choice
        ]
        words = "".join(f"{selector} == {constant(case.key)} ? {m} : " for case, m in others)
        return words + last[1]

    def call(self, struct: Struct, repeated: bool = False) -> str:
        """Return the type of a struct with the arguments that it takes from here."""
        arguments = [
            "_index" if repeated and r == ("_index",) else self.reference(lifted(r))
            for r in taken(struct)
        ]
        name = type_name(struct)
        return f"{name}({', '.join(arguments)})" if arguments else name

    def by_family(self, tensor: Tensor, words: Callable[[str], str]) -> str:
        """Return what follows from a tensor's name, whichever family the file keeps to."""
        result = words(tensor.tensor_name)
        for family, name in (tensor.other_names or {}).items():
            names = self.name(("this", "_root", "names"))
            result = f"({names} == {json.dumps(family.value)} ? {words(name)} : {result})"
        return result

    def expected_dimension(self, index: str) -> str:
        """Return which dimension a record should have at an index."""
        *others, last = range(most_dimensions())
        words = "".join(f"{index} == {i} ? expected_ne_{i} : " for i in others)
        return f"({words}expected_ne_{last})"

    def data_size(self, data: TensorData) -> str:
        """Return how many bytes the elements of a record take."""
        shape = self.write(data.shape)
        bytes_each = self.write(data.element_bytes, 5)
        words = "0"
        for count in range(most_dimensions(), 0, -1):
            product = " * ".join(f"{shape}[{i}].as<s8>" for i in range(count))
            words = f"n_dims == {count} ? {bytes_each} * {product} : {words}"
        return words
