"""Standard streams that take nothing, and what the system refuses where nobody expects it."""

from __future__ import annotations

import errno
import io
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command import ENVIRONMENT, run
from tiny_files import perform, write_inputs
from vocabulary_files import array, gguf, text

from converter import cli
from converter.cli import commands, terminal
from converter.cli.streams import StandardError
from ggcp_schema import FormatError

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="only Linux has a device that is full")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    write_inputs(tmp_path)
    return tmp_path


@needs_full
@pytest.mark.parametrize("line", ["convert in.bin out", "inspect nothing", "nonsense"])
def test_full_standard_error_stops_nothing(line: str, inputs: Path) -> None:
    whole = run(*line.split(), cwd=inputs)
    (inputs / "out").unlink(missing_ok=True)
    with FULL.open("w") as full:
        done = run(*line.split(), cwd=inputs, stderr=full)
    assert whole.stderr
    assert (done.returncode, done.stdout) == (whole.returncode, whole.stdout)


@needs_full
def test_full_standard_output_is_named(inputs: Path) -> None:
    with FULL.open("w") as full:
        done = run("inspect", "in.bin", cwd=inputs, stdout=full)
    assert (done.returncode, done.stderr) == (
        1,
        "ggcp: expected standard output to take the result, found '[Errno 28] No space left on "
        "device'; make room, or send it to another place\n",
    )


@pytest.mark.parametrize("line", ["inspect in.bin", "--help", "--version"])
def test_where_nobody_reads_is_nobody_to_tell(line: str, inputs: Path) -> None:
    """As of a pager that was left, or of ``head``."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "converter", *line.split()]
    done = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=inputs, check=False
    )
    os.close(writing)
    assert done.stderr == b""


class BrokenTerminal(io.StringIO):
    """A terminal whose line broke."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def flush(self) -> None:
        self.write("")


def test_a_progress_bar_that_cannot_be_shown(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", BrokenTerminal())
    assert cli.main(["convert", f"{inputs}/in.bin", f"{inputs}/out", "--verify"]) == 0
    assert cli.main(["verify", f"{inputs}/in.bin", f"{inputs}/out"]) == 0
    with terminal.bar("Writing", 100) as count:
        count(100)
    assert capsys.readouterr().out.endswith(f"{inputs}/out: the same as {inputs}/in.bin\n")


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_standard_error_that_is_not_there(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    StandardError().write("nothing")
    StandardError().flush()


def refused(error: BaseException) -> Callable[[object], int]:
    def command(_options: object) -> int:
        raise error

    return command


# fmt: off
REFUSED = {
    "memory": (MemoryError(),
        "in.bin: expected more memory, found the limit of this system or shell; "
        "close other programs, or allow this one more (ulimit -v)"),
    "memory of the system": (OSError(errno.ENOMEM, "Cannot allocate memory"),
        "in.bin: expected more memory, found the limit of this system or shell; "
        "close other programs, or allow this one more (ulimit -v)"),
    "files": (OSError(errno.EMFILE, "Too many open files"),
        "in.bin: expected the system to do what was asked of it, found 'Too many open files'; "
        "close other programs, or allow more open files (ulimit -n)"),
    "anything": (OSError(errno.EIO, "Input/output error", "some/file"),
        "some/file: expected the system to do what was asked of it, found 'Input/output error'; "
        "try again, or on another disk"),
    "a broken pipe of another": (BrokenPipeError(errno.EPIPE, "Broken pipe"),
        "in.bin: expected the system to do what was asked of it, found 'Broken pipe'; "
        "try again, or on another disk"),
}
# fmt: on


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_system_refuses_unexpectedly(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error, sentence = REFUSED[what]
    monkeypatch.setitem(commands.COMMANDS, "inspect", refused(error))
    assert cli.main(["inspect", "in.bin"]) == 1
    assert capsys.readouterr() == ("", f"ggcp: {sentence}\n")


def test_a_limit_on_open_files(inputs: Path) -> None:
    """No file is called damaged for it."""
    perform("convert {folder}/in.bin {folder}/out", folder=inputs)
    perform("verify {folder}/in.bin {folder}/out", folder=inputs)  # whatever is loaded is, now
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(FormatError) as caught:
            perform("verify {folder}/in.bin {folder}/out", folder=inputs)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert str(caught.value) == (
        f"{inputs}/out: too many files are open; allow more, with ulimit -n"
    )


LIMITED = """
import resource, sys
from pathlib import Path
from converter.cli import main
main(["verify", *sys.argv[1:3], "--quiet"])  # whatever is loaded is, now
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 24), -1))
sys.exit(main(["verify", *sys.argv[1:4:2], "--quiet"]))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_limit_on_memory(inputs: Path) -> None:
    perform("convert {folder}/in.bin {folder}/out", folder=inputs)
    large = inputs / "large.gguf"
    large.write_bytes(gguf(array("texts", 8, 1 << 21, text(b"a") * (1 << 21))))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, inputs / "in.bin", inputs / "out", large],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"ggcp: {inputs}/in.bin: expected more memory, found the limit of this system or shell; "
        "close other programs, or allow this one more (ulimit -v)\n",
    )
