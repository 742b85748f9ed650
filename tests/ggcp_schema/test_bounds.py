"""What is no checkpoint, or says that it is endless, is refused at once and in little memory."""

from __future__ import annotations

import io
import math
import os
import resource
import struct
import subprocess
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from command import COMMAND, ENVIRONMENT
from fuzz import corpus
from tiny_files import perform, write_inputs

from converter import ConversionError
from ggcp_schema import FormatError, parse

SECOND = 1.0
MOST_MEMORY = 8 << 20

PIPE = "this is a pipe; standard input is not supported; save the data to a"
DEVICE = "this is a device; standard input is not supported; give the name"
FOLDER = "this is a folder; give the name of a file in it"
CIRCLE = ": the symbolic links lead in a circle; give the name of the file itself"


def zeros(folder: Path) -> str:
    return "/dev/zero"


def null(folder: Path) -> str:
    return "/dev/null"


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    return str(folder / "pipe")


def directory(folder: Path) -> str:
    return str(folder)


def circle(folder: Path) -> str:
    (folder / "circle").symlink_to(folder / "circle")
    return str(folder / "circle")


SPECIAL = {zeros: DEVICE, null: DEVICE, pipe: PIPE, directory: FOLDER, circle: CIRCLE}

READING = {
    "convert": "convert {bad} {out}",
    "resume": "convert {bad} {out} --resume-with plain",
    "convert, dry run": "convert {bad} --dry-run",
    "export": "export {bad} {out} --vocab {inputs}/vocab.gguf",
    "export, rescue": "export {bad} {out} --vocab {inputs}/vocab.gguf --rescue",
    "adapter": "export {bad} {out}",
    "vocabulary": "export {inputs}/in.bin {out} --vocab {bad}",
    "metadata": "export {inputs}/in.bin {out} --vocab {inputs}/vocab.gguf --metadata {bad}",
    "merge": "export {inputs}/lora.bin {out} --merge {bad}",
    "inspect": "inspect {bad} --stats",
    "inspect, page": "inspect {bad} --html {out}",
    "verify": "verify {bad} {inputs}/base.gguf",
    "verify, output": "verify {inputs}/in.bin {bad}",
    "verify, base": "verify {inputs}/lora.bin {inputs}/base.gguf --merge {bad}",
    "document": "document --check {bad}",
}
"""A command line for each way to read a file."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def refusal(line: str, bad: str, inputs: Path, folder: Path) -> str:
    """What a command line says to a file, in time, in little memory and leaving nothing."""
    perform("inspect {inputs}/in.bin", inputs=inputs)  # loads what is loaded once
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises((FormatError, ConversionError)) as caught:
        perform(line, bad=bad, inputs=inputs, out=folder / "out")
    took = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < SECOND
    assert peak < MOST_MEMORY
    assert not (folder / "out").exists() or line.startswith("inspect")  # whose page shows the error
    (folder / "out").unlink(missing_ok=True)
    return str(caught.value)


OF_FOLDERS = {
    "inspect": "found a folder without files",
    "inspect, page": "expected one file, found several, or a folder",
    "verify, output": "/ggcp.json: file: expected a file to read",
}
"""Where a folder may be given, what is said of one without files."""


@pytest.mark.parametrize("kind", SPECIAL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", READING)
def test_what_is_no_regular_file(
    name: str, kind: Callable[[Path], str], inputs: Path, folder: Path, tmp_path: Path
) -> None:
    special = tmp_path / "special"
    special.mkdir()
    bad = kind(special)
    message = refusal(READING[name], bad, inputs, folder)
    assert message.startswith(bad)
    wanted = SPECIAL[kind]
    if kind.__name__ == "directory":
        wanted = OF_FOLDERS.get(name, wanted)
    assert wanted in message


def test_standard_input_is_not_supported(inputs: Path, folder: Path) -> None:
    data = (inputs / "in.bin").read_bytes()
    for name, found in (("-", "no such file"), ("/dev/stdin", "this is a pipe")):
        done = subprocess.run(
            [*COMMAND, "convert", name, str(folder / "out")],
            input=data,
            capture_output=True,
            env=ENVIRONMENT,
            check=False,
            cwd=folder,
        )
        assert done.returncode == 1
        assert found in done.stderr.decode()
        assert "; standard input is not supported; " in done.stderr.decode()
        assert list(folder.iterdir()) == []


def test_standard_output_is_not_supported(inputs: Path, folder: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        perform("convert {inputs}/in.bin -", inputs=inputs)
    assert str(caught.value) == (
        "-: expected the name of a file, found '-', which stands for standard output elsewhere; "
        "standard output is not supported; for a file of this name give ./-"
    )


def sparse(path: Path, head: bytes, size: int = 1 << 40) -> str:
    """A file of a terabyte that takes no room: what it begins with, then a hole."""
    path.write_bytes(head)
    try:
        os.truncate(path, size)
    except OSError:
        pytest.skip("this disk has no files of a terabyte")
    return str(path)


def header(**sizes: int) -> bytes:
    names = ("n_vocab", "n_embd", "n_mult", "n_head", "n_layer", "n_rot")
    defaults = {"n_vocab": 3, "n_embd": 4, "n_mult": 4, "n_head": 1, "n_layer": 1, "n_rot": 4}
    numbers = [{**defaults, **sizes}[name] for name in names]
    return b"pcgg" + struct.pack("<10L", 0, 1, 1, 16, *numbers)


HEADS = {
    "zeros": b"",
    "every layer there is": header(n_layer=2**32 - 1),
    "as many layers as fit": header(n_layer=2**30),
    "every token": header(n_vocab=2**32 - 1),
    "the largest embedding": header(n_embd=2**32 - 1),
    "the largest of all": header(n_vocab=2**32 - 1, n_embd=2**32 - 1, n_layer=2**32 - 1),
    "a whole checkpoint": corpus.training(),
    "a whole LoRA checkpoint": corpus.lora(),
    "every layer of a LoRA": corpus.lora()[:36] + b"\xff" * 4 + corpus.lora()[40:],
    "a whole model": next(corpus.models()),
    "a vocabulary": corpus.vocabulary(3),
    "keys without end": b"GGUF" + struct.pack("<IQQ", 3, 0, 2**64 - 1),
    "tensors without end": b"GGUF" + struct.pack("<IQQ", 3, 2**64 - 1, 0),
    "texts without end": corpus.gguf([corpus.array(b"a", 8, 2**36, b"")], []),
    "numbers without end": corpus.gguf([corpus.array(b"a", 0, 2**39, b"")], []),
    "tokens without end": b"tjgg" + struct.pack("<8I", 3, 2**32 - 1, 4, 4, 1, 1, 4, 0),
    "a SentencePiece model": corpus.sentencepiece(),
    "JSON": b"{",
}
RIGHT = {
    "a whole checkpoint": ("export, rescue",),
    "a whole model": ("merge", "verify, output", "verify, base"),
    "a vocabulary": ("vocabulary", "verify, output"),
}
"""Readers that a terabyte of zeros behind what they want does not keep from it."""


@pytest.mark.parametrize("head", HEADS)
def test_a_terabyte(head: str, inputs: Path, folder: Path, tmp_path: Path) -> None:
    bad = sparse(tmp_path / "bad", HEADS[head])
    usage = {b"pcgg": ("adapter",), b"lcgg": ("export", "export, rescue")}.get(HEADS[head][:4], ())
    for name, line in READING.items():
        if name in RIGHT.get(head, ()):
            start = time.process_time()
            perform(line, bad=bad, inputs=inputs, out=folder / "out")
            assert time.process_time() - start < SECOND
            (folder / "out").unlink(missing_ok=True)
        elif name not in usage:  # which is said before the file is read
            message = refusal(line, bad, inputs, folder)
            assert message.startswith((f"{bad}: ", f"{inputs}/base.gguf: ")), name


def test_a_checkpoint_of_half_a_terabyte_is_not_read(tmp_path: Path) -> None:
    """All of it is there, as a hole: the records of 2^26 tokens and of Adam's two vectors."""
    vocabulary, embedding = 1 << 26, 512
    count = 2 * vocabulary * embedding + embedding
    model = [
        (b"tok_embeddings.weight", embedding, vocabulary),
        (b"norm.weight", embedding),
        (b"output.weight", embedding, vocabulary),
    ]
    path = tmp_path / "huge.bin"
    try:
        with path.open("wb") as file:
            file.write(header(n_vocab=vocabulary, n_embd=embedding, n_layer=0, n_rot=64))
            for record in model:
                hole(file, *record)
            file.write(struct.pack("<3iqiI", 1, 0, 0, count, 1, 0))
            hole(file, b"", count // 512, 512)
    except OSError:
        pytest.skip("this disk has no files of a terabyte")
    assert path.stat().st_size > 1 << 38
    tracemalloc.start()
    start = time.process_time()
    with parse(path, partial=True) as checkpoint:
        assert checkpoint.parameter_count == count
        assert checkpoint.error is not None
        assert checkpoint.error.path == "optimizer.state.first_moments.n_dims"
    assert time.process_time() - start < SECOND
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def hole(file: BinaryIO, name: bytes, *shape: int) -> None:
    """Write the record of a tensor, and leave out its data."""
    file.write(struct.pack(f"<3L{len(shape)}L", len(shape), len(name), 0, *shape) + name)
    length = 4 * math.prod(shape)
    file.seek(-(-file.tell() // 32) * 32 + length)
    file.truncate()


def test_time_is_linear_in_the_records() -> None:
    def took(layers: int) -> float:
        data = io.BytesIO(corpus.training(layers))
        times = []
        for _ in range(3):
            start = time.process_time()
            parse(data).close()
            times.append(time.process_time() - start)
        return min(times)

    took(10)
    assert took(400) < 16 * took(100) + 0.1


@pytest.mark.parametrize("line", [READING["convert"], READING["merge"]])
def test_in_an_address_space_of_one_gigabyte(
    line: str, inputs: Path, folder: Path, tmp_path: Path
) -> None:
    """As a user runs it: the file claims a terabyte, the process gets one gigabyte."""
    head = HEADS["as many layers as fit" if line.startswith("convert") else "texts without end"]
    bad = sparse(tmp_path / "bad", head)
    words = [w.format(bad=bad, inputs=inputs, out=folder / "out") for w in line.split()]
    done = subprocess.run(
        [*COMMAND, *words],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)),
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"ggcp: {bad}: ")
    assert done.stderr.count("\n") == 1
    assert list(folder.iterdir()) == []
