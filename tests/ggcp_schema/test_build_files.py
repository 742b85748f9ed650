"""The file that is built into: from its first byte on, whole, or a FormatError."""

import errno
import io
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from layouts import TINY

from ggcp_schema import FormatError, build, parse

TINY_FILE = TINY["version 1 L-BFGS past 3"]
DISK = "make room on the disk, or write to another folder"
MODE = "give an open file of the mode 'wb'"
TAKES = "a binary file that takes the bytes of the checkpoint"


def refused(file: Any) -> FormatError:
    with pytest.raises(FormatError) as caught:
        build(TINY_FILE.container, file)
    return caught.value


@pytest.mark.parametrize("buffering", [-1, 0, 7])
def test_a_file_on_the_disk(tmp_path: Path, buffering: int) -> None:
    path = tmp_path / "built.bin"
    with path.open("wb", buffering) as file:
        build(TINY_FILE.container, file)
        assert path.read_bytes() == TINY_FILE.data  # before it is closed: it was flushed


def test_a_file_that_takes_little_at_a_time() -> None:
    class Slow(io.RawIOBase):
        data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any, /) -> int:
            self.data += bytes(data[:3])
            return min(len(data), 3)

    file = Slow()
    build(TINY_FILE.container, file)  # type: ignore[arg-type]
    assert file.data == TINY_FILE.data


def test_a_pipe() -> None:
    """It has no places, and needs none: the alignment is counted."""
    reader, writer = os.pipe()
    received: list[bytes] = []
    with os.fdopen(reader, "rb") as source:
        thread = threading.Thread(target=lambda: received.append(source.read()))
        thread.start()
        with os.fdopen(writer, "wb") as target:
            build(TINY_FILE.container, target)
        thread.join()
    assert received == [TINY_FILE.data]


def test_whatever_has_a_write() -> None:
    class Collector:
        def __init__(self) -> None:
            self.blocks: list[bytes] = []

        def write(self, data: Any) -> None:
            self.blocks.append(bytes(data))

    file = Collector()
    build(TINY_FILE.container, file)  # type: ignore[arg-type]
    assert b"".join(file.blocks) == TINY_FILE.data


@pytest.mark.parametrize("start", [1, 32])
def test_a_file_that_is_not_at_its_first_byte(start: int, tmp_path: Path) -> None:
    """Even where the alignment would happen to be right: parse starts at the first byte."""
    file = io.BytesIO(bytes(start))
    file.seek(start)
    message = (
        f"file: expected a file at its first byte, found a file at byte {start}; "
        "a checkpoint is aligned to the beginning of its file; give an empty one"
    )
    assert str(refused(file)) == message
    assert file.getvalue() == bytes(start)
    path = tmp_path / "appended.bin"
    path.write_bytes(bytes(start))
    with path.open("ab") as appended:
        assert str(refused(appended)) == f"{path}: {message}"


def test_a_file_that_is_only_read(tmp_path: Path) -> None:
    path = tmp_path / "read.bin"
    path.write_bytes(b"")
    with path.open("rb") as file:
        error = refused(file)
    assert str(error) == f"{path}: magic at offset 0x0: expected {TAKES}, found 'write'; {MODE}"
    assert isinstance(error.__cause__, io.UnsupportedOperation)


def test_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "text.bin"
    with path.open("w") as file:
        error = refused(file)
    assert (error.path, error.expected, error.hint) == ("magic", TAKES, MODE)
    assert isinstance(error.__cause__, TypeError)


def test_a_closed_file(tmp_path: Path) -> None:
    path = tmp_path / "closed.bin"
    with path.open("wb") as file:
        pass
    error = refused(file)
    assert (error.file, error.expected, error.hint) == (str(path), TAKES, MODE)
    assert isinstance(error.__cause__, ValueError)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("buffering", [-1, 0])
def test_a_full_disk(buffering: int) -> None:
    """Buffered, it is noticed when the buffer is flushed; the error is the same."""
    file = Path("/dev/full").open("wb", buffering)  # noqa: SIM115 (closing it fails as well)
    error = refused(file)
    assert (error.file, error.expected, error.hint) == ("/dev/full", TAKES, DISK)
    assert error.found == "'No space left on device'"
    assert isinstance(error.__cause__, OSError)
    assert error.offset in (0, len(TINY_FILE.data))
    if buffering:
        with pytest.raises(OSError, match="No space left"):
            file.close()
    else:
        file.close()


def test_a_disk_that_fills_up() -> None:
    class Filling(io.BytesIO):
        def write(self, data: Any, /) -> int:
            if self.tell() + len(data) > 0xA0:
                raise OSError(errno.EDQUOT, "Disk quota exceeded")
            return super().write(data)

    assert str(refused(Filling())) == (
        f"model.norm.data at offset 0xa0: expected {TAKES}, found 'Disk quota exceeded'; {DISK}"
    )


def test_a_pipe_that_would_have_to_wait() -> None:
    class Waiting(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any, /) -> None:
            return None

    error = refused(Waiting())
    assert error.found == "'the file takes no more bytes'"
    assert error.path == "magic"


def test_what_the_callers_own_blocks_raise_is_theirs() -> None:
    def broken() -> Any:
        yield b"\0"
        raise ZeroDivisionError

    container = {**TINY_FILE.container}
    container["model"] = {**container["model"], "norm": broken()}
    with pytest.raises(ZeroDivisionError):
        build(container, io.BytesIO())


def test_the_file_that_is_parsed_is_no_place_to_build_into(tmp_path: Path) -> None:
    """Opening it for writing has emptied it already: that is said, and not built upon."""
    path = tmp_path / "same.bin"
    path.write_bytes(TINY_FILE.data)
    with (
        parse(path) as checkpoint,
        path.open("wb") as file,
        pytest.raises(FormatError) as caught,
    ):
        build(checkpoint, file)
    assert caught.value.path == "model.tok_embeddings.data"
    assert caught.value.found.endswith("bytes and the end of the file")
