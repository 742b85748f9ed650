"""Draws the pictures of the page of `ggcp inspect --html`, in a real browser.

    python docs/pictures.py                       the pictures of the README, again
    python docs/pictures.py --look PAGE.html DIR  a page at every width, in both schemes and printed

The browser is the first of chromium, chromium-browser, google-chrome and chrome in the PATH. It is
spoken to through a pipe (the Chrome DevTools Protocol), which needs no package. Not part of any
test: what a picture looks like is for people to judge.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (1280, 800, 390)
SCHEMES = ("light", "dark")
OFFLINE = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-quic", "--disable-sync", "--disable-background-networking"),
    *("--disable-component-update", "--remote-debugging-pipe"),
)
EXAMPLE = ROOT / "fixtures" / "v0_adam_one.bin"
WRITTEN = 1_686_819_905  # 15 June 2023, 09:05:05 UTC
PICTURES = {"light": (1280, 1240), "dark": (390, 1320)}
"""Width and height of what is drawn in each scheme."""


class Browser:
    """A browser that shows one page; use it in a ``with`` statement of ``opened``."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests = os.fdopen(requests, "wb", buffering=0)
        self._answers = os.fdopen(answers, "rb")
        self._count = 0
        self._session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._count += 1
        request = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            request["sessionId"] = self._session
        self._requests.write(json.dumps(request).encode() + b"\0")
        while True:
            answer = json.loads(self._answer())
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _answer(self) -> bytes:
        found = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser ended")
            found += byte
        return bytes(found)

    def show(self, page: Path, width: int, scheme: str) -> None:
        """Show a page at a width, in CSS pixels, in a colour scheme."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.ask(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self.ask("Page.navigate", url=page.resolve().as_uri())
        while self.value("document.readyState") != "complete":
            pass

    def value(self, expression: str) -> Any:
        """Return what an expression is in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    def picture(self, height: int | None = None) -> bytes:
        """Return the page, from its top to ``height`` or to its end, as a PNG."""
        width = self.value("document.documentElement.clientWidth")
        height = height or self.value("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def printed(self) -> bytes:
        """Return the page as it is printed on A4, as a PDF."""
        sheet = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": False}
        return base64.b64decode(self.ask("Page.printToPDF", **sheet)["data"])


@contextmanager
def opened() -> Iterator[Browser]:
    """Start a browser with a profile of its own, and end it."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is in the PATH")
    requests, answers = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The browser reads requests from descriptor 3 and writes answers to 4.
        line = f'exec "$0" "$@" 3<&{requests[0]} 4>&{answers[1]}'
        browser = subprocess.Popen(
            ["bash", "-c", line, program, *OFFLINE, f"--user-data-dir={profile}"],
            pass_fds=(requests[0], answers[1]),
            stderr=subprocess.DEVNULL,
        )
        os.close(requests[0])
        os.close(answers[1])
        try:
            yield Browser(requests[1], answers[0])
        finally:
            browser.terminate()
            browser.wait()


def look(page: Path, folder: Path) -> None:
    """Draw a page in every way in which people see it."""
    folder.mkdir(parents=True, exist_ok=True)
    with opened() as browser:
        for width in WIDTHS:
            for scheme in SCHEMES:
                browser.show(page, width, scheme)
                wider = browser.value("document.documentElement.scrollWidth") - width
                if wider > 0:
                    print(f"{page.name}: {wider} pixels too wide at {width}")
                (folder / f"{page.stem}-{width}-{scheme}.png").write_bytes(browser.picture())
        (folder / f"{page.stem}.pdf").write_bytes(browser.printed())


def draw() -> None:
    """Draw the pictures of the README: the page of a real checkpoint."""
    with tempfile.TemporaryDirectory() as name, opened() as browser:
        folder = Path(name)
        checkpoint = folder / "checkpoint.bin"
        checkpoint.write_bytes(EXAMPLE.read_bytes())
        os.utime(checkpoint, (WRITTEN, WRITTEN))
        command = ("inspect", "checkpoint.bin", "--stats", "--html", "page.html", "--quiet")
        subprocess.run(
            [sys.executable, "-m", "converter", *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
        )
        for scheme, (width, height) in PICTURES.items():
            browser.show(folder / "page.html", width, scheme)
            picture = ROOT / "docs" / f"inspect-page-{width}-{scheme}.png"
            picture.write_bytes(browser.picture(height))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--look"]:
        look(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        draw()
