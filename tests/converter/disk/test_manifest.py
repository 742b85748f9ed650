"""ggcp.json comes from somewhere: it is read within bounds, and a folder is compared with it."""

from __future__ import annotations

import hashlib
import json
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from folders import CHOICES, FILES, content, manifest, whole, write

from converter.disk.checking import check_folder
from converter.disk.folder_output import FolderOutput
from converter.disk.manifest import Listed
from ggcp_schema import FormatError

HINT = "give a folder that ggcp wrote, or write it again from the checkpoint"
CHANGED = f"the folder was changed after it was written; {HINT}"
SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of abc (FIPS 180-2)
BEFORE, AFTER = (hashlib.sha256(FILES["model.bin"][::step]).hexdigest() for step in (1, -1))
GOOD = {"size": 3, "sha256": SHA256}


@pytest.fixture
def out(folder: Path) -> Path:
    return folder / "out"


def said(path: str | Path) -> str:
    with pytest.raises(FormatError) as caught:
        check_folder(path)
    return str(caught.value)


def test_a_whole_folder(out: Path) -> None:
    write(out)
    found = check_folder(out)
    assert found.choices == CHOICES
    assert {name: (listed.size, listed.sha256) for name, listed in found.files.items()} == {
        name: (each["size"], each["sha256"])
        for name, each in json.loads(manifest())["files"].items()
    }
    assert found.length == sum(map(len, FILES.values()))


def test_one_that_somebody_else_wrote(out: Path) -> None:
    out.mkdir()
    (out / "a").write_bytes(b"abc")
    (out / "ggcp.json").write_text(json.dumps({"files": {"a": GOOD}}))
    assert check_folder(out).files == {"a": Listed(3, SHA256)}


EMPTY = {"size": 0, "sha256": hashlib.sha256().hexdigest()}


def of(folder: Path, text: str, *names: str) -> Path:
    """A folder with empty files and a ggcp.json."""
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    (folder / "ggcp.json").write_text(text)
    return folder


def nested(depth: int) -> str:
    """JSON of so many brackets in each other, the outermost those of the whole."""
    return f'{{"a": {"[" * (depth - 1)}{"]" * (depth - 1)}, "files": {{}}}}'


def test_all_that_is_still_within_the_limits(out: Path, folder: Path) -> None:
    long = "n" * 100
    assert list(check_folder(of(out, json.dumps({"files": {long: EMPTY}}), long)).files) == [long]
    names = [f"{count}.txt" for count in range(500)]
    many = of(folder / "many", json.dumps({"files": dict.fromkeys(names, EMPTY)}), *names)
    assert list(check_folder(many).files) == names
    assert check_folder(of(folder / "deep", nested(16))).choices == {
        "a": json.loads("[" * 15 + "]" * 15)
    }
    text = '{"files": {}, "a": ""}'
    padded = text[:-2] + "x" * ((1 << 18) - len(text)) + text[-2:]
    assert len(check_folder(of(folder / "long", padded)).choices["a"]) == (1 << 18) - len(text)


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("limit", ["depth", "bytes"])
def test_no_more_is_written_than_is_read(limit: str, more: int, out: Path) -> None:
    choices: dict[str, Any] = {"a": json.loads("[" * (15 + more) + "]" * (15 + more))}
    if limit == "bytes":
        frame = len(json.dumps({"a": "", "files": {}}, indent=2) + "\n")
        choices = {"a": "x" * ((1 << 18) - frame + more)}
    with (
        pytest.raises(ValueError) if more else nullcontext() as caught,
        FolderOutput(out, sync=False) as output,
    ):
        output.commit(choices)
    if more:
        assert str(caught.value) == "the choices could not be read again"
        assert not out.exists()
    else:
        assert check_folder(out).choices == choices


@pytest.mark.parametrize(
    "text", ["[" * 20, "{" * 20, '\\"' + "[" * 20, "\\" + "[" * 20, "\n" + "[" * 20, "]" * 20]
)
def test_brackets_in_a_text_are_not_nested(text: str, out: Path) -> None:
    choices = {"a": [text], "b": [[text]]}
    assert check_folder(of(out, json.dumps({**choices, "files": {}}))).choices == choices


def test_a_size_that_no_file_has(out: Path) -> None:
    of(out, json.dumps({"files": {"a": {**EMPTY, "size": 2**63 - 1}}}), "a")
    assert said(out) == (
        f"{out / 'a'}: size: expected 9223372036854775807 bytes, found 0; {CHANGED}"
    )


