"""One signal at every boundary between bytecodes at which CPython looks for one, in what writes.

    python tests/signal_walk.py POINTS [--force] [--second] [--folder]

Converts a small checkpoint (or writes a small folder) once for each of POINTS boundaries (0: all),
in a process of its own, and sends a signal there; with --second another one after a random moment.
Prints how many there are, and a line for each that leaves a part of a file or a sentence that is
not true.
"""

from __future__ import annotations

import argparse
import contextlib
import dis
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import folders  # noqa: E402 - the folders of modules are known only now
from fuzz import corpus  # noqa: E402

import converter.cli.commands  # noqa: E402 - loaded before, so that it is not walked through
import converter.gguf_io.comparison  # noqa: E402 - likewise
from converter import cli  # noqa: E402
from converter.disk.stopping import STOPPING  # noqa: E402

CALLS = ("CALL", "CALL_FUNCTION", "CALL_FUNCTION_EX", "CALL_KW", "CALL_METHOD")
LOOKING = {dis.opmap[name] for name in (*CALLS, "RESUME", "JUMP_BACKWARD") if name in dis.opmap}
"""After these CPython looks whether a signal came."""

FILES = {"a.bin": bytes(1 << 16), "b.json": b"{}"}  # the first is hashed and written by threads

WALKED = (
    "/converter/disk/",
    "/converter/cli/",
    "/converter/use_cases/",
    "/converter/threads.py",
    "/concurrent/futures/",
    "/gguf_io/writer.py",
)
START = "listen"
"""Until this function is done the signals end the process, which has done nothing yet."""


def is_walked(code: CodeType) -> bool:
    return code.co_filename.endswith("contextlib.py") or any(
        part in code.co_filename for part in WALKED
    )


class Walk:
    """Counts boundaries, and acts at one of them."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self.places: list[str] = []
        self._at = at
        self._act = act
        self._before: dict[int, int] = {}
        self._started = False

    def enter(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        if not is_walked(frame.f_code):
            return None
        frame.f_trace_opcodes = True
        return self.step

    def step(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "return":
            self._before.pop(id(frame), None)
            self._started |= frame.f_code.co_name == START
        elif event == "opcode":
            code = frame.f_code
            before = self._before.get(id(frame))
            self._before[id(frame)] = code.co_code[frame.f_lasti]
            if self._started and before in LOOKING:
                self.places.append(f"{code.co_filename}:{frame.f_lineno} {code.co_name}")
                if len(self.places) == self._at:
                    self._act()
        return self.step


def sender(number: int, moment: float) -> Callable[[], object]:
    """Return what has this process sent a signal, some time after it is called."""
    reading, writing = os.pipe()
    process = os.getpid()
    if not os.fork():
        os.close(writing)
        if os.read(reading, 1):
            end = time.perf_counter() + moment
            while time.perf_counter() < end:
                pass
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        os._exit(0)
    os.close(reading)
    return lambda: os.write(writing, b"x")


def convert(folder: Path, at: int, force: bool, second: float | None) -> int:
    """Convert in another process, with a signal at a boundary, and return its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    first = STOPPING[at % len(STOPPING)]
    send = None if second is None else sender(random.choice(STOPPING), second)

    def act() -> None:
        if send is not None:
            send()
        os.kill(os.getpid(), first)

    walk = Walk(at, act)
    sys.argv = ["ggcp", "convert", str(folder / "in"), str(folder / "out" / "out"), "--quiet"]
    sys.argv += ["--force"] if force else []
    sys.settrace(walk.enter)
    code = 99
    try:
        code = cli.main()
        sys.settrace(None)
        time.sleep(0 if second is None else 2 * second)  # the process does not end at once
        if not at:
            (folder / "places").write_text("\n".join(walk.places))
    finally:
        os._exit(code)


def write_folder(options: argparse.Namespace) -> int:
    """A command, as far as the signals go: its folder has two files."""
    folders.write(options.output, FILES, force=options.force, inputs=(options.input,))
    return 0


def content(path: Path) -> object:
    """What is in a file or folder."""
    return folders.content(path) if path.is_dir() else path.read_bytes()


def prepare(output: Path, chosen: argparse.Namespace) -> object:
    """Leave nothing but what is to be replaced, and return what is in that."""
    for path in output.parent.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not chosen.force:
        return None
    folders.write(output) if chosen.folder else output.write_bytes(b"old")
    return content(output)


def verdict(folder: Path, code: int, whole: object, old: object) -> str:
    """What is wrong; nothing if the words, the exit code and the files fit together."""
    output = folder / "out" / "out"
    left = {path.name: content(path) for path in output.parent.iterdir()}
    said = (folder / "said").read_text()
    none = {} if old is None else {"out": old}
    right = {
        "": (left == {"out": whole}, code == 0),
        "ggcp: stopped; no unfinished file was kept\n": (left == none, code > 128),
        f"ggcp: stopped; {output} was written before, and is whole\n": (
            left == {"out": whole},
            code > 128,
        ),
    }
    return "" if all(right.get(said, (False,))) else f"{code} {said!r} {sorted(left)}"


def main() -> None:
    """Walk, and print what is wrong."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("points", type=int)
    arguments.add_argument("--force", action="store_true")
    arguments.add_argument("--second", action="store_true")
    arguments.add_argument("--folder", action="store_true")
    chosen = arguments.parse_args()
    if chosen.folder:
        converter.cli.commands.COMMANDS["convert"] = write_folder
    for number in STOPPING:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, default)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        output = folder / "out" / "out"
        output.parent.mkdir()
        (folder / "in").write_bytes(corpus.training())
        prepare(output, chosen)
        assert convert(folder, 0, chosen.force, None) == 0
        whole = content(output)
        places = (folder / "places").read_text().split("\n")
        points = random.sample(range(1, len(places) + 1), chosen.points or len(places))
        print(f"{len(points)} of {len(places)} boundaries", flush=True)
        wrong = 0
        for at in points:
            old = prepare(output, chosen)
            second = random.uniform(1e-5, 1.5e-3) if chosen.second else None
            found = verdict(folder, convert(folder, at, chosen.force, second), whole, old)
            if found:
                wrong += 1
                print(f"{at} {places[at - 1]}: {found}", flush=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
