"""Whatever stands in a file or on the command line, no terminal obeys it."""

from __future__ import annotations

import contextlib
import json
import struct
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz import corpus
from tiny_files import write_inputs
from vocabulary_files import array, gguf, pair, text, tokenizer

from converter import cli

HOSTILE = "\x1b[2J\r\nggcp: faked\x07\x9b1m\x7f\u202e\u2066\u200b\ufeff\u2028\u00ad\x00"
NAME = HOSTILE.replace("\x00", "")  # no file has that in its name, no process in its arguments


def base(folder: Path) -> Path:
    """A model that fits, with hostile keys, values and an array that is left out with a warning."""
    model = next(corpus.models())
    (count,) = struct.unpack_from("<Q", model, 16)
    added = pair(HOSTILE, 8, text(HOSTILE.encode())) + array(f"{HOSTILE}2", 8, 0, b"")
    added += array(f"{HOSTILE}3", 8, 1, text(HOSTILE.encode()))
    filling = pair("x" * (-(len(added) + 8 + 4 + 1) % 32), 7, bytes(1))
    path = folder / f"base{NAME}.gguf"
    path.write_bytes(model[:16] + struct.pack("<Q", count + 4) + added + filling + model[24:])
    return path


def tensors(folder: Path) -> Path:
    """A GGUF with a tensor of a hostile name."""
    path = folder / "tensors.gguf"
    keys = [text(b"general.architecture") + struct.pack("<I", 8) + text(HOSTILE.encode())]
    path.write_bytes(corpus.gguf(keys, [(HOSTILE.encode(), (8,), 0, bytes(32))]))
    return path


def vocabulary(folder: Path) -> Path:
    path = folder / "hostile-vocab.gguf"
    name = HOSTILE.encode()
    key = pair("tokenizer.ggml.pre", 8, text(name))
    path.write_bytes(gguf(*tokenizer(name, name[:3], name[:4]), key))
    return path


def lines(folder: Path) -> Iterator[list[str]]:
    """Command lines with something hostile in every place."""
    write_inputs(folder)
    given, lora, merged = folder / "in.bin", folder / "lora.bin", base(folder)
    odd = folder / f"odd{NAME}.bin"
    odd.write_bytes(given.read_bytes())
    metadata = folder / "general.json"
    metadata.write_text(json.dumps({"general.author": HOSTILE, "general.tags": [HOSTILE]}))
    wrong = folder / "wrong.json"
    wrong.write_text(json.dumps({HOSTILE: HOSTILE}))
    export = ["export", str(given), f"{folder}/out{NAME}", "--vocab", str(vocabulary(folder))]
    yield from (
        [HOSTILE],
        [f"--{HOSTILE}"],
        *([command, f"--{NAME}=1"] for command in ("convert", "verify", "synth", "document")),
        ["inspect", NAME],
        ["inspect", str(odd)],
        ["inspect", str(odd), "--json"],
        ["inspect", str(odd), "--tensors", "--html", f"{folder}/page{NAME}"],
        ["convert", str(odd), f"{folder}/converted{NAME}"],
        ["convert", str(odd), f"{folder}/converted{NAME}"],
        ["convert", str(odd), f"{folder}/{NAME}/out"],
        *(
            ["convert", str(given), "out", option, HOSTILE]
            for option in ("--eps", "--batch", "--order", "--resume-with", "-i", "-o")
        ),
        [*export, "--dry-run", "--metadata", str(metadata), "--model-name", NAME],
        [*export, "--dry-run", "--json", "--metadata", str(metadata)],
        [*export, "--metadata", str(metadata), "--verify", "--outtype", "q8_0"],
        [*export, "--metadata", str(wrong)],
        [*export, "--outtype", HOSTILE],
        ["verify", str(given), f"{folder}/out{NAME}"],
        ["verify", str(given), str(tensors(folder))],
        ["verify", str(given), str(tensors(folder)), "--json"],
        ["verify", str(given), str(merged)],
        ["export", str(lora), "out", "--merge", str(merged), "--dry-run"],
        ["export", str(lora), "out", "--merge", str(merged), "--dry-run", "--json"],
        ["export", str(lora), f"{folder}/merged{NAME}", "--merge", str(merged), "--verify"],
        ["export", str(lora), "out", "--merge", str(tensors(folder))],
        ["verify", str(lora), str(tensors(folder)), "--merge", str(merged)],
        ["verify", str(lora), f"{folder}/merged{NAME}", "--merge", str(merged)],
        ["synth", f"{folder}/synth{NAME}", "--n-vocab", "3", "--n-embd", "4", "--n-head", "1"],
        ["document", "--check", NAME],
    )


def obeyed(said: str) -> set[str]:
    """Control and format characters, and what separates lines; all but the end of a line."""
    return {c for c in said if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029"} - {"\n"}


def test_no_output_holds_what_a_terminal_obeys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a word with a space in it is no option, but the name of an OUT
    ran = told = 0
    for arguments in lines(tmp_path):
        with contextlib.suppress(SystemExit):
            cli.main(arguments)
        captured = capsys.readouterr()
        for said in captured:
            assert not obeyed(said), arguments
            assert not any(line.startswith("ggcp: faked") for line in said.split("\n")), arguments
        ran += 1
        told += "faked" in captured.out + captured.err
    assert ran > 30
    assert told > 25  # else nothing hostile would have come that far


def test_a_line_of_each_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_inputs(tmp_path)
    merged, out = base(tmp_path), str(tmp_path / "out")
    shown = r"\x1b[2J\r\nggcp: faked\x07\x9b1m\x7f\u202e\u2066\u200b\ufeff\u2028\xad\x00"
    given = ["export", str(tmp_path / "lora.bin"), out, "--merge", str(merged), "--dry-run"]
    assert cli.main(given) == 0
    captured = capsys.readouterr()
    warning = f"ggcp: {shown}2 of the base model is left out: an array without elements\n"
    assert captured.err.startswith(warning)
    row = f"{shown}   STRING"
    assert any(line.startswith(row) and line.endswith(shown) for line in captured.out.split("\n"))
    with pytest.raises(SystemExit):
        cli.main(["convert", "a", "b", HOSTILE])
    wanted = f"error: one name too many: {shown}; put a name with spaces in quotes\n"
    assert capsys.readouterr().err.endswith(f"ggcp convert: {wanted}")
