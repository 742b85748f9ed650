"""The standard streams, which may be full, closed or broken."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class UnheardError(Exception):
    """Standard output did not take the result; the cause says why."""


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Name standard output as what failed, if what is done here fails.

    Raises:
        UnheardError: it did not take all of it.
    """
    try:
        yield
    except OSError as error:
        raise UnheardError from error


def drop_what_is_left(stream: TextIO) -> None:
    """Let a stream lead nowhere: Python would fail with what it did not take when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class StandardError:
    """Standard error, which nobody fails for: what it does not take is lost."""

    def write(self, text: str) -> None:
        """Write a text, as far as that goes."""
        with contextlib.suppress(OSError, ValueError):
            if sys.stderr is not None:
                sys.stderr.write(text)

    def flush(self) -> None:
        """Write what was kept back, likewise."""
        with contextlib.suppress(OSError, ValueError):
            if sys.stderr is not None:
                sys.stderr.flush()

    def close(self) -> None:
        """End the run of the program, in which it may have taken not all."""
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
        except (OSError, ValueError):
            drop_what_is_left(sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)
