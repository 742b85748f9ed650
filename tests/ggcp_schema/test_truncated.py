"""Files that end too early, too late, or say that they hold more than they do."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from packed import VECTORS, Packed, checkpoint

from ggcp_schema import FormatError, parse

LAYOUTS = {
    "version 0 Adam": checkpoint(0, past=3),
    "version 0 L-BFGS": checkpoint(0, "lbfgs"),
    "version 1 Adam": checkpoint(1),
    "version 1 Adam, past": checkpoint(1, past=3),
    "version 1 L-BFGS": checkpoint(1, "lbfgs"),
    "version 1 L-BFGS, past": checkpoint(1, "lbfgs", past=3),
    "version 1 with params Adam": checkpoint(1, with_params=True),
    "version 1 with params L-BFGS": checkpoint(1, "lbfgs", with_params=True, past=3),
}
every_layout = pytest.mark.parametrize("whole", LAYOUTS.values(), ids=LAYOUTS.keys())


def error_of(data: bytes) -> FormatError:
    with pytest.raises(FormatError) as caught:
        parse(io.BytesIO(data))
    return caught.value


@every_layout
def test_cut_at_any_byte_the_error_names_the_field_where_the_file_ends(whole: Packed) -> None:
    parse(io.BytesIO(bytes(whole.data))).close()
    context = whole.fields["optimizer.version"][0]
    counts_end = whole.fields["optimizer.just_initialized"][0]
    for length in range(4, len(whole.data)):
        error = error_of(bytes(whole.data[:length]))
        path = whole.at(length)
        if error.path == "optimizer":
            # Version 1, before it can be seen which of its two layouts this is.
            assert context + 4 <= length < counts_end
            path = "optimizer"
            start = context
        else:
            start = whole.fields[path][0]
        assert (error.path, error.offset) == (path, start), length
        assert error.found == f"{length - start} bytes and the end of the file"
        assert error.hint == "the file is cut short; look for a whole copy of it"


@pytest.mark.parametrize("length", [1, 2, 3])
def test_cut_within_the_magic(length: int) -> None:
    error = error_of(b"pcgg"[:length])
    assert (error.path, error.offset) == ("magic", 0)
    assert error.found == repr("pcgg"[:length])


def test_cut_within_the_layers() -> None:
    whole = checkpoint(n_layer=2)
    start = whole.fields["model.layers[0].attention_norm.n_dims"][0]
    end = whole.fields["optimizer.version"][0]
    for length in range(start, end):
        error = error_of(bytes(whole.data[:length]))
        path = whole.at(length)
        if error.path == "model.layers":
            # Nothing but the heads of the records would be more than is there.
            assert length < start + 2 * (9 * 12 + 2 * 4 + 7 * 8 + 259)
            path, offset = "model.layers", start
        else:
            offset = whole.fields[path][0]
        assert (error.path, error.offset) == (path, offset), length


def test_what_an_aborted_save_leaves(fixtures: Path) -> None:
    path = fixtures / "v0_lbfgs_truncated_master43033b7bb.bin"
    with pytest.raises(FormatError) as caught:
        parse(path)
    assert str(caught.value) == (
        f"{path}: model.layers[0].feed_forward.w3.padding at offset 0xc1b3: expected 13 bytes, "
        f"found 0 bytes and the end of the file; {ABORTED_SAVE}"
    )


ABORTED_SAVE = (
    "releases of the trainer abort while they save with --use-lbfgs and leave such a file: the end "
    "of the last layer's w3 and the optimizer state were never written, all other weights are "
    "there; they can be had with ggcp export --rescue, but training cannot go on from this file"
)


def test_only_an_end_in_the_last_w3_or_right_behind_it_is_an_aborted_save() -> None:
    whole = checkpoint(n_layer=2)
    first = whole.fields["model.layers[1].feed_forward.w3.n_dims"][0]
    end = whole.fields["optimizer.version"][0]
    for length in range(whole.fields["model.layers[0].ffn_norm.n_dims"][0], len(whole.data)):
        expected = first <= length <= end
        assert (error_of(bytes(whole.data[:length])).hint == ABORTED_SAVE) == expected, length


def test_as_far_as_a_file_goes() -> None:
    whole = checkpoint(n_layer=2)
    start = whole.fields["model.layers[1].attention.wk.data"][0]
    with parse(io.BytesIO(bytes(whole.data[: start + 3])), partial=True) as found:
        assert found.error is not None
        assert found.error.path == "model.layers[1].attention.wk.data"
        assert list(found.container) == [
            *("magic", "version", "training", "hyperparameters", "model")
        ]
        layer = found.model.layers[1]
        assert list(layer) == ["attention_norm", "attention"]
        assert list(layer.attention) == ["wq", "wk"]
        assert layer.attention.wk.shape == (2, 2)
        assert "data" not in layer.attention.wk
        np.testing.assert_array_equal(layer.attention.wq.data.array(), [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("group", "name", "kept"),
    [
        ("training", "sample_count", []),
        ("training", "token_count", []),
        ("hyperparameters", "rope_dimension_count", []),
        ("optimizer.params.adam", "learning_rate", []),
        ("optimizer.state", "no_improvement_count", [*VECTORS[0, "adam"], "past_loss_values"]),
    ],
)
def test_of_numbers_that_stand_together_all_are_found_or_none(
    group: str, name: str, kept: list[str]
) -> None:
    whole = checkpoint()
    start, length = whole.fields[f"{group}.{name}"]
    for stop in range(start, start + length):
        with parse(io.BytesIO(bytes(whole.data[:stop])), partial=True) as found:
            assert found.error is not None
            assert found.error.path == f"{group}.{name}"
            members = found.container
            for part in group.split("."):
                members = members[part]
            assert list(members) == kept


def test_what_contradicts_the_format_is_not_part_of_what_was_parsed() -> None:
    whole = checkpoint()
    data = whole.with_number("hyperparameters.head_count", 3)
    with parse(io.BytesIO(data), partial=True) as found:
        assert found.error is not None
        assert found.error.path == "hyperparameters.head_count"
        assert list(found.hyperparameters) == [
            *("vocabulary_size", "embedding_length", "feed_forward_multiple")
        ]


@pytest.mark.parametrize("data", [b"", b"pcg", b"GGUF" + bytes(100)])
def test_what_is_no_checkpoint_is_not_parsed_in_part(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse(io.BytesIO(data), partial=True)


def test_a_whole_file_has_no_error() -> None:
    with parse(io.BytesIO(bytes(checkpoint().data)), partial=True) as found:
        assert found.error is None
        assert "optimizer" in found.container


@pytest.mark.parametrize("name", ["ggcp_42d9b4cfc_11layers.bin", "v1_lbfgs.bin"])
def test_a_real_file_without_its_last_byte(name: str, fixtures: Path) -> None:
    data = (fixtures / name).read_bytes()
    assert str(error_of(data[:-1])) == (
        f"optimizer.state.no_improvement_count at offset {len(data) - 4:#x}: expected 4 bytes, "
        "found 3 bytes and the end of the file; the file is cut short; look for a whole copy of it"
    )


@every_layout
@pytest.mark.parametrize("tail", [b"\0", b"pcgg" * 1000])
def test_trailing_bytes(whole: Packed, tail: bytes) -> None:
    assert str(error_of(bytes(whole.data) + tail)) == (
        f"end at offset {len(whole.data):#x}: expected the end of the file, found {len(tail)} "
        "bytes more; something was appended, or the file is damaged; look for another copy"
    )


@pytest.mark.parametrize("block_count", [2, 2**31, 2**32 - 1])
def test_more_layers_than_the_file_has_room_for(block_count: int) -> None:
    whole = checkpoint()
    offset = whole.fields["optimizer.version"][0]
    left = len(whole.data) - offset
    error = error_of(whole.with_number("hyperparameters.block_count", block_count))
    assert str(error) == (
        f"model.layers at offset {offset:#x}: expected {block_count} entries, which take at least "
        f"{431 * block_count} bytes, found {left} bytes and the end of the file; the file is cut "
        "short, or the count is damaged; look for a whole copy of it"
    )


@pytest.mark.parametrize("record", ["model.norm", "optimizer.state.gradients"])
@pytest.mark.parametrize("member", ["n_dims", "name_length"])
def test_lengths_that_nothing_can_hold(record: str, member: str) -> None:
    whole = checkpoint()
    error = error_of(whole.with_number(f"{record}.{member}", 2**32 - 1))
    assert error.path == f"{record}.{member}"
    assert error.offset == whole.fields[error.path][0]
    assert error.found == "4294967295"


def test_a_vocabulary_larger_than_the_file() -> None:
    """Here hyperparameters and shapes agree; only the data cannot be there."""
    whole = checkpoint()
    data = bytearray(whole.with_number("hyperparameters.vocabulary_size", 2**32 - 1))
    ne = whole.fields["model.tok_embeddings.shape"][0]
    struct.pack_into("<I", data, ne + 4, 2**32 - 1)
    start = whole.fields["model.tok_embeddings.data"][0]
    assert str(error_of(bytes(data))) == (
        f"model.tok_embeddings.data at offset {start:#x}: expected {8 * (2**32 - 1)} bytes, found "
        f"{len(data) - start} bytes and the end of the file; the file is cut short; look for a "
        "whole copy of it"
    )


def test_a_vector_of_more_elements_than_32_bits_can_count(tmp_path: Path) -> None:
    """Four thousand million parameters, in a file with holes: no trainer could write that."""
    vocabulary_size = 2**30 + 2  # keeps what follows aligned
    whole = checkpoint()
    data = bytearray(whole.with_number("hyperparameters.vocabulary_size", vocabulary_size))
    for record in ("model.tok_embeddings", "model.output"):
        struct.pack_into("<I", data, whole.fields[f"{record}.shape"][0] + 4, vocabulary_size)
    parameter_count = 4 * vocabulary_size + 2
    struct.pack_into("<q", data, whole.fields["optimizer.parameter_count"][0], parameter_count)
    path = tmp_path / "holes.bin"
    with path.open("wb") as file:
        place = 0
        for record in ("model.tok_embeddings", "model.output"):
            start = whole.fields[f"{record}.data"][0]
            file.write(data[place:start])
            file.seek(8 * vocabulary_size, io.SEEK_CUR)  # its data
            place = start + 16
        file.write(data[place:])
    distance = 2 * (8 * vocabulary_size - 16)
    with pytest.raises(FormatError) as caught:
        parse(path)
    offset = whole.fields["optimizer.state.parameters.shape"][0] + distance
    assert str(caught.value) == (
        f"{path}: optimizer.state.parameters.shape at offset {offset:#x}: expected "
        f"[{parameter_count}] (by the counts before it in the file), found [10]; the file is "
        "damaged, or not what its first bytes say; look for another copy"
    )
