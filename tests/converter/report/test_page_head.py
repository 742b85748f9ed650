"""What stands at the top of the page: verdict, figures, which file it is, and the vocabulary."""

from __future__ import annotations

import base64
import hashlib
import html
import os
import re
import shutil
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from html_page import Page, page_of
from packed import checkpoint

from converter import inspect
from converter.report.html import as_html
from converter.report.vocabulary_advice import vocabulary_advice
from converter.report.words import in_short
from ggcp_schema.synthetic import Synthetic

TRUNCATED = "v0_lbfgs_truncated_master43033b7bb.bin"
LLAMA = (
    "https://github.com/ggml-org/llama.cpp/raw/c392e5094deaf2d1a7c18683214f007fad3fe42b/"
    "models/ggml-vocab-llama-spm.gguf"
)


def figures(page: Page) -> dict[str, str]:
    """Label and value of each figure, the detail behind a bar."""
    found = re.search(r'<dl class="figures">(.*?)</dl>', page.text)
    assert found
    cells = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", found[1])
    return {label: re.sub(r"<small>(.*)</small>", r"|\1", value) for label, value in cells}


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("v0_adam_one.bin", "whole", "Whole: every byte accounted for"),
        ("ggcl_v1_adam_1a5f0a30e.bin", "whole", "Whole: every byte accounted for"),
        ("model_aug23_lbfgs.gguf", "whole", "Whole: every byte accounted for"),
        (TRUNCATED, "rescuable", "Damaged, but the model can be rescued"),
    ],
)
def test_the_verdict_is_the_first_word(name: str, kind: str, sentence: str, fixtures: Path) -> None:
    page = page_of(fixtures / name, stats=False)
    assert page.of("div", f"verdict {kind}")
    body = page.text.partition("<body>")[2]
    text = re.sub(r"<[^>]*>", "\n", body).split("\n")
    assert next(line for line in text if line.strip()) == sentence


def test_the_verdict_of_what_is_lost(fixtures: Path, tmp_path: Path) -> None:
    path = tmp_path / "lost.bin"
    path.write_bytes((fixtures / "v0_adam_one.bin").read_bytes()[:30_000])
    page = page_of(path)
    assert page.of("div", "verdict lost")
    assert page.words["strong"][0] == "Nothing can be made of this"
    assert "What you can do next" not in page.words["h2"]
    assert "The vocabulary it needs" not in page.words["h2"]


def test_figures_of_a_release_checkpoint(fixtures: Path) -> None:
    assert figures(page_of(fixtures / "v0_adam_one.bin", stats=False)) == {
        "Iterations": "30|192 tokens",
        "Last loss": "5.4382|a sum, not a mean",
        "Parameters": "16,336",
        "Layers": "2",
        "Embedding": "16",
        "Vocabulary": "300|not in the file",
        "Context": "16|tokens",
        "Optimizer": "Adam",
        "File": "512.2 KiB|524,492 bytes",
    }


def test_figures_of_lbfgs(fixtures: Path) -> None:
    """Its trainers left their counter at 0; L-BFGS has counted itself, and keeps the best loss."""
    found = figures(page_of(fixtures / "v1_lbfgs.bin", stats=False))
    assert found["Iterations"] == "5|128 tokens"
    assert found["Best loss"] == "5.7042|mean of a batch"
    assert found["Optimizer"] == "L-BFGS"
    assert "Last loss" not in found


def test_of_a_model_there_is_nothing_of_a_training(fixtures: Path) -> None:
    page = page_of(fixtures / "model_aug23_lbfgs.gguf", stats=False)
    assert list(figures(page)) == [
        "Parameters",
        "Layers",
        "Embedding",
        "Vocabulary",
        "Context",
        "File",
    ]
    assert figures(page)["Vocabulary"] == "300|in the file"
    assert not {"Training", "Optimizer", "Ranks"} & set(page.words["h3"])
    assert "The vocabulary it needs" not in page.words["h2"]


def test_a_loss_of_nothing_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "new.bin"
    path.write_bytes(checkpoint(1).with_number("optimizer.just_initialized", 1))
    assert "Last loss" not in figures(page_of(path))
    nan = struct.pack("<f", float("nan"))
    path.write_bytes(checkpoint(1).with_field("optimizer.state.previous_loss", nan))
    assert figures(page_of(path))["Best loss"] == "5.5|mean of a batch"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999_999, "999,999"),
        (1_000_000, "1 M"),
        (35_206_144, "35.2 M"),
        (999_499_999, "999 M"),
        (999_500_000, "1 B"),
        (6_738_415_616, "6.74 B"),
        (3_000_000_000_000, "3 T"),
    ],
)
def test_short_numbers_do_not_break(count: int, text: str) -> None:
    """A no-break space stands before the unit."""
    assert in_short(count) == text.replace(" ", "\u00a0")


