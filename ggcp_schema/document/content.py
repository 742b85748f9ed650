"""What the page says, in the order in which a reader needs it; all of it read off the schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from ggcp_schema.checkpoint import CHECKPOINT_FILE
from ggcp_schema.document.example import EXAMPLES, dump
from ggcp_schema.document.markdown import markdown
from ggcp_schema.document.page import (
    Block,
    Box,
    Bullets,
    Heading,
    Paragraph,
    Picture,
    Table,
)
from ggcp_schema.document.tables import (
    NO_PLACE,
    PAIR,
    VARIANTS,
    cases_of,
    link,
    prose,
    struct_blocks,
)
from ggcp_schema.document.walk import alternatives, name_of_case, struct_name, structs, text
from ggcp_schema.foreign import SIGNATURES, Kind
from ggcp_schema.history import BRANCHES, MASTER, NAMES_WHOLE_SINCE, SCALE, TRAINERS, dated
from ggcp_schema.language.fields import Field, Struct
from ggcp_schema.language.runs import Repeated
from ggcp_schema.magicless import FIRST_NAME_OFFSET, HEAD_LENGTH, MagiclessCheckpoint
from ggcp_schema.order import EVIDENCE, HALVES, ORDERS, Direction, PerLayer
from ggcp_schema.tensor import ALIGNMENT, SHORTEST_CUT_NAME, Tensor, TensorRecord
from ggcp_schema.variants import LookAhead, TypeByRecords

_NOTATION = (
    "All numbers are little-endian. `u8`, `u32` are unsigned, `i32`, `i64` signed (two's "
    "complement), `f32` is an IEEE 754 float.",
    "The fields of a struct follow each other without a gap, in the order of its table. An offset "
    "in a table counts from the start of the struct; where there is none, it depends on the file. "
    "Every field lies inside the file: one that ends before the last field does is damaged, "
    "reject it.",
    "`Type` says what stands in the file. A struct is a link to its own table. A `" + PAIR + "` is "
    "two tensors, one after the other, which have the next two rows of the same table: `x.a` and "
    f"`x.b`. A field that is not stored (offset `{NO_PLACE}`) takes no bytes: it is a name for a "
    "value that other fields need. `= …` is that value, or it says where to look it up.",
    "`Must be` holds for every good file: the value itself, or a condition, first in words and "
    "after the colon as an expression. Reject a file that breaks it: it is damaged, or not what "
    "it says it is. Where it is empty, any value is legal: also NaN and infinity, and a bool or "
    "an enum that `Meaning` does not list.",
    "Expressions are about exact integers: nothing is cut to 32 or 64 bits on the way. `div` is "
    "integer division, `%` its remainder, both of numbers that are never negative; `[a, b]` is a "
    "list. Parentheses stand wherever the order of operators could be in doubt. `/` stands in "
    "words only, for a division without remainder. A dimension is a u32, so `nx`, which is one, "
    "is less than 2 to the power of 32.",
    "In expressions and shapes, the sizes of the whole file go by their names in the column `C "
    "name` (`n_embd` is `embedding_length`, `nx` is `parameter_count` of the file, `n_rank_wq` is "
    "`wq` of the ranks), everything else by the name of a field: of the same struct, or where it "
    "has none of that name, of the struct around it.",
    "`{layer}` in a tensor's name is the number of the layer, from 0, in decimal digits without "
    "leading zeros.",
    "Shapes are written as in the file, the fastest-varying dimension first (ggml's `ne`): a "
    "matrix `[n_embd, n_vocab]` has n_vocab rows of n_embd consecutive elements, and NumPy calls "
    "it (n_vocab, n_embd).",
)

_HEADER = TensorRecord.offsets()["shape"]

_TENSORS = (
    f"The data of a tensor begin at a multiple of {ALIGNMENT} **of the file**, not of the record: "
    f"behind the name, at `offset`, stand `({ALIGNMENT} - (offset % {ALIGNMENT})) % {ALIGNMENT}` "
    "bytes of padding, none where the offset is a multiple already. Behind the data there is no "
    "padding: the next record starts right there, and so does everything else, at any offset.",
    'Where a table says `tensor [a, b] named "x"`, a record of this kind stands. Its '
    "`expected_shape` is `[a, b]`, its `expected_name` is `x` in ASCII (empty where the table says "
    "`without a name`).",
    f"A name is as a rule exactly the expected one. Trainers before {dated(NAMES_WHOLE_SINCE)} cut "
    f"names off at {SHORTEST_CUT_NAME} bytes; from layer 10 on the longest have "
    f"{SHORTEST_CUT_NAME + 1}, so only there it shows. A reader accepts any beginning of the "
    f"expected name from {SHORTEST_CUT_NAME} bytes on, on purpose: wherever a "
    f"writer's limit was, and also in "
    "lcgg, whose writers' limits (48, then 64) cut no name. Go by `name_length`, and tell tensors "
    "by their place in the file, not by their name.",
    f"A record at `offset` has its data at `offset + {_HEADER} + 4 * n_dims + name_length`, "
    f"rounded up to a multiple of {ALIGNMENT}, and ends behind them. That is how to step over "
    "records whose shapes are known, to look ahead or to see where a structure would end.",
    "The writer seeks over the padding, which leaves zeros; accept any bytes.",
    "A dimension may be 0 (a LoRA rank, the memory of L-BFGS): the product is 0, and there are no "
    "data.",
)


def contents() -> Iterator[Block]:
    """Yield the whole page."""
    kinds = tuple(CHECKPOINT_FILE.cases.items())
    yield Heading(1, "The checkpoints of llama.cpp before GGUF")
    yield Paragraph(
        "Generated by `ggcp document` from the structs in `ggcp_schema`; change those, not this "
        "page. It is meant to be enough to write a parser in any language."
    )
    yield Heading(2, "How to read this page")
    rest = tuple(_after_notation(kinds))
    yield Bullets((*_NOTATION, dates(commits_in(markdown(rest)))))
    yield from rest


def commits_in(text: str) -> set[str]:
    """Return the commits that a text names."""
    return set(re.findall(r"\b(?=[a-f]*[0-9])[0-9a-f]{9}\b", text))


def dates(commits: set[str]) -> str:
    """Return commits with their dates, in the order of time, as a sentence.

    Raises:
        LookupError: the date of one of them is not known.
    """
    unknown = commits - {*MASTER, *BRANCHES}
    if unknown:
        raise LookupError(", ".join(sorted(unknown)))
    master, branches = (
        ", ".join(f"{commit} {date}" for commit, date in known.items() if commit in commits)
        for known in (MASTER, BRANCHES)
    )
    return (
        f"Words such as e32089b2c are commits of llama.cpp. On its master branch: {master}. On "
        f"the branches where the trainers were developed: {branches} (those of July were written "
        "from June on)."
    )


def _after_notation(kinds: tuple[tuple[bytes, Struct], ...]) -> Iterator[Block]:
    yield from _first_bytes(kinds)
    yield Heading(2, "The file at a glance")
    drawn: set[str] = set()
    for _, root in kinds:
        yield Paragraph(link(root))
        yield Picture(tuple(_boxes(root, drawn)))
    yield Heading(2, "Tensors")
    yield from _tensors()
    shown = {id(TensorRecord)}
    for magic, root in kinds:
        of = f"of {magic.decode('ascii')}" if magic else "of a file without a magic"
        yield Heading(2, f"The structs {of}")
        for struct in structs(root):
            if struct_name(struct) and id(struct) not in shown:
                shown.add(id(struct))
                yield from struct_blocks(struct, 3)
    yield Heading(2, VARIANTS)
    yield _variants()
    yield from _orders()
    yield from _examples()


def _first_bytes(kinds: tuple[tuple[bytes, Struct], ...]) -> Iterator[Block]:
    yield Heading(2, "What the first bytes say")
    described = {magic: root for magic, root in kinds if magic}
    rows = [
        (f"`{_octets(magic)}`", _printed(magic), link(root)) for magic, root in described.items()
    ]
    rows += [
        (f"`{_octets(magic)}`", _printed(magic), _foreign(kind))
        for magic, kind in SIGNATURES.items()
        if magic not in described
    ]
    yield Table(("Bytes", "As text", "The file is"), tuple(rows))
    yield Paragraph(
        f"Only the first {len(described)} are described here. A file whose bytes "
        f"{FIRST_NAME_OFFSET} to {HEAD_LENGTH - 1} are `tok_embeddings.weight` has no magic: its "
        "first record stands "
        f"where a {link(MagiclessCheckpoint)} has it, which is described here too. Look at that "
        "first: the first field of such a file is a count, of any value. Everything else is no "
        "checkpoint that this page is about."
    )


def _foreign(kind: Kind) -> str:
    """Say what a file is and what to do; of a GGUF for each of its kinds, in their order."""
    if kind is Kind.GGUF:
        kinds = [member for member in Kind if member.name.startswith("GGUF_")]
        return f"A GGUF: {'. Or '.join(f'{member.what}; {member.hint}' for member in kinds)}."
    return f"{kind.what[0].upper()}{kind.what[1:]}; {kind.hint}."


def _octets(magic: bytes) -> str:
    return magic.hex(" ")


def _printed(magic: bytes) -> str:
    words = magic.decode("latin-1")
    return f"`{words}`" if words.isascii() and words.isprintable() else ""


def _tensors() -> Iterator[Block]:
    yield from struct_blocks(TensorRecord, 3)
    yield Heading(3, "Alignment, names, padding")
    yield Bullets(_TENSORS)
    yield Heading(3, "Empty records")
    yield Paragraph(
        "A tensor that does not exist still has a record. Its `expected_shape` is `[]`, its "
        "`expected_name` is empty: so `n_dims`, `name_length` and `type` are 0, no shape and no "
        "name follow, then the padding as always, and no data. (The product of no dimensions is "
        "1, but there is not one element.)"
    )


def _boxes(struct: Struct, drawn: set[str]) -> Iterator[Box]:
    """Yield a box for each stored field of the outermost struct."""
    offsets = struct.offsets()
    for field in struct.subcons:
        if field.subcon.stored:
            yield _box(field, drawn, str(offsets.get(field.name, "")))


def _box(field: Field, drawn: set[str], offset: str = "") -> Box:
    words = field.name
    if isinstance(field.subcon, Repeated):
        words += f" × {text(field.subcon.count)}"
    return Box(offset, words, _bytes(field.subcon.size), tuple(_inner(field.subcon, drawn)))


def _bytes(size: int | None) -> str:
    return f"{size} bytes" if size else ""


def _inner(subcon: Any, drawn: set[str]) -> Iterator[Box]:
    """Yield what a part consists of: its parts or its alternatives, each of these once only."""
    if isinstance(subcon, Repeated):
        yield from _inner(subcon.subcon, drawn)
        return
    for case in alternatives(subcon):
        name = struct_name(case.construct) or ""
        inner: tuple[Box, ...] = ()
        words = f"{case.label}: {name}"
        if name in drawn:
            words += ", as above"
        elif case.construct.size is None:
            drawn.add(name)
            inner = tuple(_inner(case.construct, drawn))
        yield Box("", words, _bytes(case.construct.size), inner, dashed=True)
    if isinstance(subcon, Struct) and subcon.size is None:
        for kind, group in groupby(subcon.subcons, key=_kind):
            fields = [f for f in group if f.subcon.stored]
            if kind == "other":
                yield from (_box(field, drawn) for field in fields)
            elif fields:
                total = sum(field.subcon.size or 0 for field in fields)
                names = ", ".join(field.name for field in fields)
                yield Box("", names, _bytes(total) if kind == "numbers" else kind)


def _kind(field: Field) -> str:
    """Return how a field is drawn: neighbours of one kind share a box."""
    subcon = field.subcon
    if subcon.size is not None:
        return "numbers"
    if any(isinstance(candidate, Tensor) for candidate in (subcon, *subcon.cases.values())):
        return "tensors"
    if isinstance(subcon, Struct) and struct_name(subcon) is None:
        return "pairs of tensors"
    return "other"


def _variants() -> Table:
    rows: dict[tuple[str, ...], list[str]] = {}
    for struct in structs():
        name = struct_name(struct)
        for field in struct.subcons if name else ():
            construct = field.subcon
            if isinstance(construct, TypeByRecords):
                cases = "; ".join(map(name_of_case, construct.states))
            elif construct.cases or isinstance(construct, LookAhead):
                cases = cases_of(construct)
            else:
                continue
            how = "".join(f"`{text(selector)}`" for selector in construct.expressions)
            row = (f"`{field.name}`", cases, how or prose(construct.docs))
            rows.setdefault(row, []).append(link(struct))
    layouts = "; ".join(
        f"{_printed(magic) or 'none'}: {link(root)}"
        for magic, root in CHECKPOINT_FILE.cases.items()
    )
    first = ("the file", "", layouts, "the first four bytes, or the name of the first record")
    others = ((", ".join(places), *row) for row, places in rows.items())
    return Table(("Struct", "Field", "May be", "Selected by"), (first, *others))


def _orders() -> Iterator[Block]:
    yield Heading(2, "The order of the parameters in the optimizer's vectors")
    yield Paragraph(
        "A vector of `nx` elements in the optimizer's state holds one value for each parameter of "
        "the model, tensor after tensor, each tensor's elements as in the model. The tensors do "
        "not come in the order of the file but in that in which the training graph met them, which "
        "is not stored. Reading a file does not need the order; making sense of the moments does. "
        "There are four:"
    )
    rows = []
    for order, groups in ORDERS.items():
        rows.append((f"`{order.value}`", "; then ".join(map(_group, groups))))
    yield Table(("Order", "Tensors, by their path in the model"), tuple(rows))
    straight, swapped = (
        " and ".join(f"`{order.value}`" for order, halves in HALVES.items() if halves == wanted)
        for wanted in (("a", "b"), ("b", "a"))
    )
    yield Paragraph(
        f"In a LoRA checkpoint each tensor stands for its pair: A, B in {straight}; B, A in "
        f"{swapped}."
    )
    yield Paragraph(
        "Without layers (n_layer 0) `flash` and `plain` are the same, and so are `scratch` and "
        "`flash-rtl`. Which trainer writes and expects which order (those with GGUF do not write "
        "the files of this page; they go on from converted ones, which must be in their order):"
    )
    yield Table(
        ("Trainer", "Order"),
        tuple(
            (name, "; ".join(f"`{order.value}` ({how})" for order, how in options.items()))
            for name, options in TRAINERS
        ),
    )
    yield Paragraph("What tells the order of a file, the surest sign first:")
    yield Table(("Where there is", "Then"), EVIDENCE)
    yield Paragraph(SCALE)


def _group(group: str | PerLayer) -> str:
    if isinstance(group, str):
        return f"`{group}`"
    up = group.direction is Direction.UP
    layers = "i = 0, 1, … n_layer - 1" if up else "i = n_layer - 1, … 1, 0"
    return f"for {layers}: " + ", ".join(f"`layers[i].{path}`" for path in group.paths)


def _examples() -> Iterator[Block]:
    yield Heading(2, "Examples, byte by byte")
    yield Paragraph(
        "Synthetic checkpoints written by the schema. Each line holds up to 16 bytes of one "
        "field; of longer data only the beginning is shown. The offsets are those of the file, in "
        "hexadecimal. `…` stands for fields that are left out."
    )
    for example in EXAMPLES:
        yield Heading(3, example.title)
        yield Paragraph(example.words)
        yield dump(example)
