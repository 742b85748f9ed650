"""Ctrl-C, a signal or a kill at any moment leaves the whole file or none."""

from __future__ import annotations

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
from command import COMMAND, ENVIRONMENT
from gguf_bytes import expected
from reference.checkpoint import read

from converter import Writing, __version__
from converter.disk.leftovers import UNFINISHED
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
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
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
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signal(number: signal.Signals, code: int, source: Path, folder: Path) -> None:
    process = copying(source, folder / "out.gguf")
    assert [path.name[: len(UNFINISHED)] for path in folder.iterdir()] == [UNFINISHED]
    process.send_signal(number)
    assert process.communicate() == ("", STOPPED)
    assert process.returncode == code
    assert list(folder.iterdir()) == []


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
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of some 100 MB."""
    path = tmp_path_factory.mktemp("large") / "large.bin"
    made = Synthetic(vocabulary_size=8000, embedding_length=128, block_count=6, optimizer_version=0)
    with path.open("wb") as file:
        made.write(file)
    assert path.stat().st_size > 90e6
    return path


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
            assert complaint == STOPPED
            assert left in ([], ["out.gguf"])
    assert 128 + number in codes
