"""Target: GGUF as an input: the reader, ``verify``, and the base of a merge."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from fuzz import common
from fuzz.null import NullOutput


def seeds() -> Iterator[bytes]:
    """Inputs to start from: what convert, export and merge write, models and vocabularies."""
    from converter.gguf_io.writer import write
    from converter.use_cases.export import prepared
    from converter.use_cases.export_options import ExportOptions
    from fuzz.corpus import lora, models, real, resumable, training, vocabulary

    yield from models()
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
    from fuzz.corpus import models

    return chance.choice(list(models()))


def target(data: bytes) -> None:
    """Read a GGUF, compare it with checkpoints, merge a LoRA checkpoint into it."""
    from converter import ConversionError
    from fuzz.corpus import lora, training
    from ggcp_schema import FormatError

    path = common.file("gguf").fill(data)
    checkpoints = [common.file("training"), common.file("lora")]
    for file, content in zip(checkpoints, (training(), lora()), strict=True):
        if not file.content():
            file.fill(content)
    for action in (_read, _check, _merge):
        try:
            action(path, *(file.name for file in checkpoints))
        except (FormatError, ConversionError) as error:
            common.require_good_message(error)


def _read(path: str, _training: str, _lora: str) -> None:
    from converter.gguf_io.reader import read_gguf
    from ggcp_schema import Source

    with Source.open(path) as source:
        for tensor in read_gguf(source).tensors.values():
            data = tensor.data
            assert not data.length or data.offset + data.length <= source.size


def _check(path: str, training: str, lora: str) -> None:
    from converter.use_cases.verify import verify

    for source in (training, lora):
        for line in verify(source, path):
            assert common.is_one_line(line), repr(line)


def _merge(path: str, _training: str, lora: str) -> None:
    from converter.gguf_io.comparison import differences, read_made
    from converter.gguf_io.writer import write
    from converter.use_cases.export import prepared
    from converter.use_cases.export_options import ExportOptions
    from ggcp_schema import Source

    with prepared(lora, "/nowhere/out.gguf", ExportOptions(base=path)) as work:
        output = NullOutput(common.file("output"))
        write(work.plan, output)  # type: ignore[arg-type] - all that it needs of an Output
        with Source.open(output.path) as written:
            assert list(differences(work.plan, read_made(written))) == []


def load() -> Any:
    """Import what is tested."""
    from fuzz.mutation import mutator

    return target, mutator(fresh)


if __name__ == "__main__":
    common.main(load)
