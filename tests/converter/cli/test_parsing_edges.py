"""Command lines as people write them, word by word."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from converter.cli.parsing import Parser, did_you_mean, one_of, with_default_command

COMMANDS = ("convert", "export", "inspect", "verify")


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("", "--help"),
        ("help", "--help"),
        ("help export", "export --help"),
        ("help export more", "export --help"),
        ("-h", "-h"),
        ("--help", "--help"),
        ("--version", "--version"),
        ("-i a -o b", "convert -i a -o b"),
        ("--in a --out b", "convert --input a --output b"),
        ("--i=a --o=b", "convert --input=a --output=b"),
        ("--he", "convert --help"),
        ("-", "inspect -"),
        ("a.bin", "inspect a.bin"),
        ("x/a", "inspect x/a"),
        ("x\\a", "inspect x\\a"),
        ("link", "inspect link"),
        ("nothing", "nothing"),
        ("verify", "verify"),
        ("verify a b", "verify a b"),
        ("export -- -a b", "export ./-a b"),
        ("-i a -- -b --", "convert -i a ./-b ./--"),
    ],
)
def test_which_command_is_meant(
    line: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are there that are called like a command, or are links to nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "verify").touch()
    (tmp_path / "link").symlink_to("nowhere")
    assert with_default_command(line.split(), COMMANDS) == meant.split()


def test_no_dashes_alone_are_abbreviations() -> None:
    """``--`` ends the options; behind it nothing is one."""
    assert with_default_command(["-i", "a", "--", "--"], COMMANDS)[-1] == "./--"


@pytest.mark.parametrize(
    ("word", "question"),
    [
        ("exprot", "did you mean export?"),
        ("veryfi", "did you mean verify?"),
        ("vfy", "did you mean verify?"),  # 2 * 3 letters of 9 in common are 0.67
        ("ins", "did you mean inspect?"),  # 2 * 3 of 10 are 0.6
        ("in", ""),  # 2 * 2 of 9 are less
        ("x" * 80 + "export", ""),
        ("inspect" + "x" * 4, "did you mean inspect?"),
    ],
)
def test_did_you_mean(word: str, question: str) -> None:
    assert did_you_mean(word, COMMANDS) == question


def test_one_of_some_words() -> None:
    read = one_of("flash", "plain", others=lambda word: "ask" * (word == "both"))
    assert read("FLASH") == "flash"
    for word, advice in (("PLAN", "did you mean plain?"), ("both", "ask"), ("", "")):
        with pytest.raises(argparse.ArgumentTypeError) as caught:
            read(word)
        assert str(caught.value) == f"expected flash or plain, found {word!r}\n{advice}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "-x"], "no such option: -x; see ggcp x --help"),
        (["a", "--x\x1b=1"], r"no such option: --x\x1b; see ggcp x --help"),
        (["--hepl=1"], "no such option: --hepl; did you mean --help?"),
        (["a\n", "b"], r"one name too many: a\n; put a name with spaces in quotes"),
    ],
)
def test_words_that_are_left(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        Parser(prog="ggcp x").refuse_unknown(words)
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"usage: ggcp x [-h]\nggcp x: error: {said}\n"