def test_a_link_to_one_and_the_working_folder(
    out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(out)
    (folder / "link").symlink_to(out)
    assert check_folder(folder / "link").choices == CHOICES
    monkeypatch.chdir(out)
    assert check_folder("").choices == check_folder(".").choices == CHOICES


def test_progress_is_shown(out: Path) -> None:
    write(out)
    seen: list[Any] = []

    @contextmanager
    def progress(what: str, total: int) -> Iterator[Callable[[int], object]]:
        seen.append((what, total))
        yield seen.append

    check_folder(out, progress)
    total = sum(map(len, FILES.values()))
    assert seen[0] == ("Checking", total)
    assert sum(seen[1:]) == total


CHANGES: list[tuple[Callable[[Path], object], str]] = [
    (
        lambda out: (out / "a").write_text(""),
        "a: file: expected nothing that ggcp.json does not list, found a new file",
    ),
    (
        lambda out: (out / "a").mkdir(),
        "a: file: expected nothing that ggcp.json does not list, found a new folder",
    ),
    (
        lambda out: (out / "a\x1b").write_text(""),
        r"a\x1b: file: expected nothing that ggcp.json does not list, found a new file",
    ),
    (
        lambda out: (out / "config.json").unlink(),
        "config.json: file: expected the file that ggcp.json lists, found none",
    ),
    (
        lambda out: (out / "config.json").write_text("{ }\n"),
        "config.json: size: expected 3 bytes, found 4",
    ),
    (
        lambda out: (out / "model.bin").write_bytes(FILES["model.bin"][::-1]),
        f"model.bin: sha256: expected {BEFORE}, found {AFTER}",
    ),
    (
        lambda out: (
            (out / "config.json").rename(out / "../x") and (out / "config.json").symlink_to("../x")
        ),
        "config.json: file: expected a file, found a symbolic link",
    ),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_a_folder_that_was_changed(change: Callable[[Path], object], words: str, out: Path) -> None:
    write(out)
    change(out)
    assert said(out) == f"{out}/{words}; {CHANGED}"


def test_a_file_that_is_written_to_while_it_is_read(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(out)

    def append() -> None:
        with (out / "model.bin").open("ab") as file:
            file.write(b"x")

    good = os.fstat
    calls = 0

    def fstat(descriptor: int) -> os.stat_result:
        nonlocal calls
        if os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")) == "model.bin":  # noqa: PTH115, PTH119
            calls += 1
            if calls == 3:
                append()
        return good(descriptor)

    monkeypatch.setattr(os, "fstat", fstat)
    size = len(FILES["model.bin"])
    assert said(out) == (
        f"{out}/model.bin: file: expected the {size} bytes that were there when reading began, "
        f"found {size + 1} bytes; another program is writing to the file; wait until it is done "
        "and try again"
    )


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("none", "No such file or directory"),
        ("file", "Not a directory"),
        ("nul\0", "embedded null byte"),
    ],
)
def test_no_folder(name: str, found: str, folder: Path) -> None:
    (folder / "file").write_text("")
    shown = f"{folder}/{name}".replace("\0", "\\x00")
    assert said(f"{folder}/{name}") == (
        f"{shown}: file: expected a folder to read, found '{found}'; {HINT}"
    )


def test_no_manifest(folder: Path) -> None:
    assert said(folder) == (
        f"{folder}/ggcp.json: file: expected a file to read, found 'No such file or directory'; "
        f"{HINT}"
    )


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_a_manifest_that_is_no_file(kind: str, folder: Path) -> None:
    path = folder / "ggcp.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    assert said(folder).startswith(f"{path}: file: expected a file to read, found '")


NO_JSON = "file: expected JSON in UTF-8, found '"
MANIFESTS: list[tuple[bytes, str]] = [
    (b"", f"{NO_JSON}Expecting value: line 1 column 1 (char 0)'"),
    (
        b"\xff{}",
        f"{NO_JSON}'utf-8' codec can't decode byte 0xff in position 0: invalid start byte'",
    ),
    (b'{"a": NaN}', f"{NO_JSON}NaN is no JSON'"),
    (b'{"a": 1, "a": 2}', f"{NO_JSON}'a' is there twice'"),
    (b'{"\\u001b": 1, "\\u001b": 2}', rf"{NO_JSON}'\x1b' is there twice'"),
    (b"[" * 17 + b"]" * 17, f"{NO_JSON}nested more than 16 deep'"),
    (b"[" * 200_000, f"{NO_JSON}nested more than 16 deep'"),
    (b" " * ((1 << 18) + 1), "file: expected at most 262144 bytes, found 262145"),
    (b"[]", "file: expected an object, found an array of 0"),
    (b"{}", "files: expected an object, found nothing"),
    (b'{"files": [1]}', "files: expected an object, found an array of 1"),
    (
        json.dumps({"files": dict.fromkeys(map(str, range(501)), GOOD)}).encode(),
        "files: expected at most 500 files, found 501",
    ),
]
MANIFESTS += [
    (
        json.dumps({"files": {name: GOOD}}).encode(),
        f"files: expected names of files, found '{shown}'",
    )
    for name, shown in [
        ("", ""),
        ("../a", "../a"),
        ("/etc/passwd", "/etc/passwd"),
        (".", "."),
        ("ggcp.json", "ggcp.json"),
        ("a\0", "\\x00".join(("a", ""))),
        ("\u202ea", "\\u202ea"),
        ("\ud800", "\\ud800"),
        ("x" * 1000, "x" * 200),
        ("x" * 101, "x" * 101),
        (".x", ".x"),
    ]
]
MANIFESTS += [
    (json.dumps({"files": {"a": listed}}).encode(), f"files[a]{words}")
    for listed, words in [
        (None, ": expected an object of size and sha256, found nothing"),
        ({}, ": expected an object of size and sha256, found an object of 0"),
        ({**GOOD, "x": 1}, ": expected an object of size and sha256, found an object of 3"),
        ({**GOOD, "size": -1}, ".size: expected a number of bytes, found a number"),
        ({**GOOD, "size": 1 << 63}, ".size: expected a number of bytes, found a number"),
        ({**GOOD, "size": True}, ".size: expected a number of bytes, found true or false"),
        ({**GOOD, "size": 3.0}, ".size: expected a number of bytes, found a number"),
        ({**GOOD, "size": "3"}, ".size: expected a number of bytes, found a text of 1"),
        ({**GOOD, "sha256": 3}, ".sha256: expected 64 hexadecimal digits, found a number"),
        (
            {**GOOD, "sha256": SHA256.upper()},
            ".sha256: expected 64 hexadecimal digits, found a text of 64",
        ),
        (
            {**GOOD, "sha256": SHA256 + "\n"},
            ".sha256: expected 64 hexadecimal digits, found a text of 65",
        ),
    ]
]


@pytest.mark.parametrize(("data", "words"), MANIFESTS)
def test_a_manifest_that_is_none(data: bytes, words: str, folder: Path) -> None:
    (folder / "ggcp.json").write_bytes(data)
    assert said(folder) == f"{folder}/ggcp.json: {words}; {HINT}"
    assert content(folder) == {"ggcp.json": data}


def test_a_number_of_many_digits(folder: Path) -> None:
    (folder / "ggcp.json").write_text('{"a": ' + "9" * 200_000 + "}")
    assert NO_JSON in said(folder)


HOSTILE = {
    "escapes": b'{"a": "' + b"\\\\" * 100_000 + b'"}',
    "an open text": b'"' + b"a" * 200_000,
    "quotes": b'"' * 200_000,
    "numbers": b"[" + b"1," * 100_000 + b"1]",
    "names": json.dumps(dict.fromkeys(map(str, range(20_000)), 0)).encode(),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_bounds(data: bytes, folder: Path) -> None:
    (folder / "ggcp.json").write_bytes(data)
    begun = time.monotonic()
    tracemalloc.start()
    try:
        said(folder)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.monotonic() - begun < 5
    assert peak < 20e6


def test_a_folder_of_many_files(folder: Path) -> None:
    """Not all of its names are read to see that one is new."""
    (folder / "ggcp.json").write_text('{"files": {}}')
    for number in range(2000):
        (folder / str(number)).touch()
    seen = 0
    good = os.scandir

    def scandir(path: Any) -> Any:
        nonlocal seen
        with good(path) as entries:
            for entry in entries:
                seen += 1
                yield entry

    @contextmanager
    def counted(path: Any) -> Iterator[Iterator[Any]]:
        yield scandir(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", counted)
        assert "expected nothing that ggcp.json does not list, found a new file" in said(folder)
    assert seen <= 3


def test_it_is_whole_while_it_is_made(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ggcp.json is written last, when all that it lists is there."""
    seen: list[dict[str, bytes]] = []
    good = os.rename

    def rename(name: str, new: str, **named: Any) -> None:
        seen.append(content(out.parent / name))
        good(name, new, **named)

    monkeypatch.setattr(os, "rename", rename)
    write(out)
    assert seen == [whole()]
