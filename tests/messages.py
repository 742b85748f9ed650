"""Every message of the commands, and what leads to it.

``python tests/messages.py`` writes tests/golden/messages.txt again. Read what changes there as the
user who gets it: does it say which file, where in it, what should be there, what is, what to do?
"""

from __future__ import annotations

import ast
import contextlib
import errno
import io
import os
import signal
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
GOLDEN = TESTS / "golden" / "messages.txt"
sys.path[:0] = [str(TESTS), str(ROOT)]

from faults import acting_first, failing  # noqa: E402 - the folders are known only now
from fuzz import corpus  # noqa: E402
from lora_bytes import file_with_layers  # noqa: E402
from packed import checkpoint  # noqa: E402
from tiny_files import write_inputs  # noqa: E402
from vocabulary_files import SPECIAL, array, ggjt, gguf, pair, text, tokenizer  # noqa: E402

from converter import cli  # noqa: E402
from ggcp_schema import build, parse  # noqa: E402
from ggcp_schema.synthetic import SyntheticLora  # noqa: E402

ADAM, PARAMS = checkpoint(1, n_layer=1), checkpoint(0)
LBFGS = checkpoint(1, "lbfgs", n_vocab=5)
THREE = (b"<unk>", b"<s>", b"</s>")
U32, F32, STRING = 4, 6, 8


def damaged() -> Iterator[tuple[str, bytes]]:
    """Checkpoints, and what people take for them."""
    whole = bytes(ADAM.data)
    for magic in ("GGUF", "algg", "tjgg", "fmgg", "lmgg", "ggcp", "ggcl"):
        yield f"{magic}.bin", magic.encode() + whole[4:]
    yield "zip.bin", b"PK\x03\x04" + whole
    yield "gzip.bin", b"\x1f\x8b" + whole
    yield "empty.bin", b""
    yield "zeros.bin", bytes(100)
    yield "text.bin", b"\x1b[2Jhello\n"
    model = whole[44:85] + bytes(23) + whole[96 : ADAM.fields["optimizer.version"][0]]
    yield "may2023.bin", struct.pack("<8L", 1, 1, 2, 2, 3, 1, 1, 2) + model
    for field, number in {
        "version": 1,
        "hyperparameters.vocabulary_size": 0,
        "hyperparameters.embedding_length": 0,
        "hyperparameters.feed_forward_multiple": 0,
        "hyperparameters.head_count": 0,
        "hyperparameters.rope_dimension_count": 9,
        "hyperparameters.block_count": 2**32 - 1,
        "model.norm.n_dims": 2,
        "model.norm.name_length": 3,
        "model.norm.type": 1,
        "model.norm.shape": 7,
        "optimizer.version": 2,
        "optimizer.convergence_past_count": -1,
        "optimizer.approx_hessian_count": -1,
        "optimizer.iteration_count": -1,
        "optimizer.state.first_moments.shape": 9,
        "optimizer.state.no_improvement_count": -1,
    }.items():
        yield f"{field}.bin", ADAM.with_number(field, number)
    head = ADAM.fields["hyperparameters.head_count"][0]
    yield "heads.bin", whole[:head] + struct.pack("<I", 3) + whole[head + 4 :]
    yield "name.bin", ADAM.with_field("model.norm.name", b"morn.weight")
    yield "count.bin", ADAM.with_field("optimizer.parameter_count", struct.pack("<q", 11))
    yield "type.bin", PARAMS.with_number("optimizer.params.type", 2)
    yield "past.bin", PARAMS.with_number("optimizer.params.convergence_past_count", -1)
    yield (
        "m.bin",
        checkpoint(0, "lbfgs").with_number("optimizer.params.lbfgs.approx_hessian_count", 0),
    )
    yield "lbfgs-m.bin", LBFGS.with_number("optimizer.approx_hessian_count", 0)
    yield "more.bin", whole + b"more"
    for length in (10, 100, len(whole) - 5):
        yield f"cut-{length}.bin", whole[:length]
    yield "cut-optimizer.bin", whole[: ADAM.fields["optimizer.version"][0] + 20]
    yield "aborted.bin", whole[: ADAM.fields["model.layers[0].feed_forward.w3.data"][0] + 4]
    yield "no-samples.bin", PARAMS.with_number("training.sample_count", 0)
    yield "odd-tokens.bin", PARAMS.with_number("training.token_count", 97)
    yield "no-iterations.bin", PARAMS.with_number("training.iteration_count", 0)
    yield "no-limit.bin", PARAMS.with_number("optimizer.params.adam.iteration_limit", 0)
    yield "layer-odd-tokens.bin", ADAM.with_number("training.token_count", 97)
    yield "five.bin", bytes(checkpoint(1, n_vocab=5, n_layer=1).data)
    yield "odd-heads.bin", bytes(checkpoint(0, n_embd=3, n_rot=2).data)
    yield "rope.bin", ADAM.with_number("hyperparameters.rope_dimension_count", 1)
    yield "huge.bin", ADAM.with_number("hyperparameters.embedding_length", 2**32 - 2)
    lora = corpus.lora()
    yield "lora-version.bin", lora[:4] + b"\1" + lora[5:]
    yield "lora-multiple.bin", lora[:28] + bytes(4) + lora[32:]
    yield "lora-cut.bin", lora[:600]
    yield (
        "lora-optimizer.bin",
        lora.replace(struct.pack("<3i", 1, 0, 0), struct.pack("<3i", 3, 0, 0)),
    )
    at = lora.index(b"layers.0.feed_forward.w1.weight.loraB") - 4
    yield "lora-n_ff.bin", lora[:at] + bytes(4) + lora[at + 4 :]
    yield (
        "lora-0.bin",
        corpus.written(
            SyntheticLora(
                vocabulary_size=3, embedding_length=4, head_count=1, ranks=0, block_count=0
            )
        ),
    )


