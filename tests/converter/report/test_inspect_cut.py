"""Where a report ends: with a file that is cut, and with the newest of many losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from packed import Packed, checkpoint

from converter import inspect
from converter.report.json import as_json

LAYOUTS: list[tuple[int, str, bool, str]] = [
    (0, "adam", False, "version 0"),
    (0, "lbfgs", False, "version 0"),
    (1, "adam", False, "version 1"),
    (1, "lbfgs", False, "version 1"),
    (1, "adam", True, "version 1 with params"),
    (1, "lbfgs", True, "version 1 with params"),
]


def layout_of(whole: Packed, cut: int, folder: Path) -> Any:
    path = folder / "cut.bin"
    path.write_bytes(whole.data[:cut])
    found = as_json(inspect(path), tensors=False)
    assert found["complete"] is False
    return found["layout"]


@pytest.mark.parametrize(("version", "kind", "with_params", "layout"), LAYOUTS)
def test_cut_inside_the_state(
    version: int, kind: str, with_params: bool, layout: str, tmp_path: Path
) -> None:
    whole = checkpoint(version, kind, with_params=with_params, n_layer=1)
    last = "second_moments" if kind == "adam" else "search_direction"
    for cut in (whole.fields[f"optimizer.state.{last}.data"][0] + 5, len(whole.data) - 1):
        assert layout_of(whole, cut, tmp_path) == {"optimizer": layout, "header": None}


def test_cut_before_the_state(tmp_path: Path) -> None:
    whole = checkpoint(0, n_layer=1)
    start, _length = whole.fields["optimizer.version"]
    assert layout_of(whole, start, tmp_path) == {"optimizer": None, "header": None}


@pytest.mark.parametrize(("past", "first"), [(9_999, 1), (10_000, 1), (10_001, 2), (12_000, 2_001)])
def test_the_newest_past_losses(past: int, first: int, tmp_path: Path) -> None:
    """10,000 of them are shown; after as many iterations as there are places they are in order."""
    path = tmp_path / "many.bin"
    path.write_bytes(checkpoint(1, past=past).with_number("optimizer.iteration_count", past))
    report = inspect(path)
    assert report.optimizer is not None
    assert report.optimizer.past_losses == tuple(map(float, range(first, past + 1)))
