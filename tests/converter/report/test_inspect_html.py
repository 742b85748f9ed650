"""The page of `ggcp inspect --html`: well-formed, self-contained, escaped, and of bounded size."""

from __future__ import annotations

import math
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from command import run
from html_page import Page, page_of
from packed import checkpoint
from paths import ROOT
from reference.checkpoint import read

from converter import inspect
from converter.report.html import as_html

HISTOGRAMS = ("histogram linear", "histogram logarithmic")
TRUNCATED = "v0_lbfgs_truncated_master43033b7bb"
REAL = [
    "ggcp_42d9b4cfc_11layers",
    "v0_adam_one",
    "v0_lbfgs_patched",
    "v1_adam_past3",
    "v1params_adam_default",
    "ggcl_v1_adam_1a5f0a30e",
    TRUNCATED,
]


@pytest.mark.parametrize("stats", [False, True])
@pytest.mark.parametrize("name", REAL)
def test_the_page_is_well_formed_and_needs_nothing(name: str, stats: bool, fixtures: Path) -> None:
    page = page_of(fixtures / f"{name}.bin", stats=stats)
    assert page.text.startswith("<!DOCTYPE html>")
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a"}
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert not {"src", "href", "srcset", "xlink:href", "action", "style"} & set(attributes)
    assert "://" not in page.text
    assert not re.search(r"url\(|@import|javascript:", page.text)
    assert page.of("html") == [{"lang": "en"}]
    assert {"charset": "utf-8"} in page.of("meta")
    for drawing in ("map", *HISTOGRAMS):
        for attributes in page.of("svg", drawing):
            assert attributes["role"] == "img"
            assert attributes["aria-label"]
    assert len(page.text) < 400_000
    assert bool(page.of("svg", HISTOGRAMS[0])) is stats


@pytest.mark.parametrize("name", REAL)
def test_the_map_is_to_scale_and_without_holes(name: str, fixtures: Path) -> None:
    path = fixtures / f"{name}.bin"
    page = page_of(path, stats=False)
    for row in ("0", "76"):  # the file; the model
        cells = [a for tag, a in page.elements if tag == "svg" and a.get("y") == row]
        assert cells
        end = 0.0
        for attributes in cells:
            assert float((attributes["x"] or "").rstrip("%")) == pytest.approx(end, abs=0.02)
            end += float((attributes["width"] or "").rstrip("%"))
        assert end == pytest.approx(100, abs=0.05)
    assert len(page.words["title"]) > 5


@pytest.mark.parametrize(
    ("layers", "cells", "title"),
    [
        (120, 240, "layer 0 attention: "),
        (121, 61, "layer 0 attention to layer 1 feed-forward: "),  # four halves of 242 in each
    ],
)
def test_as_many_layers_as_can_be_drawn(
    layers: int, cells: int, title: str, tmp_path: Path
) -> None:
    path = tmp_path / "layers.bin"
    path.write_bytes(checkpoint(1, n_layer=layers).data)
    page = page_of(path, stats=False)
    drawn = [kind for tag, a in page.elements if tag == "rect" and (kind := a.get("class"))]
    # And one of each kind in the legend.
    assert drawn.count("attention") + drawn.count("feed") == cells + 2
    assert sum(words.startswith(title) for words in page.words["title"]) == 1
    of_model = [a["width"] or "" for tag, a in page.elements if tag == "svg" and a.get("y") == "76"]
    assert len(of_model) == cells + 3
    assert sum(float(width.rstrip("%")) for width in of_model) == pytest.approx(100, abs=0.2)


def test_widths_are_those_of_the_tensors(fixtures: Path) -> None:
    path = fixtures / "v0_adam_one.bin"
    page = page_of(path, stats=False)
    vector = read(path).optimizer.vectors["m"].nbytes
    cells = [a for tag, a in page.elements if tag == "svg" and a.get("y") == "0"]
    widths = [float((a["width"] or "").rstrip("%")) for a in cells]
    share = 100 * vector / path.stat().st_size
    assert sum(abs(width - share) < 0.02 for width in widths) == 7  # x, g1, g2, m, v, mh, vh


