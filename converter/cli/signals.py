"""Signals that stop the command: the first one does, and none interrupts what it leads to."""

from __future__ import annotations

import contextlib
import signal
from types import FrameType
from typing import Any

from converter.disk.stopping import STOPPING


class StoppedError(BaseException):
    """A signal asked the program to end.

    Attributes:
        number: which one.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """What the signals that ask a program to end do.

    Attributes:
        over: whether they do nothing any more: one came before, or there is nothing to stop.
    """

    def __init__(self) -> None:
        self.over = False
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """From now on let the first of them raise ``StoppedError``."""
        for number in STOPPING:
            # nohup ignores SIGHUP, and a shell SIGINT of what it runs in the background.
            if signal.getsignal(number) not in (None, signal.SIG_IGN):
                with contextlib.suppress(ValueError):  # not in the main thread
                    self._before[number] = signal.signal(number, self._stop)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if not self.over:
            self.over = True
            raise StoppedError(number)

    def ignore(self) -> None:
        """Let them do nothing, also while Python ends, which would give them back to the system."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def restore(self) -> None:
        """Let them do what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
