"""The generated Kaitai schema, compiled to Python by Kaitai's compiler, against our own parser.

To run it: pip install '.[test,kaitai]', and `npm ci` in tests/kaitai (Node.js 18 or later).
"""

from __future__ import annotations

import enum
import importlib.util
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from paths import TESTS
from real_files import names

from ggcp_schema import Checkpoint, FormatError, Span, build, parse
from ggcp_schema.document import document
from ggcp_schema.enums import NameFamily, OptimizerType
from ggcp_schema.synthetic import Synthetic, SyntheticAdapter, SyntheticLora, SyntheticMagicless

COMPILER = TESTS / "kaitai"
COMPLETE = [name for name in names(ending=".bin") if "truncated" not in name]
NODE = shutil.which("node")

# What no real file among the fixtures has.
# fmt: off
SYNTHETIC = {
    "no layers": Synthetic(block_count=0),
    "many layers": Synthetic(block_count=101, embedding_length=4, head_count=1),
    "version 0, past 3": Synthetic(convergence_past_count=3),
    "version 0, L-BFGS, past 2": Synthetic(
        optimizer_type=OptimizerType.LBFGS, convergence_past_count=2),
    "version 1, L-BFGS, past 3": Synthetic(
        optimizer_version=1, optimizer_type=OptimizerType.LBFGS, convergence_past_count=3),
    "version 1 with params, L-BFGS": Synthetic(
        optimizer_version=1, with_params=True, optimizer_type=OptimizerType.LBFGS),
    "no magic": SyntheticMagicless(),
    "adapter": SyntheticAdapter(),
    "LoRA": SyntheticLora(),
    "LoRA, w1_a": SyntheticLora(names=NameFamily.W1_A),
    "LoRA, without layers.": SyntheticLora(names=NameFamily.WITHOUT_LAYERS),
    "LoRA, L-BFGS with names": SyntheticLora(
        names=NameFamily.WITHOUT_LAYERS,
        optimizer_type=OptimizerType.LBFGS,
        convergence_past_count=2,
    ),
    "LoRA without n_mult": SyntheticLora(feed_forward_multiple=None),
    "LoRA, rank 0": SyntheticLora(ranks={"wq": 0, "tok_embeddings": 0}),
    "LoRA without layers": SyntheticLora(block_count=0),
    "LoRA, L-BFGS": SyntheticLora(optimizer_type=OptimizerType.LBFGS, convergence_past_count=2),
}
# fmt: on

pytestmark = [
    pytest.mark.kaitai,
    pytest.mark.skipif(
        NODE is None or not (COMPILER / "node_modules").is_dir(),
        reason="needs Node.js, and `npm ci` in tests/kaitai",
    ),
]


