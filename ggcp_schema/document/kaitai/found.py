"""Instances of the Kaitai schema for what is not stored but found out from other bytes.

Each begins with the offset at which the field stands, ``_io.pos`` when it is first asked for: that
is when the next field of the sequence is read, which depends on it.
"""

from __future__ import annotations

import json
import struct as packing
from typing import Any

from construct import Computed, IfThenElse
from construct.core import FormatField

from ggcp_schema.document.kaitai.expressions import Expressions, constant, type_name
from ggcp_schema.document.tables import prose
from ggcp_schema.document.walk import UnknownConstructError, fixed_size
from ggcp_schema.language.fields import Field, Struct
from ggcp_schema.lora import FIRST_NAME, StoredFeedForwardLength, StoredHeaderLayout
from ggcp_schema.optimizer import OptimizerContext, StoredRecords
from ggcp_schema.tensor import ALIGNMENT, F32_TYPE, Tensor

Instances = dict[str, dict[str, Any]]


def found_out(field: Field, expressions: Expressions) -> Instances:
    """Return the instances for a field that is found out; the last has the field's name."""
    start = f"{field.name}_offset"
    instances: Instances = {start: {"value": "_io.pos"}}
    if isinstance(field.subcon, StoredRecords):
        instances.update(_stored_records(field, start, expressions))
    elif isinstance(field.subcon, StoredHeaderLayout):
        instances.update(_stored_header_layout(field, start))
    elif isinstance(field.subcon, StoredFeedForwardLength):
        instances.update(_stored_feed_forward_length(field, start, expressions))
    else:
        raise UnknownConstructError(field.subcon)
    return instances


def _stored_records(field: Field, start: str, expressions: Expressions) -> Instances:
    instances: Instances = {}
    words = "-1"
    for kind, state in reversed(field.subcon.states.items()):
        ends, end = _ends(state, start, type_name(state), expressions.inside())
        instances.update(ends)
        words = f"{end} == _io.size ? {constant(kind)} : {words}"
    instances[field.name] = {"value": words}
    return instances


def _stored_header_layout(field: Field, start: str) -> Instances:
    name = FIRST_NAME.encode("ascii")
    numbers = list(packing.pack("<3L", 2, len(name), F32_TYPE))
    instances: Instances = {}
    default = constant(next(iter(field.subcon.cases)))
    words = default
    for index, (layout, case) in reversed(list(enumerate(field.subcon.cases.items()))):
        first = f"first_record_{index}"
        place = f"{start} + {_size(case) + _size(field.subcon.between)}"
        instances[f"{first}_numbers"] = {"pos": place, "size": len(numbers)}
        instances[f"{first}_name"] = {"pos": f"{place} + 20", "size": len(name)}
        found = f"({first}_numbers == {numbers} or {first}_name == {list(name)})"
        words = f"{found} ? {constant(layout)} : {words}"
    instances[field.name] = {"value": words}
    return instances


def _stored_feed_forward_length(field: Field, start: str, expressions: Expressions) -> Instances:
    inside = expressions.inside(layer="0")
    instances, end = _ends(field.subcon.before, start, "before_w1_b", inside)
    layers = expressions.reference(("hyperparameters", "block_count"))
    stored = f"{field.name}_stored"
    # n_dims, name_length, type and the first dimension stand before the second.
    instances[stored] = {"pos": f"{end} + 16", "type": "u4", "if": f"{layers} > 0"}
    instances[field.name] = {"value": f"{layers} > 0 ? {stored} : 0"}
    return instances


def _size(subcon: Any) -> int:
    size = fixed_size(subcon)
    if size is None:
        raise UnknownConstructError(subcon)
    return size


def optimizer_layout(field: Field, expressions: Expressions) -> Instances:
    """Return the instances that tell the layout of an optimizer context.

    Where the parameter count stands at both places by chance, the first is taken: no list of
    fields is followed to the end of the file as the schema does.
    """
    context: OptimizerContext = field.subcon
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
    others = [key for key in context.layouts if key not in context.parameter_count_offsets]
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
        if isinstance(field.subcon, Computed):
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


def _end(subcon: Any, start: str, expressions: Expressions) -> str:
    if isinstance(subcon, FormatField):
        return f"{start} + {subcon.length}"
    if isinstance(subcon, IfThenElse):
        condition = expressions.write(subcon.condfunc)
        yes = _end(subcon.thensubcon, start, expressions)
        no = _end(subcon.elsesubcon, start, expressions)
        return f"{condition} ? {yes} : {no}"
    if isinstance(subcon, Tensor):
        # Whole names: they were cut only by trainers older than any file in which this is needed.
        name = subcon.tensor_name.replace("{layer}", expressions.layer or "")
        header = 12 + 4 * len(subcon.shape) + len(name)
        aligned = f"({start} + {header + ALIGNMENT - 1}) / {ALIGNMENT} * {ALIGNMENT}"
        product = " * ".join(expressions.write(dimension, 5) for dimension in subcon.shape)
        return f"{aligned} + 4 * {product}" if product else aligned
    raise UnknownConstructError(subcon)
