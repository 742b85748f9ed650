"""Instances of the Kaitai schema for what is not stored but found out from other bytes.

Each begins with the offset at which the field stands, ``_io.pos`` when it is first asked for: that
is when the next field of the sequence is read, which depends on it.
"""

from __future__ import annotations

import json
import struct as packing
from collections.abc import Callable
from typing import Any

from ggcp_schema.document.kaitai.expressions import Expressions, constant, type_name
from ggcp_schema.document.tables import prose
from ggcp_schema.document.walk import entry_for
from ggcp_schema.enums import NameFamily
from ggcp_schema.language.constructs import IfThenElse
from ggcp_schema.language.fields import Field, Number, Struct
from ggcp_schema.tensor import ALIGNMENT, F32_TYPE, Tensor
from ggcp_schema.variants import (
    FeedForwardLengthByRecord,
    HeaderLayoutByFirstRecord,
    LayoutByParameterCount,
    NamesByRecord,
    TypeByRecords,
)

Instances = dict[str, dict[str, Any]]


def found_out(field: Field, expressions: Expressions) -> Instances:
    """Return the instances for a value that is not stored; the last has the field's name."""
    start = f"{field.name}_offset"
    instances = entry_for(_FOUND, field.subcon)(field, start, expressions)
    return {start: {"value": "_io.pos"}, **instances}


def _type_by_records(field: Field, start: str, expressions: Expressions) -> Instances:
    instances: Instances = {}
    words = "-1"
    for kind, state in reversed(field.subcon.states.items()):
        ends, end = _ends(state, start, type_name(state), expressions.inside())
        instances.update(ends)
        words = f"{end} == _io.size ? {constant(kind)} : {words}"
    instances[field.name] = {"value": words}
    return instances


def _header_layout(field: Field, start: str, expressions: Expressions) -> Instances:
    name = field.subcon.record_name.encode("ascii")
    numbers = list(packing.pack("<3L", 2, len(name), F32_TYPE))
    instances: Instances = {}
    default = constant(next(iter(field.subcon.layouts)))
    words = default
    for index, (layout, case) in reversed(list(enumerate(field.subcon.layouts.items()))):
        first = f"first_record_{index}"
        place = f"{start} + {case.size + field.subcon.between.size}"
        instances[f"{first}_numbers"] = {"pos": place, "size": len(numbers)}
        instances[f"{first}_name"] = {"pos": f"{place} + 20", "size": len(name)}
        found = f"({first}_numbers == {numbers} or {first}_name == {list(name)})"
        words = f"{found} ? {constant(layout)} : {words}"
    instances[field.name] = {"value": words}
    return instances


def _feed_forward_length(field: Field, start: str, expressions: Expressions) -> Instances:
    inside = expressions.inside(layer="0")
    instances, end = _ends(field.subcon.before, start, "before_w1_b", inside)
    layers = expressions.reference(("hyperparameters", "block_count"))
    stored = f"{field.name}_stored"
    # n_dims, name_length, type and the first dimension stand before the second.
    instances[stored] = {"pos": f"{end} + 16", "type": "u4", "if": f"{layers} > 0"}
    instances[field.name] = {"value": f"{layers} > 0 ? {stored} : 0"}
    return instances


def _names(field: Field, start: str, expressions: Expressions) -> Instances:
    layers = expressions.reference(("hyperparameters", "block_count"))
    words = json.dumps(NameFamily.ORDINARY.value)
    instances: Instances = {}
    for before, prefix, name, family in (
        (field.subcon.before_w1, "before_w1", field.subcon.w1_name, NameFamily.W1_A),
        (
            field.subcon.before_layers,
            "before_layers",
            field.subcon.first_name,
            NameFamily.WITHOUT_LAYERS,
        ),
    ):
        ends, end = _ends(before, start, prefix, expressions.inside(layer="0"))
        instances.update(ends)
        length = f"{prefix}_name_length"
        instances[length] = {"pos": f"{end} + 4", "type": "u4"}
        words = f"{length} == {len(name)} ? {json.dumps(family.value)} : {words}"
    ordinary = json.dumps(NameFamily.ORDINARY.value)
    instances[field.name] = {"value": f"{layers} == 0 ? {ordinary} : ({words})"}
    return instances