@pytest.fixture(scope="module")
def kaitai(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The compiled parser: a class with ``from_bytes``."""
    pytest.importorskip("kaitaistruct")
    assert NODE is not None
    compiled = subprocess.run(
        [NODE, COMPILER / "compile.js"],
        input=document("ksy"),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert compiled.returncode == 0, compiled.stderr
    path = tmp_path_factory.mktemp("kaitai") / "ggcp_kaitai.py"
    path.write_text(compiled.stdout, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("ggcp_kaitai", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Ggcp


def read(kaitai: Any, data: bytes) -> Any:
    parsed = kaitai.from_bytes(data)
    parsed._read()
    return parsed.checkpoint


def plain(value: Any) -> Any:
    """A value of ours as Kaitai has it."""
    if isinstance(value, Span):
        return b"".join(map(bytes, value.blocks()))
    if isinstance(value, enum.Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def compare(kaitai: Any, checkpoint: Checkpoint, data: bytes) -> dict[str, int]:
    """Compare all fields; returns how many there were, in all and of tensors."""
    theirs = read(kaitai, data)
    counts = {"fields": 0, "tensors": 0}
    for ours in checkpoint.places():
        if ours.path == "end":
            continue
        holder = theirs
        *outer, name = re.findall(r"\w+", ours.path)
        for part in outer:
            holder = holder[int(part)] if part.isdigit() else getattr(holder, part)
        value, expected = getattr(holder, name), plain(ours.value)
        both_nan = value != value and expected != expected
        assert both_nan or value == expected, ours.path
        if name in holder._debug:  # a value that is not stored has no place
            place = holder._debug[name]
            end = ours.offset + ours.length
            assert (place["start"], place["end"]) == (ours.offset, end), ours.path
        else:
            assert ours.length == 0, ours.path
        counts["fields"] += 1
        counts["tensors"] += name == "data"
    return counts


@pytest.mark.parametrize("name", COMPLETE)
def test_the_generated_parser_reads_real_files_like_ours(
    kaitai: Any, fixtures: Path, name: str
) -> None:
    path = fixtures / name
    with parse(path) as checkpoint:
        counts = compare(kaitai, checkpoint, path.read_bytes())
    assert counts["tensors"] >= (12 if name.startswith("pre_") else 15)
    assert counts["fields"] > 7 * counts["tensors"]


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_generated_parser_reads_other_layouts_like_ours(kaitai: Any, name: str) -> None:
    file = io.BytesIO()
    SYNTHETIC[name].write(file)
    with parse(file) as checkpoint:
        compare(kaitai, checkpoint, file.getvalue())


def test_the_generated_parser_reads_cut_names(kaitai: Any) -> None:
    whole, cut = io.BytesIO(), io.BytesIO()
    Synthetic(block_count=101, embedding_length=4, head_count=1).write(whole)
    with parse(whole) as checkpoint:
        tensor = checkpoint.model.layers[100].feed_forward.w1
        tensor.name = tensor.name[:31]
        build(checkpoint, cut)
    with parse(cut) as checkpoint:
        assert checkpoint.model.layers[100].feed_forward.w1.name_length == 31
        compare(kaitai, checkpoint, cut.getvalue())


def tiny() -> bytes:
    file: BinaryIO = io.BytesIO()
    Synthetic(vocabulary_size=3, embedding_length=4, head_count=2, optimizer_version=1).write(file)
    file.seek(0)
    return file.read()


@pytest.mark.parametrize(
    ("offset", "value", "path"),
    [
        (0, 0x67676371, "signature"),
        (4, 1, "/types/training_checkpoint/seq/1"),
        (24, 0, "/types/hyperparameters/seq/1"),
        (32, 3, "/types/hyperparameters/seq/3"),
        (44, 3, "/types/tensor_record/seq/0"),
        (48, 20, "/types/tensor_record/seq/1"),
        (52, 1, "/types/tensor_record/seq/2"),
        (56, 5, "/types/tensor_record/seq/3"),
        (64, 0x5F6B6F75, "/types/tensor_record/seq/4"),
    ],
)
def test_the_generated_parser_has_our_checks(
    kaitai: Any, offset: int, value: int, path: str
) -> None:
    data = bytearray(tiny())
    data[offset : offset + 4] = value.to_bytes(4, "little")
    with pytest.raises(Exception, match=f"{path}.*validation failed"):
        read(kaitai, bytes(data))


# The names and shapes of an adapter must agree with each other, which the page says in words.
@pytest.mark.parametrize("name", [name for name in SYNTHETIC if name != "adapter"])
def test_the_generated_parser_refuses_what_ours_refuses(kaitai: Any, name: str) -> None:
    sizes: dict[str, int] = {"vocabulary_size": 3, "embedding_length": 4, "head_count": 2}
    layers = min(SYNTHETIC[name].block_count, 1)
    file = io.BytesIO()
    replace(SYNTHETIC[name], **sizes, block_count=layers).write(file)
    data = file.getvalue()
    with parse(file) as checkpoint:
        parts = [part for part in checkpoint.places() if part.length]
    refused = 0
    for part in parts:
        if part.path.endswith((".data", ".padding")):
            continue
        for bit in (0, 7):
            damaged = bytearray(data)
            damaged[part.offset + part.length - 1] ^= 1 << bit
            try:
                parse(io.BytesIO(damaged)).close()
            except FormatError:
                refused += 1
                # Which of its errors it is depends on the version of Kaitai's runtime.
                with pytest.raises(Exception):  # noqa: B017
                    read(kaitai, bytes(damaged))
            else:
                read(kaitai, bytes(damaged))
    assert refused > 30


def test_the_generated_parser_wants_the_end_of_the_file(kaitai: Any) -> None:
    with pytest.raises(Exception, match="validation failed"):
        read(kaitai, tiny() + b"\0")