def vocabularies() -> Iterator[tuple[str, bytes]]:
    """Vocabularies of three tokens."""
    keys = tokenizer(*THREE)
    whole = gguf(*keys)
    yield "other.gguf", gguf(*tokenizer(b"a", b"b"))
    yield "twice.gguf", gguf(*tokenizer(b"a", b"b", b"b"))
    yield "none.gguf", gguf(pair("general.name", STRING, text(b"x")))
    yield "version1.gguf", gguf(*keys, version=1)
    yield "version9.gguf", gguf(*keys, version=9)
    yield "big-endian.gguf", gguf(*keys, version=0x03000000)
    yield "cut.gguf", whole[:-3]
    yield "keys.gguf", whole[:16] + struct.pack("<Q", 100000) + whole[24:]
    yield "type.gguf", gguf(pair("a", 13, b""))
    yield "arrays.gguf", gguf(pair("a", 9, struct.pack("<IQ", 9, 0)))
    yield "elements.gguf", gguf(pair("a", 9, struct.pack("<IQ", 13, 0)))
    yield "many.gguf", gguf(pair("a", 9, struct.pack("<IQ", 0, 2**40)))
    yield "bool.gguf", gguf(pair("a", 7, b"\2"))
    yield "text.gguf", gguf(pair("a", STRING, struct.pack("<Q", 2**40)))
    yield "texts.gguf", gguf(pair("a", 9, struct.pack("<IQ", STRING, 1) + b"\xff" * 8))
    yield "key.gguf", gguf(pair("tokenizer.ggml.é", U32, bytes(4)), *keys)
    yield "again.gguf", gguf(keys[0], *keys)
    yield "wrong-type.gguf", gguf(pair("tokenizer.ggml.model", U32, bytes(4)))
    yield (
        "scores.gguf",
        gguf(keys[0], keys[1], array("tokenizer.ggml.scores", F32, 0, b""), keys[3]),
    )
    yield "no-scores.gguf", gguf(keys[0], keys[1], keys[3])
    yield "no-model.gguf", gguf(*keys[1:])
    types = array("tokenizer.ggml.token_type", 5, 3, struct.pack("<3i", 1, 9, 1))
    yield "types.gguf", gguf(*keys[:3], types)
    yield "id.gguf", gguf(*keys, pair("tokenizer.ggml.bos_token_id", U32, struct.pack("<I", 3)))
    yield "utf8.gguf", gguf(*keys, pair("tokenizer.ggml.pre", STRING, text(b"\xff")))
    tokens = (*SPECIAL, (b"a", 0.0))
    yield "four.ggjt", ggjt(*tokens)
    yield "version.ggjt", ggjt(*SPECIAL, version=4)
    yield "version.ggmf", ggjt(*SPECIAL, magic=b"fmgg", version=2)
    yield "few.ggjt", ggjt(*SPECIAL[:2])
    yield "many.ggjt", ggjt(*SPECIAL)[:8] + b"\xff" * 4 + ggjt(*SPECIAL)[12:]
    yield "cut.ggjt", ggjt(*SPECIAL)[:-1]
    yield "long.ggjt", ggjt(*SPECIAL)[:36] + b"\xff" * 4 + ggjt(*SPECIAL)[40:]
    yield "damaged.model", b"\nhello"
    yield (
        "fixed.model",
        (TESTS / "fuzz/findings")
        .joinpath("read_vocabulary-sentencepiece-field-of-fixed-size")
        .read_bytes(),
    )
    yield "five.model", corpus.sentencepiece()
    yield "wire.model", corpus.sentencepiece() + b"\xa3\x06\xa4\x06"
    yield "tokenizer.json", b"{}"
    yield "zeros", bytes(100)
    yield "unknown", b"what is this"


