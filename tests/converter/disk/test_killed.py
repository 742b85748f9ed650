"""Stopped or killed at random moments of a long run: the old file, none, or the whole new one.

GGCP_KILLS says how often each is tried; by default a few times.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import COMMAND, ENVIRONMENT
from fuzz import corpus

from converter.disk.leftovers import UNFINISHED
from converter.use_cases.convert import convert
from ggcp_schema.synthetic import Synthetic

TIMES = int(os.environ.get("GGCP_KILLS", "3"))
STOPPED = "ggcp: stopped; no unfinished file was kept\n"

LINES = {
    "convert": "convert {large} {out}",
    "resume": "convert {large} {out} --resume-with plain --batch 2",
    "export": "export {large} {out} --vocab {vocabulary} --outtype q8_0",
    "synth": "synth {out} --n-vocab 8000 --n-embd 128 --n-layer 6",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A checkpoint of some 100 MB, and a vocabulary for it."""
    folder = tmp_path_factory.mktemp("large")
    made = Synthetic(vocabulary_size=8000, embedding_length=128, block_count=6)
    with (folder / "large.bin").open("wb") as file:
        made.write(file)
    (folder / "vocab.gguf").write_bytes(corpus.vocabulary(8000))
    (folder / "small.bin").write_bytes(corpus.training())
    yield {
        "large": folder / "large.bin",
        "vocabulary": folder / "vocab.gguf",
        "small": folder / "small.bin",
    }
    shutil.rmtree(folder)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def start(line: str, output: Path, places: dict[str, Path]) -> subprocess.Popen[str]:
    words = [word.format(out=output, **places) for word in line.split()]
    command = [*COMMAND, *words, "--quiet", "--force"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def unfinished(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(UNFINISHED)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
def test_at_any_moment(
    line: str, number: signal.Signals, places: dict[str, Path], folder: Path
) -> None:
    moments = random.Random(f"{line} {number}")
    output = folder / "out"
    first = start(line, output, places)
    begun = time.monotonic()
    while not unfinished(folder) and first.poll() is None:
        time.sleep(0.001)
    writing = time.monotonic()
    assert first.communicate()[1] == ""
    before, took = writing - begun, time.monotonic() - writing
    new = digest(output)
    for attempt in range(TIMES):
        output.write_bytes(b"old")
        process = start(line, output, places)
        # From the first sign of life on, or (every third time) at any moment before.
        if attempt % 3 == 2:
            time.sleep(moments.uniform(0.9 * before, before))
        while not unfinished(folder) and process.poll() is None and attempt % 3 < 2:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, took))
        process.send_signal(number)
        complaint = process.communicate()[1]
        is_new = output.stat().st_size != 3 and digest(output) == new
        assert is_new or output.read_bytes() == b"old"
        if number == signal.SIGKILL:
            assert len(unfinished(folder)) <= 1
            convert(places["small"], folder / "next")  # which removes what was left
            (folder / "next").unlink()
        elif process.returncode == 128 + number:
            whole = f"ggcp: stopped; {output} was written before, and is whole\n"
            assert complaint == (whole if is_new else STOPPED)
        else:
            # Done; or before the command had begun, or while Python itself ended.
            assert process.returncode == -number or (process.returncode == 0 and is_new)
        assert unfinished(folder) == []
        assert {path.name for path in folder.iterdir()} == {"out"}
