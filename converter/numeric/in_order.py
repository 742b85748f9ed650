"""Work on blocks of data on several cores, whose results come in the order of the blocks."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

_MOST_THREADS = 3
"""Beside the caller's, which has the reading and writing to do; each holds a few MiB."""

_FEW_BLOCKS = 2
"""So many blocks are not worth a thread."""

Block = TypeVar("Block")
Result = TypeVar("Result")


def in_order(function: Callable[[Block], Result], blocks: Iterable[Block]) -> Iterator[Result]:
    """Yield what a function makes of each block, as ``map`` does, on a few cores at a time.

    NumPy lets other threads work while it computes. As many blocks are held as there are threads,
    and two more; they are taken from ``blocks`` in the caller's thread. Where the system gives no
    thread, the caller's does the work.
    """
    threads = min(_MOST_THREADS, _cores())
    blocks = iter(blocks)
    first = list(islice(blocks, _FEW_BLOCKS + 1))
    if len(first) <= _FEW_BLOCKS or threads == 1:
        yield from map(function, chain(first, blocks))
        return
    from concurrent.futures import ThreadPoolExecutor  # not where nothing is measured

    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for block in chain(first, blocks):
            try:
                waiting.append(pool.submit(function, block))
            except RuntimeError:  # can't start new thread
                yield from _results(waiting, 0)
                yield function(block)
            yield from _results(waiting, threads)
        yield from _results(waiting, 0)


def _results(waiting: deque[Future[Result]], left: int) -> Iterator[Result]:
    """Yield the oldest results until so many are left to wait for."""
    while len(waiting) > left:
        yield waiting.popleft().result()


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # systems other than Linux
        return os.cpu_count() or 1
