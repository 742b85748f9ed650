"""Plans of every kind are written as they say and verified as they say."""

from __future__ import annotations

import contextlib
import io
import os
import random
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gguf_bytes import ARRAY, F32, STRING, U32, Gguf, Key, Tensor, read

from converter import ConversionError, Writing, Written
from converter.disk.output import Output
from converter.gguf_io import comparison
from converter.gguf_io.writer import write
from converter.parts import Computed
from converter.plan import Metadata, Plan, PlannedTensor
from converter.use_cases.carry_out import carry_out
from ggcp_schema import FormatError, Source, Span
from ggcp_schema.gguf import TensorType, ValueType

FLOATS = struct.pack("<10f", *range(10))


def differences(plan: Plan, path: Path) -> list[str]:
    with Source.open(path) as written:
        return list(comparison.differences(plan, comparison.read_made(written)))


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    path = tmp_path / "source"
    path.write_bytes(b"xxx" + FLOATS)
    with Source.open(path) as source:
        yield source


def span(source: Source, start: int, stop: int) -> Span:
    return Span(source, 3 + 4 * start, 4 * (stop - start), (stop - start,))


def carried_out(plan: Plan, source: Source, path: Path, writing: Writing) -> Written:
    return carry_out(plan, (source,), writing.output(path, (source,)), writing)


@pytest.fixture
def plan(source: Source) -> Plan:
    """Parts of all kinds, in another order than in the source."""
    doubled = struct.pack("<2f", 8, 10)
    return Plan(
        "llama",
        (
            Metadata("a.texts", ValueType.ARRAY, ("é", "", "c"), element_type=ValueType.STRING),
            Metadata("a.numbers", ValueType.ARRAY, [0.1, 2.5], element_type=ValueType.FLOAT32),
            Metadata("a.number", ValueType.UINT32, 7),
        ),
        (
            PlannedTensor(
                "mixed.weight",
                (3, 2),
                (
                    span(source, 8, 10),
                    Computed(8, lambda: [doubled[:3], doubled[3:]]),
                    span(source, 0, 2),
                ),
            ),
            PlannedTensor("one.weight", (1,), (span(source, 3, 4),)),
        ),
    )


MIXED = struct.pack("<6f", 8, 9, 8, 10, 0, 1)


@pytest.mark.parametrize("verify", [True, False])
def test_written_as_planned(verify: bool, plan: Plan, source: Source, folder: Path) -> None:
    output = folder / "out.gguf"
    written = carried_out(plan, source, output, Writing(verify=verify))
    assert written == Written(str(output), 2, output.stat().st_size)
    tenth = struct.unpack("<f", struct.pack("<f", 0.1))[0]
    assert read(output) == Gguf(
        [
            Key("general.architecture", STRING, "llama"),
            Key("a.texts", ARRAY, (STRING, ["é", "", "c"])),
            Key("a.numbers", ARRAY, (F32, [tenth, 2.5])),
            Key("a.number", U32, 7),
        ],
        [
            Tensor("mixed.weight", (3, 2), MIXED),
            Tensor("one.weight", (1,), struct.pack("<f", 3)),
        ],
    )
    assert differences(plan, output) == []


def changed(gguf: Gguf, name: str, value: Any) -> bytes:
    gguf.key(name).value = value
    return gguf.to_bytes()


def test_arrays_are_compared(plan: Plan, source: Source, folder: Path) -> None:
    output = folder / "out.gguf"
    carried_out(plan, source, output, Writing())
    cases = [
        ("a.texts", (STRING, ["é", "c"]), "key a.texts: expected 3 elements, found 2"),
        ("a.texts", (STRING, ["é", "", "d"]), "key a.texts[2]: expected b'c', found b'd'"),
        (
            *("a.texts", (U32, [1])),
            "key a.texts: expected the type ARRAY of STRING, found ARRAY of UINT32",
        ),
        (
            *("a.numbers", (F32, [0.25, 2.5])),
            "key a.numbers[0]: expected 0.10000000149011612, found 0.25",
        ),
    ]
    for name, value, complaint in cases:
        (folder / "changed.gguf").write_bytes(changed(read(output), name, value))
        assert differences(plan, folder / "changed.gguf") == [complaint]


