"""Target: GGUF as an input: the reader, ``verify``, and the base of a merge, to a folder too."""

from __future__ import annotations

import functools
import random
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzz import common
from fuzz.null import NullOutput

OUTTYPES = (None, None, "f32", "f16", "bf16", "q8_0")


def seeds() -> Iterator[bytes]:
    """Inputs to start from: what convert, export and merge write, models and vocabularies."""
    from converter.gguf_io.writer import write
    from converter.use_cases.export import prepared
    from converter.use_cases.export_options import ExportOptions
    from fuzz.corpus import lora, models, real, resumable, training, vocabulary, whole_models

    yield from models()
    yield from whole_models()
    yield merged()
    yield vocabulary(3)
    yield from real(("vocab300.gguf",))
    output = common.file("output")
    for data in (training(), lora(), training(0)):
        yield resumable(data)
    path = common.file("input").fill(training())
    for outtype in ("f32", "f16"):
        tokens = common.file("vocabulary").fill(vocabulary(3))
        options = ExportOptions(tokens, epsilon=1e-5, outtype=outtype)
        with prepared(path, "/nowhere/out.gguf", options) as work:
            write(work.plan, NullOutput(output))  # type: ignore[arg-type]
        yield output.content()


def fresh(chance: random.Random) -> bytes:
    """A new input."""
    from fuzz.corpus import models, whole_models

    return chance.choice([*models(), *whole_models(), merged()])


@functools.cache
def merged() -> bytes:
    """The first model with the changes of the LoRA checkpoint."""
    from converter.gguf_io.writer import write
    from converter.use_cases.export import prepared
    from converter.use_cases.export_options import ExportOptions
    from fuzz.corpus import lora, models

    changes = common.file("lora").fill(lora())
    options = ExportOptions(base=common.file("base").fill(next(models())))
    output = common.file("output")
    with prepared(changes, "/nowhere/out.gguf", options) as work:
        write(work.plan, NullOutput(output))  # type: ignore[arg-type] - all that it needs
    return output.content()


def target(data: bytes) -> None:
    """Read a GGUF, compare it with checkpoints, merge a LoRA checkpoint into it."""
    from converter import ConversionError
    from ggcp_schema import FormatError

    path = common.file("gguf").fill(data)
    _fill()
    chance = random.Random(zlib.crc32(data))
    for action in (_read, _check, _check_merged, _check_base, _merge, _merge_to_folder):
        try:
            action(path, chance)
        except (FormatError, ConversionError) as error:
            common.require_good_message(error)


@functools.cache
def _fill() -> None:
    """Fill the files that the GGUF is compared with or merged into."""
    from fuzz.corpus import training

    common.file("training").fill(training())
    common.file("merged").fill(merged())


def _read(path: str, _chance: random.Random) -> None:
    from converter.gguf_io.reader import read_gguf
    from ggcp_schema import Source

    with Source.open(path) as source:
        for tensor in read_gguf(source).tensors.values():
            data = tensor.data
            assert not data.length or data.offset + data.length <= source.size


def _check(path: str, _chance: random.Random) -> None:
    for checkpoint in ("training", "lora"):
        _verify(common.file(checkpoint).name, path)


def _check_merged(path: str, _chance: random.Random) -> None:
    _verify(common.file("lora").name, path, base=common.file("base").name)


def _check_base(path: str, _chance: random.Random) -> None:
    _verify(common.file("lora").name, common.file("merged").name, base=path)


def _verify(checkpoint: str, path: str, **options: str) -> None:
    from converter.use_cases.verify import verify

    for line in verify(checkpoint, path, **options):
        assert common.is_one_line(line), repr(line)


def _merge(path: str, chance: random.Random) -> None:
    from converter.gguf_io.comparison import differences, read_made
    from converter.gguf_io.writer import write
    from converter.use_cases.export import prepared
    from converter.use_cases.export_options import ExportOptions
    from ggcp_schema import Source

    options = ExportOptions(base=path, outtype=chance.choice(OUTTYPES))
    with prepared(common.file("lora").name, "/nowhere/out.gguf", options) as work:
        output = NullOutput(common.file("output"))
        write(work.plan, output)  # type: ignore[arg-type] - all that it needs of an Output
        with Source.open(output.path) as written:
            assert list(differences(work.plan, read_made(written))) == []


def _merge_to_folder(path: str, chance: random.Random) -> None:
    """Write a folder, which appears whole or not at all."""
    from converter.use_cases.carry_out import Writing
    from converter.use_cases.export_folder import export_folder
    from converter.use_cases.export_options import FolderOptions
    from converter.use_cases.verify import verify

    lora = common.file("lora").name
    options = FolderOptions(base=path, outtype=chance.choice(OUTTYPES[:-1]))
    with tempfile.TemporaryDirectory(dir=common.memory()) as place:
        folder = Path(place, "out")
        try:
            export_folder(lora, folder, options, writing=Writing(sync=False))
        finally:
            left = list(Path(place).iterdir())
            assert left in ([], [folder])
            assert not left or verify(lora, folder, base=path) == []


def load() -> Any:
    """Import what is tested."""
    from fuzz.mutation import mutator

    return target, mutator(fresh)


if __name__ == "__main__":
    common.main(load)
