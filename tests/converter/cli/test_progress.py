"""Progress is shown on a terminal, and only of what takes half a second."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import ENVIRONMENT, run
from pseudo_terminal import Shown, on_a_terminal
from tiny_files import write_inputs

SLOWED = """
import os, sys, time
from converter.cli import main
name, seconds = sys.argv[1], float(sys.argv[2])
good = getattr(os, name)
def slow(*arguments, **named):
    time.sleep(seconds)
    return good(*arguments, **named)
setattr(os, name, slow)
sys.exit(main(sys.argv[3:]))
"""


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    write_inputs(tmp_path)
    return tmp_path


def slowed(name: str, seconds: float, line: str, folder: Path, **environment: str) -> Shown:
    """Run the command where a call of the system takes its time."""
    command = [sys.executable, "-c", SLOWED, name, str(seconds)]
    return on_a_terminal(*line.split(), command=command, cwd=folder, **environment)


def on_the_screen(text: str) -> list[str]:
    """The lines that are left on a terminal: a carriage return goes back to the first column."""
    lines = []
    for line in text.split("\n"):
        shown: list[str] = []
        for piece in line.split("\r"):
            shown[: len(piece)] = piece
        lines.append("".join(shown).rstrip())
    return lines


@pytest.mark.parametrize(
    "line",
    [
        "convert in.bin out --verify --resume-with plain --batch 2 --eps 1e-5",
        "inspect in.bin --stats",
        "synth out",
        "document -o out",
    ],
)
def test_nothing_is_shown_of_what_is_quick(line: str, inputs: Path) -> None:
    code, text = on_a_terminal(*line.split(), cwd=inputs)
    assert code == 0
    assert "\r" not in text


def test_a_bar(inputs: Path) -> None:
    line = "convert in.bin out --verify"
    code, text = slowed("copy_file_range", 0.1, line, inputs)
    assert code == 0
    percentages = [int(number) for number in re.findall(r"\rWriting: +(\d+)%", text)]
    assert len(percentages) > 3
    assert percentages == sorted(percentages)
    assert 0 < percentages[0] <= percentages[-1] <= 100
    length = (inputs / "out").stat().st_size
    assert f"out: 14 tensors, {length} bytes" in on_the_screen(text)
    assert not any("Writing" in line for line in on_the_screen(text))


ALONE = """
import sys, threading
from converter.cli import terminal
terminal.set_up(quiet=False, verbose=False)
with terminal.bar("Writing", 10) as count:
    count(10)
    print([each.name for each in threading.enumerate() if "TMonitor" in type(each).__name__])
"""


def test_no_thread_of_tqdm_watches_a_bar(inputs: Path) -> None:
    """It could take a signal that is meant for the thread that cleans up."""
    done = on_a_terminal(command=[sys.executable, "-c", ALONE], cwd=inputs)
    assert done == (0, "[]\n")


def test_waiting_for_the_disk(inputs: Path) -> None:
    code, text = slowed("fsync", 1.2, "synth out", inputs)
    assert code == 0
    seconds = [float(number) for number in re.findall(r"\rWaiting for the disk \((.*?) s\)", text)]
    assert len(seconds) >= 3
    assert seconds == sorted(seconds)
    assert 0.5 <= seconds[0] < 1
    length = (inputs / "out").stat().st_size
    assert on_the_screen(text) == [f"out: {length} bytes", ""]


def test_a_checkpoint_of_the_own_making(inputs: Path) -> None:
    line = "synth out --n-vocab 20000 --n-embd 64"
    code, text = slowed("fsync", 0, line, inputs)
    assert code == 0
    shown = re.findall(r"\rWriting: (\d+) MB \((\d+\.\d) s\)", text)
    megabytes = [int(count) for count, _ in shown]
    assert megabytes == sorted(megabytes)
    assert all(float(seconds) >= 0.5 for _, seconds in shown)


def test_reading(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "COLUMNS", "100")
    code, text = slowed("pread", 0.2, "inspect in.bin", inputs, COLUMNS="100", NO_COLOR="1")
    assert code == 0
    assert re.search(r"\rReading \(0\.\d s\)", text)
    assert on_the_screen(text) == run("inspect", "in.bin", cwd=inputs).stdout.split("\n")


def test_an_error_takes_the_line_away(inputs: Path) -> None:
    code, text = slowed("fsync", 1, "synth out", inputs)
    assert code == 0
    code, text = slowed("open", 0.8, "inspect nothing", inputs, NO_COLOR="1")
    assert code == 1
    assert "\rReading (" in text
    assert on_the_screen(text) == [
        "error: nothing: no such file",
        "hint: check the name and the folder",
        "",
    ]


def test_a_warning_takes_the_line_away(inputs: Path) -> None:
    line = "convert in.bin out --resume-with plain --batch 2"
    code, text = slowed("open", 0.8, line, inputs, NO_COLOR="1")
    assert code == 0
    assert "\rReading (" in text
    lines = on_the_screen(text)
    assert lines[0].startswith("warning: the epsilon of the norms is not in the file; ")
    assert "Reading" not in "".join(lines)


def test_none_on_a_pipe(inputs: Path) -> None:
    command = [sys.executable, "-c", SLOWED, "fsync", "1", "synth", "out"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=ENVIRONMENT, cwd=inputs, check=True
    )
    length = (inputs / "out").stat().st_size
    assert (done.stdout, done.stderr) == (f"out: {length} bytes\n", "")


def test_none_when_quiet(inputs: Path) -> None:
    assert slowed("fsync", 1, "synth out --quiet", inputs) == (0, "")


def test_none_where_no_line_can_be_written_again(inputs: Path) -> None:
    code, text = slowed("fsync", 1, "synth out", inputs, TERM="dumb")
    assert (code, text) == (0, f"out: {(inputs / 'out').stat().st_size} bytes\n")