def models() -> Iterator[tuple[str, bytes]]:
    """GGUFs to merge into, and to verify."""
    whole = next(corpus.models())

    def changed(old: bytes, new: bytes) -> bytes:
        assert old in whole
        return whole.replace(old, new, 1)

    def key(name: bytes, value: int, new: int) -> bytes:
        packed = name + struct.pack("<II", 4, value)
        return changed(packed, packed[:-4] + struct.pack("<I", new))

    yield "architecture.gguf", changed(text(b"llama"), text(b"gptj!"))
    for name, old in ((b"llama.block_count", 1), (b"llama.attention.head_count", 1)):
        yield f"{name.decode()}.gguf", key(name, old, 9)
    yield "alignment.gguf", key(b"general.alignment", 32, 33)
    yield "missing.gguf", changed(b"output.weight", b"0utput.weight")
    norm = text(b"output_norm.weight") + struct.pack("<IQ", 1, 4)
    yield "shape.gguf", changed(norm, norm[:-8] + struct.pack("<Q", 3))
    yield "dims.gguf", changed(norm, norm[:-12] + struct.pack("<I", 5) + norm[-8:])
    info = norm + struct.pack("<I", 0)
    yield "type.gguf", changed(info, norm + struct.pack("<I", 99))
    yield "quantized.gguf", changed(info, norm + struct.pack("<I", 24))
    yield "blocks.gguf", changed(info, norm + struct.pack("<I", 8))
    yield "offset.gguf", changed(info + struct.pack("<Q", 64), info + struct.pack("<Q", 65))
    yield "beyond.gguf", changed(info + struct.pack("<Q", 64), info + struct.pack("<Q", 2**40))
    yield (
        "again.gguf",
        changed(b"output_norm.weight", b"token_embd.weight!").replace(
            b"token_embd.weight!", b"token_embd.weight\0", 1
        ),
    )
    yield "utf8.gguf", changed(b"output_norm.weight", b"\xffutput_norm.weight")
    yield "tensors.gguf", whole[:8] + struct.pack("<Q", 2**20) + whole[16:]
    yield "empty-key.gguf", gguf(pair("", U32, bytes(4)))
    yield (
        "split.gguf",
        gguf(pair("general.architecture", STRING, text(b"llama")), pair("split.count", 2, b"\3\0")),
    )
    yield "keys.gguf", gguf(pair("a", U32, bytes(4)), pair("a", U32, bytes(4)))
    yield "arrays.gguf", gguf(pair("a", 9, struct.pack("<IQ", 9, 0)))
    yield "many.gguf", gguf(pair("a", 9, struct.pack("<IQ", 0, 2**22) + bytes(2**22)))
    yield "value.gguf", gguf(pair("a", 13, b""))
    yield "version.gguf", whole[:4] + b"\4" + whole[5:]
    yield "cut.gguf", whole[:-1]
    yield "head.gguf", whole[:100]
    yield "unnamed.gguf", gguf(tensors=1) + bytes(100)
    yield "twice.gguf", corpus.gguf([], [(b"a", (8,), 0, bytes(32))] * 2)
    infos = [text(name) + struct.pack("<IQIQ", 1, 8, 0, 0) for name in (b"a", b"b")]
    head = gguf(tensors=2) + b"".join(infos)
    yield "overlap.gguf", head + bytes(-len(head) % 32 + 32)
    yield "name.gguf", gguf(pair("n" * 65536, U32, bytes(4)))


