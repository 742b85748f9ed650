"""The generated documentation: complete, current, and true."""

from __future__ import annotations

import io
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from construct import Struct as ForeignStruct
from construct import this
from paths import ROOT

from ggcp_schema import history, parse
from ggcp_schema.document import (
    FORMATS,
    differences,
    document,
    is_current,
    walk,
)
from ggcp_schema.document.content import commits_in, dates
from ggcp_schema.document.example import EXAMPLES, Example, dump, written
from ggcp_schema.document.page import Heading
from ggcp_schema.document.tables import in_words
from ggcp_schema.enums import Layout
from ggcp_schema.foreign import SIGNATURES
from ggcp_schema.language.fields import I32, U32, Field, Struct, field
from ggcp_schema.language.runs import Repeated
from ggcp_schema.model import Hyperparameters
from ggcp_schema.optimizer import OptimizerContext
from ggcp_schema.order import Order
from ggcp_schema.synthetic import SyntheticLora

COMPLETE = sorted(
    path.name.removesuffix(".xz")
    for path in (ROOT / "fixtures").glob("*.bin*")
    if "truncated" not in path.name
)


def test_every_field_of_every_struct_has_a_meaning_and_a_c_name() -> None:
    assert list(walk.undocumented()) == []


def test_a_field_without_either_is_found_however_deep_it_stands() -> None:
    silent = Struct(
        field("fine", U32, "n", "A number."),
        field("no_c_name", U32, "", "A number."),
        field("no_meaning", I32, "n", ""),
    )
    outer = Struct(field("inner", Repeated(this.n, silent), "-", "Many."))
    assert list(walk.undocumented(outer)) == ["struct.no_c_name", "struct.no_meaning"]


def test_a_member_that_is_no_field_is_found() -> None:
    struct = Struct(field("fine", U32, "n", "A number."))
    struct.subcons.append("bare" / U32)
    assert list(walk.undocumented(struct)) == ["struct.bare"]


def test_a_named_struct_without_a_word_about_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hyperparameters, "docs", "")
    assert list(walk.undocumented()) == ["Hyperparameters"]


def test_a_construct_that_the_documentation_does_not_know_is_an_error() -> None:
    struct = Struct(Field("foreign", ForeignStruct(), "-", "Another package's."))
    with pytest.raises(walk.UnknownConstructError, match="does not know Struct"):
        walk.structs(struct)


def test_the_walk_reaches_every_struct_of_the_schema() -> None:
    defined = {
        name
        for module in walk.MODULES
        for name, member in vars(module).items()
        if isinstance(member, Struct) and not name.startswith("_")
    }
    assert {walk.struct_name(struct) for struct in walk.structs()} - {None} == defined


def test_every_field_has_its_row() -> None:
    page = document("markdown")
    for struct in walk.structs():
        name = walk.struct_name(struct)
        if name:
            section = page.split(f"\n### {name}\n")[1].split("\n#")[0]
            for member in struct.subcons:
                assert f"| `{member.name}` |" in section, f"{name}.{member.name}"


def test_format_md_is_current() -> None:
    assert differences(ROOT / "FORMAT.md") == []  # else: ggcp document -o FORMAT.md


@pytest.mark.parametrize("name", FORMATS)
def test_a_stale_file_is_told_from_a_current_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / "page"
    path.write_text(document(name), encoding="utf-8")
    assert is_current(path, name)
    path.write_text(document(name) + "more\n", encoding="utf-8")
    assert not is_current(path, name)
    assert differences(path, name)[-1] == "-more"
    path.write_text(document(name).replace("n_embd", "n_emb"), encoding="utf-8")
    assert not is_current(path, name)


def test_an_unknown_format_is_an_error() -> None:
    with pytest.raises(KeyError):
        document("pdf")


def test_links_of_the_markdown_lead_to_headings() -> None:
    page = document("markdown")
    headings = re.findall(r"^(#+) (.+)$", page, re.MULTILINE)
    anchors = [Heading(len(marks), words).anchor for marks, words in headings]
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= set(anchors)


