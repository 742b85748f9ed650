"""The LoRA adapter of 2023 and 2024: two numbers, then records to the end of the file.

llama.cpp, examples/finetune: save_as_llama_lora (2023-08-16 to July 2024), and
convert-lora-to-ggml.py (April 2023 to May 2024), which made one of an adapter of PEFT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from construct import ListContainer, Subconstruct, this

from ggcp_schema.language.checks import DAMAGED, Check, one_of, shown, value
from ggcp_schema.language.constructs import Described, Member
from ggcp_schema.language.errors import FormatError
from ggcp_schema.language.fields import U32, Struct, derived, field
from ggcp_schema.language.runs import AlignTo, Bytes, Shape, Signature
from ggcp_schema.tensor import ALIGNMENT, F32_TYPE, LONGEST_NAME, UNKNOWN_NAME, TensorData

MOST_RECORDS = 1 << 14
"""Records that are read; finetune wrote 18 for each of at most 256 layers, and 6."""

F16_TYPE = 1
"""GGML_TYPE_F16, the other type that may stand here."""


class ToTheEnd(Described, Subconstruct):  # type: ignore[misc]
    """The same again and again until the file ends, ``most`` times at most."""

    def __init__(self, subcon: Any, most: int) -> None:
        super().__init__(subcon)
        self.most = most
        self.children = (subcon,)

    def members(self, value: Any) -> list[Member]:
        """Return the entries."""
        return [Member(f"[{index}]", self.subcon, item) for index, item in enumerate(value)]

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        items = ListContainer()
        try:
            while (offset := stream.tell()) < stream.size:
                if len(items) == self.most:
                    raise FormatError(
                        offset=offset,
                        expected=f"the end of the file behind {self.most} entries",
                        found=f"{stream.size - offset} bytes more",
                        hint=DAMAGED,
                    )
                items.append(self.subcon._parse(stream, context, path))
        except FormatError as error:
            if error.partial is not None:
                error.within(f"[{len(items)}]")
                items.append(error.partial)
            error.partial = items
            raise
        return items

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        for index, item in enumerate(obj):
            try:
                self.subcon._build(item, stream, context, path)
            except FormatError as error:
                error.within(f"[{index}]")
                raise
        return obj


class _Record(Struct):
    """A record that says itself what its name and shape are; building counts both."""

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        if isinstance(obj, Mapping) and {"shape", "name"} <= {*obj}:
            obj = {**obj, "n_dims": len(obj["shape"]), "name_length": len(obj["name"])}
        return super()._build(obj, stream, context, path)


# fmt: off
AdapterRecord = _Record(
    field("n_dims", U32,
        "n_dims", "Number of dimensions; 2, and from cafcd4f89 on 1 for B of a norm.",
        one_of((1, 2), "1 or 2")),
    field("name_length", U32,
        "name_len", "Bytes in the name.",
        Check((value > 0) & (value <= LONGEST_NAME), f"from 1 to {LONGEST_NAME}")),
    field("type", U32,
        "type", "Type of the elements: F32, or F16 where convert-lora-to-ggml.py found that.",
        one_of((F32_TYPE, F16_TYPE), "0 (F32) or 1 (F16)")),
    field("shape", Shape(this.n_dims),
        "ne", "Rank, then the length of the changed tensor's first (A) or second (B) dimension."),
    field("name", Bytes(this.name_length),
        "name", "The changed tensor's name, and .loraA or .loraB; without a NUL."),
    field("padding", AlignTo(ALIGNMENT),
        "(seek)", "Zeros up to the next multiple of 32 of the absolute offset in the file."),
    field("data", TensorData(this.shape, 4 - 2 * this.type),
        "data", "The elements. The next record starts right behind them."),
    docs="Half of the change of a tensor. The same record as in a checkpoint, but it says itself "
        "what it is: nothing before it in the file does.",
)


class _Adapter(Struct):
    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        found = super()._parse(stream, context, path)
        try:
            pairs_of(found["tensors"])
        except FormatError as error:
            error.partial = found
            raise
        return found


LoraAdapter = _Adapter(
    field("magic", Signature(b"algg"),
        "magic", "The u32 'ggla', low byte first."),
    derived("version", U32, 1,
        "version", "Version of the file; there was no other."),
    field("lora_r", U32,
        "lora_r", "Divides the changes; the rank of a pair is what its records say.",
        Check(value > 0, "at least 1")),
    field("lora_alpha", U32,
        "lora_alpha", "Multiplies the changes."),
    field("tensors", ToTheEnd(AdapterRecord, MOST_RECORDS),
        "-", "The records, two for each tensor that changes, in any order."),
    docs="A LoRA adapter, without any training state. llama.cpp, examples/finetune: "
        "save_as_llama_lora, 2023-08-16 to July 2024; convert-lora-to-ggml.py, April 2023 to May "
        "2024. A tensor changes by lora_alpha / lora_r times the product of its pair, at index i "
        "of its first and j of its second dimension the sum over r of A[r, i]·B[r, j]; the factor "
        "is the same for all pairs, whatever their ranks, norms included. A name is that of a "
        "tensor of the model, as in a checkpoint (`layers.0.attention.wq.weight`) or as in GGUF "
        "(`blk.0.attn_q.weight`), followed by `.loraA` or `.loraB`. Both halves are there, once, "
        "and have the same rank. Some tensors may be missing. Sizes of the model follow from the "
        "shapes, which must agree. q and k of finetune are those of the trainer; those of "
        "convert-lora-to-ggml.py are as PEFT has them.",
)
# fmt: on

_GGUF_NAMES = {
    "tok_embeddings": "token_embd",
    "norm": "output_norm",
    "output": "output",
    "attention_norm": "attn_norm",
    "attention.wq": "attn_q",
    "attention.wk": "attn_k",
    "attention.wv": "attn_v",
    "attention.wo": "attn_output",
    "ffn_norm": "ffn_norm",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down",
    "feed_forward.w3": "ffn_up",
}
_KINDS = {name: kind for kind, gguf in _GGUF_NAMES.items() for name in (kind, gguf)}
_OUTSIDE_LAYERS = ("tok_embeddings", "norm", "output")
_NAME = re.compile(r"(?:(?:layers|blk)\.(0|[1-9]\d{0,4})\.)?([a-z0-9_.]+)\.weight\.lora([AB])")

_LAYER = re.compile(r"layers\[(\d+)\]")

_SIDES = {
    "tok_embeddings": ("embedding_length", "vocabulary_size"),
    "output": ("embedding_length", "vocabulary_size"),
    "attention.wq": ("embedding_length", "embedding_length"),
    "attention.wk": ("embedding_length", ""),  # shorter with grouped queries
    "attention.wv": ("embedding_length", ""),
    "attention.wo": ("embedding_length", "embedding_length"),
    "feed_forward.w1": ("embedding_length", "feed_forward_length"),
    "feed_forward.w2": ("feed_forward_length", "embedding_length"),
    "feed_forward.w3": ("embedding_length", "feed_forward_length"),
}
"""Which size of the model the second dimension of A and that of B is; norms have other rules."""


class AdapterPair(NamedTuple):
    """The records of the two halves of a pair."""

    a: Mapping[str, Any]
    b: Mapping[str, Any]


class Pairs(NamedTuple):
    """All that an adapter changes.

    Attributes:
        pairs: by the path of the tensor that each changes, in the order of the file.
        sizes: of the model, by the names of the schema, as far as shapes and names tell them.
    """

    pairs: dict[str, AdapterPair]
    sizes: dict[str, int]

    @property
    def complete(self) -> bool:
        """Whether all tensors of a model change, as finetune has it."""
        layers = self.sizes["block_count"]
        return len(self.pairs) == 3 + (len(_GGUF_NAMES) - 3) * layers


def path_of(name: bytes) -> tuple[str, str] | None:
    """Return where a record belongs, by its name; None for a name that is unknown.

    Returns:
        The path in the model of the tensor that it changes, such as ``layers[0].attention.wq``, and
        ``a`` or ``b``.
    """
    found = _NAME.fullmatch(name.decode("ascii", "replace"))
    kind = _KINDS.get(found[2]) if found else None
    if found is None or kind is None or (found[1] is None) != (kind in _OUTSIDE_LAYERS):
        return None
    layer = "" if found[1] is None else f"layers[{found[1]}]."
    return f"{layer}{kind}", found[3].lower()


def name_of(path: str, *, gguf: bool) -> bytes:
    """Return the name of a record.

    Args:
        path: where it belongs, such as ``layers[0].attention.wq.a``.
        gguf: whether the tensor has the name that it has in a GGUF, or that of a checkpoint.
    """
    tensor, _, half = path.rpartition(".")
    layer = _LAYER.match(tensor)
    kind = tensor.partition("].")[2] if layer else tensor
    name = _GGUF_NAMES[kind] if gguf else kind
    if layer:
        name = f"{'blk' if gguf else 'layers'}.{layer[1]}.{name}"
    return f"{name}.weight.lora{half.upper()}".encode()


def pairs_of(tensors: Sequence[Mapping[str, Any]]) -> Pairs:
    """Return the pairs of an adapter.

    Raises:
        FormatError: a name is unknown, a half is missing or there twice, or shapes contradict each
            other.
    """
    halves: dict[str, dict[str, tuple[int, Mapping[str, Any]]]] = {}
    for index, record in enumerate(tensors):
        place = path_of(record["name"])
        if place is None:
            wanted = "the name of a tensor of LLaMA, then .loraA or .loraB"
            raise _wrong(index, record, "name", wanted, shown(record["name"]), UNKNOWN_NAME)
        tensor, half = place
        if half in halves.setdefault(tensor, {}):
            raise _wrong(index, record, "name", "each name once", shown(record["name"]))
        halves[tensor][half] = (index, record)
    if not halves:
        raise FormatError(
            path="tensors", expected="at least one pair", found="no record", hint=DAMAGED
        )
    sizes: dict[str, int] = {}
    for tensor, both in halves.items():
        if len(both) == 1:
            ((index, record),) = both.values()
            raise _wrong(index, record, "name", "both halves", f"{shown(record['name'])} alone")
        for half in ("a", "b"):
            _require_shape(tensor, half, both[half], both["a"][1]["shape"][0], sizes)
    layers = [int(found[1]) for found in map(_LAYER.match, halves) if found]
    sizes["block_count"] = max(layers, default=-1) + 1
    pairs = {path: AdapterPair(both["a"][1], both["b"][1]) for path, both in halves.items()}
    return Pairs(pairs, sizes)


def _require_shape(
    tensor: str, half: str, entry: tuple[int, Mapping[str, Any]], rank: int, sizes: dict[str, int]
) -> None:
    """Make sure that a record has the shape that others demand; note the sizes that it says."""
    index, record = entry
    shape = record["shape"]
    norm = tensor.endswith("norm")
    if norm and half == "b":
        wanted: tuple[int, ...] = shape if shape == (rank,) else (rank, 1)
    else:
        sides = ("embedding_length", "") if norm else _SIDES[tensor.partition("].")[2] or tensor]
        size = sides[half == "b"]
        length = shape[1] if len(shape) == 2 else 0
        wanted = (rank, sizes.setdefault(size, length) if size else length)
    if shape != wanted or 0 in shape[1:]:
        words = f"{shown(wanted)}, by the records before it"
        raise _wrong(index, record, "shape", words, shown(shape))


def _wrong(
    index: int,
    record: Mapping[str, Any],
    member: str,
    expected: str,
    found: str,
    hint: str = DAMAGED,
) -> FormatError:
    offset = record["data"].offset - len(record["padding"]) - record["name_length"]
    return FormatError(
        path=f"tensors[{index}].{member}",
        offset=offset - 4 * record["n_dims"] * (member == "shape"),
        expected=expected,
        found=found,
        hint=hint,
    )
