"""Files of a folder are written as they were planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from converter.disk.folder_output import FolderOutput
from converter.hf_io.writing import write_file
from converter.parts import Computed
from converter.plan import PlannedFile


@pytest.mark.parametrize("length", [2, 4])
def test_a_plan_that_contradicts_itself_is_a_defect(length: int, folder: Path) -> None:
    planned = PlannedFile("a.bin", (Computed(length, lambda: (b"ab", b"c")),))
    with (
        pytest.raises(RuntimeError, match=rf"^a\.bin: 3 bytes, not {length}$"),
        FolderOutput(folder / "out", sync=False) as output,
    ):
        write_file(planned, output.file("a.bin", length), lambda _: None)
    assert list(folder.iterdir()) == []