METADATA = {
    "no.json": b"{",
    "list.json": b"[]",
    "number.json": b'{"general.name": 1}',
    "texts.json": b'{"general.tags": []}',
    "fixed.json": b'{"general.architecture": "llama"}',
    "other.json": b'{"general.nmae": "x"}',
    "twice.json": b'{"general.name": "x", "general.name": "y"}',
    "large.json": b" " * (1 << 20) + b"{}",
    "half.json": b'{"general.name": "\\ud800"}',
}


def lines() -> Iterator[str]:
    """The command lines, in folders of their own: c(heckpoints), v(ocabularies), m(odels)."""
    for name, data in vocabularies():
        Path("v", name).write_bytes(data)
    Path("v/large.model").write_bytes(b"\n")
    os.truncate("v/large.model", (1 << 26) + 1)
    for name, data in damaged():
        Path("c", name).write_bytes(data)
        yield f"convert c/{name} OUT"
    yield "export c/cut-optimizer.bin OUT --vocab v/twice.gguf"
    yield "export c/cut-100.bin OUT --vocab v/twice.gguf --rescue"
    yield "export c/odd-heads.bin OUT --vocab vocab.gguf"
    yield "export c/odd-tokens.bin OUT --vocab vocab.gguf"
    yield "inspect c/more.bin --quiet"
    for name in ("no-samples", "odd-tokens", "no-iterations", "no-limit"):
        yield f"convert c/{name}.bin OUT --resume-with flash --order flash"
    yield "convert c/no-limit.bin OUT --resume-with flash"
    yield "export c/layer-odd-tokens.bin OUT --vocab v/other.gguf"
    yield "export c/five.bin OUT --vocab v/wire.model"
    yield "export c/five.bin OUT --vocab v/large.model"
    yield "convert undecided.bin OUT --resume-with flash"
    yield "convert undecided-lora.bin OUT --resume-with flash"
    yield "export lora.bin OUT --merge lora.bin"
    yield "export in.bin OUT --format hf --merge base.gguf"
    yield "export in.bin taken --format hf"
    yield "export in.bin OUT --merge base.gguf"
    yield "export c/lora-0.bin OUT"
    yield "export c/lora-optimizer.bin OUT"
    yield "export c/lora-cut.bin OUT --rescue"
    for name, _ in vocabularies():
        yield f"export in.bin OUT --vocab v/{name}"
    for name in ("in.bin", "lora.bin", "c/algg.bin", "c/zip.bin", "c/empty.bin"):
        yield f"export in.bin OUT --vocab {name}"
        yield f"export lora.bin OUT --merge {name}"
    yield "inspect vocab.gguf"
    yield "vocab.gguf"
    yield "nowhere.bin"
    yield "inspect vocab.gguf pipe"
    yield "in.bin nowhere"
    yield "inspect in.bin lora.bin --html OUT"
    Path("nothing").mkdir()
    yield "inspect nothing"
    yield "export lora.bin OUT --merge vocab.gguf"
    yield "export in.bin OUT --vocab adapter.gguf"
    yield "export lora.bin OUT --merge adapter.gguf"
    for name, data in METADATA.items():
        Path("j", name).write_bytes(data)
        yield f"export in.bin OUT --vocab vocab.gguf --metadata j/{name}"
    yield "export in.bin OUT --vocab vocab.gguf --model-name \udcff"
    for name, data in models():
        Path("m", name).write_bytes(data)
        yield f"export lora.bin OUT --merge m/{name}"
        yield f"verify in.bin m/{name}"
    yield "verify lora.bin base.gguf"
    yield "verify lora.bin adapter.gguf --merge base.gguf"
    yield "verify in.bin in.bin"
    yield "document --check in.bin"
    yield "document --check j/huge"
    yield from places()
    yield from usage()


