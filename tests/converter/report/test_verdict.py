"""The verdict on a file: exactly what `ggcp export --rescue` makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from packed import checkpoint

from converter import ConversionError, Writing, export, inspect
from converter.report.verdict import Verdict, verdict, verdict_in_words
from converter.use_cases.export_options import ExportOptions
from ggcp_schema import FormatError

WHOLE = [
    "v0_adam_one.bin",
    "v1_lbfgs.bin",
    "v1params_adam_default.bin",
    "ggcl_v1_adam_1a5f0a30e.bin",
    "chk_aug23_rope.gguf",
    "chk_jul24_lora_ranks.gguf",
    "model_aug23_lbfgs.gguf",
]


@pytest.mark.parametrize(
    ("name", "cut", "value", "words"),
    [
        ("v1params_adam_default.bin", 0, "whole", "Whole: every byte accounted for"),
        ("v1params_adam_default.bin", 1, "rescuable", "Damaged, but the model can be rescued"),
        ("ggcl_v1_adam_1a5f0a30e.bin", 1, "rescuable", "Damaged, but the LoRA can be rescued"),
        ("chk_jul24_lora_ranks.gguf", 32, "rescuable", "Damaged, but the LoRA can be rescued"),
        ("model_aug23_lbfgs.gguf", 64, "lost", "Nothing can be made of this"),
    ],
)
def test_the_words(
    name: str, cut: int, value: str, words: str, fixtures: Path, tmp_path: Path
) -> None:
    data = (fixtures / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: len(data) - cut])
    found = inspect(path)
    assert (verdict(found).value, verdict_in_words(found)) == (value, words)


@pytest.mark.parametrize("name", WHOLE)
def test_files_of_the_trainers_are_whole(name: str, fixtures: Path) -> None:
    assert verdict(inspect(fixtures / name)) is Verdict.WHOLE


def is_rescued(path: Path, fixtures: Path, folder: Path) -> bool:
    """Whether ``export --rescue`` makes a file of it."""
    of_300_tokens = path.suffix == ".bin" and not path.name.startswith("ggcl")
    options = ExportOptions(
        fixtures / "vocab300.gguf" if of_300_tokens else None,
        context_length=8 if of_300_tokens else None,
        rescue=True,
    )
    made = folder / "model.gguf"
    try:
        export(path, made, options, writing=Writing(sync=False))
    except (FormatError, ConversionError):
        assert not made.exists()
        return False
    made.unlink()
    return True


def cuts(size: int) -> list[int]:
    """Where to cut a file: from its head to its last data, before padding."""
    return [*range(200, size - 32, size // 12), size - 32]


@pytest.mark.parametrize("name", WHOLE)
def test_files_that_are_cut(name: str, fixtures: Path, tmp_path: Path) -> None:
    """Wherever a file is cut, the verdict is what the rescue then does."""
    data = (fixtures / name).read_bytes()
    found = []
    for at in cuts(len(data)):
        path = tmp_path / name
        path.write_bytes(data[:at])
        try:
            judged = verdict(inspect(path))
        except FormatError:  # a head that is cut is no report
            assert not is_rescued(path, fixtures, tmp_path)
            continue
        rescued = is_rescued(path, fixtures, tmp_path)
        assert judged is (Verdict.RESCUABLE if rescued else Verdict.LOST), at
        found.append(judged)
    # Model or pairs stand first: what is behind them may be lost.
    assert found == sorted(found, key=[Verdict.LOST, Verdict.RESCUABLE].index)
    has_optimizer = name.startswith(("v", "chk_", "ggcl_v"))
    assert found[0] is Verdict.LOST
    assert found[-1] is (Verdict.RESCUABLE if has_optimizer else Verdict.LOST)


def test_what_an_aborted_save_left(fixtures: Path, tmp_path: Path) -> None:
    path = fixtures / "v0_lbfgs_truncated_master43033b7bb.bin"
    assert verdict(inspect(path)) is Verdict.RESCUABLE
    assert is_rescued(path, fixtures, tmp_path)


def test_something_appended(tmp_path: Path) -> None:
    """It takes nothing from the model, but not every byte is accounted for."""
    path = tmp_path / "longer.bin"
    path.write_bytes(checkpoint(1).data + b"\0")
    assert verdict(inspect(path)) is Verdict.RESCUABLE
