"""The tables of the page: one for each struct, read off its fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ggcp_schema.document.expressions import path_of, tree
from ggcp_schema.document.page import Block, Heading, Paragraph, Table
from ggcp_schema.document.walk import alternatives, entry_for, struct_name, text
from ggcp_schema.ggla import ToTheEnd
from ggcp_schema.language.checks import Check
from ggcp_schema.language.constructs import Computed, IfThenElse, Switch
from ggcp_schema.language.fields import Field, Number, Struct
from ggcp_schema.language.runs import AlignTo, Bytes, End, Repeated, Shape, Signature
from ggcp_schema.tensor import BeginningOf, Tensor, TensorData
from ggcp_schema.variants import LayoutByParameterCount, LookAhead

VARIANTS = "Variants and what selects them"
"""The heading under which it is said how to find out what is not stored."""

HEADER = ("Offset", "Field", "Type", "C name", "Meaning", "Must be")

NO_PLACE = "–"
"""Stands for the offset of what is not stored."""

PAIR = "pair"
"""The type of two tensors, of which each has a row of its own."""


def struct_blocks(struct: Struct, level: int) -> list[Block]:
    """Return heading, introduction and table of a struct that has a name."""
    name = struct_name(struct)
    if name is None:
        raise LookupError("a struct without a name has no blocks of its own")
    words = prose(struct.docs) + (f" {struct.size} bytes." if struct.size is not None else "")
    return [
        Heading(level, name),
        Paragraph(words),
        Table(HEADER, tuple(_rows(struct, "", 0))),
    ]


def _rows(struct: Struct, prefix: str, start: int | None) -> Iterator[tuple[str, ...]]:
    offsets = struct.offsets()
    for field in struct.subcons:
        relative = offsets.get(field.name)
        offset = None if start is None or relative is None else start + relative
        name = f"{prefix}{field.name}"
        inline = isinstance(field.subcon, Struct) and struct_name(field.subcon) is None
        place = "" if offset is None else str(offset)
        yield (
            place if field.subcon.stored else NO_PLACE,
            f"`{name}`",
            PAIR if inline else type_of(field.subcon),
            "" if field.c_name == "-" else f"`{field.c_name}`",
            prose(field.docs),
            "; ".join(_demands(field)),
        )
        if inline:
            yield from _rows(field.subcon, f"{name}.", offset)


def link(struct: Struct) -> str:
    """Return a link to the section of a struct."""
    name = struct_name(struct)
    return f"[{name}](#{Heading(1, name or '').anchor})"


def type_of(construct: Any) -> str:
    """Return what stands in a place: a number, bytes, a struct or a choice of them."""
    return entry_for(_TYPES, construct)(construct)


def _tensor(tensor: Tensor) -> str:
    if not tensor.shape:
        return "[the empty record](#empty-records)"
    name = f'named `"{tensor.tensor_name}"`' if tensor.tensor_name else "without a name"
    for family, other in (tensor.other_names or {}).items():
        name += f'; where the file\'s `names` is `{family.value}`, `"{other}"`'
    return f"[tensor](#tensorrecord) `{text(tensor.shape)}` {name}"


def cases_of(construct: Any) -> str:
    """Return what may stand in a place, and in which case; empty where there is no choice."""
    return "; ".join(f"{case.label}: {type_of(case.construct)}" for case in alternatives(construct))


def _if(choice: IfThenElse) -> str:
    then, otherwise = map(type_of, choice.children)
    return f"if `{text(choice.condfunc)}`: {then}; else: {otherwise}"


def _bytes(run: Bytes) -> str:
    return f"{run.size} bytes" if run.size is not None else f"`{text(run.length)}` bytes"


def _data(data: TensorData) -> str:
    if data.element_bytes != 4:
        return f"f32, or f16 where type is 1, × the product of `{text(data.shape)}`"
    return f"f32 × the product of `{text(data.shape)}`; none where n_dims is 0"


def _not_stored(construct: Any) -> str:
    return "not stored"


_TYPES: dict[type, Callable[[Any], str]] = {
    Number: lambda number: number.type_name,
    Signature: lambda signature: f"{signature.size} bytes",
    Bytes: _bytes,
    AlignTo: lambda padding: f"0 to {padding.alignment - 1} bytes",
    Shape: lambda shape: f"`{text(shape.count)}` × u32",
    TensorData: _data,
    End: lambda end: "the end of the file",
    Computed: _not_stored,
    LookAhead: _not_stored,
    Struct: link,
    Tensor: _tensor,
    Repeated: lambda many: f"`{text(many.count)}` × {type_of(many.subcon)}, one after the other",
    ToTheEnd: lambda many: f"{type_of(many.subcon)}, one after the other, to the end of the file",
    IfThenElse: _if,
    Switch: lambda switch: f"by `{text(switch.keyfunc)}`: {cases_of(switch)}",
    LayoutByParameterCount: cases_of,
}
"""What is said to stand in a place, by the type of its construct."""

_DEMANDS: dict[type, Callable[[Any], str]] = {
    Signature: lambda construct: (
        f'`"{construct.signature.decode("ascii")}"` (`{construct.signature.hex(" ")}`)'
    ),
    Computed: lambda construct: f"= `{text(construct.func)}`",
    LookAhead: lambda construct: f"see [{VARIANTS}](#{Heading(2, VARIANTS).anchor})",
    AlignTo: lambda construct: "any value",
}
"""What must stand in a place because of the type of its construct."""


def _demands(field: Field) -> Iterator[str]:
    for kind, words in _DEMANDS.items():
        if isinstance(field.subcon, kind):
            yield words(field.subcon)
    if field.derived is not None:
        path = path_of(tree(field.derived)) or ()
        of_file = f"the file's {path[2]}: " if path[1:2] == ("_root",) else ""
        yield f"{of_file}`{text(field.derived, field.name)}`"
    for check in field.checks:
        yield _check(check, field.name)


def _check(check: Check, own: str) -> str:
    if isinstance(check.expression, BeginningOf):
        whole = text(check.expression.expressions[0], own)
        return f"`{own} == the first name_length bytes of {whole}`"
    expression = f"`{text(check.expression, own)}`"
    if callable(check.expected):
        return expression
    return f"{in_words(check.expected)}: {expression}"


def in_words(expected: str) -> str:
    """Return the words of a check, with the names of fields where a message has their values."""
    return re.sub(r"\{(\w+)\}(?: \(\1\))?", r"\1", expected)


def prose(docs: str) -> str:
    """Return a docstring's words with Markdown's marks for code."""
    return docs.replace("``", "`")
