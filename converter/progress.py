"""How work is shown and what the user is told, without knowing who shows it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

LOGGER = logging.getLogger("ggcp")
"""Notes to the user: what was assumed, estimated or left out, and what to do about it."""

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""Shows work: called with what is done and how many bytes that is; the result counts them.

Of what nobody knows how much it is, the number is 0.
"""


@contextlib.contextmanager
def silent(description: str, total: int) -> Iterator[Callable[[int], object]]:
    """Show nothing."""
    yield lambda _count: None
