"""Whatever call fails, a disk that is full, a kill: the old folder, none, or the whole new one."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from command import ENVIRONMENT, ROOT
from faults import FAULTS, Calls, calls_replaced, said
from folders import FILES, OTHERS, content, refused, unfinished, whole, write

from converter import ConversionError
from converter.disk.checking import check_folder
from converter.disk.folder_output import FolderOutput
from converter.disk.leftovers import ASIDE, UNFINISHED
from ggcp_schema import FormatError

SYSTEMS = ("win", "mac")
SIMULATED = ROOT / "tests" / "simulated"


@pytest.fixture
def out(folder: Path) -> Path:
    return folder / "out"


def attempt(out: Path, calls: Calls, force: bool) -> ConversionError | None:
    with calls_replaced(calls):
        try:
            write(out, OTHERS if force else FILES, force=force)
        except ConversionError as error:
            return error
    return None


def test_the_calls_are_those_that_write(out: Path) -> None:
    """What the next test counts on."""
    calls = Calls()
    attempt(out, calls, force=False)
    made = ["open", "posix_fallocate"]
    every = ["mkdir", *made, *made, *made, "ftruncate", "pwrite", "pwrite", *made, "pwrite"]
    every += [*["fsync"] * 4, *["fchmod"] * 4, "fsync", "rename", "fchmod", "fsync"]
    assert calls.seen == every
    calls = Calls()
    attempt(out, calls, force=True)
    old = ["unlink"] * (len(FILES) + 1)
    end = ["fsync", "rename", "rename", "fchmod", "fsync", *old, "rmdir"]
    assert calls.seen[-len(end) :] == end


@pytest.mark.parametrize("force", [False, True])
def test_every_call_fails_once(force: bool, out: Path, folder: Path) -> None:
    new = whole(OTHERS if force else FILES)
    if force:
        write(out)
    counted = Calls()
    attempt(out, counted, force)
    for at, name in enumerate(counted.seen):
        for fault in FAULTS:
            shutil.rmtree(out, ignore_errors=True)
            if force:
                write(out)
            error = attempt(out, Calls(at, fault), force)
            where = (at, name, fault, str(error))
            left = {path.name: content(path) for path in folder.iterdir()}
            if error is not None:
                assert left == ({"out": whole()} if force else {}), where
                assert said(int(fault)) in str(error), where
                assert fault not in (errno.EINTR, "short"), where
                continue
            assert left.pop("out") == new, where
            # Of the folder that was replaced something may not be removed; nothing else stays.
            removing = name in ("unlink", "rmdir") and fault in (errno.ENOSPC, errno.EIO)
            assert [each[: len(ASIDE)] for each in left] == [ASIDE] * removing, where
            for each in left:
                shutil.rmtree(folder / each)


def test_a_disk_that_is_full_in_the_second_file(
    out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is noticed before anything is written."""
    if shutil.which("mount") is None:
        pytest.skip("mounting a small disk takes root's rights")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "ggcp-test", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk takes root's rights")
    try:
        with FolderOutput(out) as output:
            output.file("a", 600_000)
            with pytest.raises(ConversionError) as caught:
                output.file("b", 600_000)
        assert str(caught.value) == (
            f"{out}/b: the disk is full; make room on it, or write to another one"
        )
        assert list(folder.iterdir()) == []
        write(out)
        for name in ("a", "b"):
            assert "the disk is full" in refused(
                out, files={**OTHERS, name: bytes(2_000_000)}, force=True
            )
        assert content(out) == whole()
        assert [path.name for path in folder.iterdir()] == ["out"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


PROGRAM = f"""
import sys
sys.path[:0] = [{str(ROOT / "tests")!r}]
from folders import FILES, OTHERS, write
from converter import ConversionError
try:
    write(sys.argv[1], OTHERS if sys.argv[2:] else FILES, force=bool(sys.argv[2:]))
except ConversionError as error:
    sys.exit(str(error))
"""


def run(out: Path, *options: str, system: str = "") -> subprocess.CompletedProcess[str]:
    """Write a folder in another process, on another system."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(out), *options],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "PYTHONPATH": f"{SIMULATED}:{ROOT}", "SIM": system},
        check=False,
    )


@pytest.mark.parametrize("system", SYSTEMS)
def test_other_systems(system: str, out: Path, folder: Path) -> None:
    done = run(out, system=system)
    assert (done.returncode, done.stderr) == (0, "")
    assert content(out) == whole()
    assert "found a folder of that name" in run(out, system=system).stderr
    done = run(out, "force", system=system)
    assert (done.returncode, done.stderr) == (0, "")
    assert content(out) == whole(OTHERS)
    assert [path.name for path in folder.iterdir()] == ["out"]
    (out / "new").write_text("mine")
    assert "found new, which is a new file; " in run(out, "force", system=system).stderr
    assert content(out) == {**whole(OTHERS), "new": b"mine"}
    assert [path.name for path in folder.iterdir()] == ["out"]


OPEN = """
import os, sys
os.mkdir("one")
with open("one/file", "w"):
    try:
        os.rename("one", "two")
    except PermissionError:
        print("open")
os.rename("one", "two")
"""


def test_windows_moves_no_folder_with_open_files(folder: Path) -> None:
    """What the test before counts on."""
    environment = {**ENVIRONMENT, "PYTHONPATH": str(SIMULATED), "SIM": "win"}
    command = [sys.executable, "-c", OPEN]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert (done.stdout, done.stderr) == ("open\n", "")


@pytest.mark.parametrize("force", [False, True])
def test_killed_at_any_moment(force: bool, out: Path, folder: Path) -> None:
    """GGCP_KILLS says how often. What was there is there, or beside, and so is the new one."""
    moments = random.Random(force)
    for _ in range(int(os.environ.get("GGCP_KILLS", "3")) * 3):
        for path in folder.iterdir():
            shutil.rmtree(path)
        if force:
            write(out)
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(out), *["force"] * force],
            env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        )
        names = {"out"} if force else set()
        while {path.name for path in folder.iterdir()} == names and process.poll() is None:
            pass
        time.sleep(moments.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
        left = {path.name: content(path) for path in folder.iterdir()}
        new = whole(OTHERS if force else FILES)
        if "out" in left:
            assert left["out"] in ([new, whole()] if force else [new])
        elif force:
            (aside,) = (name for name in left if name.startswith(ASIDE))
            assert left[aside] == whole()
            assert new in left.values()
        write(folder / "next")
        assert not [path for path in folder.iterdir() if path.name.startswith(UNFINISHED)]


def test_a_run_that_was_killed_between_the_two_names(out: Path, folder: Path) -> None:
    """Both folders are whole; the one that was there stays, and is named."""
    write(out)
    killing = PROGRAM.replace(
        "try:",
        "import os\ngood, seen = os.rename, []\n"
        "def rename(*names, **named):\n"
        "    seen.append(names)\n"
        "    if len(seen) == 2:\n"
        "        os.kill(os.getpid(), 9)\n"
        "    good(*names, **named)\n"
        "os.rename = rename\ntry:",
        1,
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", killing, str(out), "force"], env=environment, check=False)
    assert content(unfinished(folder)) == whole(OTHERS)
    done = run(folder / "next")
    (aside,) = (path for path in folder.iterdir() if path.name.startswith(ASIDE))
    assert (done.returncode, aside.name in done.stderr) == (0, True)
    assert {path.name for path in folder.iterdir()} == {"next", aside.name}
    assert content(aside) == whole()
    aside.rename(out)
    write(out, OTHERS, force=True)
    assert content(out) == whole(OTHERS)


def test_memory_is_that_of_a_block(out: Path) -> None:
    """Of a file of 300 MB, in a process that may have less."""
    program = PROGRAM.replace("from folders", "import resource\nfrom folders") + (
        "from converter.disk.folder_output import FolderOutput\n"
        "from converter.disk.checking import check_folder\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with FolderOutput(sys.argv[1] + '2', sync=False) as output:\n"
        "    blocks = (bytes(1 << 20) for _ in range(300))\n"
        "    output.file('large', 300 << 20).write(blocks)\n"
        "    output.commit({})\n"
        "check_folder(sys.argv[1] + '2')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # KiB
    with pytest.raises(FormatError):
        check_folder(out.parent)


BLOCKS = [bytes([number]) * (1 << 20) for number in range(8)]


@pytest.mark.parametrize("failing", [0, 1, 4, 7])
def test_a_disk_that_is_full_is_noticed_behind(
    failing: int, out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large blocks are written in a thread, while the next ones are made."""
    pwrite, calls = os.pwrite, Counter[threading.Thread]()

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if calls.total() == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        calls[threading.current_thread()] += 1
        return pwrite(descriptor, data, offset)

    def attempt() -> None:
        with FolderOutput(out) as output:
            output.file("a.bin", len(BLOCKS) << 20).write(BLOCKS)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(ConversionError) as caught:
        attempt()
    assert caught.value.file == str(out / "a.bin")
    assert "the disk is full" in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert list(folder.iterdir()) == []
    assert threading.current_thread() not in calls


def test_a_file_is_not_closed_while_it_is_written_to(
    out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may be another file's by then: also if a signal ends the wait for the thread."""
    pwrite, close, shutdown = os.pwrite, os.close, ThreadPoolExecutor.shutdown
    events: list[tuple[str, int]] = []
    at_work = threading.Event()
    pools = []

    def slow(descriptor: int, data: bytes, offset: int) -> int:
        at_work.set()
        time.sleep(0.1)
        events.append(("written", descriptor))
        return pwrite(descriptor, data, offset)

    def closing(descriptor: int) -> None:
        events.append(("closed", descriptor))
        close(descriptor)

    def interrupted(pool: ThreadPoolExecutor, **_options: bool) -> None:
        pools.append(pool)
        raise KeyboardInterrupt

    def blocks() -> Iterator[bytes]:
        yield from BLOCKS[:3]
        at_work.wait()
        raise KeyboardInterrupt

    def attempt() -> None:
        with FolderOutput(out) as output:
            output.file("a.bin", len(BLOCKS) << 20).write(blocks())

    monkeypatch.setattr(os, "pwrite", slow)
    monkeypatch.setattr(os, "close", closing)
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", interrupted)
    with pytest.raises(KeyboardInterrupt):
        attempt()
    for pool in pools:
        shutdown(pool)
    writes = [place for place, event in enumerate(events) if event[0] == "written"]
    assert events[writes[-1] + 1 :].count(("closed", events[writes[-1]][1])) == 1
    assert list(folder.iterdir()) == []
