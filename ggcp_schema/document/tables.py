"""The tables of the page: one for each struct, read off its fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from construct import Computed, IfThenElse, Switch
from construct.core import FormatField

from ggcp_schema.document.expressions import path_of, tree
from ggcp_schema.document.page import Block, Heading, Paragraph, Table
from ggcp_schema.document.walk import (
    FOUND_OUT,
    NUMBER_TYPES,
    UnknownConstructError,
    alternatives,
    fixed_size,
    offsets,
    struct_name,
    text,
)
from ggcp_schema.language.checks import Check
from ggcp_schema.language.fields import Field, Struct
from ggcp_schema.language.runs import AlignTo, Bytes, End, Repeated, Signature
from ggcp_schema.optimizer import OptimizerContext
from ggcp_schema.tensor import BeginningOf, Dimensions, Tensor, TensorData

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
    size = fixed_size(struct)
    words = prose(struct.docs) + (f" {size} bytes." if size is not None else "")
    return [
        Heading(level, name),
        Paragraph(words),
        Table(HEADER, tuple(_rows(struct, "", 0))),
    ]


def _rows(struct: Struct, prefix: str, start: int | None) -> Iterator[tuple[str, ...]]:
    for field, relative in zip(struct.subcons, offsets(struct), strict=True):
        offset = None if start is None or relative is None else start + relative
        name = f"{prefix}{field.name}"
        inline = isinstance(field.subcon, Struct) and struct_name(field.subcon) is None
        if isinstance(field.subcon, (Computed, *FOUND_OUT)):
            place = NO_PLACE
        else:
            place = "" if offset is None else str(offset)
        yield (
            place,
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


def type_of(subcon: Any) -> str:
    """Return what stands in a place: a number, bytes, a struct or a choice of them."""
    if isinstance(subcon, FormatField):
        return NUMBER_TYPES[subcon.fmtstr[1:]]
    if isinstance(subcon, Struct):
        return link(subcon)
    if isinstance(subcon, Tensor):
        return _tensor(subcon)
    if isinstance(subcon, Repeated):
        return f"`{text(subcon.count)}` × {type_of(subcon.subcon)}, one after the other"
    if isinstance(subcon, IfThenElse):
        cases = ((f"`{text(subcon.condfunc)}`", subcon.thensubcon), ("", subcon.elsesubcon))
        return "; ".join(
            f"if {case}: {type_of(inner)}" if case else f"else: {type_of(inner)}"
            for case, inner in cases
        )
    if isinstance(subcon, Switch):
        cases_ = "; ".join(f"{case.label}: {type_of(case.subcon)}" for case in alternatives(subcon))
        return f"by `{text(subcon.keyfunc)}`: {cases_}"
    if isinstance(subcon, OptimizerContext):
        return "; ".join(f"{case.label}: {type_of(case.subcon)}" for case in alternatives(subcon))
    return _bytes(subcon)


def _bytes(subcon: Any) -> str:
    if isinstance(subcon, Signature):
        return f"{len(subcon.signature)} bytes"
    if isinstance(subcon, Bytes):
        length = subcon.length
        return f"{length} bytes" if isinstance(length, int) else f"`{text(length)}` bytes"
    if isinstance(subcon, AlignTo):
        return f"0 to {subcon.alignment - 1} bytes"
    if isinstance(subcon, Dimensions):
        return f"`{text(subcon.count)}` × u32"
    if isinstance(subcon, TensorData):
        return f"f32 × the product of `{text(subcon.shape)}`; none where n_dims is 0"
    if isinstance(subcon, (Computed, *FOUND_OUT)):
        return "not stored"
    if isinstance(subcon, End):
        return "the end of the file"
    raise UnknownConstructError(subcon)


def _tensor(tensor: Tensor) -> str:
    if not tensor.shape:
        return "[the empty record](#empty-records)"
    name = f'named `"{tensor.tensor_name}"`' if tensor.tensor_name else "without a name"
    return f"[tensor](#tensorrecord) `{text(tensor.shape)}` {name}"


def _demands(field: Field) -> Iterator[str]:
    subcon = field.subcon
    if isinstance(subcon, Signature):
        octets = subcon.signature.hex(" ")
        yield f'`"{subcon.signature.decode("ascii")}"` (`{octets}`)'
    if isinstance(subcon, Computed):
        yield f"= `{text(subcon.func)}`"
    if isinstance(subcon, (OptimizerContext, *FOUND_OUT)):
        yield f"see [{VARIANTS}](#{Heading(2, VARIANTS).anchor})"
    if isinstance(subcon, AlignTo):
        yield "any value"
    if field.derived is not None:
        path = path_of(tree(field.derived)) or ()
        of_file = f"the file's {path[2]}: " if path[1:2] == ("_root",) else ""
        yield f"{of_file}`{text(field.derived, field.name)}`"
    for check in field.checks:
        yield _check(check, field.name)


def _check(check: Check, own: str) -> str:
    if isinstance(check.expression, BeginningOf):
        whole = text(check.expression.whole, own)
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
