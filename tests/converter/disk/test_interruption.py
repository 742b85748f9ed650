"""Ctrl-C, a signal or a kill at any moment leaves the whole file or none."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import COMMAND, ENVIRONMENT, ROOT
from faults import acting_first, failing
from gguf_bytes import expected
from reference.checkpoint import read

from converter import Writing, __version__, cli
from converter.disk.leftovers import UNFINISHED
from converter.disk.output import Output
from converter.disk.stopping import STOPPING, discard_unfinished
from converter.use_cases.convert import convert
from ggcp_schema.synthetic import Synthetic

STOPPED = "ggcp: stopped; no unfinished file was kept\n"


@pytest.fixture
def source(fixtures: Path) -> Path:
    return fixtures / "v0_adam_one.bin"


@pytest.fixture(scope="module")
def right(fixtures: Path) -> bytes:
    return expected(read(fixtures / "v0_adam_one.bin"), __version__).to_bytes()


@pytest.fixture
def another_thread() -> Iterator[None]:
    """A thread, as NumPy has: it takes the signals that the main thread blocks."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    yield
    end.set()
    thread.join()


STEPS = ["open", "posix_fallocate", "copy_file_range", "fsync"]


@pytest.mark.usefixtures("another_thread")
@pytest.mark.parametrize(
    ("step", "force"),
    [
        *((step, force) for step in STEPS for force in (True, False)),
        *(("replace", True), ("link", False), ("unlink", False)),
    ],
)
def test_ctrl_c_right_after_a_step(
    step: str,
    force: bool,
    source: Path,
    folder: Path,
    right: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good: Callable[..., Any] = getattr(os, step)
    sent = []

    def step_and_ctrl_c(*arguments: Any, **named: Any) -> Any:
        result = good(*arguments, **named)
        of_the_source = step == "open" and UNFINISHED not in str(arguments)
        if not sent and not of_the_source:
            sent.append(step)
            os.kill(os.getpid(), signal.SIGINT)
        return result

    monkeypatch.setattr(os, step, step_and_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        convert(source, folder / "out.gguf", writing=Writing(force=force))
    assert sent == [step]
    named = step in ("replace", "link", "unlink")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == (
        {"out.gguf": right} if named else {}
    )


def test_handlers_are_the_same_afterwards(source: Path, folder: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in numbers]
    convert(source, folder / "out.gguf")
    assert [signal.getsignal(number) for number in numbers] == before


PAUSING = """
import os, sys
copy = os.copy_file_range
def pausing(*arguments):
    if os.environ.pop("PAUSE", ""):
        print("copying", flush=True)
        sys.stdin.readline()
    return copy(*arguments)
os.copy_file_range = pausing
from converter.cli import main
sys.exit(main())
"""


def copying(source: Path, output: Path, **options: Any) -> subprocess.Popen[str]:
    """A conversion in another process, which has paused at the first tensor."""
    process = subprocess.Popen(
        [sys.executable, "-c", PAUSING, "convert", str(source), str(output), "--quiet"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**ENVIRONMENT, "PAUSE": "1"},
        **options,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "copying\n"
    return process


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)],
)
def test_signal(number: signal.Signals, code: int, source: Path, folder: Path) -> None:
    process = copying(source, folder / "out.gguf")
    assert [path.name[: len(UNFINISHED)] for path in folder.iterdir()] == [UNFINISHED]
    process.send_signal(number)
    assert process.communicate() == ("", STOPPED)
    assert process.returncode == code
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize(
    ("step", "force"),
    [
        *((step, force) for step in [*STEPS, "fchmod"] for force in (True, False)),
        *(("replace", True), ("link", False), ("unlink", False)),
    ],
)
def test_what_was_done_is_said(
    step: str,
    force: bool,
    number: signal.Signals,
    source: Path,
    folder: Path,
    right: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A signal right after a step; from the moment on in which the name is given, all of it."""
    good: Callable[..., Any] = getattr(os, step)
    output = folder / "out.gguf"
    if force:
        output.write_bytes(b"old")
    handlers = [signal.getsignal(each) for each in STOPPING]
    sent = []

    def step_and_signal(*arguments: Any, **named: Any) -> Any:
        result = good(*arguments, **named)
        if not sent and (step != "open" or UNFINISHED in str(arguments)):
            sent.append(step)
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM)  # a second one, at once
        return result

    monkeypatch.setattr(os, step, step_and_signal)
    options = ["--quiet", *(["--force"] if force else [])]
    code = cli.main(["convert", str(source), str(output), *options])
    assert sent == [step]
    assert code in (128 + number, 128 + signal.SIGTERM)  # Python takes the lower one first
    left = {path.name: path.read_bytes() for path in folder.iterdir()}
    if step in ("fchmod", "replace", "link", "unlink"):
        assert left == {"out.gguf": right}
        said = f"ggcp: stopped; {output} was written before, and is whole\n"
    else:
        assert left == ({"out.gguf": b"old"} if force else {})
        said = STOPPED
    assert capsys.readouterr() == ("", said)
    assert [signal.getsignal(each) for each in STOPPING] == handlers


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_a_second_signal_while_it_stops(
    first: signal.Signals, second: signal.Signals, source: Path, folder: Path
) -> None:
    """And a third, fourth and so on, until the process has ended."""
    process = copying(source, folder / "out.gguf")
    process.send_signal(first)
    while process.poll() is None:
        process.send_signal(second)
    assert process.communicate() == ("", STOPPED)
    assert process.returncode in (128 + first, 128 + second)
    assert list(folder.iterdir()) == []


def test_a_signal_on_entry_of_the_clean_up(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of what an error leads to: nothing was cleaned up then."""
    leave = Output.__exit__

    def interrupted(*arguments: Any) -> None:
        monkeypatch.setattr(Output, "__exit__", leave)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(os, "copy_file_range", failing(errno.ENOSPC))
    monkeypatch.setattr(Output, "__exit__", interrupted)
    assert cli.main(["convert", str(source), str(folder / "out.gguf"), "--quiet"]) == 143
    assert capsys.readouterr().err == STOPPED
    assert list(folder.iterdir()) == []


def test_what_cannot_be_removed_is_not_denied(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "unlink", failing(errno.EACCES))
    monkeypatch.setattr(
        os,
        "copy_file_range",
        acting_first(lambda: os.kill(os.getpid(), signal.SIGTERM), os.copy_file_range),
    )
    assert cli.main(["convert", str(source), str(folder / "out.gguf")]) == 143
    (left,) = folder.iterdir()
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "ggcp: stopped; an unfinished file could not be removed"
    assert f"ggcp: {left} could not be removed; remove it" in said
    monkeypatch.undo()
    assert discard_unfinished()
    assert list(folder.iterdir()) == []


WALK = [sys.executable, "-W", "ignore", str(ROOT / "tests" / "signal_walk.py")]


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("seconds", [[], ["--second"]])
@pytest.mark.parametrize("kind", [[], ["--folder"]], ids=["file", "folder"])
def test_a_signal_at_every_boundary_between_bytecodes(
    force: list[str], seconds: list[str], kind: list[str]
) -> None:
    """GGCP_SIGNALS says at how many of them; by default at some."""
    points = os.environ.get("GGCP_SIGNALS", "40")
    done = subprocess.run(
        [*WALK, points, *kind, *force, *seconds], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert (done.stdout.splitlines()[1:], done.stderr, done.returncode) == ([], "", 0)


def test_hang_up_that_is_ignored(source: Path, folder: Path, right: bytes) -> None:
    process = copying(
        source,
        folder / "out.gguf",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # as nohup does
    )
    process.send_signal(signal.SIGHUP)
    assert process.communicate("\n") == ("", "")
    assert process.returncode == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"out.gguf": right}


def test_kill(source: Path, folder: Path) -> None:
    process = copying(source, folder / "out.gguf")
    process.kill()
    process.communicate()
    assert [path.name[: len(UNFINISHED)] for path in folder.iterdir()] == [UNFINISHED]
    convert(source, folder / "out.gguf")
    assert [path.name for path in folder.iterdir()] == ["out.gguf"]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint of some 100 MB."""
    path = tmp_path_factory.mktemp("large") / "large.bin"
    made = Synthetic(vocabulary_size=8000, embedding_length=128, block_count=6, optimizer_version=0)
    with path.open("wb") as file:
        made.write(file)
    assert path.stat().st_size > 90e6
    yield path
    path.unlink()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_at_any_moment(number: signal.Signals, large: Path, tmp_path: Path) -> None:
    moments = random.Random(int(number))
    codes = set()
    command = [*COMMAND, "convert", str(large), "--verify", "--quiet"]
    for attempt in range(6):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        output = folder / "out.gguf"
        process = subprocess.Popen(
            [*command, str(output)],
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        # From the first sign of life on: before, nothing is there that could be left.
        while not list(folder.iterdir()) and process.poll() is None:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.1))
        process.send_signal(number)
        _, complaint = process.communicate()
        codes.add(process.returncode)
        left = [path.name for path in folder.iterdir()]
        if process.returncode in (0, -number):  # done; the latter while Python itself ends
            assert left == ["out.gguf"]
        else:
            assert process.returncode == 128 + number
            whole = f"ggcp: stopped; {output} was written before, and is whole\n"
            assert (complaint, left) in ((STOPPED, []), (whole, ["out.gguf"]))
    assert 128 + number in codes
