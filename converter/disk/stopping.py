"""Signals that end the program: put off where they would do harm, and what they find done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

STOPPING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
    if hasattr(signal, name)
)
"""The signals that ask a program to end, as far as the system has them."""

PLACED: list[str] = []
"""Files that got their names, whole: what a later signal does not undo. A command empties it."""

UNDISCARDED: list[Callable[[], object]] = []
"""For each unfinished file the function that removes it, until it is removed or has its name."""


def discard_unfinished() -> bool:
    """Remove all unfinished files, where a signal came before their own clean-up had begun.

    Returns:
        Whether none is left.
    """
    for discard in UNDISCARDED[:]:
        discard()
    return not UNDISCARDED


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off the signals that end a program, so that none falls between two steps.

    A signal mask would not do it: NumPy has threads, which take a signal that the main thread
    blocks, and Python then handles it in the main thread all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals nowhere but in the main thread
        return
    came: list[int] = []
    before: dict[int, Any] = {}
    try:
        for number in STOPPING:
            handler = signal.getsignal(number)
            if handler not in (None, signal.SIG_IGN):
                before[number] = handler
                signal.signal(number, lambda number, _frame: came.append(number))
        yield
    finally:
        # SIGINT last: what Python does with it by default is to raise, and would keep the others.
        for number in reversed(before):
            signal.signal(number, before[number])
        for number in came:
            signal.raise_signal(number)
