"""The histograms and the labels of the map, as they are drawn."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from html_page import page_of
from packed import checkpoint
from paths import ROOT
from reference.checkpoint import read

from converter.report.html import as_html
from converter.use_cases.inspect import inspect

BASE, TALLEST, RIGHT = 34.0, 32.0, 168.0


class Drawing:
    """A histogram, taken apart."""

    def __init__(self, svg: str) -> None:
        opening = re.match(r"<svg([^>]*)>", svg)
        assert opening
        self.scale = re.findall(r'class="histogram (\w+)"', opening[1])[0]
        self.label = re.findall(r'aria-label="([^"]*)"', opening[1])[0]
        self.paths = [bars(d) for d in re.findall(r'class="bars" d="([^"]*)"', svg)]
        self.zero = [float(x) for x in re.findall(r'class="zero" d="M([\d.]+) ', svg)]
        self.axis = re.findall(r'class="axis" d="M([\d.]+) 34H168"', svg)
        self.texts = re.findall(r'<text x="([\d.]+)"[^>]*>([^<]*)</text>', svg)
        self.tags = re.findall(r'<text class="tag"[^>]*>([^<]*)</text>', svg)


def bars(path: str) -> list[tuple[float, float, float]]:
    """Left edge, width and height of each bar."""
    found = re.findall(r"M([\d.]+) 34v-([\d.e-]+)h([\d.]+)v[\d.e-]+z", path)
    return [(float(x), float(width), float(height)) for x, height, width in found]


def drawings(text: str) -> dict[str, Drawing]:
    """The histograms of a page by the name of their row."""
    rows = re.findall(r'<th scope="row" class="path"[^>]*>([^<]*)</th><td>(<svg.*?</svg>)', text)
    return {name: Drawing(svg) for name, svg in rows}


def check_axis(drawing: Drawing, counts: npt.NDArray[Any], left: float, tallest: int) -> None:
    """Bars of equal width from end to end, as high as there are elements in each."""
    step = (RIGHT - left) / len(counts)
    drawn = drawing.paths[-1]
    assert len(drawn) == np.count_nonzero(counts)
    assert len({width for _, width, _ in drawn}) == 1
    places = np.flatnonzero(counts)
    assert [x for x, _, _ in drawn] == pytest.approx(
        [left + place * step + (step - drawn[0][1]) / 2 for place in places], abs=0.02
    )
    heights = np.maximum(counts[places] / tallest * TALLEST, 1)
    assert [height for _, _, height in drawn] == pytest.approx(heights.tolist(), rel=0.01)


def test_values_are_on_a_linear_axis(fixtures: Path) -> None:
    """Against numpy's histogram over the range that the axis names."""
    path = fixtures / "v0_adam_one.bin"
    values = read(path).tensors["tok_embeddings.weight"].astype(np.float64).ravel()
    drawing = drawings(as_html(inspect(path, stats=True)))["tok_embeddings"]
    assert drawing.scale == "linear"
    assert drawing.tags == []
    width = (values.max() - values.min()) / 1919 * 40  # 1,920 fine bins, of which 48 are made
    low, high = values.min(), values.min() + 48 * width
    counts, _ = np.histogram(values, low + width * np.arange(49))
    check_axis(drawing, counts, 0, counts.max())
    zero = -low / (high - low) * RIGHT
    assert drawing.zero == [pytest.approx(zero, abs=0.06)]
    assert drawing.texts == [
        ("0.0", f"{low:.3g}"),
        ("168.0", f"{high:.3g}"),
        (f"{zero:.1f}", "0"),
    ]
    assert drawing.axis == ["0"]


def test_magnitudes_are_on_a_logarithmic_axis(fixtures: Path) -> None:
    path = fixtures / "v0_adam_one.bin"
    values = read(path).optimizer.vectors["m"].astype(np.float64)
    zeros = int((values == 0).sum())
    drawing = drawings(as_html(inspect(path, stats=True)))["first_moments"]
    assert drawing.scale == "logarithmic"
    assert drawing.tags == ["log"]
    exponents = np.frexp(values[values != 0])[1] - 1
    counts = np.bincount(exponents - exponents.min())
    tallest = max(counts.max(), zeros)
    first, last = exponents.min(), exponents.max() + 1
    assert drawing.label == (
        f"Histogram of the magnitudes, from 2^{first} to 2^{last}, and {zeros:,} zeros"
    )
    check_axis(drawing, counts, 21, tallest)
    assert drawing.paths[0] == [(0.54, 7.92, pytest.approx(zeros / tallest * TALLEST, rel=0.01))]
    assert drawing.axis == ["21"]  # the zeros are not on it
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    assert [text for _, text in drawing.texts] == [
        "0",
        f"2{str(first).translate(raised)}",
        f"2{str(last).translate(raised)}",
    ]


