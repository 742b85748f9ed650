"""Verifying names exactly what differs between a GGUF and what its checkpoint becomes."""

from __future__ import annotations

import copy
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf_bytes import ARRAY, BOOL, F32, F64, STRING, U8, U32, U64, Gguf, Key, Tensor, expected
from reference.checkpoint import read

from converter import __version__
from converter.use_cases.convert import convert
from converter.use_cases.verify import verify
from ggcp_schema import FormatError

FIXTURES = ["v0_adam_one.bin", "v1_lbfgs.bin", "v1_adam_past3.bin"]


@pytest.fixture(scope="module")
def right(fixtures: Path) -> dict[str, Gguf]:
    return {name: expected(read(fixtures / name), __version__) for name in FIXTURES}


@pytest.fixture
def source(fixtures: Path) -> Path:
    return fixtures / "v0_adam_one.bin"


@pytest.fixture
def gguf(right: dict[str, Gguf]) -> Gguf:
    """What the source becomes, to be corrupted."""
    return copy.deepcopy(right["v0_adam_one.bin"])


@pytest.fixture
def differences(source: Path, tmp_path: Path) -> Callable[[Gguf | bytes], list[str]]:
    def differences(changed: Gguf | bytes) -> list[str]:
        path = tmp_path / "changed.gguf"
        path.write_bytes(changed if isinstance(changed, bytes) else changed.to_bytes())
        return verify(source, path)

    return differences


Differences = Callable[[Gguf | bytes], list[str]]


@pytest.mark.parametrize("name", FIXTURES)
def test_nothing_differs(name: str, fixtures: Path, right: dict[str, Gguf], tmp_path: Path) -> None:
    (tmp_path / "right.gguf").write_bytes(right[name].to_bytes())
    assert verify(fixtures / name, tmp_path / "right.gguf") == []


@pytest.mark.parametrize("epsilon", [1e-6, 5e-6])
def test_epsilon_is_taken_as_it_was_chosen(
    epsilon: float, source: Path, differences: Differences
) -> None:
    assert differences(expected(read(source), __version__, epsilon)) == []


