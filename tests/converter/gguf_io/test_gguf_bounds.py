"""Whatever a GGUF holds or claims, it is read within 5 seconds of work and 200 MB."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import ENVIRONMENT
from tiny_files import perform, write_inputs
from vocabulary_files import array, gguf, pair, text

from converter.gguf_io.reader import read_gguf
from ggcp_schema import Source
from ggcp_schema.gguf import (
    MOST_ELEMENTS,
    MOST_HEAD_BYTES,
    MOST_KEYS,
    MOST_NAME_BYTES,
    MOST_TENSORS,
    MOST_TEXT_BYTES,
)
from ggcp_schema.synthetic import Synthetic, SyntheticLora

if not Path("/proc/self/status").exists():
    pytest.skip("the most memory of a process is read from /proc", allow_module_level=True)

MEGABYTE = 1_000_000

MEASURED = """
import re, sys, time
{code}
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]
print(time.process_time(), 1024 * int(peak))
"""
"""A process of its own, whose most memory is not that of the one that started it."""


def measured(code: str, *arguments: str | Path) -> tuple[float, int, list[str]]:
    """Run code; return its seconds of work, its most memory in bytes, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.format(code=code), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        env=ENVIRONMENT,
    )
    *lines, last = done.stdout.splitlines()
    seconds, peak = last.split()
    return float(seconds), int(peak), lines


def info(index: int) -> bytes:
    name = b"t%d" % index
    return text(name) + struct.pack("<I4QIQ", 4, 1, 1, 1, 1, 0, 32 * index)


def at_all_limits(*pairs: bytes, infos: tuple[bytes, ...] = (), room: int = 0) -> Iterator[bytes]:
    """As many keys, tensors, elements and bytes as there may be, a longest text, longest names.

    Args:
        pairs: keys that are among them.
        infos: tensors that are the first of them, of 32 bytes each.
        room: how many keys of 64 bytes there might be besides.
    """
    keys = [
        *pairs,
        array("texts", 8, MOST_ELEMENTS - 8, text(b"a") * (MOST_ELEMENTS - 8)),
        array("numbers", 12, 8, bytes(64)),
        pair("text", 8, text(b"x" * MOST_TEXT_BYTES)),
        *(pair(f"{index:05}".ljust(MOST_NAME_BYTES, "n"), 0, b"\0") for index in range(200)),
    ]
    keys += [pair(f"k{index}", 10, bytes(8)) for index in range(MOST_KEYS - len(keys) - 1 - room)]
    packed = b"".join((*infos, *map(info, range(len(infos), MOST_TENSORS))))
    most = MOST_HEAD_BYTES - 64 * room
    rest = most - len(gguf(*keys, pair("rest", 8, text(b"")))) - len(packed)
    yield gguf(*keys, pair("rest", 8, text(b"x" * rest)), tensors=MOST_TENSORS) + packed
    yield bytes(32 * MOST_TENSORS)


READ = """
from converter.gguf_io.reader import read_gguf
from ggcp_schema import Source
with Source.open(sys.argv[1]) as source:
    found = read_gguf(source)
    print(len(found.keys), len(found.tensors), found.data_offset, found.keys["text"].metadata.type)
"""


def test_a_file_at_all_its_limits(tmp_path: Path) -> None:
    path = tmp_path / "limits.gguf"
    with path.open("wb") as file:
        file.writelines(at_all_limits())
    seconds, peak, printed = measured(READ, path)
    assert printed == [f"{MOST_KEYS} {MOST_TENSORS} {MOST_HEAD_BYTES} 8"]
    assert seconds < 5
    assert peak < 200 * MEGABYTE


MERGE = """
import gc
gc.disable()  # nothing that was read is held until the collector looks for cycles
from converter.cli import main
print(main(["export", *sys.argv[1:3], "--merge", sys.argv[3], "--quiet"]))
"""


def merged(folder: Path, room: int) -> tuple[float, int, list[str]]:
    """Merge a LoRA of a model without layers, of one token, into a base at its limits."""
    with (folder / "lora.bin").open("wb") as file:
        SyntheticLora(vocabulary_size=1, embedding_length=8, head_count=1, block_count=0).write(
            file
        )
    sizes = {"embedding_length": 8, "block_count": 0, "attention.head_count": 1}
    base = at_all_limits(
        pair("general.architecture", 8, text(b"llama")),
        *(pair(f"llama.{key}", 4, struct.pack("<I", value)) for key, value in sizes.items()),
        infos=(
            text(b"token_embd.weight") + struct.pack("<IQQIQ", 2, 8, 1, 0, 0),
            text(b"output_norm.weight") + struct.pack("<IQIQ", 1, 8, 0, 32),
            text(b"output.weight") + struct.pack("<IQQIQ", 2, 8, 1, 0, 64),
        ),
        room=room,
    )
    with (folder / "base.gguf").open("wb") as file:
        file.writelines(base)
    return measured(MERGE, folder / "lora.bin", folder / "out.gguf", folder / "base.gguf")


