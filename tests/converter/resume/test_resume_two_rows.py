"""The least that there is to divide by: one sample of two tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from gguf_bytes import read
from resumed import VERSION_1, elements, ggcp, made

SUMMED = replace(VERSION_1, with_params=True, context_length=2)


def test_moments_of_two_rows_are_halved(tmp_path: Path) -> None:
    path, output = tmp_path / "in.bin", tmp_path / "out.gguf"
    m = np.arange(1, elements(SUMMED, "first_moments").size + 1, dtype="<f4")
    state = "optimizer.state"
    path.write_bytes(made(SUMMED, {f"{state}.first_moments": m, f"{state}.second_moments": 3 * m}))
    options = ("--resume-with", "scratch", "--order", "scratch", "--batch", 1, "--eps", 1e-6)
    assert ggcp("convert", path, output, *options).code == 0
    written = read(output)
    assert written.key("ggcp.gradient_rows").value == 2
    assert written.tensor("optimizer.adam.first_moments").data == (m * 0.5).tobytes()
    assert written.tensor("optimizer.adam.second_moments").data == (m * 0.75).tobytes()
