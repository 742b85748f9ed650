"""Says that work goes on where nobody knows how much of it there is."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from converter.cli.streams import StandardError
from converter.cli.styles import is_overwritten, is_terminal
from converter.disk.stopping import STOPPING

DELAY = 0.5
"""Seconds after which progress is shown: what is done before needs none."""


class Ticker:
    """A line on a terminal: what is done, how much of it, and for how many seconds.

    A thread writes it, because a call of the system that waits for the disk leaves no chance to.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._description = ""
        self._since = 0.0
        self._bytes = 0
        self._shown = 0

    @contextlib.contextmanager
    def running(self, description: str) -> Iterator[None]:
        """Tick while something is done, from half a second on; on no terminal do nothing."""
        if not is_overwritten(StandardError()):
            yield
            return
        self._over.clear()
        thread = threading.Thread(target=self._tick, daemon=True)
        with self.doing(description):
            with contextlib.suppress(RuntimeError):  # "can't start new thread": a limit on them
                thread.start()
            try:
                yield
            finally:
                self._over.set()
                if thread.ident is not None:
                    thread.join()

    @contextlib.contextmanager
    def doing(self, description: str) -> Iterator[None]:
        """Say for a while that something else is done; an empty text lets the line rest."""
        before = self._description
        self._begin(description)
        try:
            yield
        finally:
            self._begin(before)

    def count(self, number: int) -> None:
        """Count bytes of what is done."""
        self._bytes += number

    def clear(self) -> None:
        """Take the line away, because something else is written there."""
        with self._lock:
            if self._shown:
                StandardError().write("\r" + " " * self._shown + "\r")
                StandardError().flush()
                self._shown = 0
            self._since = time.monotonic()

    def _begin(self, description: str) -> None:
        with self._lock:
            self.clear()
            self._description, self._bytes = description, 0

    def _tick(self) -> None:
        if hasattr(signal, "pthread_sigmask"):  # they are for the main thread, to interrupt it
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        while not self._over.wait(DELAY / 5):
            with self._lock:
                seconds = time.monotonic() - self._since
                if self._description and seconds >= DELAY:
                    self._show(f"{self._description}{self._counted()} ({seconds:.1f} s)")

    def _counted(self) -> str:
        return f": {self._bytes / 1e6:.0f} MB" if self._bytes else ""

    def _show(self, line: str) -> None:
        StandardError().write("\r" + line.ljust(self._shown))
        StandardError().flush()
        self._shown = max(self._shown, len(line))


TICKER = Ticker()
"""Of this process, which has one terminal."""


def clear_for(stream: Any) -> None:
    """Take the line away before something is written to a stream that may be the same terminal."""
    if is_terminal(stream):
        TICKER.clear()
