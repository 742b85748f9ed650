"""Names of tensors that the writers of May 2023 cut at 31 bytes."""

import io
from pathlib import Path

import pytest
from packed import checkpoint

from ggcp_schema import FormatError, build, parse

DAMAGED = "the file is damaged, or not what its first bytes say; look for another copy"


@pytest.mark.parametrize("longest_name", [31, 32, 33, 48, None])
def test_cut_names_are_accepted_and_kept(longest_name: int | None) -> None:
    file = checkpoint(n_layer=101, longest_name=longest_name)
    built = io.BytesIO()
    with parse(io.BytesIO(bytes(file.data))) as checkpoint_:
        layers = checkpoint_.model.layers
        whole = b"layers.100.feed_forward.w1.weight"
        assert layers[100].feed_forward.w1.name == whole[:longest_name]
        whole = b"layers.100.attention_norm.weight"
        assert layers[100].attention_norm.name == whole[:longest_name]
        assert layers[100].ffn_norm.name == b"layers.100.ffn_norm.weight"
        assert layers[10].feed_forward.w3.name == b"layers.10.feed_forward.w3.weight"[:longest_name]
        assert layers[9].feed_forward.w3.name == b"layers.9.feed_forward.w3.weight"
        build(checkpoint_, built)
    assert built.getvalue() == file.data


@pytest.mark.parametrize(
    ("longest_name", "path", "name"),
    [
        (30, "model.layers[0].feed_forward.w1", "layers.0.feed_forward.w1.weight"),
        (24, "model.layers[0].attention_norm", "layers.0.attention_norm.weight"),
        (20, "model.tok_embeddings", "tok_embeddings.weight"),
    ],
)
def test_names_cut_shorter_are_refused(longest_name: int, path: str, name: str) -> None:
    file = checkpoint(n_layer=101, longest_name=longest_name)
    offset = file.fields[f"{path}.name_length"][0]
    with pytest.raises(FormatError) as caught:
        parse(io.BytesIO(bytes(file.data)))
    assert str(caught.value) == (
        f"{path}.name_length at offset {offset:#x}: expected {len(name)} ('{name}'), found "
        f"{longest_name}; {DAMAGED}"
    )


def test_a_cut_name_of_another_layer_is_refused() -> None:
    file = checkpoint(n_layer=101, longest_name=32)
    path = "model.layers[100].feed_forward.w2.name"
    data = file.with_field(path, b"layers.100.feed_forward.w3.weigh")
    with pytest.raises(FormatError) as caught:
        parse(io.BytesIO(data))
    assert str(caught.value) == (
        f"{path} at offset {file.fields[path][0]:#x}: expected "
        "'layers.100.feed_forward.w2.weight', found 'layers.100.feed_forward.w3.weigh'; " + DAMAGED
    )


def test_a_flip_that_cuts_a_name_is_no_error() -> None:
    """33 is 32 but for one bit: then the name's last letter counts as padding."""
    file = checkpoint(n_layer=101)
    data = file.with_number("model.layers[100].feed_forward.w1.name_length", 32)
    built = io.BytesIO()
    with parse(io.BytesIO(data)) as checkpoint_:
        record = checkpoint_.model.layers[100].feed_forward.w1
        assert (record.name, record.padding[:1]) == (b"layers.100.feed_forward.w1.weigh", b"t")
        build(checkpoint_, built)
    assert built.getvalue() == data


def test_an_optimizers_tensor_with_a_name_is_refused() -> None:
    """Six of the bytes that a name would have are there: they are the padding."""
    file = checkpoint(1)
    data = file.with_number("optimizer.state.second_moments.name_length", 6)
    with pytest.raises(FormatError) as caught:
        parse(io.BytesIO(data))
    assert caught.value.path == "optimizer.state.second_moments.name_length"
    assert (caught.value.expected, caught.value.found) == ("0 (no name)", "6")


def test_a_real_file_of_may_2023_has_names_cut_at_31_bytes(fixtures: Path) -> None:
    with parse(fixtures / "ggcp_42d9b4cfc_11layers.bin") as found:
        layers = found.model.layers
        assert [layers[10].feed_forward[w].name for w in ("w1", "w2", "w3")] == [
            b"layers.10.feed_forward.w1.weigh",
            b"layers.10.feed_forward.w2.weigh",
            b"layers.10.feed_forward.w3.weigh",
        ]
        assert layers[9].feed_forward.w1.name == b"layers.9.feed_forward.w1.weight"
