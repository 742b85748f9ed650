"""Differences in JSON that others wrote."""

from __future__ import annotations

from pathlib import Path

from converter.hf_io.comparison import content_differences
from converter.plan import PlannedFile
from ggcp_schema import Source


def test_brackets_in_brackets_of_any_depth(tmp_path: Path) -> None:
    """Python reads some that it can no longer write; which depends on how much is on its stack."""
    path = tmp_path / "a.json"
    for depth in range(1, 1200):
        path.write_bytes(b'{"a": %s%s}' % (b"[" * depth, b"]" * depth))
        brackets = "[" * depth + "]" * depth
        shown = brackets if len(brackets) <= 60 else f"{brackets[:57]}..."
        with Source.open(path) as found:
            (line,) = content_differences(PlannedFile.of("a.json", b'{"a": 1}'), found)
        assert line in (
            f"a.json: key a: expected 1, found {shown}",
            "a.json: expected JSON as it was written, found something else",
        )
