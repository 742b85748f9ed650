"""NaN and infinities, and what a smaller type makes of large numbers: counted and reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exported import VOCABULARY, export, random_weights, write_checkpoint
from gguf_bytes import read

from converter.use_cases.carry_out import Writing
from converter.use_cases.export import export as run_export
from converter.use_cases.export_options import ExportOptions
from converter.use_cases.verify import verify
from ggcp_schema.synthetic import Synthetic

QUIET = {"context_length": 16, "epsilon": 1e-5}
LOST = " are finite in the checkpoint but not as {}; --outtype f32 keeps them"
NAN, INFINITY = np.float32("nan"), np.float32("inf")


def checkpoint_with(path: Path, changes: dict[str, dict[int, float]], **sizes: int) -> Path:
    synthetic = Synthetic(block_count=sizes.pop("block_count", 1), **sizes)
    weights = random_weights(synthetic)
    for name, values in changes.items():
        for index, value in values.items():
            weights[f"{name}.weight"].reshape(-1)[index] = value
    return write_checkpoint(path, synthetic, weights)


def messages(
    tmp_path: Path,
    changes: dict[str, dict[int, float]],
    outtype: str,
    caplog: pytest.LogCaptureFixture,
) -> list[str]:
    checkpoint = checkpoint_with(tmp_path / "checkpoint.bin", changes)
    export(checkpoint, tmp_path / "model.gguf", outtype=outtype, **QUIET)
    return caplog.messages


@pytest.mark.parametrize("outtype", ["f32", "f16", "bf16"])
def test_what_the_checkpoint_holds(
    outtype: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {
        "tok_embeddings": {0: NAN, 7: INFINITY, 9599: -INFINITY},
        "norm": {3: -INFINITY},
        "layers.0.attention.wq": {5: NAN},
    }
    assert messages(tmp_path, changes, outtype, caplog) == [
        "token_embd.weight: 1 NaN and 2 infinite of 9600 values, as in the checkpoint",
        "output_norm.weight: 0 NaN and 1 infinite of 32 values, as in the checkpoint",
        "blk.0.attn_q.weight: 1 NaN and 0 infinite of 1024 values, as in the checkpoint",
    ]


def test_every_bit_of_a_nan_stays_in_f32(tmp_path: Path) -> None:
    """Signalling NaN, quiet NaN with a payload, the smallest subnormal, minus zero."""
    bits = np.array([0x7F800001, 0xFFC12345, 1, 0x80000000], "<u4")
    synthetic = Synthetic(block_count=1)
    weights = random_weights(synthetic)
    weights["output.weight"].view("<u4").reshape(-1)[:4] = bits
    checkpoint = write_checkpoint(tmp_path / "checkpoint.bin", synthetic, weights)
    path = export(checkpoint, tmp_path / "model.gguf")
    assert read(path).tensor("output.weight").data[:16] == bits.tobytes()


@pytest.mark.parametrize("outtype", ["f32", "f16", "bf16", "q8_0"])
@pytest.mark.parametrize("value", [65504, 65519.996, 65520, 3.39e38, 3.4e38, -3.4e38, 8.3e6, 8.4e6])
def test_large_numbers(
    value: float, outtype: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lost = {
        "f32": 0,
        # Half of the way from the largest number to the next power of two is rounded up.
        "f16": int(abs(value) >= 65520),
        "bf16": int(abs(value) == 3.4e38),
        # The scale of the block, its largest value / 127, is an F16.
        "q8_0": 32 * (abs(value) / 127 >= 65520),
    }[outtype]
    expected = f"output.weight: {lost} of 9600 values" + LOST.format(outtype.upper())
    found = messages(tmp_path, {"output": {11: value}}, outtype, caplog)
    assert found == ([expected] if lost else [])


def test_a_nan_spreads_over_its_block_of_q8_0(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {"output": {40: NAN, 41: NAN}, "layers.0.attention.wo": {0: INFINITY}}
    assert messages(tmp_path, changes, "q8_0", caplog) == [
        "output.weight: 2 NaN and 0 infinite of 9600 values, as in the checkpoint",
        "output.weight: 30 of 9600 values" + LOST.format("Q8_0"),
        "blk.0.attn_output.weight: 0 NaN and 1 infinite of 1024 values, as in the checkpoint",
        "blk.0.attn_output.weight: 31 of 1024 values" + LOST.format("Q8_0"),
    ]
    assert verify(tmp_path / "checkpoint.bin", tmp_path / "model.gguf") == []


def test_verifying_does_not_count_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = checkpoint_with(tmp_path / "checkpoint.bin", {"norm": {0: NAN}})
    options = ExportOptions(VOCABULARY, outtype="f16", **QUIET)  # type: ignore[arg-type]
    run_export(checkpoint, tmp_path / "model.gguf", options, writing=Writing(verify=True))
    assert caplog.messages == [
        "output_norm.weight: 1 NaN and 0 infinite of 32 values, as in the checkpoint"
    ]


def test_blocks_are_counted_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """268,800 values, of which the first 262,144 are a block of 1 MiB."""
    places = {0: NAN, 262_143: INFINITY, 262_144: NAN, 268_799: NAN, 265_000: 1e9}
    checkpoint = checkpoint_with(
        tmp_path / "checkpoint.bin",
        {"tok_embeddings": places},
        embedding_length=896,
        head_count=28,
        optimizer_version=1,
    )
    export(checkpoint, tmp_path / "model.gguf", outtype="f16", **QUIET)
    assert caplog.messages == [
        "token_embd.weight: 3 NaN and 1 infinite of 268800 values, as in the checkpoint",
        "token_embd.weight: 1 of 268800 values" + LOST.format("F16"),
    ]


def test_only_so_many_tensors_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"layers.{layer}.ffn_norm" for layer in range(13)]
    checkpoint = checkpoint_with(
        tmp_path / "checkpoint.bin", {name: {0: NAN} for name in names}, block_count=13
    )
    export(checkpoint, tmp_path / "model.gguf", **QUIET)
    assert caplog.messages == [
        *(
            f"blk.{layer}.ffn_norm.weight: 1 NaN and 0 infinite of 32 values, as in the checkpoint"
            for layer in range(10)
        ),
        "and 3 more lines like these",
    ]
