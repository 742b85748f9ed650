"""Damaged LoRA checkpoints: rescued where all pairs are there, and only when asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gguf_bytes import U64, Gguf, Key, read
from lora_models import case_of, expected, keys, tensors

from converter import Writing, convert, export, export_folder, verify
from converter.use_cases.export_options import ExportOptions, FolderOptions
from ggcp_schema import FormatError, parse

BEFORE_GGUF = "ggcl_v1_adam_1a5f0a30e.bin"
GGUF = "chk_jul24_lora_ranks.gguf"
ADAPTER = "ggla_1a5f0a30e_lora.bin"

OFFER = "the pairs in front of it are whole, and --rescue exports them"
REFUSED = (
    "--rescue takes a LoRA whose pairs are all there, and here some are missing or damaged; look "
    "for another copy, or an earlier checkpoint"
)
CUT = "the file is cut short; look for a whole copy of it"
QUICK = Writing(sync=False)
RESCUE = ExportOptions(rescue=True)
MISSING = Key("ggcp.missing_values", U64, 0)


def cut(source: Path, folder: Path, size: int) -> Path:
    path = folder / source.name
    path.write_bytes(source.read_bytes()[:size])
    return path


def end_of_pairs(source: Path) -> int:
    with parse(source) as checkpoint:
        return checkpoint.place("optimizer.version")


def with_key(whole: Gguf) -> Gguf:
    whole.keys.insert(whole.keys.index(whole.key("ggcp.version")) + 1, MISSING)
    return whole


@pytest.mark.parametrize("behind", [0, 4, 200, -1])
def test_a_checkpoint_before_gguf(
    behind: int, fixtures: Path, tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Cut behind its pairs, in the optimizer context, and before its last byte."""
    source = fixtures / BEFORE_GGUF
    path = cut(source, tmp_path, -1 if behind < 0 else end_of_pairs(source) + behind)
    with pytest.raises(FormatError) as caught:
        convert(path, folder / "out.gguf")
    error = caught.value
    with pytest.raises(FormatError) as caught:
        export(path, folder / "out.gguf", ExportOptions())
    assert str(caught.value) == f"{error}; {OFFER}"
    assert list(folder.iterdir()) == []

    caplog.clear()
    export(path, folder / "out.gguf", RESCUE, writing=QUICK)
    assert error.offset is not None
    assert caplog.messages[0] == (
        "rescued: all pairs are whole; the rest is damaged, and is not needed to run the model "
        f"({error.path} at offset {error.offset:#x})"
    )
    export(source, tmp_path / "whole.gguf", ExportOptions(), writing=QUICK)
    assert read(folder / "out.gguf") == with_key(read(tmp_path / "whole.gguf"))
    assert verify(path, folder / "out.gguf") == []
    assert verify(source, folder / "out.gguf") == ["key ggcp.missing_values: not expected"]
    with pytest.raises(FormatError, match=r"optimizer\."):
        verify(path, tmp_path / "whole.gguf")


def test_pairs_that_are_cut(fixtures: Path, tmp_path: Path, folder: Path) -> None:
    source = fixtures / BEFORE_GGUF
    path = cut(source, tmp_path, end_of_pairs(source) - 1)
    with pytest.raises(FormatError) as caught:
        export(path, folder / "out.gguf", RESCUE)
    assert (caught.value.path, caught.value.hint) == (
        "model.layers[1].feed_forward.w3.b.data",
        REFUSED,
    )
    with pytest.raises(FormatError) as caught:
        export(path, folder / "out.gguf", ExportOptions())
    assert caught.value.hint == CUT
    assert list(folder.iterdir()) == []


def test_merged_into_its_base(fixtures: Path, tmp_path: Path) -> None:
    case = case_of(fixtures / BEFORE_GGUF, tmp_path)
    case.write_base()
    path = cut(case.source, tmp_path, end_of_pairs(case.source))
    merged = tmp_path / "merged.gguf"
    with pytest.raises(FormatError) as caught:
        export(path, merged, ExportOptions(base=case.base))
    assert str(caught.value).endswith(f"; {OFFER}")
    assert not merged.exists()
    export(path, merged, ExportOptions(base=case.base, rescue=True), writing=QUICK)
    values = tensors(merged)
    for name, value in expected(case.weights, case.checkpoint).items():
        assert (values[name] == value).all()
    assert keys(merged)["ggcp.missing_values"] == (["UINT64"], [[0]])
    assert verify(path, merged, base=case.base) == []


def test_a_base_that_was_rescued_keeps_what_it_says(fixtures: Path, tmp_path: Path) -> None:
    case = case_of(fixtures / BEFORE_GGUF, tmp_path)
    case.write_base(keys={"ggcp.missing_values": 7})
    merged = tmp_path / "merged.gguf"
    options = ExportOptions(base=case.base, rescue=True)
    path = cut(case.source, tmp_path, end_of_pairs(case.source))
    for source in (case.source, path):
        export(source, merged, options, writing=Writing(sync=False, force=True))
        assert keys(merged)["ggcp.missing_values"] == (["UINT32"], [[7]])
        assert verify(source, merged, base=options.base) == []


def test_a_gguf(fixtures: Path, tmp_path: Path, folder: Path) -> None:
    source = fixtures / GGUF
    path = cut(source, tmp_path, source.stat().st_size - 32)
    with pytest.raises(FormatError) as caught:
        export(path, folder / "out.gguf", ExportOptions())
    assert caught.value.path.startswith("tensor optimizer.adam.")
    assert caught.value.hint is not None
    assert caught.value.hint.endswith(f"; {OFFER}")
    assert list(folder.iterdir()) == []
    export(path, folder / "out.gguf", RESCUE, writing=QUICK)
    export(source, tmp_path / "whole.gguf", ExportOptions(), writing=QUICK)
    assert read(folder / "out.gguf") == with_key(read(tmp_path / "whole.gguf"))
    assert verify(path, folder / "out.gguf") == []


def test_a_gguf_without_its_last_pair(fixtures: Path, tmp_path: Path, folder: Path) -> None:
    source = fixtures / GGUF
    pairs = [t.data for t in read(source).tensors if not t.name.startswith("optimizer.")]
    path = cut(source, tmp_path, source.read_bytes().index(pairs[-1]) + 1)
    with pytest.raises(FormatError) as caught:
        export(path, folder / "out.gguf", RESCUE)
    assert caught.value.hint == REFUSED
    assert list(folder.iterdir()) == []


def test_an_adapter_has_nothing_but_pairs(fixtures: Path, tmp_path: Path, folder: Path) -> None:
    source = fixtures / ADAPTER
    path = cut(source, tmp_path, source.stat().st_size - 1)
    for rescue, hint in ((False, CUT), (True, REFUSED)):
        with pytest.raises(FormatError) as caught:
            export(path, folder / "out.gguf", ExportOptions(rescue=rescue))
        assert caught.value.hint == hint
        assert list(folder.iterdir()) == []


def test_a_folder(fixtures: Path, tmp_path: Path) -> None:
    case = case_of(fixtures / BEFORE_GGUF, tmp_path)
    case.write_base()
    path = cut(case.source, tmp_path, end_of_pairs(case.source))
    out = tmp_path / "hf"
    export_folder(path, out, FolderOptions(base=case.base, rescue=True), writing=QUICK)
    assert json.loads((out / "ggcp.json").read_text("utf-8"))["made"]["rescued"] is True
    assert verify(path, out, base=case.base) == []
