"""The LoRA checkpoint's structs, against bytes written by hand and an independent reader."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lora_bytes import BYTES, N_FF, RANKS, file_with_layers, recipes, tensors
from members import changed
from reference import checkpoint as reference

import ggcp_schema
from ggcp_schema import FormatError, Span
from ggcp_schema.enums import HeaderLayout, Layout, OptimizerType
from ggcp_schema.synthetic import SyntheticLora

REAL = "ggcl_v1_adam_1a5f0a30e.bin"
DAMAGED = "the file is damaged, or not what its first bytes say; look for another copy"
FROM_COUNTS = "(by the counts before it in the file)"
CUT = "the file is cut short; look for a whole copy of it"
UNKNOWN = (
    "its name is unknown, which does not say that the file is damaged; open an issue at the "
    "project and attach the file"
)


def parsed(data: bytes) -> ggcp_schema.Checkpoint:
    return ggcp_schema.parse(io.BytesIO(data))


def built(container: Any) -> bytes:
    file = io.BytesIO()
    ggcp_schema.build(container, file)
    return file.getvalue()


def synthetic(**arguments: Any) -> bytes:
    file = io.BytesIO()
    SyntheticLora(**arguments).write(file)
    return file.getvalue()


def records(part: Any) -> Iterator[Any]:
    """Yield the tensor records of a part of a container, in the order of the file."""
    if "data" in part:
        yield part
        return
    for member in part.values():
        for inner in member if isinstance(member, list) else [member]:
            yield from records(inner)


def replaced(data: bytes, offset: int, new: bytes) -> bytes:
    assert offset + len(new) <= len(data)
    return data[:offset] + new + data[offset + len(new) :]


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def error_of(data: bytes) -> str:
    with pytest.raises(FormatError) as caught:
        parsed(data)
    return str(caught.value)


# The whole file


def test_every_field_of_the_bytes_written_by_hand() -> None:
    checkpoint = parsed(BYTES)
    assert checkpoint.magic == b"lcgg"
    assert checkpoint.version == 0
    assert dict(checkpoint.training) == {
        "iteration_count": 10,
        "sample_count": 20,
        "token_count": 320,
    }
    assert checkpoint.layout is HeaderLayout.WITH_MULTIPLE
    assert dict(checkpoint.hyperparameters) == {
        "vocabulary_size": 3,
        "embedding_length": 2,
        "feed_forward_multiple": 4,
        "head_count": 1,
        "block_count": 0,
        "rope_dimension_count": 2,
    }
    assert list(checkpoint.ranks.values()) == [1] * 12
    assert checkpoint.feed_forward_length == 0
    assert checkpoint.parameter_count == 13
    model = checkpoint.model
    assert [(r.name, r.shape, r.data.offset, r.data.array().ravel().tolist()) for r in (
        model.tok_embeddings.a,
        model.tok_embeddings.b,
        model.norm.a,
        model.norm.b,
        model.output.a,
        model.output.b,
    )] == [
        (b"tok_embeddings.weight.loraA", (1, 2), 0xA0, [1, 2]),
        (b"tok_embeddings.weight.loraB", (1, 3), 0xE0, [3, 4, 5]),
        (b"norm.weight.loraA", (1, 2), 0x120, [6, 7]),
        (b"norm.weight.loraB", (1, 1), 0x160, [8]),
        (b"output.weight.loraA", (1, 2), 0x1A0, [9, 10]),
        (b"output.weight.loraB", (1, 3), 0x1E0, [11, 12, 13]),
    ]  # fmt: skip
    assert model.layers == []
    optimizer = checkpoint.optimizer
    assert optimizer.version == 1
    assert optimizer.layout is Layout.VERSION_1
    assert optimizer.type == OptimizerType.ADAM
    assert optimizer.convergence_past_count == 0
    assert optimizer.approx_hessian_count == 0
    assert optimizer.parameter_count == 13
    assert optimizer.iteration_count == 10
    assert optimizer.just_initialized == 0
    assert optimizer.state.first_moments.data.array().tolist() == [0.5] * 13
    assert optimizer.state.second_moments.data.array().tolist() == [0.25] * 13
    assert optimizer.state.past_loss_values.data.length == 0
    assert optimizer.state.best_loss == 5.5
    assert optimizer.state.previous_loss == 5.75
    assert optimizer.state.no_improvement_count == 2


def test_the_bytes_written_by_hand_are_built_from_what_carries_information() -> None:
    def array(*values: float) -> Any:
        return np.array(values, "<f4").reshape(-1, 1)

    moments = np.full(13, 0.5, "<f4"), np.full(13, 0.25, "<f4")
    container = {
        "magic": b"lcgg",
        "training": {"iteration_count": 10, "sample_count": 20, "token_count": 320},
        "hyperparameters": {
            "vocabulary_size": 3,
            "embedding_length": 2,
            "feed_forward_multiple": 4,
            "head_count": 1,
            "block_count": 0,
            "rope_dimension_count": 2,
        },
        "ranks": dict.fromkeys(RANKS, 1),
        "feed_forward_length": 0,
        "model": {
            "tok_embeddings": {"a": array(1, 2), "b": array(3, 4, 5)},
            "norm": {"a": array(6, 7), "b": array(8)},
            "output": {"a": array(9, 10), "b": array(11, 12, 13)},
            "layers": [],
        },
        "optimizer": {
            "convergence_past_count": 0,
            "approx_hessian_count": 0,
            "iteration_count": 10,
            "just_initialized": 0,
            "type": 0,
            "state": {
                "first_moments": moments[0],
                "second_moments": moments[1],
                "past_loss_values": b"",
                "best_loss": 5.5,
                "previous_loss": 5.75,
                "no_improvement_count": 2,
            },
        },
    }
    assert built(container) == BYTES


def test_a_tensor_that_does_not_exist_needs_nothing() -> None:
    assert built(changed(parsed(BYTES).container, "optimizer.state.past_loss_values", None)) == (
        BYTES
    )


@pytest.mark.parametrize("n_mult_stored", [True, False])
def test_each_kind_has_its_own_rank_and_n_ff_is_what_w1_says(n_mult_stored: bool) -> None:
    data = file_with_layers(n_mult_stored=n_mult_stored)
    checkpoint = parsed(data)
    assert dict(checkpoint.ranks) == RANKS
    assert checkpoint.feed_forward_length == N_FF
    found = [(r.name.decode(), r.shape) for r in records(checkpoint.model)]
    assert found == list(tensors())
    assert built(checkpoint) == data


def test_the_header_of_a_few_commits_lacks_n_mult() -> None:
    with_multiple, without = (
        parsed(file_with_layers(n_mult_stored=stored)) for stored in (True, False)
    )
    assert with_multiple.layout is HeaderLayout.WITH_MULTIPLE
    assert without.layout is HeaderLayout.WITHOUT_MULTIPLE
    assert with_multiple.hyperparameters.feed_forward_multiple == 4
    assert "feed_forward_multiple" not in without.hyperparameters
    assert without.hyperparameters == {
        name: size
        for name, size in with_multiple.hyperparameters.items()
        if name != "feed_forward_multiple"
    }


@pytest.mark.parametrize("n_mult_stored", [True, False])
@pytest.mark.parametrize("rank", [2, 27])
def test_ranks_that_look_like_a_record_do_not_mislead(n_mult_stored: bool, rank: int) -> None:
    # The last rank and what follows it: 2 and 27 are the first numbers of the first record.
    data = synthetic(
        feed_forward_multiple=4 if n_mult_stored else None,
        ranks={"output": rank, "norm": 2, "tok_embeddings": 27},
    )
    layout = HeaderLayout.WITH_MULTIPLE if n_mult_stored else HeaderLayout.WITHOUT_MULTIPLE
    assert parsed(data).layout is layout


def test_a_rank_of_zero_leaves_a_pair_without_elements() -> None:
    data = synthetic(ranks={"wq": 0, "w1": 0, "norm": 0}, feed_forward_length=40)
    checkpoint = parsed(data)
    assert checkpoint.feed_forward_length == 40
    wq = checkpoint.model.layers[1].attention.wq
    assert (wq.a.shape, wq.a.data.length, wq.b.shape) == ((0, 32), 0, (0, 32))
    assert built(checkpoint) == data


def test_n_mult_may_have_nothing_to_do_with_n_ff() -> None:
    checkpoint = parsed(synthetic(feed_forward_multiple=4, feed_forward_length=97))
    assert checkpoint.hyperparameters.feed_forward_multiple == 4
    assert checkpoint.feed_forward_length == 97


def test_padding_of_another_tool_is_kept() -> None:
    data = replaced(BYTES, 0x90, b"left here")
    checkpoint = parsed(data)
    assert checkpoint.model.tok_embeddings.a.padding == bytes(5) + b"left here" + bytes(7)
    assert built(checkpoint) == data


# The real file


def test_the_real_file_is_built_byte_for_byte(fixtures: Path) -> None:
    with ggcp_schema.parse(fixtures / REAL) as checkpoint:
        assert built(checkpoint) == (fixtures / REAL).read_bytes()


def test_the_real_file_holds_what_an_independent_reader_finds(fixtures: Path) -> None:
    expected = reference.read(fixtures / REAL)
    with ggcp_schema.parse(fixtures / REAL) as checkpoint:
        assert_equal(checkpoint, expected)
        assert checkpoint.feed_forward_length == 96
        assert checkpoint.layout is HeaderLayout.WITH_MULTIPLE
        assert checkpoint.parameter_count == 4053


def assert_equal(checkpoint: ggcp_schema.Checkpoint, expected: reference.Checkpoint) -> None:
    sizes = checkpoint.hyperparameters
    header = {
        "version": checkpoint.version,
        "train_its": checkpoint.training.iteration_count,
        "train_samples": checkpoint.training.sample_count,
        "train_tokens": checkpoint.training.token_count,
        "n_vocab": sizes.vocabulary_size,
        "n_embd": sizes.embedding_length,
        "n_head": sizes.head_count,
        "n_layer": sizes.block_count,
        "n_rot": sizes.rope_dimension_count,
    }
    if checkpoint.layout is HeaderLayout.WITH_MULTIPLE:
        header["n_mult"] = sizes.feed_forward_multiple
    assert header == expected.header
    assert dict(checkpoint.ranks) == expected.ranks
    found = list(records(checkpoint.model))
    assert [r.name.decode() for r in found] == list(expected.tensors)
    for r, tensor in zip(found, expected.tensors.values(), strict=True):
        np.testing.assert_array_equal(r.data.array(), tensor)
    optimizer, state = checkpoint.optimizer, checkpoint.optimizer.state
    assert optimizer.version == expected.optimizer.version
    assert OptimizerType(optimizer.type).name.lower() == expected.optimizer.type
    assert optimizer.convergence_past_count == expected.optimizer.past
    assert optimizer.approx_hessian_count == expected.optimizer.lbfgs_m
    assert optimizer.parameter_count == checkpoint.parameter_count == expected.optimizer.nx
    assert optimizer.iteration_count == expected.optimizer.iter
    assert optimizer.just_initialized == expected.optimizer.just_initialized
    names = {
        "first_moments": "m",
        "second_moments": "v",
        "current_parameters": "x",
        "previous_parameters": "xp",
        "current_gradients": "g",
        "previous_gradients": "gp",
        "search_direction": "d",
        "past_loss_values": "pf",
        "memory_alpha": "lmal",
        "memory_ys": "lmys",
        "memory_s": "lms",
        "memory_y": "lmy",
    }
    vectors = {name: member for name, member in state.items() if isinstance(member, Mapping)}
    assert [names[name] for name in vectors] == list(expected.optimizer.vectors)
    for name, member in vectors.items():
        if member.data.length:
            vector = expected.optimizer.vectors[names[name]]
            np.testing.assert_array_equal(member.data.array(), vector)
    assert state.best_loss == expected.optimizer.scalars["fx_best"]
    assert state.no_improvement_count == expected.optimizer.scalars["n_no_improvement"]


# Any file


@settings(max_examples=50, deadline=None)
@given(recipe=recipes())
def test_any_synthetic_file_reads_as_meant_and_builds_the_same_bytes(
    recipe: SyntheticLora, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "lora.bin"
    with path.open("wb") as file:
        recipe.write(file)
    stored = recipe.feed_forward_multiple is not None
    with ggcp_schema.parse(path) as checkpoint:
        assert_equal(checkpoint, reference.read(path, n_mult_stored=stored))
        assert checkpoint.feed_forward_length == (
            recipe.feed_forward_length if recipe.block_count else 0
        )
        assert built(checkpoint) == path.read_bytes()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_damage_is_a_format_error_or_another_whole_file(data: st.DataObject) -> None:
    whole = file_with_layers(n_mult_stored=data.draw(st.booleans()))
    offset = data.draw(st.integers(0, len(whole) - 4))
    damaged = replaced(whole, offset, data.draw(st.binary(min_size=1, max_size=4)))
    damaged = damaged[: data.draw(st.just(len(damaged)) | st.integers(0, len(damaged)))]
    try:
        checkpoint = parsed(damaged)
    except FormatError:
        return
    assert built(checkpoint) == damaged


def test_ranks_as_one_number_are_those_of_the_matrices() -> None:
    ranks = parsed(synthetic(ranks=7)).ranks
    assert {kind for kind, rank in ranks.items() if rank == 1} == {
        "attention_norm",
        "ffn_norm",
        "norm",
    }
    assert sum(rank == 7 for rank in ranks.values()) == 9


def test_ranks_of_kinds_leave_the_others_at_what_finetune_took() -> None:
    ranks = parsed(synthetic(ranks={"wq": 8, "norm": 2})).ranks
    assert (ranks.wq, ranks.wk, ranks.norm, ranks.ffn_norm) == (8, 4, 2, 1)


def test_a_synthetic_file_is_the_same_for_the_same_seed_only() -> None:
    assert synthetic(seed=3) == synthetic(seed=3)
    assert synthetic(seed=3) != synthetic(seed=4)


# Defects of files

W1_A = file_with_layers().index(b"layers.0.feed_forward.w1.weight.loraA") - 20
W1_B = file_with_layers().index(b"layers.0.feed_forward.w1.weight.loraB") - 20


def start_of(name: str, data: bytes) -> int:
    return data.index(name.encode()) - 20


def test_another_version_of_the_file() -> None:
    assert error_of(replaced(BYTES, 4, u32(1))) == (
        f"version at offset 0x4: expected 0, found 1; {DAMAGED}"
    )


def test_n_mult_of_zero() -> None:
    assert error_of(replaced(BYTES, 0x1C, u32(0))) == (
        "hyperparameters.feed_forward_multiple at offset 0x1c: "
        f"expected at least 1, found 0; {DAMAGED}"
    )


def test_heads_that_do_not_divide_the_embedding_without_n_mult() -> None:
    data = file_with_layers(n_mult_stored=False)
    assert error_of(replaced(data, 0x1C, u32(3))) == (
        "hyperparameters.head_count at offset 0x1c: "
        f"expected a divisor of 2 (embedding_length), found 3; {DAMAGED}"
    )


def test_the_file_ends_within_the_ranks() -> None:
    assert error_of(BYTES[:0x5A]) == (
        "ranks.output at offset 0x58: "
        f"expected 4 bytes, found 2 bytes and the end of the file; {CUT}"
    )


def test_a_rank_that_its_tensor_contradicts() -> None:
    assert error_of(replaced(BYTES, 0x50, u32(2**32 - 1))) == (
        "model.tok_embeddings.a.shape at offset 0x68: "
        f"expected [4294967295, 2] {FROM_COUNTS}, found [1, 2]; {DAMAGED}"
    )


def test_a_rank_that_the_file_has_no_bytes_for() -> None:
    data = replaced(BYTES, 0x50, u32(2**32 - 1))
    data = replaced(data, 0x68, u32(2**32 - 1))
    assert error_of(data) == (
        "model.tok_embeddings.a.data at offset 0xa0: "
        f"expected 34359738360 bytes, found 556 bytes and the end of the file; {CUT}"
    )


def test_more_layers_than_the_file_can_hold() -> None:
    data = replaced(file_with_layers(), 0x24, u32(2**32 - 1))
    start = start_of("layers.0.attention_norm.weight.loraA", data)
    assert error_of(data) == (
        f"model.layers at offset {start:#x}: "
        # Numbers, and the shortest names that there are: `0.attention_norm.weight.loraA` has 29
        # bytes, the four matrices 27, the other norm 23, the three other matrices 30.
        f"expected 4294967295 entries, which take at least "
        f"{(2**32 - 1) * 2 * (9 * 20 + 29 + 4 * 27 + 23 + 3 * 30)} bytes, "
        f"found {len(data) - start} bytes and the end of the file; "
        "the file is cut short, or the count is damaged; look for a whole copy of it"
    )


@pytest.mark.parametrize("n_mult_stored", [True, False])
def test_the_first_record_has_another_name(n_mult_stored: bool) -> None:
    data = file_with_layers(n_mult_stored=n_mult_stored)
    offset = 0x70 if n_mult_stored else 0x6C
    assert error_of(replaced(data, offset, b"x")) == (
        f"model.tok_embeddings.a.name at offset {offset:#x}: "
        "expected 'tok_embeddings.weight.loraA', found 'xok_embeddings.weight.loraA'; "
        f"{UNKNOWN}"
    )


@pytest.mark.parametrize("n_mult_stored", [True, False])
def test_the_first_record_has_another_number_of_dimensions(n_mult_stored: bool) -> None:
    data = file_with_layers(n_mult_stored=n_mult_stored)
    offset = 0x5C if n_mult_stored else 0x58
    assert error_of(replaced(data, offset, u32(1))) == (
        f"model.tok_embeddings.a.n_dims at offset {offset:#x}: expected 2, found 1; {DAMAGED}"
    )


def test_a_file_with_the_first_record_at_neither_place_is_read_as_one_with_n_mult() -> None:
    data = replaced(file_with_layers(), 0x5C, u32(3))
    assert error_of(replaced(data, 0x70, b"x")) == (
        f"model.tok_embeddings.a.n_dims at offset 0x5c: expected 2, found 3; {DAMAGED}"
    )


def test_a_second_half_in_the_place_of_the_first() -> None:
    data = file_with_layers()
    name = data.index(b"layers.1.attention.wq.weight.loraA")
    assert error_of(replaced(data, name + 33, b"B")) == (
        f"model.layers[1].attention.wq.a.name at offset {name:#x}: "
        "expected 'layers.1.attention.wq.weight.loraA', "
        f"found 'layers.1.attention.wq.weight.loraB'; {UNKNOWN}"
    )


def test_a_tensor_of_another_type() -> None:
    assert error_of(replaced(BYTES, 0xB0, u32(1))) == (
        f"model.tok_embeddings.b.type at offset 0xb0: expected 0 (F32), found 1; {DAMAGED}"
    )


def test_a_shape_that_the_hyperparameters_contradict() -> None:
    data = file_with_layers()
    start = start_of("layers.0.attention.wq.weight.loraA", data)
    assert error_of(replaced(data, start + 16, u32(3))) == (
        f"model.layers[0].attention.wq.a.shape at offset {start + 12:#x}: "
        f"expected [2, 2] {FROM_COUNTS}, found [2, 3]; {DAMAGED}"
    )


@pytest.mark.parametrize(
    ("name", "path", "rank"),
    [
        ("layers.0.feed_forward.w2.weight.loraA", "model.layers[0].feed_forward.w2.a", 8),
        ("layers.0.feed_forward.w3.weight.loraB", "model.layers[0].feed_forward.w3.b", 9),
        ("layers.1.feed_forward.w1.weight.loraB", "model.layers[1].feed_forward.w1.b", 7),
        ("layers.1.feed_forward.w2.weight.loraA", "model.layers[1].feed_forward.w2.a", 8),
        ("layers.1.feed_forward.w3.weight.loraB", "model.layers[1].feed_forward.w3.b", 9),
    ],
)
def test_n_ff_must_agree_everywhere(name: str, path: str, rank: int) -> None:
    data = file_with_layers(**{name: (rank, 6)})
    start = start_of(name, data)
    assert error_of(data) == (
        f"{path}.shape at offset {start + 12:#x}: "
        f"expected [{rank}, 5] {FROM_COUNTS}, found [{rank}, 6]; {DAMAGED}"
    )


def test_n_ff_of_zero() -> None:
    data = file_with_layers(**{"layers.0.feed_forward.w1.weight.loraB": (7, 0)})
    assert error_of(data) == (
        f"feed_forward_length at offset {W1_B + 16:#x}: expected at least 1, found 0; {DAMAGED}"
    )


def test_n_ff_that_the_file_has_no_bytes_for() -> None:
    data = replaced(file_with_layers(), W1_B + 16, u32(2**32 - 1))
    data_offset = -(-(W1_B + 20 + 37) // 32) * 32
    assert error_of(data) == (
        f"model.layers[0].feed_forward.w1.b.data at offset {data_offset:#x}: "
        f"expected {4 * 7 * (2**32 - 1)} bytes, "
        f"found {len(data) - data_offset} bytes and the end of the file; {CUT}"
    )


def test_the_record_that_says_n_ff_has_another_number_of_dimensions() -> None:
    assert error_of(replaced(file_with_layers(), W1_B, u32(3))) == (
        f"model.layers[0].feed_forward.w1.b.n_dims at offset {W1_B:#x}: "
        f"expected 2, found 3; {DAMAGED}"
    )


def test_a_damaged_record_before_the_one_that_says_n_ff() -> None:
    assert error_of(replaced(file_with_layers(), W1_A + 8, u32(30))) == (
        f"model.layers[0].feed_forward.w1.a.type at offset {W1_A + 8:#x}: "
        f"expected 0 (F32), found 30; {DAMAGED}"
    )


def test_the_file_ends_within_the_record_that_says_n_ff() -> None:
    assert error_of(file_with_layers(1)[: W1_B + 18]) == (
        f"model.layers[0].feed_forward.w1.b.shape at offset {W1_B + 12:#x}: "
        f"expected 8 bytes, found 6 bytes and the end of the file; {CUT}"
    )


def test_an_optimizer_context_that_finetune_never_wrote() -> None:
    assert error_of(replaced(BYTES, 0x1EC, u32(0))) == (
        f"optimizer.version at offset 0x1ec: expected 1, found 0; {DAMAGED}"
    )


def test_a_parameter_count_that_is_not_that_of_the_pairs() -> None:
    assert error_of(replaced(BYTES, 0x1F8, u32(12))) == (
        "optimizer.parameter_count at offset 0x1f8: "
        f"expected 13 (the elements of the model's tensors), found 12; {DAMAGED}"
    )


def test_moments_of_another_length() -> None:
    assert error_of(replaced(BYTES, 0x214, u32(12))) == (
        "optimizer.state.first_moments.shape at offset 0x214: "
        f"expected [13] {FROM_COUNTS}, found [12]; {DAMAGED}"
    )


def test_bytes_after_the_end() -> None:
    assert error_of(BYTES + b"\n") == (
        "end at offset 0x2cc: expected the end of the file, found 1 bytes more; "
        "something was appended, or the file is damaged; look for another copy"
    )


# Defects of what is to be built


def build_error(**changes: Any) -> str:
    container = {**SyntheticLora().container(), **changes}
    container = {name: member for name, member in container.items() if member is not None}
    with pytest.raises(FormatError) as caught:
        built(container)
    return str(caught.value)


GIVE = "give the container a member of this name"


def test_build_needs_the_feed_forward_length() -> None:
    assert build_error(feed_forward_length=None) == (
        f"feed_forward_length at offset 0x5c: expected a value, found none; {GIVE}"
    )


def test_build_needs_a_feed_forward_length_above_zero() -> None:
    assert build_error(feed_forward_length=0) == (
        "feed_forward_length at offset 0x5c: expected at least 1, found 0; give another value"
    )


def test_build_needs_every_rank() -> None:
    ranks = {kind: rank for kind, rank in RANKS.items() if kind != "wv"}
    assert build_error(ranks=ranks) == (
        f"ranks.wv at offset 0x38: expected a value, found none; {GIVE}"
    )


def test_build_needs_n_mult_unless_the_layout_lacks_it() -> None:
    sizes = SyntheticLora(feed_forward_multiple=None).hyperparameters
    assert build_error(hyperparameters=sizes) == (
        "hyperparameters.feed_forward_multiple at offset 0x1c: "
        f"expected a value, found none; {GIVE}"
    )


def test_build_knows_the_two_layouts_only() -> None:
    assert build_error(layout="without") == (
        "layout at offset 0x14: expected HeaderLayout.WITH_MULTIPLE or "
        "HeaderLayout.WITHOUT_MULTIPLE, found without; "
        "give one of them, or none for HeaderLayout.WITH_MULTIPLE"
    )


def test_build_compares_an_array_with_the_rank() -> None:
    container = SyntheticLora(ranks=2).container()
    container["model"]["layers"][1]["attention"]["wo"]["b"] = np.zeros(63, "<f4").tobytes()
    with pytest.raises(FormatError) as caught:
        built(container)
    error = caught.value
    assert error.path == "model.layers[1].attention.wo.b.data"
    assert error.expected == "256 bytes for the shape [2, 32]"
    assert error.found == "252 bytes"


def test_a_synthetic_rank_must_fit() -> None:
    with pytest.raises(FormatError) as caught:
        SyntheticLora(ranks={"wq": -1}).container()
    assert str(caught.value) == (
        "ranks.wq: expected a whole number from 0 to 4294967295, found -1; give another value"
    )


def test_a_synthetic_rank_must_be_of_a_known_kind() -> None:
    with pytest.raises(FormatError) as caught:
        SyntheticLora(ranks={"wx": 1}).container()
    assert str(caught.value) == (
        "ranks: expected attention_norm, wq, wk, wv, wo, ffn_norm, w1, w2, w3, tok_embeddings, "
        "norm, output, found wx; give ranks by the names of these kinds"
    )


def test_a_synthetic_file_must_have_possible_hyperparameters() -> None:
    with pytest.raises(FormatError) as caught:
        SyntheticLora(head_count=5).container()
    assert str(caught.value) == (
        "hyperparameters.head_count: "
        "expected a divisor of 32 (embedding_length), found 5; give another value"
    )


# What makes it bounded


def test_time_is_linear_in_the_records() -> None:
    data = synthetic(
        vocabulary_size=1,
        embedding_length=2,
        head_count=1,
        feed_forward_length=1,
        block_count=300,
        ranks=1,
    )
    checkpoint = parsed(data)
    spans = [r.data for r in records(checkpoint.model)]
    assert len(spans) == 6 + 300 * 18
    assert all(isinstance(span, Span) for span in spans)
    assert built(checkpoint) == data
