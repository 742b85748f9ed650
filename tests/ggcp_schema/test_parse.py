"""Opening: what may be given to parse, and what is said about what cannot be read."""

import io
import os
import socket
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import TINY
from packed import checkpoint

from ggcp_schema import Checkpoint, FormatError, parse, printable

DATA = TINY["version 0 Adam past 3"].data
NORM = b"\0\0\xa0\x40\0\0\xc0\x40"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.bin"
    path.write_bytes(DATA)
    return path


def refused(file: Any) -> FormatError:
    with pytest.raises(FormatError) as caught:
        parse(file)
    assert "\n" not in str(caught.value)
    return caught.value


def holds_the_norm(checkpoint_: Checkpoint) -> bool:
    return checkpoint_.model.norm.data.array().tobytes() == NORM


def test_a_name_or_a_path(path: Path) -> None:
    for name in (str(path), path):
        with parse(name) as checkpoint_:
            assert holds_the_norm(checkpoint_)
            assert checkpoint_.source.label == str(path)
            assert checkpoint_.source.size == len(DATA)
        assert checkpoint_.source.closed


def test_a_relative_name_and_symbolic_links(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    Path("link.bin").symlink_to("checkpoint.bin")
    for name in ("checkpoint.bin", "./link.bin"):
        with parse(name) as checkpoint_:
            assert holds_the_norm(checkpoint_)


@pytest.mark.parametrize("buffering", [-1, 0])
@pytest.mark.parametrize("mode", ["rb", "r+b"])
def test_an_open_file_stays_open_and_usable(path: Path, buffering: int, mode: str) -> None:
    with path.open(mode, buffering) as file:
        file.seek(100)  # parse reads from the first byte all the same
        with parse(file) as checkpoint_:
            assert holds_the_norm(checkpoint_)
            assert checkpoint_.source.label == str(path)
            file.seek(0)
            assert file.read() == DATA
            assert holds_the_norm(checkpoint_)
        assert not file.closed
        file.seek(4)
        assert file.read() == DATA[4:]


def test_a_file_in_memory_may_be_moved_in_between() -> None:
    """Its position is the caller's: reading a span neither needs it nor is led astray by it."""
    data = checkpoint(n_vocab=5000)
    file = io.BytesIO(bytes(data.data))
    with parse(file) as checkpoint_:
        span = checkpoint_.model.output.data
        for position in (0, 7, span.offset + 4100, len(data.data)):
            blocks = b""
            for block in span.blocks(3000):
                blocks += block
                file.seek(position)
            assert blocks == data.data[span.offset : span.offset + span.length]
        checkpoint_.source.seek(10)
        file.seek(0)
        checkpoint_.source.seek(5000, os.SEEK_CUR)
        assert checkpoint_.source.read(3) == data.data[5010:5013]
        assert checkpoint_.source.label is None
    assert not file.closed
    assert len(file.getvalue()) == len(data.data)


@pytest.mark.parametrize("name", [None, 7, "given"])
def test_only_text_is_taken_for_the_name_of_a_file(name: Any) -> None:
    file = io.BytesIO(b"")
    file.name = name  # type: ignore[attr-defined]
    assert refused(file).file == (name if name == "given" else None)


def test_a_temporary_file_that_was_just_written() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(DATA)
        with parse(file) as checkpoint_:
            assert holds_the_norm(checkpoint_)


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"\0", b"GGUF"])
def test_an_error_says_which_file_and_closes_only_its_own(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    assert str(refused(path)).startswith(f"{path}: ")
    with path.open("rb") as file:
        assert str(refused(file)).startswith(f"{path}: ")
        file.seek(0)
        assert file.read() == data


BINARY = "a binary file that can be read at any place"
OPEN = "give the name of the file, or open it with the mode 'rb'"


def test_a_text_file(path: Path) -> None:
    with path.open("r") as file:
        assert str(refused(file)) == (f"{path}: file: expected {BINARY}, found a text file; {OPEN}")
    assert refused(io.StringIO("")).found == "a text file"


def test_a_file_that_is_only_written(path: Path) -> None:
    with path.open("wb") as file:
        error = refused(file)
    assert (error.expected, error.hint) == (BINARY, OPEN)
    assert isinstance(error.__cause__, OSError)


def test_a_closed_file(path: Path) -> None:
    with path.open("rb") as file:
        pass
    assert refused(file).found == "'seek of closed file'"


def test_a_pipe_that_is_open() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as file, os.fdopen(writer, "wb"):
        error = refused(file)
    assert str(error) == (
        f"file: expected {BINARY}, found 'File or stream is not seekable.'; {OPEN}"
    )


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "no such.bin"
    assert str(refused(path)) == f"{path}: no such file; check the name and the folder"


def test_a_folder(tmp_path: Path) -> None:
    assert str(refused(tmp_path)) == (
        f"{tmp_path}: this is a folder; give the name of a file in it"
    )


def test_a_pipe_with_nobody_at_the_other_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert str(refused(path)) == (
        f"{path}: this is a pipe; standard input is not supported; save the data to a file first"
    )


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device(device: str) -> None:
    assert str(refused(device)) == (
        f"{device}: this is a device; standard input is not supported; give the name of a file"
    )


def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        error = refused("socket")
    assert error.hint == "it cannot be read; save the data to a file first"


def test_symbolic_links_in_a_circle(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.symlink_to(second)
    second.symlink_to(first)
    assert str(refused(first)) == (
        f"{first}: the symbolic links lead in a circle; give the name of the file itself"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(path: Path) -> None:
    path.chmod(0)
    assert str(refused(path)) == (
        f"{path}: no permission to read it; ask for it, or copy the file to a folder of your own"
    )


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_name_that_no_file_can_have(name: str) -> None:
    error = refused(name)
    assert error.hint == "check the name of the file"
    assert str(error).startswith(printable(name) + ": cannot be opened: '")


def test_a_disk_that_cannot_be_read() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if size and self.tell() >= 0x100:
                raise OSError(5, "Input/output error")
            return super().read(0x80 if size else 0)

    assert str(refused(Broken(DATA))) == (
        "file: expected a file that can be read to its end, found 'Input/output error'; "
        "the disk cannot read it; copy the file to another disk and try again"
    )


def test_a_disk_that_fails_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with parse(path) as checkpoint_:
        monkeypatch.setattr(os, "pread", broken)
        with pytest.raises(FormatError) as caught:
            checkpoint_.model.norm.data.array()
    assert str(caught.value) == (
        f"{path}: file at offset 0xa0: expected 8 bytes, found 'Input/output error'; "
        "the disk cannot read the file; copy it to another disk and try again"
    )


def test_a_disk_that_gives_little_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pread = os.pread
    with parse(path) as checkpoint_:
        monkeypatch.setattr(
            os, "pread", lambda descriptor, length, at: pread(descriptor, min(length, 3), at)
        )
        assert holds_the_norm(checkpoint_)


def test_an_unexpected_error_closes_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor left open would be a ResourceWarning, and an error here."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ggcp_schema.checkpoint.CHECKPOINT_FILE.parse_stream", interrupted)
    with pytest.raises(KeyboardInterrupt):
        parse(path)


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("n_layer", "model.layers"),
        ("n_vocab", "model.tok_embeddings.shape"),
        ("nothing", "optimizer.parameter_count"),
    ],
)
def test_a_file_with_a_hole_of_a_terabyte(what: str, found: str, tmp_path: Path) -> None:
    """A valid header, and nothing behind it: no loop, seek or allocation goes by what it claims."""
    counts = {"n_layer": 0, "n_vocab": 2, what: 2**32 - 1}
    whole = checkpoint()
    data = bytearray(whole.data[: whole.fields["optimizer.version"][0]])
    for name, member in (("n_layer", "block_count"), ("n_vocab", "vocabulary_size")):
        start, _ = whole.fields[f"hyperparameters.{member}"]
        data[start : start + 4] = counts[name].to_bytes(4, "little")
    path = tmp_path / "hole.bin"
    path.write_bytes(data)
    os.truncate(path, 1 << 40)
    tracemalloc.start()
    started = time.process_time()
    error = refused(path)
    assert time.process_time() - started < 1
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert error.path == found


