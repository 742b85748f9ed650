"""Results come in order, whatever the threads do, and without threads too."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest

from converter.numeric import in_order as module
from converter.numeric.in_order import in_order


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


def test_blocks_are_taken_in_the_callers_thread(cores: int) -> None:
    def blocks() -> Iterator[threading.Thread]:
        for _ in range(9):
            yield threading.current_thread()

    assert set(in_order(lambda thread: thread, blocks())) == {threading.current_thread()}


@pytest.mark.parametrize("started", [0, 1, 2])
def test_no_more_threads(started: int, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a limit on the number of processes, which counts threads."""
    start, left = threading.Thread.start, started

    def limited(thread: threading.Thread) -> None:
        nonlocal left
        if not left:
            raise RuntimeError("can't start new thread")
        left -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert list(in_order(slow_square, range(50))) == [number**2 for number in range(50)]


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
