"""Everything comes in order, whatever the threads do, and without threads too."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from converter import threads as module
from converter.threads import Behind, in_order

LARGE = 1 << 16


@pytest.fixture(params=[1, 2, 3, 64])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(module, "_cores", lambda: request.param)
    cores: int = request.param
    return cores


def slow_square(number: int) -> int:
    time.sleep(random.Random(number).random() / 500)
    return number**2


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 50])
def test_results_are_in_order(count: int, cores: int) -> None:
    assert list(in_order(slow_square, range(count))) == [number**2 for number in range(count)]


def test_few_blocks_are_held(cores: int) -> None:
    taken = 0

    def blocks() -> Iterator[int]:
        nonlocal taken
        for number in range(50):
            taken += 1
            yield number

    for given, _ in enumerate(in_order(slow_square, blocks())):
        assert taken - given <= min(cores, 3) + 2


def test_one_thread_is_enough(cores: int) -> None:
    """For what must not be done twice at a time, such as reading where there is one place."""
    at_once = most = 0

    def alone(number: int) -> int:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(1e-4)
        at_once -= 1
        return number

    assert list(in_order(alone, range(50), 1)) == list(range(50))
    assert most == 1


def test_blocks_are_taken_in_the_callers_thread(cores: int) -> None:
    def blocks() -> Iterator[threading.Thread]:
        for _ in range(9):
            yield threading.current_thread()

    assert set(in_order(lambda thread: thread, blocks())) == {threading.current_thread()}


@pytest.mark.parametrize("started", [0, 1, 2])
def test_no_more_threads(started: int, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_threads(started, monkeypatch)
    assert list(in_order(slow_square, range(50))) == [number**2 for number in range(50)]


def limit_threads(left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a limit on the number of processes, which counts threads."""
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        nonlocal left
        if not left:
            raise RuntimeError("can't start new thread")
        left -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)


def test_one_core_has_no_use_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cores", lambda: 1)
    workers = set(in_order(lambda _block: threading.current_thread(), range(50)))
    assert workers == {threading.current_thread()}


@pytest.mark.parametrize("wrong", [0, 1, 7, 49])
def test_an_error_comes_in_its_place(wrong: int, cores: int) -> None:
    def inverse(number: int) -> float:
        time.sleep(random.Random(number).random() / 500)
        return 1 / (number - wrong)

    found = []
    with pytest.raises(ZeroDivisionError):
        found.extend(in_order(inverse, range(50)))
    results = in_order(inverse, range(50))
    assert [next(results) for _ in range(wrong)] == [1 / (n - wrong) for n in range(wrong)]
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert threading.active_count() <= before


def test_threads_end_with_the_caller(cores: int) -> None:
    before = threading.active_count()
    results = in_order(slow_square, range(50))
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


SIZES = (0, 5, LARGE, LARGE - 1, 3, LARGE, LARGE, LARGE, LARGE, LARGE, LARGE, LARGE, LARGE + 1, 2)


def blocks() -> list[bytes]:
    return [bytes([number]) * size for number, size in enumerate(SIZES)]


@pytest.mark.parametrize("threads", [0, 1])
def test_one_block_after_the_other(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_threads(threads, monkeypatch)
    done: list[bytes] = []
    workers = set()

    def slowly(block: bytes) -> None:
        time.sleep(random.Random(len(done)).random() / 500)
        workers.add(threading.current_thread())
        done.append(block)

    before = threading.active_count()
    with Behind(slowly) as behind:
        for block in blocks():
            behind.give(block)
        behind.wait()
        assert done == blocks()
    assert threading.active_count() == before
    assert workers - {threading.current_thread()} != set() if threads else len(workers) == 1


@pytest.mark.parametrize("left", [0, 1, 3])
def test_a_thread_that_takes_no_more(left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when Python is about to end: what was given before is done before."""
    submit, asked, done = ThreadPoolExecutor.submit, 0, []

    def limited(pool: ThreadPoolExecutor, *work: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked > left:
            raise RuntimeError("cannot schedule new futures after shutdown")
        return submit(pool, *work)

    def slowly(block: bytes) -> None:
        time.sleep(1e-3)
        done.append(block)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", limited)
    with Behind(slowly) as behind:
        for block in blocks():
            behind.give(block)
        behind.wait()
    assert done == blocks()
    assert asked == left + 1


def test_few_blocks_wait_to_be_done() -> None:
    """Four, and one that is in work, so that memory does not grow where the disk is slow."""
    given = 0
    behind_by = []

    def slowly(_block: bytes) -> None:
        time.sleep(1e-3)
        behind_by.append(given - len(behind_by))

    with Behind(slowly) as behind:
        for _ in range(50):
            given += 1
            behind.give(bytes(LARGE))
        behind.wait()
    assert max(behind_by) == 5


@pytest.mark.parametrize("size", [1, LARGE])
@pytest.mark.parametrize("count", [1, 50])
def test_what_is_raised_behind_is_raised_here(size: int, count: int) -> None:
    def refuse(_block: bytes) -> None:
        raise OSError(28, "full")

    def give() -> None:
        with Behind(refuse) as behind:
            for _ in range(count):
                behind.give(bytes(size))
            behind.wait()

    with pytest.raises(OSError, match="full"):
        give()


def test_nothing_is_done_after_the_end() -> None:
    done = []
    at_work = threading.Event()

    def slowly(block: bytes) -> None:
        at_work.set()
        time.sleep(0.01)
        done.append(block)

    with Behind(slowly) as behind:
        for _ in range(5):
            behind.give(bytes(LARGE))
        at_work.wait()
    count = len(done)
    assert 1 <= count < 5
    time.sleep(0.05)
    assert len(done) == count