def test_a_file_that_is_written_to_while_it_is_read(path: Path) -> None:
    with parse(path) as checkpoint_:
        checkpoint_.source.check_unchanged()
        with path.open("ab") as file:
            file.write(b"\0")
        with pytest.raises(FormatError) as caught:
            checkpoint_.source.check_unchanged()
    assert str(caught.value) == (
        f"{path}: file: expected the {len(DATA)} bytes that were there when reading began, found "
        f"{len(DATA) + 1} bytes; another program is writing to the file; wait until it is done and "
        "try again"
    )


def test_a_file_that_is_overwritten_while_it_is_read(path: Path) -> None:
    with path.open("rb") as file, parse(file) as checkpoint_:
        os.utime(path, ns=(0, 1))
        with pytest.raises(FormatError) as caught:
            checkpoint_.source.check_unchanged()
    assert caught.value.found == "the same size, written to since"


def test_a_file_in_memory_is_nobody_elses() -> None:
    file = io.BytesIO(DATA)
    with parse(file) as checkpoint_:
        file.seek(0, io.SEEK_END)
        file.write(b"more")  # whoever holds it may
        checkpoint_.source.check_unchanged()
        assert checkpoint_.source.size == len(DATA)
        assert checkpoint_.source.read_at(0, len(DATA)) == DATA


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Grüße 日本 🙂.bin", "Grüße 日本 🙂.bin"),
        (Path("folder") / "a b.bin", "folder/a b.bin"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\x1b[31mred\x07\x7f", r"\x1b[31mred\x07\x7f"),
        (b"not \xff utf-8 \xc3\xbc", r"not \xff utf-8 ü"),
        ("not \udcff utf-8", r"not \xff utf-8"),
        ("\udc80 to \udcff", r"\x80 to \xff"),
        ("lone \udc7f", r"lone \udc7f"),
        ("lone \ud800", r"lone \ud800"),
        ("right \u202e to left", r"right \u202e to left"),
        ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
    ],
)
def test_names_are_shown_on_one_line(name: Any, shown: str) -> None:
    assert printable(name) == shown


@settings(max_examples=200)
@given(st.text() | st.binary())
def test_any_name_can_be_shown(name: str | bytes) -> None:
    shown = printable(name)
    assert shown.isprintable() or all(c.isprintable() or c.isspace() for c in shown)
    assert len(shown.splitlines()) <= 1
    shown.encode()


def test_an_error_shows_the_name_of_its_file_on_one_line(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/new\nline \xff\x1b[2J.bin"))
    path.write_bytes(b"")
    assert str(refused(path)).startswith(rf"{tmp_path}/new\nline \xff\x1b[2J.bin: magic at ")
