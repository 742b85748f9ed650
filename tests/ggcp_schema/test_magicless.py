"""Checkpoints without a magic, against bytes written by hand and an independent reader."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import MODEL, packed
from members import tensors
from reference import checkpoint as reference

import ggcp_schema
from ggcp_schema import FormatError
from ggcp_schema.synthetic import SyntheticMagicless

REAL = ["pre_b241b9cb6.bin", "pre_37c69435f.bin"]
DAMAGED = "the file is damaged, or not what its first bytes say; look for another copy"
CUT = "the file is cut short; look for a whole copy of it"

# fmt: off
HEADER = """
03000000              # train_its 3
06000000              # train_samples 6
02000000              # n_vocab 2
02000000              # n_embd 2
03000000              # n_mult 3: n_ff is 5, rounded up to 6
01000000              # n_head 1
00000000              # n_layer 0
02000000              # n_rot 2
"""
# fmt: on
# The first record stands 12 bytes earlier than behind a magic, and its data where they stand there.
BYTES = packed(HEADER + MODEL.replace("00*11", "00*23"))


def parsed(data: bytes, *, partial: bool = False) -> ggcp_schema.Checkpoint:
    return ggcp_schema.parse(io.BytesIO(data), partial=partial)


def built(container: object) -> bytes:
    file = io.BytesIO()
    ggcp_schema.build(container, file)  # type: ignore[arg-type] # also what is none
    return file.getvalue()


def with_number(offset: int, number: int) -> bytes:
    return BYTES[:offset] + number.to_bytes(4, "little") + BYTES[offset + 4 :]


def test_every_field_of_the_bytes_written_by_hand() -> None:
    checkpoint = parsed(BYTES)
    assert checkpoint.magic == b""
    assert dict(checkpoint.training) == {"iteration_count": 3, "sample_count": 6}
    assert dict(checkpoint.hyperparameters) == {
        "vocabulary_size": 2,
        "embedding_length": 2,
        "feed_forward_multiple": 3,
        "head_count": 1,
        "block_count": 0,
        "rope_dimension_count": 2,
        "feed_forward_length": 6,
    }
    assert checkpoint.parameter_count == 10
    assert "optimizer" not in checkpoint.container
    data = [
        record["data"].array().ravel().tolist() for record in tensors(checkpoint.model).values()
    ]
    assert data == [[1, 2, 3, 4], [5, 6], [7, 8, 9, 10]]
    assert checkpoint.place("model") == 32
    assert built(checkpoint) == BYTES


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read_as_the_reference_reads_them(name: str, fixtures: Path) -> None:
    header, expected = reference.read_magicless(fixtures / name)
    with ggcp_schema.parse(fixtures / name) as checkpoint:
        stored = {**checkpoint.training, **checkpoint.hyperparameters}
        assert stored.pop("feed_forward_length") == 48
        assert list(stored.values()) == list(header.values())
        found = [record["data"].array() for record in tensors(checkpoint.model).values()]
        assert [array.tobytes() for array in found] == [t.tobytes() for t in expected.values()]
        assert built(checkpoint) == (fixtures / name).read_bytes()


@st.composite
def recipes(draw: st.DrawFn) -> SyntheticMagicless:
    heads = draw(st.integers(1, 3))
    return SyntheticMagicless(
        vocabulary_size=draw(st.integers(1, 9)),
        embedding_length=heads * 2 * draw(st.integers(1, 4)),
        feed_forward_multiple=draw(st.integers(1, 9)),
        head_count=heads,
        block_count=draw(st.integers(0, 12)),
        iteration_count=draw(st.integers(0, 2**31 - 1)),
        seed=draw(st.integers(0, 9)),
    )


@given(recipes())
@settings(max_examples=50, deadline=None)
def test_building_what_was_parsed_gives_the_same_bytes(recipe: SyntheticMagicless) -> None:
    file = io.BytesIO()
    recipe.write(file)
    checkpoint = parsed(file.getvalue())
    assert checkpoint.training.iteration_count == recipe.iteration_count
    assert len(checkpoint.model.layers) == recipe.block_count
    assert built(checkpoint) == file.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            with_number(8, 0),
            "hyperparameters.vocabulary_size at offset 0x8: expected at least 1, found 0; "
            f"{DAMAGED}",
        ),
        (
            with_number(16, 0),
            "hyperparameters.feed_forward_multiple at offset 0x10: expected at least 1, found 0; "
            f"{DAMAGED}",
        ),
        (
            with_number(24, 1),
            "model.layers at offset 0xf0: expected 1 entries, which take at least 431 bytes, found "
            "0 bytes and the end of the file; the file is cut short, or the count is damaged; look "
            "for a whole copy of it",
        ),
        (
            with_number(8, 3),
            "model.tok_embeddings.shape at offset 0x2c: expected [2, 3] (by the counts before it "
            f"in the file), found [2, 2]; {DAMAGED}",
        ),
        (
            BYTES[:-1],
            "model.output.data at offset 0xe0: expected 16 bytes, found 15 bytes and the end of "
            f"the file; {CUT}",
        ),
        (
            BYTES + b"more",
            "end at offset 0xf0: expected the end of the file, found 4 bytes more; something was "
            "appended, or the file is damaged; look for another copy",
        ),
    ],
)
def test_a_defect(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        parsed(data)
    assert str(caught.value) == message
    assert parsed(data, partial=True).magic == b""


def test_its_first_record_tells_it_whatever_its_first_count_says() -> None:
    ggcp = int.from_bytes(b"pcgg", "little")
    assert parsed(with_number(0, ggcp)).training.iteration_count == ggcp


def test_a_file_whose_first_record_stands_elsewhere_is_none() -> None:
    with pytest.raises(FormatError, match=r"^magic at offset 0x0: expected a checkpoint, found"):
        parsed(BYTES[:32] + bytes(4) + BYTES[32:])


def test_building_wants_the_model() -> None:
    members = {name: value for name, value in parsed(BYTES).container.items() if name != "model"}
    with pytest.raises(FormatError, match=r"^model at offset 0x20: expected a value, found none"):
        built(members)
