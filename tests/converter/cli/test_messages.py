"""Every message is as in the golden file, and says what a user needs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from command import ENVIRONMENT, ROOT

pytest.importorskip("sentencepiece")

GOLDEN = ROOT / "tests" / "golden" / "messages.txt"
MADE = re.compile(r"(ggcp: |\w+Error: ).*expected .*, found .*; .*")
PLAIN = re.compile(
    r"ggcp: [^;]+: (no such .*|this .*|the .*|a part .*|your share .*|no permission .*"
    r"|too many .*|another program .*|cannot be written: '.*'); .*"
)
"""Of what stands against opening or writing a file: what there is says it all."""
USAGE = re.compile(r"ggcp( \w+)?: error: .*")
DIFFERENCE = re.compile(r"m/\S+: different: \d+ of \d+ things: .*")
"""Of ``verify``, which says what differs and nothing else."""
LISTED = re.compile(r"ggcp: (none of these files is a checkpoint; |to make a file, say ).*")
"""Of ``inspect``, below the lines of many files, which say what is wrong with each."""


def test_messages_are_the_golden_ones() -> None:
    """If they should differ: python tests/messages.py, then read what changed as a user would."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "messages.py"), "--print"],
        capture_output=True,
        env={**ENVIRONMENT, "COLUMNS": "100"},
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.decode().splitlines() == GOLDEN.read_text(encoding="utf-8").splitlines()


def messages() -> list[str]:
    *parts, last = GOLDEN.read_text(encoding="utf-8").split("\n\n")
    assert last.startswith("Functions that make an error which is not above:")
    return parts


def test_each_says_what_was_expected_what_was_found_and_what_to_do() -> None:
    parts = messages()
    assert len(parts) > 200
    for part in parts:
        line, message = part.split("\n")[:2]
        known = [
            kind for kind in (USAGE, MADE, PLAIN, DIFFERENCE, LISTED) if kind.fullmatch(message)
        ]
        assert known, part
        if known[0] in (MADE, PLAIN) and line.startswith("$") and "synth" not in line:
            name = message.removeprefix("ggcp: ").partition(": ")[0]
            assert name in line, part


def test_each_is_one_line_without_control_characters() -> None:
    for part in messages():
        assert part.count("\n") <= 2
        assert all(c.isprintable() for c in part.replace("\n", "")), part
        assert not set("«»") & set(part), part
