"""Runs the command on a terminal, as a person does."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import NamedTuple

from command import ENVIRONMENT

QUICK = """
import sys
from converter.cli import main, terminal, ticker
assert terminal.DELAY == ticker.DELAY == 0.5
terminal.DELAY = ticker.DELAY = 600
sys.exit(main())
"""
"""The command where nothing takes half a second, so that no progress is shown: not even on a
machine that is busy with other things."""


class Shown(NamedTuple):
    """What a run left: its exit code, and what came to the terminal, byte for byte."""

    code: int
    text: str


def on_a_terminal(
    *arguments: str | Path,
    columns: int = 80,
    cwd: Path | None = None,
    command: list[str] | None = None,
    **environment: str,
) -> Shown:
    """Run the command with both of its streams on a terminal of so many columns.

    Args:
        arguments: what stands behind its name.
        columns: of the terminal.
        cwd: the folder in which it runs.
        command: how it is run; QUICK if nothing is said.
        environment: variables, beside those of this process that say nothing of a terminal.
    """
    ours, theirs = pty.openpty()
    settings = termios.tcgetattr(theirs)
    settings[1] &= ~termios.OPOST  # as it was written: no carriage return before a newline
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("<4H", 24, columns, 0, 0))
    environment = {"TERM": "xterm-256color", **environment}
    kept = {k: v for k, v in ENVIRONMENT.items() if k not in ("COLUMNS", "NO_COLOR", "TERM")}
    shown: list[bytes] = []

    def read() -> None:
        try:
            while block := os.read(ours, 4096):
                shown.append(block)
        except OSError:  # on Linux the end of a terminal
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        done = subprocess.run(
            [*(command or [sys.executable, "-c", QUICK]), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**kept, **environment},
            cwd=cwd,
            check=False,
        )
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)
    return Shown(done.returncode, b"".join(shown).decode())
