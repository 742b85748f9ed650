"""What a person sees on a terminal, and that a pipe gets one plain line."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
from command import ENVIRONMENT, run
from pseudo_terminal import on_a_terminal
from test_hostile_text import HOSTILE, obeyed
from tiny_files import write_inputs

BOLD, DIM, RED, YELLOW, CYAN = (
    f"\x1b[{numbers}m" for numbers in ("1", "2", "1;31", "1;33", "1;36")
)
END = "\x1b[0m"
SGR = re.compile("\x1b\\[[0-9;]+m")
OURS = {BOLD, DIM, RED, YELLOW, CYAN, END}
LONG = "a file of a name that is too long for any of the terminals on which it is shown here.bin"


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    write_inputs(tmp_path)
    return tmp_path


def test_an_error_and_its_hint(inputs: Path) -> None:
    assert on_a_terminal("inspect", "nothing", cwd=inputs) == (
        1,
        f"{RED}error:{END} nothing: no such file\n{CYAN}hint:{END} check the name and the folder\n",
    )


def test_a_pipe_gets_one_plain_line(inputs: Path) -> None:
    done = run("inspect", "nothing", cwd=inputs)
    assert done.stderr == "ggcp: nothing: no such file; check the name and the folder\n"
    assert len(run("inspect", "in.bin", LONG, cwd=inputs).stderr.splitlines()[-1]) > 80


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}])
def test_no_styles_where_they_are_not_wanted(variables: dict[str, str], inputs: Path) -> None:
    error = "error: nothing: no such file\nhint: check the name and the folder\n"
    assert on_a_terminal("inspect", "nothing", cwd=inputs, **variables) == (1, error)
    assert "\x1b" not in on_a_terminal("inspect", "in.bin", cwd=inputs, **variables).text


def test_an_empty_no_color_means_nothing(inputs: Path) -> None:
    """https://no-color.org: 'when present and not an empty string'."""
    assert RED in on_a_terminal("inspect", "nothing", cwd=inputs, NO_COLOR="").text


def test_warnings_and_notes(inputs: Path) -> None:
    arguments = ("export", "in.bin", "out", "--vocab", "vocab.gguf")
    lines = on_a_terminal(*arguments, cwd=inputs).text.split("\n")
    assert [line for line in lines if line.startswith(YELLOW)] == [
        f"{YELLOW}warning:{END} the epsilon of the norms is not in the file; 1e-5 is assumed: "
        "trainers"
    ]
    notes = [line for line in lines if line.startswith(DIM)]
    assert notes[0].startswith(f"{DIM}note:{END} context length ")


def test_headings_are_bold_and_comments_are_dim(inputs: Path) -> None:
    lines = on_a_terminal("inspect", "in.bin", cwd=inputs).text.split("\n")
    as_wide = {**ENVIRONMENT, "COLUMNS": "80"}
    plain = run("inspect", "in.bin", cwd=inputs, env=as_wide).stdout.split("\n")
    assert lines[0] == f"{BOLD}{plain[0]}{END}"
    assert f"{BOLD}What you can do next{END}" in lines
    assert "What you can do next" in plain
    details = [line for line in lines if line.startswith(DIM)]
    assert details
    assert all(line.startswith(f"{DIM}  # ") and line.endswith(END) for line in details)
    assert {SGR.sub("", line) for line in lines if line.startswith(DIM)} <= set(plain)


@pytest.mark.parametrize(
    ("columns", "width"), [(30, 40), (40, 40), (50, 50), (80, 80), (100, 100), (150, 100)]
)
def test_wrapped_at_the_width(columns: int, width: int, inputs: Path) -> None:
    code, text = on_a_terminal("verify", "in.bin", "in.bin", cwd=inputs, columns=columns)
    whole = "in.bin: magic at offset 0x0: expected a GGUF that was made of the checkpoint, found a "
    whole += "training checkpoint (ggcp)"
    hint = "give the checkpoint first, and second what ggcp convert or export made of it"
    wanted = [
        line
        for label, words in (("error: ", whole), ("hint: ", hint))
        for line in textwrap.wrap(
            label + words, width, subsequent_indent="  ", break_on_hyphens=False
        )
    ]
    assert (code, SGR.sub("", text).splitlines()) == (1, wanted)
    assert len(wanted) > 2 or width == 100


def test_the_variable_for_columns_is_heard(inputs: Path) -> None:
    text = on_a_terminal("verify", "in.bin", "in.bin", cwd=inputs, COLUMNS="60").text
    widths = [len(line) for line in SGR.sub("", text).splitlines()]
    assert 50 < max(widths) <= 60


@pytest.mark.parametrize("name", ["x" * 90, "x-" * 45])
def test_a_name_is_not_broken(name: str, inputs: Path) -> None:
    text = on_a_terminal("inspect", name, cwd=inputs, columns=40).text
    assert f"error: {name}:" in SGR.sub("", text).splitlines()


def test_hostile_names_are_escaped_within_styles(inputs: Path) -> None:
    name = HOSTILE.replace("\x00", "")
    (inputs / name).write_bytes((inputs / "in.bin").read_bytes())
    told = 0
    for arguments in (
        ["inspect", f"{name}!"],
        ["inspect", name],
        ["inspect", name, "--json"],
        ["convert", name, "out", "--resume-with", "plain", "--batch", "2"],
        ["convert", name, "out", "--dry-run"],
        ["convert", name, f"none/{name}"],
        ["convert", "in.bin", "out", name],
        ["convert", "in.bin", "out", f"--{name}"],
        ["export", name, "out2", "--vocab", name],
        ["verify", name, "vocab.gguf"],
        [name],
    ):
        code, text = on_a_terminal(*arguments, cwd=inputs)
        assert code in (0, 1, 2)
        assert set(SGR.findall(text)) <= OURS, arguments
        assert not obeyed(SGR.sub("", text)), arguments
        told += "\\x1b[2J" in text
    assert told > 6  # else nothing hostile would have come that far
