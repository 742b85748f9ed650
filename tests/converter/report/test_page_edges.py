"""What the page shows at the edges: of many layers, large numbers and hostile names."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from html_page import Page, page_of
from packed import checkpoint
from reference.checkpoint import read
from test_page_head import figures

from converter import inspect
from converter.report.advice import notes
from converter.report.html import as_html


def cells(text: str, name: str) -> list[str]:
    """The cells of a tensor's row behind its shape, its offset and its size."""
    [row] = re.findall(rf'<th scope="row" class="path"[^>]*>{re.escape(name)}</th>(.*?)</tr>', text)
    return [re.sub("<[^>]*>", "", cell) for cell in re.findall("<td[^>]*>(.*?)</td>", row)][4:]


def test_measures_stand_below_their_headings(fixtures: Path) -> None:
    page = page_of(fixtures / "v0_adam_one.bin")
    values = read(fixtures / "v0_adam_one.bin").tensors["tok_embeddings.weight"].astype(np.float64)
    measures = (values.min(), values.max(), values.mean(), values.std())
    wanted = [*(f"{value:.4g}" for value in measures), f"{(values == 0).sum():,}", "0"]
    assert cells(page.text, "tok_embeddings") == wanted
    assert '<td title="19,200 bytes (18.8 KiB)">18.8 KiB</td>' in page.text
    heads = [words for words in page.words["th"] if words in ("Min", "Max", "Mean", "Std dev")]
    assert heads[:4] == ["Min", "Max", "Mean", "Std dev"]


def test_numbers_that_are_none_are_counted_apart(tmp_path: Path) -> None:
    path = tmp_path / "norm.bin"
    numbers = struct.pack("<2f", float("nan"), float("inf"))
    path.write_bytes(checkpoint(1).with_field("model.norm.data", numbers))
    text = as_html(inspect(path, stats=True))
    assert cells(text, "norm")[-1] == "1, 1"
    path.write_bytes(
        checkpoint(1).with_field("model.norm.data", struct.pack("<2f", 1, float("-inf")))
    )
    report = inspect(path, stats=True)
    assert '<td class="alarm">0, 1</td>' in as_html(report)
    assert "There are infinite values in 1 tensors, model.norm first." in notes(report)
    assert not any("NaN" in note for note in notes(report))
    path.write_bytes(
        checkpoint(1).with_field("model.norm.data", struct.pack("<2f", 1, float("nan")))
    )
    assert '<td class="alarm">1, 0</td>' in as_html(inspect(path, stats=True))


@pytest.mark.parametrize(("layers", "between"), [(100, 0), (101, 1), (102, 2)])
def test_the_layers_that_are_left_out_are_named_where_they_would_stand(
    layers: int, between: int, tmp_path: Path
) -> None:
    path = tmp_path / "layers.bin"
    path.write_bytes(checkpoint(1, n_layer=layers).data)
    text = as_html(inspect(path))
    found = re.findall(r"<h3>Layer (\d+)</h3>|>Layer (\d+) to layer (\d+): (\S+) more, which", text)
    numbers = [*((str(n), "", "", "") for n in range(50))]
    if between:
        numbers.append(("", "50", str(49 + between), str(between)))
    numbers += [(str(n), "", "", "") for n in range(layers - 50, layers)]
    assert found == numbers


@pytest.mark.parametrize(("layers", "is_open"), [(2, True), (3, False)])
def test_few_layers_are_open(layers: int, is_open: bool, tmp_path: Path) -> None:
    path = tmp_path / "layers.bin"
    path.write_bytes(checkpoint(1, n_layer=layers).data)
    text = as_html(inspect(path))
    assert ("<details open><summary><h3>Layer 0<" in text) == is_open
    assert ("<details><summary><h3>Layer 0<" in text) != is_open
    assert "<details open><summary><h3>Outside the layers<" in text
    assert "<details open><summary><h3>Optimizer<" in text


def test_all_settings_stand_together(fixtures: Path) -> None:
    text = page_of(fixtures / "v0_adam_one.bin", stats=False).text
    inside = text.partition("All settings of the optimizer")[2].partition("</details>")[0]
    titles = re.findall("<caption><h3>(.*?)</h3></caption>", inside)
    assert titles == ["Settings", "Settings of Adam", "Settings of L-BFGS"]
    assert text.count("<caption><h3>Settings") == 3