def places() -> Iterator[str]:
    """Names that cannot be read or written."""
    for name in ("nowhere", "c", "pipe", "/dev/zero", "circle", "in.bin/x", "-", "c\n\x1b[2J"):
        yield f"convert {name} OUT"
    for name in ("taken", "c", "pipe", "in.bin", "none/OUT", "in.bin/OUT", "circle/OUT", "-"):
        yield f"convert in.bin {name}"
    yield "convert in.bin " + "x" * 256
    yield "convert in.bin pipe --force"
    yield "convert in.bin stdout"
    yield "convert in.bin stdout --force"


USAGE = """\
convrt in.bin OUT
in.bin
nowhere.bin
help nothing
convert in.bin OUT --ouptut OTHER
convert in.bin OUT --out OTHER
inspect in.bin --tensros
convert
convert in.bin
convert in.bin OUT -o OTHER
convert in.bin OUT -i OTHER
convert in.bin OUT MORE
convert in.bin OUT --eps 0
convert in.bin OUT --batch 0
convert in.bin OUT --batch 2
convert in.bin OUT --order x
convert in.bin OUT --order flash
convert in.bin OUT --resume-with x
convert in.bin OUT -q -v
export in.bin OUT
export in.bin
verify in.bin
inspect
export in.bin OUT --vocab vocab.gguf --outtype q4_0
export in.bin OUT --vocab vocab.gguf --outtype fp16
export lora.bin OUT --vocab vocab.gguf
export lora.bin OUT --outtype q8_0
export lora.bin OUT --merge base.gguf --eps 1e-6
export in.bin OUT --batch 2
export in.bin OUT --order flash
export in.bin OUT --format pt
convert in.bin OUT --format hf
convert in.bin OUT --eps
export in.bin in.bin --vocab vocab.gguf --force
convert in.bin lora.bin --force
export base.gguf OUT --merge lora.bin
export in.bin OUT --format hf --outtype q8_0
export in.bin OUT --format hf --model-name a
export lora.bin OUT --format hf
synth OUT --n-head -1
synth OUT --n-head 3
synth OUT --rank 2 --n-ff 3
synth OUT --lora --with-params
synth OUT --lora --n-vocab 0
document --format pdf"""
"""Command lines that make no sense."""


def usage() -> Iterator[str]:
    """Command lines that make no sense."""
    yield from USAGE.split("\n")


