"""Work on blocks of data on several cores.

What can be done with many at a time gives its results in their order; what must be done with one
after the other is done behind the back of who gives them.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

from ggcp_schema import Span
from ggcp_schema.language.source import BLOCK_BYTES

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_MOST_THREADS = 3
"""Beside the caller's, which has the reading and writing to do; each holds a few MiB."""

_FEW_BLOCKS = 2
"""So many blocks are not worth a thread."""

_LARGE_BYTES = 1 << 16
"""From here on a single block is."""

_MOST_WAITING = 4
"""Blocks that are held because nothing was done with them yet, beside the one in work."""

AHEAD_BYTES = 2 * BLOCK_BYTES
"""What is read ahead at once: in smaller blocks two threads look for each other too often."""

Block = TypeVar("Block")
Result = TypeVar("Result")
Self = TypeVar("Self", bound="Behind")


def in_order(
    function: Callable[[Block], Result], blocks: Iterable[Block], most_threads: int = _MOST_THREADS
) -> Iterator[Result]:
    """Yield what a function makes of each block, as ``map`` does, on a few cores at a time.

    NumPy lets other threads work while it computes, and so does reading. As many blocks are held as
    there are threads, and two more; they are taken from ``blocks`` in the caller's thread. Where
    the system gives no thread, or has one core, the caller's does the work.
    """
    cores = _cores()
    threads = min(most_threads, cores)
    blocks = iter(blocks)
    first = list(islice(blocks, _FEW_BLOCKS + 1))
    if len(first) <= _FEW_BLOCKS or cores == 1:
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


def read_ahead(span: Span) -> Iterator[bytes]:
    """Yield the bytes of a span in order, in blocks, of which the next one is read meanwhile.

    All but the last are ``AHEAD_BYTES`` long.

    Raises:
        FormatError: the file ends before, or cannot be read.
    """
    end = span.offset + span.length

    def read(offset: int) -> bytes:
        return span.source.read_at(offset, min(AHEAD_BYTES, end - offset))

    # One thread: some sources have one place that they read from.
    yield from in_order(read, range(span.offset, end, AHEAD_BYTES), 1)


def _results(waiting: deque[Future[Result]], left: int) -> Iterator[Result]:
    """Yield the oldest results until so many are left to wait for."""
    while len(waiting) > left:
        yield waiting.popleft().result()


class Behind:
    """Does the same with one block after the other, while who gives them goes on.

    In a ``with`` statement, after which nothing is being done any more. A small block is done with
    at once, if no other waits; where the system gives no thread, each is. ``give`` and ``wait``
    raise what an earlier block raised.

    Args:
        work: what is done with a block.
    """

    def __init__(self, work: Callable[[bytes], object]) -> None:
        self._work = work
        self._waiting: deque[Future[object]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._threads = True

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Wait until nothing is being done; what was not begun is left."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def give(self, block: bytes) -> None:
        """Give another block, which must not change any more."""
        if self._threads and (self._waiting or len(block) >= _LARGE_BYTES):
            try:
                self._waiting.append(self._submitted(block))
            except RuntimeError:  # can't start new thread
                self._threads = False
            else:
                self._settle(_MOST_WAITING)
                return
        self.wait()
        self._work(block)

    def wait(self) -> None:
        """Wait until all that was given is done with."""
        self._settle(0)

    def _submitted(self, block: bytes) -> Future[object]:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # not where all is small

            self._pool = ThreadPoolExecutor(1)
        return self._pool.submit(self._work, block)

    def _settle(self, most: int) -> None:
        """Wait until at most so many blocks are left, and raise what was raised."""
        for _ in _results(self._waiting, most):
            pass


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # systems other than Linux
        return os.cpu_count() or 1