def test_a_large_model(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        Synthetic(vocabulary_size=32_000, embedding_length=32, block_count=1).write(file)
    page = page_of(path, stats=False)
    assert figures(page)["Parameters"] == "2.06\u00a0M|2,061,408"
    assert figures(page)["Vocabulary"] == "32,000|not in the file"
    assert "32,000 tokens: LLaMA's, almost certainly." in page.words["strong"]
    [link] = [attributes for tag, attributes in page.elements if tag == "a"]
    assert link == {"href": LLAMA, "rel": "noreferrer"}
    assert "".join(page.words["a"]) == LLAMA
    assert page.text.count("://") == 1  # as text it may break behind each slash


def test_another_vocabulary_is_looked_for(fixtures: Path, tmp_path: Path) -> None:
    """Nothing that has 300 tokens stands beside it."""
    shutil.copy(fixtures / "v0_adam_one.bin", tmp_path)
    page = page_of(tmp_path / "v0_adam_one.bin", stats=False)
    assert "300 tokens: not LLaMA's, which has 32,000." in page.words["strong"]
    assert "Look for a file of yours with that many tokens" in page.text
    assert page.of("a") == []


def test_a_vocabulary_beside_it_is_named(fixtures: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(fixtures / "v0_adam_one.bin", tmp_path))
    for name in ("b.gguf", "a.gguf", "d.gguf", "e.gguf", "c.gguf", "f<b>.gguf"):
        shutil.copy(fixtures / "vocab300.gguf", tmp_path / name)
    page = page_of(path, stats=False)
    here = f"{tmp_path}/"
    assert (
        f"{here}a.gguf has as many, and stands in the commands above. "
        f"Others with as many: {here}b.gguf, {here}c.gguf, {here}d.gguf and 2 more."
    ) in "".join(page.words["p"])
    assert "Look for a file of yours" not in page.text
    assert not page.of("b")


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("v0_adam_one.bin", 300),
        (TRUNCATED, 300),
        ("chk_aug23_rope.gguf", None),  # holds it
        ("ggcl_v1_adam_1a5f0a30e.bin", None),  # becomes an adapter
    ],
)
def test_who_needs_a_vocabulary(name: str, count: int | None, fixtures: Path) -> None:
    advice = vocabulary_advice(inspect(fixtures / name))
    assert (advice.token_count if advice else None) == count


def test_which_file_it_is(tmp_path: Path) -> None:
    path = tmp_path / "in.bin"
    path.write_bytes(checkpoint(1).data)
    os.utime(path, (0, 1_691_399_105))
    page = Page(as_html(inspect(path, identify=True)))
    digest = hashlib.sha256(checkpoint(1).data).hexdigest()
    assert f'<dd><code tabindex="0">{digest[:32]}<wbr>{digest[32:]}</code></dd>' in page.text
    assert page.of("time") == [{"datetime": "2023-08-07T09:05:05+00:00"}]
    assert page.words["time"] == ["7 August 2023, 09:05 UTC"]
    assert page.text.count("7 August 2023") == 1
    assert "identity" not in page_of(path).text.partition("</style>")[2]


def test_the_policy_allows_this_style_and_nothing_else(fixtures: Path) -> None:
    page = page_of(fixtures / "v0_adam_one.bin")
    [policy] = [a for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    style = page.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy["content"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert page.text.index("Content-Security-Policy") < page.text.index("<title>")


NAMES = [
    "v0_adam_one.bin",
    "v1_lbfgs.bin",
    "ggcl_v1_adam_1a5f0a30e.bin",
    "chk_aug23_rope.gguf",
    "model_aug23_lbfgs.gguf",
    "ggla_oct23_lora.bin",
    TRUNCATED,
]


@pytest.mark.parametrize("stats", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_no_card_and_no_section_is_empty(name: str, stats: bool, fixtures: Path) -> None:
    page = page_of(fixtures / name, stats=stats)
    empty = r"<(div|ul|dl|dd|tbody|section|figure|caption|h\d|p)(| [^>]*)>\s*</"
    assert not re.search(empty, page.text)
    for rows in re.findall(r"<tbody>(.*?)</tbody>", page.text):
        assert "<tr>" in rows
    assert "none</td>" not in page.text


@pytest.mark.parametrize("name", NAMES)
def test_headings_and_tables_can_be_read_aloud(name: str, fixtures: Path) -> None:
    page = page_of(fixtures / name)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for tag, attributes in page.elements:
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
    tables = [tag for tag, _ in page.elements if tag == "table"]
    scrolling = page.of("div", "scroll")
    assert len(tables) == len(scrolling) + len([t for t, _ in page.elements if t == "caption"])
    for attributes in scrolling:  # with the arrow keys, too
        assert (attributes["tabindex"], attributes["role"]) == ("0", "region")
        assert attributes["aria-label"]
    tags = [tag for tag, _ in page.elements]
    assert [tags.count(landmark) for landmark in ("header", "main", "footer")] == [1, 1, 1]


def test_a_vocabulary_beside_the_file_is_named(fixtures: Path, tmp_path: Path) -> None:
    (tmp_path / "in.bin").write_bytes((fixtures / "v1_adam_one.bin").read_bytes())
    (tmp_path / "<b>.gguf").write_bytes((fixtures / "vocab300.gguf").read_bytes())
    page = re.sub(r"</?span[^>]*>", "", as_html(inspect(tmp_path / "in.bin")))
    name = html.escape(str(tmp_path / "<b>.gguf"))
    assert f"<p>{name} has as many, and stands in the commands above.</p>" in page
    assert "VOCAB" not in page