def test_computed_bytes_are_compared(plan: Plan, source: Source, folder: Path) -> None:
    output = folder / "out.gguf"
    carried_out(plan, source, output, Writing())
    whole = output.read_bytes()
    at = whole.index(MIXED) + 13
    (folder / "changed.gguf").write_bytes(whole[:at] + b"\x07" + whole[at + 1 :])
    assert differences(plan, folder / "changed.gguf") == [
        f"tensor mixed.weight: the data differ from byte {at:#x} of the file on"
    ]


def test_disk_that_loses_a_bit(
    plan: Plan, source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written is not what is read: nothing is kept."""
    from converter.gguf_io import writer

    write_at = writer.write_at
    monkeypatch.setattr(
        writer,
        "write_at",
        lambda target, data, offset: write_at(target, bytes([data[0] ^ 1]) + data[1:], offset),
    )
    with pytest.raises(ConversionError) as caught:
        carried_out(plan, source, folder / "out.gguf", Writing(verify=True))
    assert str(caught.value).startswith(
        f"{folder / 'out.gguf'}: expected the file to be what was planned, found a difference: "
        "tensor mixed.weight: the data differ from byte 0x"
    )
    assert str(caught.value).endswith(
        " of the file on; nothing was kept; the disk may be failing, so write to another one"
    )
    assert list(folder.iterdir()) == []


def numbers(seed: int, count: int) -> bytes:
    return random.Random(seed).randbytes(4 * count)


LARGE = 700_000
"""Elements of a run that is copied by several threads."""


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Plan, list[Source], list[bytes]]]:
    """A plan of spans of two files, small and large, which lie in their pages in all ways."""
    contents = [bytes(3) + numbers(1, LARGE + 10), bytes(5) + numbers(2, LARGE + 10)]
    with contextlib.ExitStack() as stack:
        sources = []
        for name, content in zip("ab", contents, strict=True):
            (tmp_path / name).write_bytes(content)
            sources.append(stack.enter_context(Source.open(tmp_path / name)))
        first, second = sources
        tensors = (
            PlannedTensor(
                "mixed.weight",
                (5,),
                (Span(second, 5, 8, (2,)), Span(first, 3, 4, (1,)), Span(second, 45, 8, (2,))),
            ),
            PlannedTensor("large.first", (LARGE,), (Span(first, 3, 4 * LARGE, (LARGE,)),)),
            PlannedTensor("large.second", (LARGE,), (Span(second, 5, 4 * LARGE, (LARGE,)),)),
        )
        yield Plan("llama", (), tensors), sources, contents


WAYS = {
    "in the kernel": (),
    "sendfile": ("copy_file_range",),
    "read and write": ("copy_file_range", "sendfile"),
    "without places": ("copy_file_range", "sendfile", "pread", "preadv", "pwrite"),
}
"""What a system may lack."""


def two_written(contents: list[bytes]) -> list[Tensor]:
    a, b = contents
    return [
        Tensor("mixed.weight", (5,), b[5:13] + a[3:7] + b[45:53]),
        Tensor("large.first", (LARGE,), a[3 : 3 + 4 * LARGE]),
        Tensor("large.second", (LARGE,), b[5 : 5 + 4 * LARGE]),
    ]


@pytest.mark.parametrize("missing", WAYS.values(), ids=WAYS.keys())
def test_each_span_is_of_its_own_source(
    missing: tuple[str, ...],
    two: tuple[Plan, list[Source], list[bytes]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan, (first, second), contents = two
    for name in missing:
        monkeypatch.delattr(os, name)
    writing = Writing(verify=True)
    output = writing.output(folder / "out.gguf", (first, second))
    carry_out(plan, (first, second), output, writing)
    assert read(folder / "out.gguf").tensors == two_written(contents)


@pytest.mark.parametrize("changed", [0, 1])
def test_each_source_that_changes_is_noticed(
    changed: int, two: tuple[Plan, list[Source], list[bytes]], tmp_path: Path, folder: Path
) -> None:
    plan, _, _ = two
    with Output(folder / "out.gguf") as output:
        with (tmp_path / "ab"[changed]).open("ab") as file:
            file.write(b"more")
        with pytest.raises(FormatError, match="another program is writing to the file") as caught:
            write(plan, output)
    assert caught.value.file == str(tmp_path / "ab"[changed])
    assert list(folder.iterdir()) == []


def test_sources_without_a_descriptor(
    two: tuple[Plan, list[Source], list[bytes]], folder: Path
) -> None:
    """A file in memory, say: it has one place for all that read from it."""
    plan, sources, contents = two
    memory = {
        source: Source.over(io.BytesIO(content))
        for source, content in zip(sources, contents, strict=True)
    }
    tensors = [
        replace(tensor, parts=tuple(p._replace(source=memory[p.source]) for p in tensor.parts))
        for tensor in plan.tensors
    ]
    with Output(folder / "out.gguf") as output:
        write(replace(plan, tensors=tuple(tensors)), output)
        output.commit()
    assert read(folder / "out.gguf").tensors == two_written(contents)


@pytest.mark.parametrize("length", [0, 4, 12])
def test_plan_that_contradicts_itself(length: int, source: Source, folder: Path) -> None:
    """A defect of this program, not of the file."""
    tensor = PlannedTensor("one.weight", (2,), (Computed(length, lambda: [bytes(length)]),))
    with pytest.raises(RuntimeError, match=f"one.weight: {length} bytes, not 8"):
        carried_out(Plan("llama", (), (tensor,)), source, folder / "out.gguf", Writing())
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", [TensorType.F16, TensorType.Q8_0])
def test_other_types(kind: TensorType, source: Source, folder: Path) -> None:
    data = bytes(range(1, 129 if kind.name == "F16" else 69))
    tensor = PlannedTensor("a.weight", (32, 2), (Computed(len(data), lambda: [data]),), kind)
    plan = Plan("llama", (), (tensor,))
    carried_out(plan, source, folder / "out.gguf", Writing(verify=True))
    assert (folder / "out.gguf").read_bytes().endswith(data + bytes(-len(data) % 32))


@pytest.mark.parametrize(
    ("keys", "tensors", "name", "found"),
    [
        (0, 65_537, 1, "65536 tensors to write, so that they can be read again, found 65537"),
        (65_536, 0, 1, "65536 keys to write, so that they can be read again, found 65537"),
        # Magic, version and counts; general.architecture; each key with its length, type and value.
        (1024, 0, 65_535, "67108864 bytes before the data to write, so that they can be read "
            f"again, found {24 + (8 + 20 + 4 + 8 + 5) + 1024 * (8 + 65_535 + 4 + 1)}"),
    ],
)  # fmt: skip
def test_what_could_not_be_read_again(
    keys: int, tensors: int, name: int, found: str, source: Source, folder: Path
) -> None:
    metadata = (Metadata(f"{i}".ljust(name, "k"), ValueType.UINT8, 0) for i in range(keys))
    every = (PlannedTensor(f"t{index}", (1,), (span(source, 0, 1),)) for index in range(tensors))
    plan = Plan("llama", tuple(metadata), tuple(every))
    with pytest.raises(ConversionError) as caught:
        carried_out(plan, source, folder / "out.gguf", Writing())
    assert str(caught.value) == (
        f"{folder}/out.gguf: expected at most {found}; no GGUF in use has as many; "
        "make sure that the input is the right file"
    )
    assert list(folder.iterdir()) == []
