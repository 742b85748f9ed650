"""Functions of `os` that fail, as disks and kernels do."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

_SAID = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your share of the disk is used up",
    errno.EFBIG: "this disk or shell allows no file of this size",
    errno.EACCES: "no permission to write there",
}


def said(number: int) -> str:
    """What the user is told where the system says `number` against writing."""
    return _SAID.get(number, f"'{os.strerror(number)}'")


def failing(number: int, after: int = 0, good: Callable[..., Any] | None = None) -> Any:
    """A function that works `after` times, as `good` does, and says `number` from then on."""
    calls = 0

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if good is not None and calls <= after:
            return good(*arguments, **named)
        raise OSError(number, os.strerror(number))

    return call


def acting_first(action: Callable[[], object], good: Callable[..., Any]) -> Any:
    """A function that does `action` before its first call, and else what `good` does."""
    done = False

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal done
        if not done:
            done = True
            action()
        return good(*arguments, **named)

    return call
