"""The file that is read, and who closes it."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from ggcp_schema import Source


def test_a_descriptor_is_closed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C while a file is opened: the next file may have its number, and is not closed."""
    path = tmp_path / "file"
    path.write_bytes(b"abc")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Source, "__init__", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        Source.open(path)
    with path.open("rb") as other:
        del caught
        gc.collect()
        assert other.read() == b"abc"
