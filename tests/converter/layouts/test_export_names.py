"""Names of files that are made from a model's name: no character that hides what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from exported import export

FORMAT_CHARACTERS = {
    "right to left": "\u202e",
    "isolate": "\u2066",
    "zero width": "\u200b",
    "byte order mark": "\ufeff",
    "soft hyphen": "\u00ad",
    "escape": "\x1b",
    "delete": "\x7f",
    "of the second table": "\x9b",
    "private use": "\ue000",
    "slash": "/",
    "backslash": "\\",
    "colon": ":",
}


@pytest.mark.parametrize("character", FORMAT_CHARACTERS.values(), ids=FORMAT_CHARACTERS.keys())
def test_what_no_name_of_a_file_holds(character: str, fixtures: Path, folder: Path) -> None:
    export(fixtures / "v0_adam_one.bin", folder, epsilon=1e-5, model_name=f"a{character}b")
    (path,) = folder.iterdir()
    assert path.name == "a-b-16K-F32.gguf"