class Page(HTMLParser):
    """Collects ids and links; elements must be closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_html_is_one_whole_page_without_anything_from_elsewhere() -> None:
    text = document("html")
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert "url(" not in text
    assert "@import" not in text


def letters(text: str) -> str:
    return re.sub(r"\W", "", text)


def test_the_html_has_every_cell_of_the_markdown() -> None:
    visible = re.sub(r"<style>.*?</style>|<[^>]+>", "", document("html"), flags=re.DOTALL)
    html = letters(unescape(visible))
    for line in document("markdown").splitlines():
        if line.startswith("| "):
            for cell in line.split(" | "):
                assert letters(re.sub(r"\]\(#[^)]*\)", "", cell)) in html, cell


def test_the_boxes_of_the_html_say_what_those_of_the_markdown_say() -> None:
    lines = re.findall(r"^ *(\w*) │ (.*) │$", document("markdown"), re.MULTILINE)
    spans = re.findall(r'<span class="(?:at|words|size)">(.*?)</span>', document("html"))
    drawn, said = (
        sorted(re.findall(r"\w+", " ".join(words)))
        for words in ((f"{at} {rest}" for at, rest in lines), map(unescape, spans))
    )
    assert "bytes" in said
    assert said == drawn


def test_the_page_names_every_order_and_every_foreign_magic() -> None:
    page = document("markdown")
    assert all(f"| `{order.value}` |" in page for order in Order)
    assert all(f"| `{magic.hex(' ')}` |" in page for magic in SIGNATURES)


@pytest.mark.parametrize("name", COMPLETE)
def test_the_ranges_account_for_every_byte_of_a_file(fixtures: Path, name: str) -> None:
    path = fixtures / name
    end = 0
    with parse(path) as checkpoint:
        for part in checkpoint.places():
            assert part.offset == end, part.path
            assert getattr(part.value, "offset", part.offset) == part.offset, part.path
            end += part.length
    assert end == path.stat().st_size


def test_the_ranges_follow_the_variant_that_is_there() -> None:
    file = io.BytesIO()
    SyntheticLora(feed_forward_multiple=None).write(file)
    with parse(file) as checkpoint:
        found = {part.path: part for part in checkpoint.places()}
    assert "hyperparameters.feed_forward_multiple" not in found
    assert found["ranks.attention_norm"].offset == 40


@pytest.mark.parametrize("name", [name for name in COMPLETE if not name.startswith("ggla")])
def test_the_printed_formulas_give_the_values_of_real_files(fixtures: Path, name: str) -> None:
    with parse(fixtures / name) as checkpoint:
        container = checkpoint.container
    root = walk.CHECKPOINT_FILE.cases[container["magic"]]
    sizes = {"n_ff": container.get("feed_forward_length")}
    for part in checkpoint.places():
        if part.path.startswith(("hyperparameters.", "ranks.")):
            sizes[walk.c_name_of(tuple(part.path.split(".")))] = part.value
    (count,) = (f for f in root.subcons if f.name == "parameter_count")
    assert eval(walk.text(count.subcon.func), dict(sizes)) == container["parameter_count"]
    if "feed_forward_length" in container["hyperparameters"]:
        (length,) = (f for f in Hyperparameters.subcons if f.name == "feed_forward_length")
        formula = walk.text(length.subcon.func).replace(" div ", " // ")
        assert eval(formula, dict(container["hyperparameters"])) == sizes["n_ff"]


def test_the_variants_of_the_optimizer_context_are_where_the_choice_looks() -> None:
    places = {Layout.VERSION_1: 12, Layout.VERSION_1_WITH_PARAMS: 100}
    assert OptimizerContext.parameter_count_offsets == places
    for layout, struct in OptimizerContext.cases.items():
        assert struct.offsets()["parameter_count"] == places.get(layout, 100)


def test_an_expression_keeps_the_parentheses_that_it_needs() -> None:
    assert walk.text(this.a - (this.b - this.c)) == "a - (b - c)"
    assert walk.text((this.a == 1) & ((this.b > 2) | (this.c != 3))) == (
        "a == 1 and (b > 2 or c != 3)"
    )


def test_an_expression_has_parentheses_where_readers_might_disagree() -> None:
    assert walk.text((this.a + this.b) // 2 * 3) == "((a + b) div 2) * 3"
    assert walk.text(2 * this.a // 3 + 1) == "((2 * a) div 3) + 1"
    assert walk.text(this.a % this.b == 0) == "a % b == 0"
    assert walk.text((this.a == 1) | ((this.b > 2) & (this.c < 9))) == (
        "a == 1 or (b > 2 and c < 9)"
    )


def test_the_words_of_a_check_name_fields_once() -> None:
    assert in_words("a divisor of {n} (n)") == "a divisor of n"
    assert in_words("from 2 to {n} / {m} (the quotient)") == "from 2 to n / m (the quotient)"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_the_lines_of_an_example_show_the_bytes_of_its_file(example: Example) -> None:
    data = written(example)
    end, skipped = 0, False
    for line in dump(example).lines:
        assert line.label or line.data
        assert data[line.offset : line.offset + len(line.data)] == line.data
        # Nothing is missing but what is said to be: fields, or the end of long data.
        assert line.offset == end or (skipped and line.offset > end), line
        skipped = line.label == "…" or "the first" in line.label or (skipped and not line.label)
        end = line.offset + len(line.data)
    assert end == len(data) or example.paths


def test_the_examples_hold_what_they_are_there_for() -> None:
    labels = [line.label for example in EXAMPLES for line in dump(example).lines]
    for words in (
        'w1.name = "layers.10.feed_forward.w1.weigh"',
        "past_loss_values.n_dims = 0",
        "past_loss_values.shape = [2]",
        "params.adam.learning_rate = 0.001",
        "memory_s.shape = [",
        "norm.b.shape = [1, 1]",
        "output.a.shape = [0, 2]",
    ):
        assert any(words in label for label in labels), words


def test_the_example_tells_the_order_of_the_operators_of_n_ff() -> None:
    with parse(io.BytesIO(written(EXAMPLES[0]))) as checkpoint:
        sizes = checkpoint.hyperparameters
    n_embd, n_mult = sizes.embedding_length, sizes.feed_forward_multiple
    wrong = (2 * (4 * n_embd // 3) + n_mult - 1) // n_mult * n_mult
    assert f"so n_ff is {sizes.feed_forward_length}:" in EXAMPLES[0].words
    assert f"it would be {wrong}.)" in EXAMPLES[0].words
    assert sizes.feed_forward_length != wrong


def test_every_commit_has_its_date() -> None:
    page = document("markdown")
    known = {**history.MASTER, **history.BRANCHES}
    dated = re.findall(r"\b([0-9a-f]{9}) \(?(\d{4}-\d\d-\d\d)\b", page)
    assert len(dated) > len(known)
    assert set(dated) <= set(known.items())
    named = commits_in(page)
    assert named <= set(known)
    epsilons = (*history.EPSILONS, *history.LORA_EPSILONS, *history.BRANCH_EPSILONS)
    of_epsilons = {epsilon.commit for epsilon in epsilons}
    assert set(known) - named == of_epsilons - named  # none that nobody asks for
    for branch in (history.MASTER, history.BRANCHES):
        assert list(branch.values()) == sorted(branch.values())


def test_a_commit_without_a_date_is_an_error() -> None:
    named = commits_in("Since 0123abcde; not 123456789a or decadeeed.")
    assert named == {"0123abcde"}
    with pytest.raises(LookupError, match="0123abcde"):
        dates(named)


@pytest.mark.parametrize("multiple", [4, None])
def test_the_numbers_that_tell_the_header_of_a_lora_checkpoint(multiple: int | None) -> None:
    file = io.BytesIO()
    SyntheticLora(feed_forward_multiple=multiple).write(file)
    with parse(file) as checkpoint:
        offsets = {part.path: part.offset for part in checkpoint.places()}
    (layout,) = (f for f in walk.CHECKPOINT_FILE.cases[b"lcgg"].subcons if f.name == "layout")
    docs = layout.subcon.docs
    first = "model.tok_embeddings.a"
    numbers = re.findall(r"(\d+) or (\d+)", docs)
    index = 0 if multiple else 1
    assert [int(pair[index]) for pair in numbers] == [
        offsets[f"{first}.n_dims"],
        offsets[f"{first}.name"],
    ]