_FOUND: dict[type, Callable[[Field, str, Expressions], Instances]] = {
    TypeByRecords: _type_by_records,
    HeaderLayoutByFirstRecord: _header_layout,
    FeedForwardLengthByRecord: _feed_forward_length,
    NamesByRecord: _names,
}


def optimizer_layout(field: Field, expressions: Expressions) -> Instances:
    """Return the instances that tell the layout of an optimizer context.

    Where the parameter count stands at both places by chance, the first is taken: no list of
    fields is followed to the end of the file as the schema does.
    """
    context: LayoutByParameterCount = field.subcon
    start = f"{field.name}_offset"
    version = f"{field.name}_version"
    instances: Instances = {
        start: {"value": "_io.pos"},
        version: {"pos": start, "type": "u4"},
    }
    words = json.dumps("none of them")
    for layout, place in reversed(context.parameter_count_offsets.items()):
        count = f"{field.name}_count_at_{place}"
        instances[count] = {"pos": f"{start} + {place}", "type": "s8"}
        words = f"{count} == parameter_count ? {_key(layout)} : {words}"
    others = [key for key in context.cases if key not in context.parameter_count_offsets]
    shared = next(context.versions[key] for key in context.parameter_count_offsets)
    for layout in others:
        words = f"{version} != {shared} ? {_key(layout)} : {words}"
    instances[f"{field.name}_layout"] = {"value": words, "doc": prose(context.docs)}
    return instances


def _key(layout: Any) -> str:
    return json.dumps(layout.value)


def _ends(
    struct: Struct, start: str, prefix: str, expressions: Expressions
) -> tuple[Instances, str]:
    """Return an instance for the end of each field of a struct, and the name of the last.

    Args:
        struct: consists of tensors and numbers.
        start: name of the instance that holds the struct's offset.
        prefix: how the instances' names begin.
        expressions: writes the struct's expressions as they read where the instances stand.
    """
    instances: Instances = {}
    end = start
    for field in struct.subcons:
        if not field.subcon.stored:
            continue
        name = f"{prefix}_{field.name}"
        if isinstance(field.subcon, Struct):
            layer = expressions.layer
            more, end = _ends(field.subcon, end, name, expressions.inside(layer))
            instances.update(more)
            continue
        instances[f"{name}_end"] = {"value": _end(field.subcon, end, expressions)}
        end = f"{name}_end"
    return instances, end


def _end(construct: Any, start: str, expressions: Expressions) -> str:
    return entry_for(_ENDS, construct)(construct, start, expressions)


def _end_of_number(number: Number, start: str, expressions: Expressions) -> str:
    return f"{start} + {number.size}"


def _end_of_choice(choice: IfThenElse, start: str, expressions: Expressions) -> str:
    then, otherwise = (_end(child, start, expressions) for child in choice.children)
    return f"{expressions.write(choice.condfunc)} ? {then} : {otherwise}"


def _end_of_tensor(tensor: Tensor, start: str, expressions: Expressions) -> str:
    # Whole names: they were cut only by trainers older than any file in which this is needed.
    def header(name: str) -> str:
        length = len(name.replace("{layer}", expressions.layer or ""))
        return str(12 + 4 * len(tensor.shape) + length + ALIGNMENT - 1)

    words = expressions.by_family(tensor, header)
    aligned = f"({start} + {words}) / {ALIGNMENT} * {ALIGNMENT}"
    product = " * ".join(expressions.write(dimension, 5) for dimension in tensor.shape)
    return f"{aligned} + 4 * {product}" if product else aligned


_ENDS: dict[type, Callable[[Any, str, Expressions], str]] = {
    Number: _end_of_number,
    IfThenElse: _end_of_choice,
    Tensor: _end_of_tensor,
}
