from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import FIXTURES
from real_files import unpacked


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    """Undo what the command does to the logger, so that tests do not depend on their order."""
    logger = logging.getLogger("ggcp")
    before = (logger.level, logger.propagate, list(logger.handlers))
    yield
    level, logger.propagate, logger.handlers[:] = before
    logger.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def _signals_as_at_a_terminal() -> None:
    """Undo that a shell ignores some for what it runs in the background, and nohup."""
    for name in ("SIGINT", "SIGQUIT", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
            signal.signal(number, default)


@pytest.fixture(scope="session")
def fixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all fixtures, unpacked; tests must not write there."""
    folder = tmp_path_factory.mktemp("fixtures")
    for path in FIXTURES.iterdir():
        for name, content in unpacked(path):
            (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder in which nothing is but what the test's subject leaves there."""
    folder = tmp_path / "output"
    folder.mkdir()
    return folder
