"""LoRA adapters (ggla), against bytes written by hand and an independent reader."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import packed
from reference import checkpoint as reference

import ggcp_schema
from ggcp_schema import FormatError
from ggcp_schema.ggla import MOST_RECORDS, pairs_of, path_of
from ggcp_schema.synthetic import SyntheticAdapter

REAL = ["ggla_1a5f0a30e_lora.bin", "ggla_oct23_lora.bin", "ggla_jul24_lora_ranks.bin"]
DAMAGED = "the file is damaged, or not what its first bytes say; look for another copy"
CUT = "the file is cut short; look for a whole copy of it"

# As convert-lora-to-ggml.py wrote it: one matrix only, A in F16, no real file of which is at hand.
# fmt: off
PEFT = packed("""
"algg"                                        # @00 magic: the u32 'ggla', low byte first
01000000 02000000 04000000                    # version 1, lora_r 2, lora_alpha 4
02000000 22000000 01000000 02000000 04000000  # @10 n_dims 2, name_len 34, F16, ne 2 4
"layers.0.attention.wq.weight.loraA" 00*26    # @24 up to @60
003c 0040 0038 00bc 0000 003c 0044 00c0       # 1 2, 0.5 -1, 0 1, 4 -2
02000000 22000000 00000000 02000000 04000000  # @70 n_dims 2, name_len 34, F32, ne 2 4
"layers.0.attention.wq.weight.loraB" 00*26    # @84 up to @c0
0000803f 00000040 00000000 0000803f           # 1 2, 0 1
00004040 000080bf 0000003f 00000000           # 3 -1, 0.5 0, up to @e0
""")
# fmt: on


def parsed(data: bytes, *, partial: bool = False) -> ggcp_schema.Checkpoint:
    return ggcp_schema.parse(io.BytesIO(data), partial=partial)


def built(container: Any) -> bytes:
    file = io.BytesIO()
    ggcp_schema.build(container, file)
    return file.getvalue()


def replaced(offset: int, new: bytes) -> bytes:
    return PEFT[:offset] + new + PEFT[offset + len(new) :]


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def test_every_field_of_the_bytes_written_by_hand() -> None:
    adapter = parsed(PEFT)
    assert (adapter.magic, adapter.version, adapter.lora_r, adapter.lora_alpha) == (
        b"algg",
        1,
        2,
        4,
    )
    a, b = adapter.tensors
    assert (a.n_dims, a.name_length, a.type, a.shape) == (2, 34, 1, (2, 4))
    assert (b.n_dims, b.name_length, b.type, b.shape) == (2, 34, 0, (2, 4))
    assert a.name == b"layers.0.attention.wq.weight.loraA"
    assert (a.data.offset, a.data.length) == (0x60, 16)
    data = a.data.source.read_at(0x60, 16)
    assert np.frombuffer(data, "<f2").tolist() == [1, 2, 0.5, -1, 0, 1, 4, -2]
    assert b.data.array().tolist() == [[1, 2], [0, 1], [3, -1], [0.5, 0]]
    found = pairs_of(adapter.tensors)
    assert found.pairs == {"layers[0].attention.wq": (a, b)}
    assert found.sizes == {"embedding_length": 4, "block_count": 1}
    assert not found.complete
    assert built(adapter) == PEFT


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read_as_the_reference_reads_them(name: str, fixtures: Path) -> None:
    lora_r, lora_alpha, expected = reference.read_adapter(fixtures / name)
    with ggcp_schema.parse(fixtures / name) as adapter:
        assert (adapter.lora_r, adapter.lora_alpha) == (lora_r, lora_alpha)
        assert [r.data.array().tobytes() for r in adapter.tensors] == [
            tensor.tobytes() for tensor in expected.values()
        ]
        found = pairs_of(adapter.tensors)
        assert found.complete
        assert found.sizes == {
            "embedding_length": 32,
            "vocabulary_size": 300,
            "feed_forward_length": 96,
            "block_count": 2,
        }
        assert built(adapter) == (fixtures / name).read_bytes()


@st.composite
def recipes(draw: st.DrawFn) -> SyntheticAdapter:
    return SyntheticAdapter(
        vocabulary_size=draw(st.integers(1, 9)),
        embedding_length=2 * draw(st.integers(1, 4)),
        head_count=1,
        feed_forward_length=draw(st.integers(1, 30)),
        block_count=draw(st.integers(0, 12)),
        ranks=draw(
            st.integers(0, 5)
            | st.dictionaries(st.sampled_from(["wq", "norm", "w2"]), st.integers(0, 40))
        ),
        lora_r=draw(st.integers(1, 2**32 - 1)),
        lora_alpha=draw(st.integers(0, 2**32 - 1)),
        gguf_names=draw(st.booleans()),
        seed=draw(st.integers(0, 9)),
    )


@given(recipes())
@settings(max_examples=50, deadline=None)
def test_building_what_was_parsed_gives_the_same_bytes(recipe: SyntheticAdapter) -> None:
    file = io.BytesIO()
    recipe.write(file)
    adapter = parsed(file.getvalue())
    assert (adapter.lora_r, adapter.lora_alpha) == (recipe.lora_r, recipe.lora_alpha)
    assert len(adapter.tensors) == 6 + 18 * recipe.block_count
    assert pairs_of(adapter.tensors).sizes["block_count"] == recipe.block_count
    assert built(adapter) == file.getvalue()


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (b"tok_embeddings.weight.loraA", ("tok_embeddings", "a")),
        (b"output_norm.weight.loraB", ("norm", "b")),
        (b"layers.0.feed_forward.w2.weight.loraA", ("layers[0].feed_forward.w2", "a")),
        (b"blk.10.ffn_down.weight.loraB", ("layers[10].feed_forward.w2", "b")),
        (b"blk.01.ffn_down.weight.loraB", None),
        (b"blk.ffn_down.weight.loraB", None),
        (b"blk.0.output.weight.loraB", None),
        (b"blk.0.ffn_down.weight.loraC", None),
        (b"\xff.weight.loraA", None),
    ],
)
def test_where_a_record_belongs(name: bytes, place: tuple[str, str] | None) -> None:
    assert path_of(name) == place


DEFECTS = [
    (replaced(4, u32(2)), f"version at offset 0x4: expected 1, found 2; {DAMAGED}"),
    (replaced(8, u32(0)), f"lora_r at offset 0x8: expected at least 1, found 0; {DAMAGED}"),
    (
        replaced(16, u32(3)),
        f"tensors[0].n_dims at offset 0x10: expected 1 or 2, found 3; {DAMAGED}",
    ),
    (
        replaced(20, u32(65)),
        f"tensors[0].name_length at offset 0x14: expected from 1 to 64, found 65; {DAMAGED}",
    ),
    (
        replaced(24, u32(2)),
        f"tensors[0].type at offset 0x18: expected 0 (F32) or 1 (F16), found 2; {DAMAGED}",
    ),
    (
        replaced(36, b"l4yers"),
        "tensors[0].name at offset 0x24: expected the name of a tensor of LLaMA, then .loraA or "
        ".loraB, found 'l4yers.0.attention.wq.weight.loraA'; its name is unknown, which does not "
        "say that the file is damaged; open an issue at the project and attach the file",
    ),
    (
        replaced(0x84 + 33, b"A"),
        "tensors[1].name at offset 0x84: expected each name once, found "
        f"'layers.0.attention.wq.weight.loraA'; {DAMAGED}",
    ),
    (
        PEFT[:0x70],
        "tensors[0].name at offset 0x24: expected both halves, found "
        f"'layers.0.attention.wq.weight.loraA' alone; {DAMAGED}",
    ),
    (PEFT[:0x10], f"tensors: expected at least one pair, found no record; {DAMAGED}"),
    (
        replaced(0x7C, u32(4) + u32(2)),
        "tensors[1].shape at offset 0x7c: expected [2, 4], by the records before it, found [4, 2]; "
        f"{DAMAGED}",
    ),
    (
        PEFT[:-1],
        "tensors[1].data at offset 0xc0: expected 32 bytes, found 31 bytes and the end of the "
        f"file; {CUT}",
    ),
    (
        PEFT + b"abc",
        "tensors[2].n_dims at offset 0xe0: expected 4 bytes, found 3 bytes and the end of the "
        f"file; {CUT}",
    ),
]


@pytest.mark.parametrize(("data", "message"), DEFECTS)
def test_a_defect(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        parsed(data)
    assert str(caught.value) == message
    assert parsed(data, partial=True).magic == b"algg"


def test_no_more_records_are_read_than_there_may_be() -> None:
    one = struct.pack("<4I", 1, 8, 0, 3) + b"x" * 8  # 24 bytes, 8 of padding, 12 of data
    file = io.BytesIO()
    file.write(b"algg" + struct.pack("<3I", 1, 1, 1))
    for _ in range(MOST_RECORDS + 1):
        file.write(one)
        file.write(bytes(-file.tell() % 32) + bytes(12))
    with pytest.raises(FormatError, match=f"behind {MOST_RECORDS} entries, found .* bytes more"):
        ggcp_schema.parse(file)


def test_building_says_what_is_missing() -> None:
    with pytest.raises(FormatError, match=r"^tensors\[0\]\.type at offset 0x18: expected a value"):
        built(
            {
                "magic": b"algg",
                "lora_r": 1,
                "lora_alpha": 1,
                "tensors": [{"shape": (1, 1), "name": b"norm.weight.loraA"}],
            }
        )
