"""Models of damaged checkpoints: rescued where all but their end is there, and only when asked."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from exported import expected_model, export
from gguf_bytes import U64, Gguf, Key, read
from packed import checkpoint as packed_checkpoint
from reference import checkpoint as reference

from converter import __version__
from converter.use_cases.convert import convert
from converter.use_cases.verify import verify
from ggcp_schema import FormatError

ABORTED_SAVE = (
    "releases of the trainer abort while they save with --use-lbfgs and leave such a file: the end "
    "of the last layer's w3 and the optimizer state were never written, all other weights are "
    "there; they can be had with ggcp export --rescue, but training cannot go on from this file"
)
REFUSED = (
    "--rescue fills in no more than 1024 values at the end of the last layer's w3, and here more "
    "of the model is missing or damaged; look for another copy, or an earlier checkpoint"
)
OFFER = "the model in front of it is whole, and --rescue exports it"

WHOLE = packed_checkpoint(0, "lbfgs", n_vocab=300, n_embd=4, n_mult=3, n_layer=2, n_rot=4)
LAST = "model.layers[1].feed_forward.w3"
START, LENGTH = WHOLE.fields[f"{LAST}.data"]
END = START + LENGTH
OPTIMIZER = WHOLE.fields["optimizer.version"][0]
assert OPTIMIZER == END
assert LENGTH == 4 * 4 * 12


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Where a test puts its damaged file."""
    return tmp_path / "checkpoint.bin"


def whole_model(tmp_path: Path, missing: int | None) -> Gguf:
    """The model of WHOLE, whose last values are zero."""
    path = tmp_path / "whole.bin"
    path.write_bytes(WHOLE.data)
    stored = reference.read(path)
    model = expected_model(stored, "checkpoint", version=__version__, context_length=16)
    if missing is None:
        return model
    if missing:
        values = np.frombuffer(model.tensors[-1].data, "<f4").copy()
        values[len(values) - missing :] = 0
        model.tensors[-1].data = values.tobytes()
    place = model.keys.index(model.key("ggcp.version")) + 1
    model.keys.insert(place + 1, Key("ggcp.missing_values", U64, missing))
    return model