STYLE = ROOT / "converter" / "report" / "html" / "page.css"
HOSTILE = [
    b"<script>alert(1)<",  # no name holds a slash
    b'"><img src=x onerror=alert(1)>.bin',
    b"&lt;b&gt; '.bin",
    b"two\nlines\r\t.bin",
    b"\xff\xfe.bin",
    "\u202egpj.bin".encode(),
    b"--no-tensors",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("cut", [False, True])
def test_hostile_names_are_text(name: bytes, cut: bool, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)
    data = checkpoint(n_layer=1).data
    path.write_bytes(data[:-1] if cut else data)
    page = page_of(path)
    assert page.text.encode("utf-8")
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "b"}
    assert not any("onerror" in attributes for _, attributes in page.elements)
    [heading] = page.words["h1"]
    assert heading.isprintable()
    if name.decode("utf-8", "replace").isprintable() and b"\xff" not in name:
        assert heading == name.decode()
        assert f"{tmp_path}/{name.decode()}" in "".join(page.words["td"])


def test_hostile_numbers(tmp_path: Path) -> None:
    whole = checkpoint(1, past=3)
    nan, infinite = struct.pack("<f", math.nan), struct.pack("<f", -math.inf)
    data = bytearray(whole.data)
    for field in ("best_loss", "previous_loss"):
        start, length = whole.fields[f"optimizer.state.{field}"]
        data[start : start + length] = nan
    for field in ("model.norm", "optimizer.state.past_loss_values", "model.output"):
        start, length = whole.fields[f"{field}.data"]
        data[start : start + length] = infinite * (length // 4)
    path = tmp_path / "numbers.bin"
    path.write_bytes(data)
    page = page_of(path)
    assert page.of("td", "alarm") == [{"class": "alarm"}] * 3
    assert "NaN" not in "".join(re.findall(r' d="([^"]*)"', page.text))
    assert not re.search(r'd="[^"]*(nan|inf)', page.text)
    assert "Past losses" not in page.words["h2"]


def test_norms_by_layer(fixtures: Path) -> None:
    path = fixtures / "ggcp_42d9b4cfc_11layers.bin"
    page = page_of(path)
    tensors = read(path).tensors
    for kind in ("attention.wq", "feed_forward.w2", "ffn_norm"):
        norms = [
            float(np.linalg.norm(tensors[f"layers.{i}.{kind}.weight"].astype(np.float64)))
            for i in range(11)
        ]
        label = f"Norms of {kind} by layer: {min(norms):.4g} to {max(norms):.4g}"
        assert sum(attributes.get("aria-label") == label for attributes in page.of("svg")) == 1
    assert "Weight norms by layer" not in page_of(path, stats=False).words["h2"]


def test_past_losses(fixtures: Path, tmp_path: Path) -> None:
    page = page_of(fixtures / "v1_adam_past3.bin", stats=False)
    losses = read(fixtures / "v1_adam_past3.bin").optimizer.vectors["pf"]
    [line] = page.of("path", "line")
    points = re.findall(r"([\d.]+) ([\d.]+)", line["d"] or "")
    heights = 100 * (losses.max() - losses) / (losses.max() - losses.min())
    assert [float(x) for x, _ in points] == [0, 500, 1000]
    assert [float(y) for _, y in points] == pytest.approx(heights.tolist(), abs=0.01)
    assert "iteration 28" in page.words["span"]
    assert "not mean" not in page.text.replace("no mean", "not mean")
    (tmp_path / "old.bin").write_bytes(checkpoint(0, past=3).data)
    old = page_of(tmp_path / "old.bin", stats=False)
    assert "This layout stores no mean loss" in old.text


@pytest.mark.parametrize(("count", "points"), [(1, None), (2, "M0.00 100.00L1000.00 0.00")])
def test_two_losses_are_a_line(count: int, points: str | None, tmp_path: Path) -> None:
    """Losses of 1 and 2, after as many iterations."""
    path = tmp_path / "losses.bin"
    path.write_bytes(checkpoint(1, past=2).with_number("optimizer.iteration_count", count))
    drawn = [a["d"] for a in page_of(path, stats=False).of("path", "line")]
    assert drawn == ([] if points is None else [points])


def test_a_damaged_file_says_so_first(fixtures: Path) -> None:
    page = page_of(fixtures / f"{TRUNCATED}.bin")
    assert page.words["strong"][0] == "Damaged, but the model can be rescued"
    assert "model.layers[0].feed_forward.w3.padding" in "".join(page.words["code"])
    assert page.text.index("can be rescued") < page.text.index("<h1>")


def test_a_page_of_36003_tensors_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "many.bin"
    path.write_bytes(checkpoint(1, n_layer=4000).data)
    report = inspect(path, stats=True)
    assert len(report.model_tensors) == 36_003
    page = Page(as_html(report))
    assert len(page.text) < 1_000_000
    assert "Layer 0" in page.words["h3"]
    assert "Layer 3999" in page.words["h3"]
    assert "Layer 50 to layer 3949: 3,900 more" in page.text
    assert sum(tag == "details" for tag, _ in page.elements) == 100 + 2
    assert len(page.of("rect", "attention")) < 200
    assert Page(as_html(report, tensors=False)).words["h2"][-1] == "Weight norms by layer"


class TestFile:
    def test_it_is_written_and_named(self, fixtures: Path, folder: Path) -> None:
        page = folder / "page.html"
        done = run("inspect", fixtures / "v0_adam_one.bin", "--html", page)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{page}: {page.stat().st_size} bytes\n"
        assert page.read_text("utf-8") == as_html(
            inspect(fixtures / "v0_adam_one.bin", identify=True)
        )
        assert [path.name for path in folder.iterdir()] == ["page.html"]

    def test_json_goes_with_it(self, fixtures: Path, folder: Path) -> None:
        done = run("inspect", fixtures / "v0_adam_one.bin", "--json", "--html", folder / "p.html")
        assert done.stdout.startswith('{\n  "format": 1,')
        assert (folder / "p.html").exists()

    def test_quietly_without_the_tensors(self, fixtures: Path, folder: Path) -> None:
        page = folder / "page.html"
        arguments = ("inspect", fixtures / "v0_adam_one.bin", "--html", page)
        done = run(*arguments, "--no-tensors", "--quiet")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert "attention.wq" not in page.read_text("utf-8")
        assert run(*arguments, "--force").stdout == f"{page}: {page.stat().st_size} bytes\n"
        assert "attention.wq" in page.read_text("utf-8")

    def test_an_existing_file_is_only_replaced_by_force(self, fixtures: Path, folder: Path) -> None:
        page = folder / "page.html"
        page.write_text("mine")
        arguments = ("inspect", fixtures / "v0_adam_one.bin", "--html", page)
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"ggcp: {page}: expected a name that is free, found a file of that name; "
            "give another name, or --force to replace it\n"
        )
        assert page.read_text() == "mine"
        assert run(*arguments, "--force").returncode == 0
        assert page.read_text("utf-8").startswith("<!DOCTYPE html>")

    def test_the_checkpoint_is_never_written_to(self, folder: Path) -> None:
        path = folder / "in.bin"
        path.write_bytes(checkpoint().data)
        done = run("inspect", path, "--html", path, "--force")
        assert done.returncode == 1
        assert "the input itself" in done.stderr
        assert path.read_bytes() == checkpoint().data

    def test_a_missing_folder(self, fixtures: Path, folder: Path) -> None:
        done = run("inspect", fixtures / "v0_adam_one.bin", "--html", folder / "no" / "page.html")
        assert (done.returncode, done.stdout) == (1, "")
        assert "no such folder; make it first" in done.stderr
        assert list(folder.iterdir()) == []

    def test_of_a_damaged_file_it_is_written_too(self, fixtures: Path, folder: Path) -> None:
        page = folder / "page.html"
        done = run("inspect", fixtures / f"{TRUNCATED}.bin", "--html", page)
        assert done.returncode == 1
        assert "Damaged, but the model can be rescued" in page.read_text("utf-8")


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "printed"])
def test_text_can_be_read_on_its_background(scheme: int) -> None:
    """WCAG 2.1 AA: 4.5 to 1 for text."""
    block = re.findall(r":root \{(.*?)\}", STYLE.read_text(), re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    fills = ("numbers", "norm", "table", "attention", "feed", "even", "odd", "unread")
    pairs = [("ink", fill) for fill in (*fills, "paper", "card")]
    pairs += [(text, on) for text in ("quiet", "link", "alarm") for on in ("paper", "card")]
    for verdict in ("good", "care", "alarm"):
        pairs += [(text, f"{verdict}-paper") for text in (verdict, "ink")]
    pairs.append(("logarithmic", "card"))  # the word log below an axis; the bars need less
    for text, background in pairs:
        one, other = sorted(_luminance(colours[name]) for name in (text, background))
        assert (other + 0.05) / (one + 0.05) >= 4.5, (text, background)