def changes() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What happens to files while they are read or written: words, functions in place of others."""

    def cut() -> None:
        os.truncate("changing.bin", 200)

    def grown() -> None:
        with Path("changing.bin").open("ab") as file:
            file.write(b"more")

    def replaced() -> None:
        Path("other.bin").write_bytes(Path("changing.bin").read_bytes())
        Path("other.bin").rename("changing.bin")

    def lost(source: int, target: int, count: int, start: int, offset: int) -> int:
        return count

    reserve, line = os.posix_fallocate, "convert changing.bin OUT"
    for action in (cut, grown, replaced):
        yield f"input {action.__name__}", line, {"posix_fallocate": acting_first(action, reserve)}
    refused = failing(errno.EIO)
    broken = {"copy_file_range": refused, "sendfile": refused, "pread": refused}
    yield "input that cannot be read", line, broken
    yield "output that the disk lost", line + " --verify", {"copy_file_range": lost}

    def exchanged() -> None:
        (unfinished,) = Path().glob(".ggcp-unfinished-*")
        unfinished.unlink()
        unfinished.symlink_to("changing.bin")

    def moved() -> None:
        Path("folder").rename("renamed")

    Path("folder").mkdir()
    sync = os.fsync
    yield "unfinished file exchanged", line, {"fsync": acting_first(exchanged, sync)}
    yield "folder moved", line.replace("OUT", "folder/OUT"), {"fsync": acting_first(moved, sync)}
    names_lost = {"fsync": failing(errno.EIO, 1, sync)}
    yield "folder that the disk loses", line + " --force", names_lost


FAULTS: dict[str, tuple[str, int]] = {
    "the disk is full": ("posix_fallocate", errno.ENOSPC),
    "the quota is used up": ("posix_fallocate", errno.EDQUOT),
    "the file would be too large": ("posix_fallocate", errno.EFBIG),
    "the disk fails": ("fsync", errno.EIO),
    "the disk is read-only": ("open", errno.EROFS),
    "the folder may not be written": ("open", errno.EACCES),
    "the disk cannot be waited for": ("fsync", errno.EINVAL),
    "too many files are open": ("open", errno.EMFILE),
    "something else": ("fsync", errno.ENXIO),
}


def builds() -> Iterator[tuple[str, Callable[[], object]]]:
    """What ``ggcp_schema.build`` and ``parse`` say to a program."""
    parsed = parse(io.BytesIO(bytes(PARAMS.data)))
    whole = parsed.container

    def built(path: str, value: Any) -> Callable[[], object]:
        from members import changed

        return lambda: build(changed(whole, path, value), io.BytesIO())

    for path, value in {
        "training": None,
        "training.iteration_count": -1,
        "hyperparameters.head_count": 0,
        "hyperparameters": 5,
        "model.norm": {"data": bytes(4)},
        "model.norm.name": "text",
        "model.norm.data": 5,
        "model.layers": 5,
        "model.output": {"data": [b"", 5]},
        "optimizer.version": 7,
        "optimizer.state.best_loss": "x",
        "optimizer.params.compiler_padding": b"",
        "optimizer.parameter_count": 5,
        "model.norm.padding": 5,
        "model.output.data": parsed.model.norm.data,
        "model.tok_embeddings.data": np.zeros((2, 2), "<f8"),
        "hyperparameters.embedding_length": 2**31,
        "magic": b"what",
    }.items():
        shown = " ".join(str(value).split()) if isinstance(value, np.ndarray) else repr(value)
        yield f"build with {path} = {shown}", built(path, value)
    from converter import ExportOptions, ResumeWith, convert, export, export_lora
    from ggcp_schema.order import Order

    of_model = ExportOptions("vocab.gguf")
    no_batch = ResumeWith(Order.FLASH, Order.FLASH, batch=0)

    lora = parse("lora.bin").container
    yield "build a layout", lambda: build({**lora, "layout": 5}, io.BytesIO())
    yield "build ranks", lambda: SyntheticLora(ranks={"wx": 1}).container()
    yield "export a LoRA checkpoint", lambda: export("lora.bin", "OUT", of_model)
    yield "export as q4_0", lambda: export_lora("lora.bin", "OUT", outtype="q4_0")
    yield "export without a vocabulary", lambda: export_lora("in.bin", "OUT")
    yield "batch 0", lambda: convert("in.bin", "OUT", resume_with=no_batch)
    yield "build in the middle", lambda: build(whole, _in_the_middle())
    yield "build to a closed file", lambda: build(whole, _closed())
    yield "parse a text file", lambda: parse(io.StringIO("x"))  # type: ignore[arg-type]
    yield "parse a closed file", lambda: parse(_closed())


def _in_the_middle() -> io.BytesIO:
    file = io.BytesIO(b"12")
    file.seek(1)
    return file


def _closed() -> io.BytesIO:
    file = io.BytesIO()
    file.close()
    return file


class Sites:
    """Which places in the source make an error."""

    def __init__(self) -> None:
        self.reached: set[tuple[str, int]] = set()

    def watch(self) -> None:
        """Note from where the errors come from now on."""
        from converter.errors import ConversionError, OptionsError
        from ggcp_schema import FormatError

        for kind in (FormatError, ConversionError, OptionsError):
            kind.__init__ = self._noting(kind.__init__)  # type: ignore[method-assign]

    def _noting(self, good: Callable[..., None]) -> Callable[..., None]:
        def init(*arguments: Any, **named: Any) -> None:
            frame = sys._getframe(1)
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(ROOT):
                self.reached.add((str(path.relative_to(ROOT)), frame.f_lineno))
            good(*arguments, **named)

        return init

    def missed(self) -> list[str]:
        """Functions with a place that was never reached."""
        found = set()
        for package in ("converter", "ggcp_schema"):
            for path in sorted((ROOT / package).rglob("*.py")):
                tree = ast.parse(path.read_text(encoding="utf-8"))
                name = str(path.relative_to(ROOT))
                for function in ast.walk(tree):
                    if not isinstance(function, ast.FunctionDef):
                        continue
                    for call in ast.walk(function):
                        if _makes_an_error(call) and not any(
                            (name, line) in self.reached
                            for line in range(call.lineno, (call.end_lineno or 0) + 1)
                        ):
                            found.add(f"{name}: {function.name}")
        return sorted(found)


def _makes_an_error(node: ast.AST) -> bool:
    names = ("FormatError", "ConversionError", "OptionsError")
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def said(line: str) -> str:
    """What a command line leads to."""
    output, complaint = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(complaint):
        try:
            code: Any = cli.main(line.split(" ") if line else [])
        except SystemExit as exit_:
            code = exit_.code
    for name in ("OUT", "OTHER"):
        Path(name).unlink(missing_ok=True)
    # Of a usage error the last line is the message; notes go before an error. Of a result, which
    # has no error, the first line is the headline.
    words = complaint.getvalue().rstrip("\n").rpartition("\n")[2]
    words = words or output.getvalue().partition("\n")[0]
    shown = line.encode("unicode_escape").decode("ascii")
    return f"$ ggcp {shown}\n{words}\n[{code}]\n"


def everything() -> str:
    """Everything, in a folder that is empty; what the golden file should be."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    sites = Sites()
    sites.watch()
    write_inputs(Path())
    for folder in ("c", "v", "m", "j"):
        Path(folder).mkdir()
    Path("taken").write_text("old")
    os.mkfifo("pipe")
    Path("circle").symlink_to("circle")
    Path("stdout").symlink_to("/proc/self/fd/1")
    Path("j/huge").write_bytes(b"")
    os.truncate("j/huge", (1 << 24) + 1)
    undecided_lora = bytearray(file_with_layers())
    with parse(io.BytesIO(undecided_lora)) as lora:
        v = lora.optimizer.state.second_moments.data
    undecided_lora[v.offset : v.offset + v.length] = struct.pack("<f", 0.25) * (v.length // 4)
    Path("undecided-lora.bin").write_bytes(undecided_lora)
    undecided = checkpoint(1, n_vocab=4)
    Path("undecided.bin").write_bytes(
        undecided.with_field(
            "optimizer.state.second_moments.data",
            struct.pack("<18f", *(float(i % 5) for i in range(18))),
        )
    )
    said("export lora.bin adapter.gguf")
    parts = [words for words in map(said, lines()) if not words.endswith("[0]\n")]
    for what, (name, number) in FAULTS.items():
        good = getattr(os, name)
        setattr(os, name, failing(number, 1 if name == "open" else 0, good))
        try:
            parts.append(said("convert in.bin OUT").replace("$", f"{what}: $", 1))
        finally:
            setattr(os, name, good)
    for what, line, functions in changes():
        Path("changing.bin").write_bytes(corpus.training())
        good_ones = {name: getattr(os, name) for name in functions}
        for name, function in functions.items():
            setattr(os, name, function)
        try:
            parts.append(said(line).replace("$", f"{what}: $", 1))
        finally:
            for name, good in good_ones.items():
                setattr(os, name, good)
    sys.modules["sentencepiece"] = None  # type: ignore[assignment]
    parts.append("without sentencepiece: " + said("export c/five.bin OUT --vocab v/five.model"))
    del sys.modules["sentencepiece"]
    for what, action in builds():
        try:
            action()
        except Exception as error:
            parts.append(f"{what}\n{type(error).__name__}: {error}\n")
    for number, handler in handlers.items():
        signal.signal(number, handler)
    missed = "\n".join(sites.missed())
    return "\n".join(parts) + f"\nFunctions that make an error which is not above:\n{missed}\n"


def main() -> None:
    """Write the golden file, or print what should be in it."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        found = everything()
        os.chdir(ROOT)
    if sys.argv[1:] == ["--print"]:
        sys.stdout.buffer.write(found.encode())
    else:
        GOLDEN.write_text(found, encoding="utf-8")


if __name__ == "__main__":
    main()
