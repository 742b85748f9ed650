"""Draws docs/inspect-terminal.svg: what `ggcp FILE` prints on a terminal of 80 columns.

    python docs/terminal.py

A test compares the picture with what is printed today.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "inspect-terminal.svg"
FILES = {"v0_adam_one.bin": "checkpoint.bin", "vocab300.gguf": "ggml-vocab.gguf"}
"""What lies in the folder of the picture, by the names in fixtures/."""

WRITTEN = 1_686_819_905  # 15 June 2023, 09:05:05 UTC
COLUMNS = 80
LINE, LEFT, TOP = 18, 24, 52  # pixels
WIDTH = 2 * LEFT + 8 * COLUMNS

CLASSES = {"1": "h", "2": "c"}
"""Class of the text for the parameter of SGR."""

STYLE = (
    "text{font:13.3px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
    "fill:#d7dbe0;white-space:pre}.h{fill:#fff;font-weight:700}.p{fill:#9fd3a8}.c{fill:#9aa4b1}"
    ".w{fill:#1b1f25}"
)
BUTTONS = "".join(
    f'<circle cx="{x}" cy="20" r="6" fill="{colour}"/>'
    for x, colour in ((22, "#e0695f"), (42, "#dfb04c"), (62, "#69b36b"))
)


def printed(folder: Path) -> str:
    """Return what the command prints on a terminal in a folder with the files of the picture."""
    for name, shown in FILES.items():
        copy = folder / shown
        shutil.copyfile(ROOT / "fixtures" / name, copy)
        os.utime(copy, (WRITTEN, WRITTEN))
    terminal, own = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": str(COLUMNS)}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "converter", "checkpoint.bin"]
    quiet = subprocess.DEVNULL  # how long it takes differs
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=own, stderr=quiet):
        os.close(own)
        text = b""
        while block := _read(terminal):
            text += block
    os.close(terminal)
    return text.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # Linux says so of a terminal that everybody has closed
        return b""


def picture(text: str) -> str:
    """Return what was printed as a picture."""
    lines = ['<tspan class="p">$ ggcp checkpoint.bin</tspan>', *map(_spans, text.splitlines())]
    height = TOP + LINE * len(lines)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" role="img" aria-label="ggcp FILE in a terminal">',
            f"<style>{STYLE}</style>",
            f'<rect class="w" width="100%" height="100%" rx="10"/>{BUTTONS}',
            *_rows(lines),
            "</svg>\n",
        )
    )


def _rows(lines: list[str]) -> Iterator[str]:
    for row, line in enumerate(lines):
        if line:
            yield f'<text xml:space="preserve" x="{LEFT}" y="{TOP + LINE * row}">{line}</text>'


def _spans(line: str) -> str:
    """Return a line with its styles, each of which ends before another begins."""

    def span(found: re.Match[str]) -> str:
        return f'<tspan class="{CLASSES[found[1]]}">{found[2]}</tspan>'

    return re.sub("\x1b\\[(\\d+)m(.*?)\x1b\\[0m", span, escape(line, quote=False))


def main() -> None:
    """Draw the picture again."""
    with tempfile.TemporaryDirectory() as folder:
        PICTURE.write_text(picture(printed(Path(folder))), encoding="utf-8")


if __name__ == "__main__":
    main()