def of_norm(values: tuple[float, float], folder: Path) -> Drawing:
    path = folder / "norm.bin"
    path.write_bytes(checkpoint(1).with_field("model.norm.data", struct.pack("<2f", *values)))
    return drawings(as_html(inspect(path, stats=True)))["norm"]


def test_zero_is_marked_only_where_it_is(tmp_path: Path) -> None:
    assert of_norm((1, 2), tmp_path).zero == []
    assert of_norm((0, 1), tmp_path).zero == []  # the axis begins there
    assert of_norm((-1, 1), tmp_path).zero == [84.0]


def test_a_zero_beside_an_end_has_a_line_but_no_label(tmp_path: Path) -> None:
    drawing = of_norm((-0.01, 1), tmp_path)
    assert drawing.zero == [pytest.approx(0.01 / 1.01 * RIGHT, abs=0.06)]
    assert [text for _, text in drawing.texts] == ["-0.01", "1"]


def test_one_value_is_a_bar_in_the_middle(tmp_path: Path) -> None:
    drawing = of_norm((2.5, 2.5), tmp_path)
    assert drawing.paths == [[(79.0, 10.0, TALLEST)]]
    assert drawing.texts == [("84.0", "2.5")]
    assert drawing.label == "Histogram all at 2.5"


def test_only_the_scales_that_are_there_are_explained(fixtures: Path) -> None:
    both = page_of(fixtures / "v0_adam_one.bin").text
    assert "on a linear axis" in both
    assert "on a logarithmic axis" in both
    model = page_of(fixtures / "model_aug23_lbfgs.gguf").text
    assert "on a linear axis" in model
    assert "on a logarithmic axis" not in model
    assert "axis" not in page_of(fixtures / "v0_adam_one.bin", stats=False).words["span"]


SCREENS = {"narrow": 250, "medium": 620, "broad": 1000}


@pytest.mark.parametrize("name", ["v0_adam_one", "ggcp_42d9b4cfc_11layers", "v1_lbfgs"])
def test_no_label_of_the_map_is_cut(name: str, fixtures: Path) -> None:
    """A letter of 12.5 pixels is at most 7.2 wide on average; 8 pixels are in front, 6 behind."""
    text = as_html(inspect(fixtures / f"{name}.bin"))
    cells = re.findall(r'<svg x="[\d.]+%" y="\d+" width="([\d.]+)%" height="46">(.*?)</svg>', text)
    labelled = 0
    for width, content in cells:
        title = re.findall(r"<title>(.*?):", content)[0]
        for screen, pixels in SCREENS.items():
            lines = [
                line
                for kinds, line in re.findall(r'<text class="([^"]*)"[^>]*>([^<]*)<', content)
                if screen in kinds.split()
            ]
            if lines:
                assert " ".join(lines) == title
                assert max(map(len, lines)) * 7.2 + 14 <= pixels * float(width) / 100
                labelled += 1
    assert labelled > 8


def test_the_map_shows_labels_where_it_is_as_wide_as_they_need() -> None:
    """The widths are those of the style sheet: padding and border of page and card are taken."""
    style = (ROOT / "converter" / "report" / "html" / "page.css").read_text()
    around = 2 * 24 + 2 * 20 + 2  # from 640 pixels of screen on
    assert "@media (min-width: 45rem) and (max-width: 69.99rem) { .map .medium" in style
    assert "@media (min-width: 70rem) { .map .broad" in style
    assert 45 * 16 - around >= SCREENS["medium"]
    assert 70 * 16 - around >= SCREENS["broad"]
    assert SCREENS["narrow"] <= 320 - 2 * 16 - 2 * 16 - 2