@pytest.mark.parametrize(
    ("length", "missing"),
    [
        (END, 0),
        (END - 1, 1),
        (END - 4, 1),
        (END - 5, 2),
        (END - 100, 25),
        (START + 4, 47),
        (START + 3, 48),
        (START, 48),
        (START - 1, 48),
        (WHOLE.fields[f"{LAST}.name"][0], 48),
        (WHOLE.fields[f"{LAST}.shape"][0] + 1, 48),
        (WHOLE.fields[f"{LAST}.n_dims"][0], 48),
    ],
)
def test_a_file_cut_in_its_last_w3(
    length: int,
    missing: int,
    damaged: Path,
    tmp_path: Path,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damaged.write_bytes(WHOLE.data[:length])
    for command in (export, convert):
        with pytest.raises(FormatError) as caught:
            command(damaged, folder / "model.gguf")
        assert caught.value.hint == ABORTED_SAVE
        assert list(folder.iterdir()) == []

    caplog.clear()
    path = export(damaged, folder / "model.gguf", rescue=True, epsilon=1e-5)
    expected = whole_model(tmp_path, missing)
    expected.keys.remove(expected.key("ggcp.optimizer_version"))
    assert read(path) == expected
    assert verify(damaged, path) == []
    if missing:
        share = {1: "2.08", 2: "4.17", 25: "52.1", 47: "97.9", 48: "100"}[missing]
        assert caplog.messages[0] == (
            f"rescued: the last {missing} of 48 values of layers.1.feed_forward.w3.weight "
            f"({share} %) are missing and are zero; all other weights are whole"
        )


@pytest.mark.parametrize("outtype", ["f16", "bf16", "q8_0"])
def test_missing_values_are_zero_in_every_type(outtype: str, damaged: Path, tmp_path: Path) -> None:
    damaged.write_bytes(WHOLE.data[: END - 100])
    path = export(damaged, tmp_path / "model.gguf", rescue=True, outtype=outtype)
    data = read(path).tensors[-1].data
    assert data[46:] == bytes(50)  # 23 of 48 values are there, two bytes each
    assert 0 not in struct.unpack("<23H", data[:46])
    assert verify(damaged, path) == []


def test_what_an_aborted_save_leaves(
    fixtures: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = fixtures / "v0_lbfgs_truncated_master43033b7bb.bin"
    for command in (export, convert):
        with pytest.raises(FormatError) as caught:
            command(checkpoint, folder / "model.gguf")
        assert str(caught.value) == (
            f"{checkpoint}: model.layers[0].feed_forward.w3.padding at offset 0xc1b3: expected 13 "
            f"bytes, found 0 bytes and the end of the file; {ABORTED_SAVE}"
        )
        assert list(folder.iterdir()) == []
    caplog.clear()
    path = export(checkpoint, folder / "model.gguf", rescue=True)
    assert caplog.messages[0] == (
        "rescued: the last 768 of 768 values of layers.0.feed_forward.w3.weight (100 %) are "
        "missing and are zero; all other weights are whole"
    )
    found = read(path)
    assert len(found.tensors) == 12
    assert found.tensor("blk.0.ffn_up.weight").data == bytes(4 * 768)
    data = checkpoint.read_bytes()
    for tensor in found.tensors[:-1]:
        assert tensor.data in data
        assert any(tensor.data)


@pytest.mark.parametrize(
    ("length", "path"),
    [
        (WHOLE.fields[f"{LAST}.n_dims"][0] - 1, "model.layers[1].feed_forward.w2.data"),
        (WHOLE.fields["model.layers[0].attention.wq.data"][0], "model.layers"),
        (WHOLE.fields["model.output.data"][0] + 9, "model.output.data"),
        (50, "model.tok_embeddings.name_length"),
        (18, "training.token_count"),
        (4, "version"),
    ],
)
def test_a_file_cut_before_is_refused(length: int, path: str, damaged: Path, folder: Path) -> None:
    damaged.write_bytes(WHOLE.data[:length])
    with pytest.raises(FormatError) as caught:
        export(damaged, folder / "model.gguf", rescue=True)
    assert (caught.value.path, caught.value.hint) == (path, REFUSED)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "field",
    [f"{LAST}.n_dims", f"{LAST}.type", "model.norm.n_dims", "hyperparameters.head_count"],
)
def test_a_model_that_is_damaged_is_refused(field: str, damaged: Path, folder: Path) -> None:
    for data in (WHOLE.with_number(field, 77), WHOLE.with_number(field, 77)[:END]):
        damaged.write_bytes(data)
        with pytest.raises(FormatError) as caught:
            export(damaged, folder / "model.gguf", rescue=True)
        assert (caught.value.path, caught.value.hint) == (field, REFUSED)
        assert list(folder.iterdir()) == []


WIDE = packed_checkpoint(0, "lbfgs", n_vocab=300, n_embd=4, n_mult=400, n_layer=1, n_rot=4)
WIDE_W3 = "model.layers[0].feed_forward.w3"


@pytest.mark.parametrize("missing", [1, 1024, 1025, 1600, None])
def test_as_many_values_as_an_aborted_save_leaves_out(
    missing: int | None, damaged: Path, folder: Path
) -> None:
    """In the buffer of the trainer's C library there was room for 4096 bytes."""
    start, length = WIDE.fields[f"{WIDE_W3}.data"]
    assert length == 4 * 1600
    end = WIDE.fields[f"{WIDE_W3}.shape"][0] if missing is None else start + length - 4 * missing
    damaged.write_bytes(WIDE.data[:end])
    path = folder / "model.gguf"
    if missing is not None and missing <= 1024:
        export(damaged, path, rescue=True)
        assert read(path).key("ggcp.missing_values").value == missing
        return
    with pytest.raises(FormatError) as caught:
        export(damaged, path, rescue=True)
    assert str(caught.value).endswith(f"and the end of the file; {REFUSED}")
    with pytest.raises(FormatError) as caught:
        convert(damaged, path)
    assert caught.value.hint == "the file is cut short; look for a whole copy of it"
    assert list(folder.iterdir()) == []


DAMAGE = {
    "cut in the context": WHOLE.data[: OPTIMIZER + 50],
    "cut in a vector": WHOLE.data[: WHOLE.fields["optimizer.state.search_direction.data"][0] + 5],
    "without its last byte": WHOLE.data[:-1],
    "a byte more": WHOLE.data + b"\0",
    "another version": WHOLE.with_number("optimizer.version", 9),
    "another parameter count": WHOLE.with_field("optimizer.parameter_count", bytes(8)),
    "another type": WHOLE.with_number("optimizer.params.type", 2),
}


@pytest.mark.parametrize("data", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_optimizer(
    data: bytes, damaged: Path, tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        convert(damaged, folder / "model.gguf")
    error = caught.value
    with pytest.raises(FormatError) as caught:
        export(damaged, folder / "model.gguf")
    assert str(caught.value) == f"{error}; {OFFER}"
    assert list(folder.iterdir()) == []

    caplog.clear()
    path = export(damaged, folder / "model.gguf", rescue=True, epsilon=1e-5)
    assert error.offset is not None
    assert caplog.messages[0] == (
        "rescued: all weights are whole; the rest is damaged, and is not needed to run the model "
        f"({error.path} at offset {error.offset:#x})"
    )
    expected = whole_model(tmp_path, 0)
    if error.path == "optimizer.version":
        expected.keys.remove(expected.key("ggcp.optimizer_version"))
    assert read(path) == expected
    assert verify(damaged, path) == []


def test_a_whole_file_needs_no_rescue(
    damaged: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ggcp")
    damaged.write_bytes(WHOLE.data)
    path = export(damaged, tmp_path / "model.gguf", rescue=True)
    assert caplog.messages[0] == "nothing to rescue: the checkpoint is whole"
    assert read(path) == whole_model(tmp_path, None)


def test_a_rescued_model_is_verified_against_the_same_file(damaged: Path, tmp_path: Path) -> None:
    damaged.write_bytes(WHOLE.data[: END - 100])
    path = export(damaged, tmp_path / "model.gguf", rescue=True)
    damaged.write_bytes(WHOLE.data[: END - 104])
    assert verify(damaged, path) == [
        "key ggcp.missing_values: expected 26, found 25",
        f"tensor blk.1.ffn_up.weight: the data differ from byte {len(path.read_bytes()) - 102:#x} "
        "of the file on",
    ]
    damaged.write_bytes(WHOLE.data)
    assert "key ggcp.missing_values: not expected" in verify(damaged, path)


def test_a_model_that_was_not_rescued_is_not_verified_against_a_damaged_file(
    damaged: Path, tmp_path: Path
) -> None:
    damaged.write_bytes(WHOLE.data)
    path = export(damaged, tmp_path / "model.gguf")
    damaged.write_bytes(WHOLE.data[:END])
    with pytest.raises(FormatError) as caught:
        verify(damaged, path)
    assert caught.value.hint == ABORTED_SAVE
