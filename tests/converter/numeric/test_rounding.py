"""F16, BF16 and Q8_0 are, byte by byte, what the gguf package makes of the same numbers."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gguf.quants import quantize
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.numeric import rounding
from converter.numeric.encode import Encoding
from ggcp_schema import Source, Span
from ggcp_schema.gguf import TensorType

F16, BF16, Q8_0 = (TensorType[name] for name in ("F16", "BF16", "Q8_0"))
EVERY_F16 = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
F16_NUMBERS = np.sort(EVERY_F16[np.isfinite(EVERY_F16)])
MIDDLES = ((F16_NUMBERS[1:].astype(np.float64) + F16_NUMBERS[:-1]) / 2).astype("<f4")
BLOCK = 32


def from_bits(bits: Any) -> npt.NDArray[np.float32]:
    return np.asarray(bits, np.uint32).view(np.float32)


def whole_blocks(values: Any) -> npt.NDArray[np.float32]:
    """Return the values, and zeros up to a multiple of 32."""
    values = np.asarray(values, np.float32)
    return np.concatenate([values, np.zeros(-values.size % BLOCK, np.float32)])


def by_package(values: npt.NDArray[np.float32], kind: TensorType) -> bytes:
    with np.errstate(all="ignore"):
        return quantize(values.reshape(-1, BLOCK), kind).tobytes()


def encoded(
    values: npt.NDArray[np.float32], kind: TensorType, folder: Path
) -> tuple[bytes, Encoding]:
    path = folder / "values"
    path.write_bytes(values.astype("<f4").tobytes())
    with Source.open(path) as source:
        encoding = Encoding((Span(source, 0, values.nbytes, (values.size,)),), kind)
        return b"".join(encoding()), encoding


RANDOM_BITS = np.random.default_rng(1).integers(0, 1 << 32, 600_000, np.uint32)
FINITE_BITS = RANDOM_BITS[(RANDOM_BITS & 0x7F800000) != 0x7F800000]
NORMAL = np.random.default_rng(2).normal(0, 1, 300_000).astype(np.float32)

VALUES = {
    "every f16": EVERY_F16,
    "every finite f16": F16_NUMBERS,
    "halfway between two f16": MIDDLES,
    "just above halfway": np.nextafter(MIDDLES, np.float32(np.inf)),
    "just below halfway": np.nextafter(MIDDLES, np.float32(-np.inf)),
    "around the largest f16": np.float32(
        [65503.99, 65504, 65519.996, 65520, 65536, -65504, -65520]
    ),
    "around the smallest f16": np.float32(
        [2**-24, 2**-25, 2**-25 * 1.0000001, 2**-26, 1e-45, -1e-45]
    ),
    "zeros of both signs": np.float32([0.0, -0.0] * 16),
    "quiet and signalling nan": from_bits(
        [0x7F800001, 0xFFC12345, 0x7FFFFFFF, 0x7F802000, 0xFF801FFF]
    ),
    "infinities": np.float32([np.inf, -np.inf, 1, 2]),
    "around the largest bf16": from_bits(
        [0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF, 0xFF7F7FFF, 0xFF7F8000]
    ),
    "halfway between two bf16": from_bits(np.arange(0x10000, dtype=np.uint32) << 16 | 0x8000),
    "subnormal": from_bits(np.arange(1, 0x800000, 97)),
    "any bits": from_bits(RANDOM_BITS),
    "any finite bits": from_bits(FINITE_BITS),
    "normal": NORMAL,
    "weights": NORMAL * np.float32(0.02),
    "moments": NORMAL**8 * np.float32(1e-9),
}


@pytest.mark.parametrize("kind", [F16, BF16, Q8_0])
@pytest.mark.parametrize("name", VALUES)
def test_bytes_are_those_of_the_package(name: str, kind: TensorType, tmp_path: Path) -> None:
    values = whole_blocks(VALUES[name])
    assert encoded(values, kind, tmp_path)[0] == by_package(values, kind)


@pytest.mark.parametrize("kind", [F16, BF16, Q8_0])
def test_what_stays_finite_is_not_done_by_the_package(
    kind: TensorType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the other tests would compare it with itself."""
    expected = by_package(whole_blocks(NORMAL), kind)

    def fail(*_arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr(rounding, "quantized", fail)
    monkeypatch.setattr("converter.numeric.encode.quantized", fail)
    assert encoded(whole_blocks(NORMAL), kind, tmp_path)[0] == expected


def test_f16_as_struct_packs_it(tmp_path: Path) -> None:
    values = MIDDLES[: MIDDLES.size // BLOCK * BLOCK]
    expected = struct.pack(f"<{values.size}e", *values.tolist())
    assert encoded(values, F16, tmp_path)[0] == expected


class TestQ8_0:  # noqa: N801 - the name of the type
    @pytest.mark.parametrize("largest", [127.0, -127.0, 254.0, 1.0, 3e-5, 8_000_000.0])
    def test_halves_go_away_from_zero(self, largest: float, tmp_path: Path) -> None:
        steps = np.arange(-126.5, 127, 0.5) * largest / 127
        values = np.zeros((-(-steps.size // (BLOCK - 1)), BLOCK), np.float32)
        values[:, 0] = largest
        values[:, 1:].flat[: steps.size] = steps
        values = values.reshape(-1)
        data = encoded(values, Q8_0, tmp_path)[0]
        assert data == by_package(values, Q8_0)
        if abs(largest) == 127:  # the scale is 1
            found = np.frombuffer(data, np.int8).reshape(-1, 2 + BLOCK)[:, 2:].reshape(-1)
            wide = values.astype(np.float64)
            assert (found == np.copysign(np.floor(np.abs(wide) + 0.5), wide)).all()

    def test_just_below_a_half(self, tmp_path: Path) -> None:
        """Where adding a half in float32 would give the next integer."""
        values = np.zeros(BLOCK, np.float32)
        values[:5] = 127, 0.49999997, -0.49999997, 0.5, -0.5
        data = encoded(values, Q8_0, tmp_path)[0]
        assert data == struct.pack("<e", 1) + bytes([127, 0, 0, 1, 255]) + bytes(27)

    @pytest.mark.parametrize("exponent", range(-149, -110))
    def test_scales_without_an_inverse(self, exponent: int, tmp_path: Path) -> None:
        values = whole_blocks(np.float32([1, -0.5, 0.3]) * np.float32(2.0**exponent))
        both = np.concatenate([values, whole_blocks(NORMAL[:64])])
        assert encoded(both, Q8_0, tmp_path)[0] == by_package(both, Q8_0)


@given(data=st.data(), kind=st.sampled_from([F16, BF16, Q8_0]))
@settings(deadline=None, max_examples=200)
def test_any_bits(data: st.DataObject, kind: TensorType, tmp_path_factory: Any) -> None:
    scale = data.draw(st.integers(0, 254))
    near = st.integers(max(scale - 20, 0), scale)
    bits = st.builds(
        lambda sign, exponent, mantissa: sign << 31 | exponent << 23 | mantissa,
        st.integers(0, 1),
        near,
        st.integers(0, (1 << 23) - 1) | st.sampled_from([0, 0x1000, 0x8000, 0x7FFFFF]),
    )
    values = whole_blocks(from_bits(data.draw(st.lists(bits, min_size=1, max_size=64))))
    made = encoded(values, kind, tmp_path_factory.mktemp("bits"))[0]
    assert made == by_package(values, kind)


@pytest.mark.parametrize("kind", [F16, BF16, Q8_0])
@pytest.mark.parametrize("count", [BLOCK, 1 << 16, (1 << 16) + BLOCK, 1 << 18, (5 << 17) + BLOCK])
def test_tensors_of_any_length(count: int, kind: TensorType, tmp_path: Path) -> None:
    """As many as are rounded at once or read at once, and some more."""
    values = np.random.default_rng(count).normal(0, 0.02, count).astype(np.float32)
    assert encoded(values, kind, tmp_path)[0] == by_package(values, kind)


def test_every_block_with_its_own_count(tmp_path: Path) -> None:
    values = np.zeros(1 << 20, np.float32)
    places = np.arange(0, values.size, 300_000)
    values[places] = np.nan, np.inf, 70_000, -np.inf
    data, encoding = encoded(values, F16, tmp_path)
    tally = encoding.tally
    assert (tally.nans, tally.infinities, tally.lost) == (1, 2, 1)
    assert data == by_package(values, F16)
