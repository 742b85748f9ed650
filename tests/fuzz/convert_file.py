"""Target: whole conversions to a null output: convert, resume, export, adapter, inspect."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator
from typing import Any

from fuzz import common
from fuzz.null import NullOutput

MOST_TOKENS = 1 << 12
OUTTYPES = ("f32", "f16", "bf16", "q8_0")


def seeds() -> Iterator[bytes]:
    """Inputs to start from."""
    from fuzz.corpus import checkpoints, lora, real, resumable, training

    yield from checkpoints()
    yield from real(("chk", "model"))
    for data in (training(), lora()):
        yield resumable(data)


def fresh(chance: random.Random) -> bytes:
    """A new input."""
    from converter import ConversionError
    from fuzz.corpus import resumable, small
    from ggcp_schema import FormatError

    data = small(chance)
    try:
        return resumable(data) if chance.random() < 0.3 else data
    except (FormatError, ConversionError):  # it holds no optimizer, or no GGUF can have its sizes
        return data


def target(data: bytes) -> None:
    """Do everything with a file; what was written must be what was planned."""
    from converter import ConversionError
    from ggcp_schema import FormatError

    path = common.file("input").fill(data)
    chance = random.Random(zlib.crc32(data))
    for action in (_inspect, _convert, _resume, _export, _adapter):
        try:
            action(path, data, chance)
        except (FormatError, ConversionError) as error:
            common.require_good_message(error)


def _written(plan: Any) -> None:
    from converter.gguf_io.comparison import differences, read_made
    from converter.gguf_io.writer import write
    from ggcp_schema import Source

    output = NullOutput(common.file("output"))
    write(plan, output)  # type: ignore[arg-type] - all that it needs of an Output
    with Source.open(output.path) as written:
        assert list(differences(plan, read_made(written))) == []


def _convert(path: str, data: bytes, chance: random.Random) -> None:
    from converter.inputs import open_checkpoint
    from converter.use_cases.convert import planned_conversion
    from converter.use_cases.verify import verify

    with open_checkpoint(path) as opened:
        _written(planned_conversion(opened.snapshot()))
    if chance.random() < 0.1:
        assert verify(path, common.file("output").name) == []


def _resume(path: str, data: bytes, chance: random.Random) -> None:
    from converter.inputs import open_checkpoint
    from converter.use_cases.convert import ResumeWith, planned_conversion
    from ggcp_schema.order import Order

    orders = list(Order)
    batch = chance.choice((None, None, 1, 8, 2**32 - 1))
    wanted = ResumeWith(chance.choice(orders), chance.choice((None, *orders)), batch)
    with open_checkpoint(path) as opened:
        _written(planned_conversion(opened.snapshot(), epsilon=1e-6, resume_with=wanted))


def _export(path: str, data: bytes, chance: random.Random) -> None:
    from converter.use_cases.export import prepared
    from converter.use_cases.export_options import ExportOptions
    from fuzz.corpus import vocabulary

    count = int.from_bytes(data[20:24], "little")
    tokens = common.file("vocabulary").fill(vocabulary(count if 0 < count < MOST_TOKENS else 3))
    options = ExportOptions(
        tokens,
        context_length=chance.choice((None, 16)),
        outtype=chance.choice(OUTTYPES),
        rescue=chance.random() < 0.5,
    )
    with prepared(path, "/nowhere/out.gguf", options) as work:
        _written(work.plan)


def _adapter(path: str, data: bytes, chance: random.Random) -> None:
    from converter.use_cases.export import prepared
    from converter.use_cases.export_options import ExportOptions

    options = ExportOptions(outtype=chance.choice((None, "f32", "f16")))
    with prepared(path, "/nowhere/out.gguf", options) as work:
        _written(work.plan)


def _inspect(path: str, data: bytes, chance: random.Random) -> None:
    from converter import inspect
    from converter.report.html import as_html
    from converter.report.json import as_json
    from converter.report.text import as_text

    report = inspect(path, stats=chance.random() < 0.5)
    shown = chance.choice((as_text, as_json, as_html))(report)
    if isinstance(shown, dict):
        json.dumps(shown, allow_nan=False)
    else:
        assert all(common.is_one_line(line) for line in shown.split("\n"))


def load() -> Any:
    """Import what is tested."""
    from fuzz.mutation import mutator

    return target, mutator(fresh)


if __name__ == "__main__":
    common.main(load)
