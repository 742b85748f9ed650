"""Every bit outside the tensors' data, flipped: an error, or a field that may be anything."""

import io
import math
import re
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from members import tensors, values
from packed import Packed, checkpoint

from ggcp_schema import FormatError, build, parse

LAYOUTS = {
    "version 0 Adam": checkpoint(0, past=3),
    "version 0 L-BFGS": checkpoint(0, "lbfgs"),
    "version 1 Adam": checkpoint(1, n_vocab=5, past=3),
    "version 1 L-BFGS": checkpoint(1, "lbfgs", n_vocab=5),
    "version 1 with params Adam": checkpoint(1, with_params=True),
    "version 1 with params L-BFGS": checkpoint(1, "lbfgs", with_params=True, past=3),
    # n_ff is 8, which no multiple of one bit's difference gives as well
    "one layer": checkpoint(1, n_vocab=5, n_layer=1, n_mult=4),
}

# Fields whose every value has a meaning, or none at all.
FREE = re.compile(
    r"training\..*"
    r"|.*\.padding"
    r"|optimizer\.just_initialized"
    r"|optimizer\.params\.(thread_count|convergence_delta|no_improvement_limit|print_.*"
    r"|compiler_padding|adam\..*)"
    r"|optimizer\.params\.lbfgs\.(?!approx_hessian_count).*"
    r"|optimizer\.state\.(best_loss|previous_loss|line_search_.*)"
)
# Signed counters: all but the sign.
POSITIVE = re.compile(r"optimizer\.(iteration_count|state\.no_improvement_count)")
# Stored but not used by Adam: a wrong one is seen only where it is negative.
UNUSED_BY_ADAM = re.compile(r"optimizer\.(params\.lbfgs\.)?approx_hessian_count")
# Used only for the length of the feed-forward network, which no layer means.
UNUSED_WITHOUT_LAYERS = "hyperparameters.feed_forward_multiple"


def may_change(whole: Packed, path: str, data: bytes) -> bool:
    """Whether the field at ``path`` may hold ``data``."""
    lbfgs = "optimizer.state.memory_s.data" in whole.fields
    if path == "optimizer.version" and lbfgs and "optimizer.params.type" in whole.fields:
        # Version 1 with params took over version 0's header, and L-BFGS's records never changed:
        # the two files differ in this number alone.
        return data in (bytes(4), b"\1\0\0\0")
    if FREE.fullmatch(path):
        return True
    if POSITIVE.fullmatch(path):
        return data[-1] < 0x80
    if UNUSED_BY_ADAM.fullmatch(path):
        return not lbfgs and data[-1] < 0x80
    if path == UNUSED_WITHOUT_LAYERS:
        return "model.layers[0].ffn_norm.data" not in whole.fields and any(data)
    return False


def read_and_built(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """What a file says, where its tensors' data are, and what is built of it."""
    file = io.BytesIO()
    with parse(io.BytesIO(data)) as checkpoint_:
        build(checkpoint_, file)
        spans = {path: record["data"][1:] for path, record in tensors(checkpoint_).items()}
        return values(checkpoint_.container), spans, file.getvalue()


def flipped(whole: Packed) -> Iterator[tuple[str, bytes, bool]]:
    """Path of the field, the file, and whether the field may hold that, of each flipped bit."""
    for path, (start, length) in whole.fields.items():
        if path.endswith(".data"):
            continue
        for bit in range(8 * length):
            data = bytearray(whole.data)
            data[start + bit // 8] ^= 1 << bit % 8
            yield path, bytes(data), may_change(whole, path, bytes(data[start : start + length]))


every_layout = pytest.mark.parametrize("whole", LAYOUTS.values(), ids=LAYOUTS.keys())


@every_layout
def test_a_flipped_bit_of_what_has_one_right_value_is_refused(whole: Packed) -> None:
    for path, data, allowed in flipped(whole):
        if not allowed:
            with pytest.raises(FormatError) as caught:
                pytest.fail(f"{path}: {parse(io.BytesIO(data)).container}")
            assert caught.value.offset is not None
            assert caught.value.path


@every_layout
def test_a_flipped_bit_of_what_may_be_anything_changes_nothing_else(whole: Packed) -> None:
    original, original_spans, _ = read_and_built(bytes(whole.data))
    for path, data, allowed in flipped(whole):
        if allowed:
            found, spans, built = read_and_built(data)
            assert built == data
            assert spans == original_spans
            changed = {place for place, value in found.items() if value != original[place]}
            follows = {path.rpartition(".")[2]}
            follows |= {"feed_forward_length"} if path == UNUSED_WITHOUT_LAYERS else set()
            follows |= {"layout"} if path == "optimizer.version" else set()
            assert {place.rpartition(".")[2] for place in changed} <= follows


@pytest.mark.parametrize("payload", [0x7FC00000, 0x7FC00001, 0x7F800001, 0xFFBFFFFF, 0xFFFFFFFF])
def test_the_payload_of_a_float_that_is_no_number_is_kept(payload: int) -> None:
    """Signalling ones too, which arithmetic would turn into quiet ones."""
    whole = checkpoint(0, "lbfgs")
    for path in ("optimizer.state.best_loss", "optimizer.params.adam.epsilon"):
        data = whole.with_field(path, struct.pack("<I", payload))
        file = io.BytesIO()
        with parse(io.BytesIO(data)) as checkpoint_:
            assert math.isnan(values(checkpoint_.container)[path])
            build(checkpoint_, file)
        assert file.getvalue() == data


def test_padding_that_is_not_zero_is_kept() -> None:
    whole = checkpoint(n_layer=1)
    data = bytearray(whole.data)
    for path, (start, length) in whole.fields.items():
        if path.endswith(".padding"):
            data[start : start + length] = bytes(range(1, length + 1))
    assert data != whole.data
    file = io.BytesIO()
    with parse(io.BytesIO(bytes(data))) as checkpoint_:
        assert checkpoint_.model.norm.padding == bytes(range(1, 22))
        build(checkpoint_, file)
    assert file.getvalue() == data