@pytest.mark.parametrize("name", FIXTURES)
def test_a_byte_of_any_tensor(
    name: str, fixtures: Path, right: dict[str, Gguf], tmp_path: Path
) -> None:
    whole = right[name].to_bytes()
    end = len(whole)
    for tensor in reversed(right[name].tensors):
        start = end - -(-len(tensor.data) // 32) * 32
        for at in (0, len(tensor.data) // 2, len(tensor.data) - 1):
            changed = bytearray(whole)
            changed[start + at] ^= 0x10
            (tmp_path / "changed.gguf").write_bytes(changed)
            assert verify(fixtures / name, tmp_path / "changed.gguf") == [
                f"tensor {tensor.name}: the data differ from byte {start + at:#x} of the file on"
            ]
        end = start


def another(key: Key) -> Any:
    if key.type == STRING:
        return key.value + "x"
    return not key.value if key.type == BOOL else key.value + 1


def shown(value: Any) -> str:
    return str(value.encode()) if isinstance(value, str) else str(value)


CHOSEN = "llama.attention.layer_norm_rms_epsilon"  # whatever the GGUF says of it is right


@pytest.mark.parametrize("name", FIXTURES)
def test_another_value_of_any_key(
    name: str, fixtures: Path, right: dict[str, Gguf], tmp_path: Path
) -> None:
    for index, key in enumerate(right[name].keys):
        if key.name in (CHOSEN, "ggcp.version"):
            continue
        changed = copy.deepcopy(right[name])
        changed.keys[index].value = value = another(key)
        if key.type == F32:
            value = struct.unpack("<f", struct.pack("<f", value))[0]
        (tmp_path / "changed.gguf").write_bytes(changed.to_bytes())
        assert verify(fixtures / name, tmp_path / "changed.gguf") == [
            f"key {key.name}: expected {shown(key.value)}, found {shown(value)}"
        ]


def test_of_very_many_differences_the_last_line_gives_the_number(
    source: Path, right: dict[str, Gguf], tmp_path: Path
) -> None:
    changed = copy.deepcopy(right["v0_adam_one.bin"])
    room = 65_536 - len(changed.keys)
    changed.keys += [Key(f"k{index}", U8, 0) for index in range(room)]
    (tmp_path / "changed.gguf").write_bytes(changed.to_bytes())
    found = verify(source, tmp_path / "changed.gguf")
    assert found[:100] == [f"key k{index}: not expected" for index in range(100)]
    assert found[100:] == [f"and {room - 100} more differences"]


OTHER_TYPES = {
    U32: ("UINT32", F64, "FLOAT64", 1.0),
    F32: ("FLOAT32", F64, "FLOAT64", 1e-5),
    U64: ("UINT64", U32, "UINT32", 1),
    BOOL: ("BOOL", U8, "UINT8", 0),
    STRING: ("STRING", ARRAY, "ARRAY of STRING", (STRING, ["llama"])),
}


def test_another_type_of_any_key(gguf: Gguf, differences: Differences) -> None:
    for key in gguf.keys:
        before = copy.copy(key)
        wanted, key.type, found, key.value = OTHER_TYPES[key.type]
        assert differences(gguf) == [f"key {key.name}: expected the type {wanted}, found {found}"]
        key.type, key.value = before.type, before.value


def test_the_payload_of_a_loss_that_is_no_number_is_kept(source: Path, tmp_path: Path) -> None:
    """A signalling NaN too, which a conversion to another type would turn into a quiet one."""
    checkpoint, output = tmp_path / "in.bin", tmp_path / "out.gguf"
    payload = b"\x01\0\x80\x7f"
    data = bytearray(source.read_bytes())
    data[-12:-8] = payload
    checkpoint.write_bytes(data)
    convert(checkpoint, output)
    assert b"optimizer.adam.best_loss" + struct.pack("<I", 6) + payload in output.read_bytes()
    assert verify(checkpoint, output) == []


def test_nan_is_the_same_as_itself_and_nothing_else(source: Path, tmp_path: Path) -> None:
    """The losses of a training that diverged are NaN."""
    checkpoint = tmp_path / "in.bin"
    data = bytearray(source.read_bytes())
    data[-12:-8] = struct.pack("<f", math.nan)
    checkpoint.write_bytes(data)
    output = tmp_path / "out.gguf"
    convert(checkpoint, output)
    assert verify(checkpoint, output) == []
    assert verify(source, output) == [
        "key optimizer.adam.best_loss: expected 5.43817663192749, found nan"
    ]


def test_key_that_is_missing(gguf: Gguf, differences: Differences) -> None:
    gguf.key("ggcp.version").value = "1.0.1"
    for key in list(gguf.keys):
        gguf.keys.remove(key)
        found = differences(gguf)
        gguf.keys.append(key)
        assert found[0] == f"key {key.name}: missing"
        assert len(found) == 1


def test_1_0_0_did_not_say_which_gradients_the_moments_are_of(
    gguf: Gguf, differences: Differences
) -> None:
    gguf.key("ggcp.version").value = "1.0.0"
    gguf.keys.remove(gguf.key("ggcp.gradients"))
    assert differences(gguf) == []


@pytest.mark.parametrize("version", ["1.0.0", "1.0.1"])
def test_other_gradients(version: str, gguf: Gguf, differences: Differences) -> None:
    gguf.key("ggcp.version").value = version
    gguf.key("ggcp.gradients").value = "unknown"
    assert differences(gguf) == ["key ggcp.gradients: expected b'summed', found b'unknown'"]


@pytest.mark.parametrize("name", ["general.name", "GGUF.anything", "GGUF.version.2"])
def test_key_that_is_not_expected(name: str, gguf: Gguf, differences: Differences) -> None:
    gguf.keys.insert(3, Key(name, U32, 1))
    assert differences(gguf) == [f"key {name}: not expected"]


def test_key_of_another_name(gguf: Gguf, differences: Differences) -> None:
    gguf.key("llama.block_count").name = "llama.block\n_count"
    assert differences(gguf) == [
        "key llama.block_count: missing",
        "key llama.block\\n_count: not expected",
    ]


def test_keys_in_another_order(gguf: Gguf, differences: Differences) -> None:
    gguf.keys[5], gguf.keys[6] = gguf.keys[6], gguf.keys[5]
    assert differences(gguf) == ["the keys stand in another order"]


def test_tensor_that_is_missing(gguf: Gguf, differences: Differences) -> None:
    for index in range(len(gguf.tensors)):
        tensor = gguf.tensors.pop(index)
        assert differences(gguf) == [f"tensor {tensor.name}: missing"]
        gguf.tensors.insert(index, tensor)


def test_tensor_that_is_not_expected(gguf: Gguf, differences: Differences) -> None:
    gguf.tensors.insert(4, Tensor("extra.weight", (2,), bytes(8)))
    assert differences(gguf) == ["tensor extra.weight: not expected"]


def test_tensor_of_another_name(gguf: Gguf, differences: Differences) -> None:
    gguf.tensor("blk.1.attn_q.weight").name = "blk.1.attn_Q.weight"
    assert differences(gguf) == [
        "tensor blk.1.attn_q.weight: missing",
        "tensor blk.1.attn_Q.weight: not expected",
    ]


def test_tensors_in_another_order(gguf: Gguf, differences: Differences) -> None:
    gguf.tensors[4], gguf.tensors[5] = gguf.tensors[5], gguf.tensors[4]
    assert differences(gguf) == ["the tensors stand in another order"]


def test_names_of_two_tensors_swapped(gguf: Gguf, differences: Differences) -> None:
    query, key = gguf.tensor("blk.0.attn_q.weight"), gguf.tensor("blk.0.attn_k.weight")
    query.name, key.name = key.name, query.name
    found = differences(gguf)
    assert [line.split(" differ ")[0] for line in found] == [
        "tensor blk.0.attn_q.weight: the data",
        "tensor blk.0.attn_k.weight: the data",
        "the tensors stand in another order",
    ]


@pytest.mark.parametrize("dims", [(300, 16), (16, 300, 1), (4800,), (16, 299)])
def test_other_dimensions(dims: tuple[int, ...], gguf: Gguf, differences: Differences) -> None:
    tensor = gguf.tensor("output.weight")
    tensor.dims, tensor.data = dims, tensor.data[: 4 * math.prod(dims)]
    assert differences(gguf) == [
        f"tensor output.weight: expected the dimensions (16, 300), found {dims}"
    ]


def test_first_dimension_divided_by_four(gguf: Gguf, differences: Differences) -> None:
    """As the gguf package writes it when it is given uint8 data and the shape of floats."""
    for tensor in gguf.tensors:
        tensor.dims = (tensor.dims[0] // 4, *tensor.dims[1:])
    *found, size = differences(gguf)
    assert [line.split(",")[0] for line in found] == [
        f"tensor {tensor.name}: expected the dimensions ({4 * tensor.dims[0]}"
        for tensor in gguf.tensors
    ]
    assert size.startswith("the file: expected ")


def test_another_type_of_tensor(gguf: Gguf, differences: Differences) -> None:
    gguf.tensor("output.weight").type = 26
    assert differences(gguf) == ["tensor output.weight: expected F32, found I32"]


@pytest.mark.parametrize("more", [b"\0", b"x" * 1000])
def test_bytes_behind_the_end(more: bytes, gguf: Gguf, differences: Differences) -> None:
    whole = gguf.to_bytes()
    assert differences(whole + more) == [
        f"the file: expected {len(whole)} bytes, found {len(whole) + len(more)}"
    ]


def test_everything_that_differs_is_named(gguf: Gguf, differences: Differences) -> None:
    gguf.key("llama.block_count").value = 3
    gguf.key("training.type").value = "x" * 100
    gguf.tensors.pop(0)
    gguf.tensor("output_norm.weight").dims = (1, 16)
    assert differences(gguf) == [
        f"key training.type: expected b'train_model', found b'{'x' * 55}...",
        "key llama.block_count: expected 2, found 3",
        "tensor token_embd.weight: missing",
        "tensor output_norm.weight: expected the dimensions (16,), found (1, 16)",
    ]


def test_cut_short_anywhere(source: Path, gguf: Gguf, differences: Differences) -> None:
    whole = gguf.to_bytes()
    for length in [*range(64), *range(64, len(whole), 1009)]:
        with pytest.raises(FormatError) as caught:
            differences(whole[:length])
        if length >= 4:
            assert "the end of the file" in str(caught.value)
            hint = "the file is damaged or no GGUF; convert the checkpoint again"
        elif length:
            hint = "give the checkpoint first, and second what ggcp convert or export made of it"
        else:
            hint = "convert the checkpoint again"
        assert caught.value.hint == hint


def test_cut_in_the_data(gguf: Gguf, differences: Differences, tmp_path: Path) -> None:
    whole = gguf.to_bytes()
    start = len(whole) - len(gguf.tensors[-1].data)
    with pytest.raises(FormatError) as caught:
        differences(whole[: start + 100])
    assert str(caught.value) == (
        f"{tmp_path / 'changed.gguf'}: tensor optimizer.adam.second_moments at offset {start:#x}: "
        f"expected {4 * 16336} bytes of data, found 100 bytes and the end of the file; "
        "the file is damaged or no GGUF; convert the checkpoint again"
    )


def test_a_gguf_of_another_version_of_ggcp_is_the_same(
    fixtures: Path, right: dict[str, Gguf], tmp_path: Path
) -> None:
    changed = copy.deepcopy(right[FIXTURES[0]])
    (version,) = (key for key in changed.keys if key.name == "ggcp.version")
    version.value = "0.9.9"
    (tmp_path / "changed.gguf").write_bytes(changed.to_bytes())
    assert verify(fixtures / FIXTURES[0], tmp_path / "changed.gguf") == []