@pytest.mark.parametrize(
    ("length", "figure"), [(1023, "1,023 bytes"), (1024, "1.0 KiB|1,024 bytes")]
)
def test_a_length_is_exact_where_it_is_rounded(length: int, figure: str, fixtures: Path) -> None:
    report = inspect(fixtures / "v0_adam_one.bin")
    page = Page(as_html(replace(report, length=length)))
    assert figures(page)["File"] == figure


def test_no_text_is_markup(fixtures: Path) -> None:
    """Names of tensors are checked before; the page does not rely on it."""
    report = inspect(fixtures / "v0_adam_one.bin", stats=True)
    hostile = '"<b>&'
    regions = tuple(
        replace(
            region,
            label=region.label + hostile,
            tensors=tuple(replace(t, name=hostile, path=t.path + hostile) for t in region.tensors),
        )
        for region in report.regions
    )
    statistics = {
        f"model.layers[0].{hostile}": next(iter(report.statistics.values())),
        **report.statistics,
    }
    page = Page(
        as_html(
            replace(
                report,
                kind=report.kind + hostile,
                regions=regions,
                statistics=statistics,
                tensors=tuple(t for region in regions for t in region.tensors),
            )
        )
    )
    assert not page.of("b")
    assert '"<b>' not in page.text
    titles = [
        attributes["title"]
        for tag, attributes in page.elements
        if tag == "th" and "title" in attributes
    ]
    assert titles
    assert set(titles) == {hostile}


@pytest.mark.parametrize(("count", "dots"), [(60, 60), (61, 0)])
def test_few_losses_have_dots(count: int, dots: int, tmp_path: Path) -> None:
    path = tmp_path / "losses.bin"
    file = checkpoint(1, past=count).with_number("optimizer.iteration_count", count)
    path.write_bytes(file)
    page = page_of(path, stats=False)
    [drawn] = [attributes["d"] or "" for attributes in page.of("path", "dots")]
    assert drawn.count("h0") == dots
    [line] = [attributes["d"] or "" for attributes in page.of("path", "line")]
    assert line.count("L") == count - 1


def test_what_was_not_read_is_no_part_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "cut.bin"
    file = checkpoint(1, n_layer=2)
    path.write_bytes(file.data[: file.fields["model.layers[1].feed_forward.w2.data"][0] + 3])
    text = as_html(inspect(path))
    kinds = re.findall(
        r'<svg x="[\d.]+%" y="(\d+)"[^>]*><title>[^<]*</title><rect class="(\w+)"', text
    )
    assert ("0", "unread") in kinds
    assert "unread" not in {kind for y, kind in kinds if y == "76"}


def bars_of_norms(text: str, kind: str) -> list[float]:
    """Heights of the bars of a kind of tensor, of which 54 is the most."""
    [path] = re.findall(
        rf'aria-label="Norms of {re.escape(kind)} by layer: [^"]*"><path class="bars" d="([^"]*)"',
        text,
    )
    return [float(height) for height in re.findall(r"v-([\d.e-]+)h", path)]


def test_norms_of_a_single_layer_are_drawn_beside_each_other(tmp_path: Path) -> None:
    path = tmp_path / "layer.bin"
    file = checkpoint(1, n_layer=1)
    data = bytearray(file.data)
    for name, record in file.fields.items():
        if name.startswith("model.layers[0].") and name.endswith(".data"):
            values = {"attention_norm": (30, 40), "ffn_norm": (3, 4)}.get(name.split(".")[2], ())
            data[record[0] : sum(record)] = struct.pack(
                f"<{record[1] // 4}f", *(values or (0,) * (record[1] // 4))
            )
    path.write_bytes(bytes(data))
    text = as_html(inspect(path, stats=True))
    assert bars_of_norms(text, "attention_norm") == [54.0]
    assert bars_of_norms(text, "ffn_norm") == [5.4]


def test_of_layers_that_share_a_bar_the_largest_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "layers.bin"
    file = checkpoint(1, n_layer=121)
    data = bytearray(file.data)
    for layer in range(121):
        start, length = file.fields[f"model.layers[{layer}].ffn_norm.data"]
        values = {3: (30, 40), 5: (3, 4)}.get(layer, (0, 0))
        data[start : start + length] = struct.pack("<2f", *values)
    path.write_bytes(bytes(data))
    text = as_html(inspect(path, stats=True))
    assert bars_of_norms(text, "ffn_norm") == [54.0, 5.4]
    assert "M1.06 56v-54h" in text
    assert "M2.06 56v-5.4h" in text