def test_a_merge_into_a_base_at_all_limits(tmp_path: Path) -> None:
    _, peak, printed = merged(tmp_path, room=1)
    assert printed == ["0"]
    assert peak < 250 * MEGABYTE
    with Source.open(tmp_path / "out.gguf") as made:
        found = read_gguf(made)
    assert (len(found.keys), len(found.tensors)) == (MOST_KEYS, MOST_TENSORS)


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    _, peak, printed = merged(tmp_path, room=0)
    assert printed == [
        f"ggcp: {tmp_path}/out.gguf: expected at most {MOST_KEYS} keys to write, so that they can "
        f"be read again, found {MOST_KEYS + 1}; no GGUF in use has as many; "
        "make sure that the input is the right file",
        "1",
    ]
    assert peak < 250 * MEGABYTE
    assert not (tmp_path / "out.gguf").exists()


HOSTILE = {
    "2^21 numbers": (
        gguf(array("a", 0, MOST_ELEMENTS, bytes(MOST_ELEMENTS))),
        "key a: not expected",
    ),
    "2^21 texts": (
        gguf(array("a", 8, MOST_ELEMENTS, text(b"x") * MOST_ELEMENTS)),
        "key a: not expected",
    ),
    "2^21 texts as tags of a model": (
        gguf(
            array("general.tags", 8, MOST_ELEMENTS - 1, text(b"x") * (MOST_ELEMENTS - 1)),
            array("tokenizer.ggml.tokens", 8, 1, text(b"x")),
        ),
        "expected 3 tokens, as many as the checkpoint has (n_vocab), found 1 tokens",
    ),
    "200,000 keys": (
        gguf(*(pair(f"k{index}", 0, b"\0") for index in range(200_000))),
        "expected at most 65536 pairs of key and value, found 200000",
    ),
    "a name of 20 MB": (
        gguf(pair("\x1b" * 20_000_000, 0, b"\0")),
        "expected a name of at most 65535 bytes, found 20000000 bytes",
    ),
    "a tensor's name of control characters": (
        gguf(tensors=1) + text(b"\x1b" * MOST_NAME_BYTES) + struct.pack("<IQIQ", 1, 0, 0, 0),
        "tensor " + "\\x1b" * 77 + "...: not expected",
    ),
    "a text of 20 GB": (
        gguf(pair("a", 8, struct.pack("<Q", 20_000_000_000))),
        "expected a text of at most 16777216 bytes, found 20000000000 bytes",
    ),
    "2^60 dimensions": (
        gguf(tensors=1) + text(b"w") + struct.pack("<IQQIQ", 2, 2**60, 2**60, 0, 0),
        f"expected {2**122} bytes of data",
    ),
}

VERIFY = """
from converter.cli import main
print(main(["verify", "--verbose", sys.argv[1], sys.argv[2]]))
"""


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_answered_in_a_few_sentences(what: str, tmp_path: Path) -> None:
    data, sentence = HOSTILE[what]
    write_inputs(tmp_path)
    path = tmp_path / "hostile.gguf"
    path.write_bytes(data)
    if what == "a text of 20 GB":
        os.truncate(path, 30_000_000_000)
    seconds, peak, printed = measured(VERIFY, tmp_path / "in.bin", path)
    *lines, code = printed
    assert code == "1"
    assert any(sentence in line for line in lines)
    assert all(len(line) < 1000 and line.isprintable() for line in lines)
    assert seconds < 5
    assert peak < 200 * MEGABYTE


def test_an_honest_file_of_256_000_tokens(tmp_path: Path) -> None:
    count = 256_000
    with (tmp_path / "in.bin").open("wb") as file:
        Synthetic(
            vocabulary_size=count,
            embedding_length=2,
            feed_forward_multiple=2,
            head_count=1,
            block_count=1,
            optimizer_version=1,
        ).write(file)
    tokens = b"".join(text(b"token %d" % index) for index in range(count))
    vocabulary = gguf(
        pair("tokenizer.ggml.model", 8, text(b"llama")),
        array("tokenizer.ggml.tokens", 8, count, tokens),
        array("tokenizer.ggml.scores", 6, count, bytes(4 * count)),
        array("tokenizer.ggml.token_type", 5, count, struct.pack("<i", 1) * count),
        array("tokenizer.ggml.merges", 8, count, text(b"tok en") * count),
    )
    (tmp_path / "vocab.gguf").write_bytes(vocabulary)
    line = "export {folder}/in.bin {folder}/out.gguf --vocab {folder}/vocab.gguf --eps 1e-5"
    assert perform(line, folder=tmp_path) == 0
    seconds, peak, printed = measured(VERIFY, tmp_path / "in.bin", tmp_path / "out.gguf")
    assert printed[-1] == "0"
    assert seconds < 5
    assert peak < 250 * MEGABYTE
