"""How finetune named the tensors of its LoRA checkpoints, a file in one way throughout."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from gguf_bytes import read as read_gguf
from hypothesis import given, settings
from hypothesis import strategies as st
from members import tensors
from packed import checkpoint as packed_checkpoint
from reference import checkpoint as reference

import ggcp_schema
from converter import convert, inspect, verify
from ggcp_schema import FormatError
from ggcp_schema.enums import NameFamily, OptimizerType
from ggcp_schema.synthetic import SyntheticLora

UNKNOWN = (
    "its name is unknown, which does not say that the file is damaged; open an issue at the "
    "project and attach the file"
)
VECTORS = {"m": "first_moments", "v": "second_moments", "pf": "past_loss_values"}


def w1_a(name: str) -> str:
    return re.sub(r"(w[123])\.weight\.lora([AB])$", lambda m: f"{m[1]}_{m[2].lower()}.weight", name)


def without_layers(name: str) -> str:
    kind, _, vector = name.partition(".")
    if kind == "adam":
        return name + f"optimizer.adam.{VECTORS[vector]}"
    return name.removeprefix("layers.")


FAMILIES = {
    "ggcl_v1_adam_1a5f0a30e.bin": (NameFamily.ORDINARY, reference.as_it_is),
    "ggcl_ecb1b20c8-patched_ranks.bin": (NameFamily.ORDINARY, reference.as_it_is),
    "ggcl_be7e564b1_noalloc.bin": (NameFamily.W1_A, w1_a),
    "ggcl_0564f4ed1.bin": (NameFamily.WITHOUT_LAYERS, without_layers),
}


def built(container: Any) -> bytes:
    file = io.BytesIO()
    ggcp_schema.build(container, file)
    return file.getvalue()


def synthetic(**arguments: Any) -> bytes:
    file = io.BytesIO()
    SyntheticLora(**arguments).write(file)
    return file.getvalue()


def error_of(data: bytes) -> str:
    with pytest.raises(FormatError) as caught:
        ggcp_schema.parse(io.BytesIO(data))
    return str(caught.value)


@pytest.mark.parametrize("name", FAMILIES)
def test_real_files_are_read_as_the_reference_reads_them(name: str, fixtures: Path) -> None:
    family, stored_name = FAMILIES[name]
    expected = reference.read(
        fixtures / name, n_mult_stored="ecb1b20c8" not in name, stored_name=stored_name
    )
    with ggcp_schema.parse(fixtures / name) as checkpoint:
        assert checkpoint.names is family
        records = tensors(checkpoint.model).values()
        assert [record["name"].decode() for record in records] == [
            stored_name(tensor) for tensor in expected.tensors
        ]
        assert [record["data"].array().tobytes() for record in records] == [
            tensor.tobytes() for tensor in expected.tensors.values()
        ]
        assert list(checkpoint.ranks.values()) == list(expected.ranks.values())
        for vector in ("m", "v"):
            found = checkpoint.optimizer.state[VECTORS[vector]]["data"].array()
            assert found.tobytes() == expected.optimizer.vectors[vector].tobytes()
        assert built(checkpoint) == (fixtures / name).read_bytes()


@pytest.mark.parametrize("name", FAMILIES)
def test_no_name_is_taken_for_cut(name: str, fixtures: Path) -> None:
    report = inspect(fixtures / name)
    assert not any(tensor.name_cut for tensor in report.tensors)
    assert report.error is None


def test_the_twin_that_the_trainer_wrote_itself(fixtures: Path, tmp_path: Path) -> None:
    convert(fixtures / "ggcl_0564f4ed1.bin", tmp_path / "out.gguf")
    found, native = read_gguf(tmp_path / "out.gguf"), read_gguf(fixtures / "ggcl_0564f4ed1.gguf")
    assert found.tensors == native.tensors
    assert verify(fixtures / "ggcl_0564f4ed1.bin", tmp_path / "out.gguf") == []


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_building_what_was_parsed_gives_the_same_bytes(data: st.DataObject) -> None:
    family = data.draw(st.sampled_from(NameFamily))
    whole = synthetic(
        vocabulary_size=3,
        embedding_length=4,
        head_count=1,
        names=family,
        block_count=data.draw(st.integers(1, 12)),
        ranks=data.draw(st.integers(0, 3)),
        optimizer_type=data.draw(st.sampled_from(OptimizerType)),
        convergence_past_count=data.draw(st.integers(0, 3)),
    )
    checkpoint = ggcp_schema.parse(io.BytesIO(whole))
    assert checkpoint.names is family
    assert built(checkpoint) == whole


SIZES: dict[str, Any] = {"vocabulary_size": 3, "embedding_length": 4, "head_count": 1}


@pytest.mark.parametrize(
    ("family", "old", "new", "expected"),
    [
        (
            NameFamily.ORDINARY,
            b"layers.1.feed_forward.w2.weight.loraA",
            b"layers.1.feed_forward.w2_a.weight....",
            "layers.1.feed_forward.w2.weight.loraA",
        ),
        (
            NameFamily.WITHOUT_LAYERS,
            b"1.attention.wq.weight.loraB",
            b"l.attention.wq.weight.loraB",
            "1.attention.wq.weight.loraB",
        ),
        (
            NameFamily.W1_A,
            b"layers.1.feed_forward.w3_b.weight",
            b"layers.1.feed_forward.w3_B.weight",
            "layers.1.feed_forward.w3_b.weight",
        ),
        (
            NameFamily.ORDINARY,
            b"output.weight.loraA",
            b"Output.weight.loraA",
            "output.weight.loraA",
        ),
    ],
)
def test_a_name_of_no_family_or_of_another(
    family: NameFamily, old: bytes, new: bytes, expected: str
) -> None:
    whole = synthetic(**SIZES, names=family)
    at = whole.index(old)
    found = error_of(whole[:at] + new + whole[at + len(new) :])
    assert found.endswith(
        f".name at offset {at:#x}: expected '{expected}', found '{new.decode()}'; {UNKNOWN}"
    )


def test_another_shape_is_damage_whatever_the_name() -> None:
    whole = bytearray(synthetic(**SIZES))
    at = whole.index(b"layers.1.attention.wq.weight.loraA")
    whole[at] = ord("L")
    whole[at - 4] += 1
    assert "the file is damaged" in error_of(bytes(whole))


def test_a_file_without_layers_has_ordinary_names() -> None:
    with pytest.raises(FormatError) as caught:
        synthetic(**SIZES, block_count=0, names=NameFamily.W1_A)
    assert str(caught.value) == (
        "names at offset 0x5c: expected NameFamily.ORDINARY, found NameFamily.W1_A; give one of "
        "them, or none for NameFamily.ORDINARY"
    )


def test_what_is_no_family() -> None:
    container = {**SyntheticLora(**SIZES).container(), "names": "w1_a"}
    with pytest.raises(FormatError, match=r"^names at offset 0x5c: expected NameFamily.ORD"):
        built(container)


def test_the_debug_copies_of_a_quarter_of_an_hour_are_named() -> None:
    """FORMAT of e8df9e681: the magic of a checkpoint, the tensors' names of a GGUF."""
    whole = bytes(packed_checkpoint().data)
    start = whole.index(b"tok_embeddings.weight")
    head = whole[: start - 16] + (17).to_bytes(4, "little") + whole[start - 12 : start]
    data = head + b"token_embd.weight" + bytes(15) + whole[start + 32 :]
    assert error_of(data) == (
        "model.tok_embeddings.name_length at offset 0x30: expected 21 ('tok_embeddings.weight'), "
        "found 17; a copy for debugging, as two commits of 2023-08-28 (e8df9e681, 31c093c2c) wrote "
        "it beside a GGUF under the name X.0.old.bin or X.1.old.bin: its vectors were never "
        "filled; give the GGUF"
    )
