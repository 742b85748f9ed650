"""The file: what its first four bytes say it is, and all that follows."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, BinaryIO

from construct import Construct, Container

from ggcp_schema.foreign import ForeignFileError, recognised
from ggcp_schema.ggla import LoraAdapter
from ggcp_schema.language.checks import CUT, shown
from ggcp_schema.language.constructs import Described, Member
from ggcp_schema.language.errors import FormatError, reason
from ggcp_schema.language.fields import U32, Struct, computed, derived, field
from ggcp_schema.language.runs import End, Signature
from ggcp_schema.language.sink import Sink
from ggcp_schema.language.source import Source
from ggcp_schema.lora import LoraCheckpoint
from ggcp_schema.magicless import MagiclessCheckpoint, is_magicless
from ggcp_schema.model import Hyperparameters, Model, Training
from ggcp_schema.optimizer import OptimizerContext
from ggcp_schema.places import Place, place, places, stop
from ggcp_schema.tensor import ElementCount

# fmt: off
TrainingCheckpoint = Struct(
    field("magic", Signature(b"pcgg"),
        "magic", "The u32 'ggcp', low byte first."),
    derived("version", U32, 0,
        "version", "Version of the file; no other was ever released."),
    field("training", Training,
        "-", "How far the training got."),
    field("hyperparameters", Hyperparameters,
        "hparams", "The sizes of the model."),
    field("model", Model,
        "model", "The weights."),
    computed("parameter_count", ElementCount(Model),
        "nx", "The elements of all tensors of the model; stored in the optimizer context."),
    field("optimizer", OptimizerContext,
        "opt", "The optimizer context, from which the training goes on."),
    field("end", End(),
        "-", "Nothing follows."),
    docs="A training checkpoint. llama.cpp, examples/train-text-from-scratch (before June 2023 "
        "examples/baby-llama/baby-llama-text.cpp): save_checkpoint, 42d9b4cfc (2023-05-21) to "
        "43033b7bb (2023-08-28). All trainers whose optimizer context is of version 0 abort while "
        "they save with L-BFGS. Such a file breaks off before the optimizer context and lacks up "
        "to 4095 bytes of the model's last tensors: it is damaged, reject it; all other weights "
        "can be salvaged (``ggcp export --rescue``).",
)
# fmt: on

ABORTED_SAVE = (
    "releases of the trainer abort while they save with --use-lbfgs and leave such a file: the end "
    "of the last layer's w3 and the optimizer state were never written, all other weights are "
    "there; they can be had with ggcp export --rescue, but training cannot go on from this file"
)
"""write_opt_context has an assertion that L-BFGS fails (e32089b2c to 43033b7bb)."""

MOST_UNWRITTEN = 1024
"""Values that such a file lacks at the most: up to 4095 bytes were still in the C library."""

DEBUG_COPY = (
    "a copy for debugging, as two commits of 2023-08-28 (e8df9e681, 31c093c2c) wrote it beside a "
    "GGUF under the name X.0.old.bin or X.1.old.bin: its vectors were never filled; give the GGUF"
)
"""Told by the name of the first record, which is that of a GGUF."""

MAGICLESS = b""
"""Stands for the magic of a file that has none, among the cases and in what is parsed and built."""


def _left_by_aborted_save(error: FormatError, size: int) -> bool:
    """Tell whether the file ends in the last layer's w3 or right behind it."""
    blocks = error.partial.get("hyperparameters", {}).get("block_count", 0)
    if not blocks or error.hint != CUT:
        return False
    if error.path == "optimizer.version":
        return error.offset == size
    if not error.path.startswith(f"model.layers[{blocks - 1}].feed_forward.w3."):
        return False
    sizes = error.partial["hyperparameters"]
    values = sizes["embedding_length"] * sizes["feed_forward_length"]
    written = (size - (error.offset or 0)) // 4 if error.path.endswith(".data") else 0
    return bool(values - written <= MOST_UNWRITTEN)


class CheckpointFile(Described, Construct):  # type: ignore[misc]
    """A whole file, whose layout is chosen by its magic, or where it has none by its first record.

    What is parsed says which: ``magic`` is ``MAGICLESS`` in a file without one.
    """

    cases: Mapping[bytes, Struct] = {
        b"pcgg": TrainingCheckpoint,
        b"lcgg": LoraCheckpoint,
        b"algg": LoraAdapter,
        MAGICLESS: MagiclessCheckpoint,
    }
    children = tuple(cases.values())

    def members(self, value: Mapping[str, Any]) -> list[Member]:
        """Return the fields of the layout that a parsed file has."""
        return self.cases[value["magic"]].members(value)

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        head = stream.read(128)
        magic = MAGICLESS if is_magicless(head) else head[:4]
        layout = self.cases.get(magic) if head else None
        if layout is None:
            raise ForeignFileError(recognised(stream), shown(magic), size=stream.size)
        stream.seek(0)
        try:
            container = layout._parse(stream, context, path)
        except FormatError as error:
            error.partial["magic"] = magic
            if layout is TrainingCheckpoint and head[64:].startswith(b"token_embd.weight"):
                error.hint = DEBUG_COPY
            if layout is TrainingCheckpoint and _left_by_aborted_save(error, stream.size):
                error.hint = ABORTED_SAVE
            raise
        container["magic"] = magic
        return container

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        magic = obj.get("magic", b"pcgg") if isinstance(obj, Mapping) else b"pcgg"
        layout = self.cases.get(magic) if isinstance(magic, bytes) else None
        if layout is None:
            raise FormatError(
                path="magic",
                offset=0,
                expected=" or ".join(
                    f"{shown(m)} ({m[::-1].decode() or 'none'})" for m in self.cases
                ),
                found=shown(magic),
                hint="give the magic of a checkpoint, or none for a training checkpoint",
            )
        return layout._build(obj, stream, context, path)


CHECKPOINT_FILE = CheckpointFile()


class Checkpoint:
    """A parsed checkpoint and the open file that its tensors' data are spans of.

    Use it in a ``with`` statement, or call ``close``.

    Attributes:
        container: everything in the file, by the names of the schema.
        source: the open file.
        error: what is wrong with the file, if it was parsed as far as it goes; None if nothing is.
    """

    def __init__(
        self, container: Container, source: Source, error: FormatError | None = None
    ) -> None:
        self.container = container
        self.source = source
        self.error = error

    def places(self) -> Iterator[Place]:
        """Yield which bytes hold which field, in the order of the file, as far as it was parsed."""
        return places(CHECKPOINT_FILE, self.container)

    def place(self, path: str) -> int:
        """Return where the field at ``path``, such as ``training.sample_count``, starts.

        Raises:
            LookupError: the file holds no such field, or was not parsed as far.
        """
        return place(CHECKPOINT_FILE, self.container, path)

    def stop(self) -> int:
        """Return where parsing stopped: the byte behind the last field that was parsed."""
        return stop(CHECKPOINT_FILE, self.container)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["container"][name]
        except KeyError:
            raise AttributeError(name) from None

    def close(self) -> None:
        """Close the file; spans cannot be read any more."""
        self.source.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@contextlib.contextmanager
def _collection_paused() -> Iterator[None]:
    """Let no search for reference cycles run: a file makes many objects, and no cycle of them.

    With it, parsing takes longer than in proportion to the number of tensors.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def parse(file: str | os.PathLike[str] | BinaryIO, *, partial: bool = False) -> Checkpoint:
    """Parse a whole checkpoint; tensor data are not read but left as spans of the file.

    Args:
        file: a name, or a seekable binary file, which is read from its first byte; a Source is
            closed with the checkpoint.
        partial: whether a damaged file is parsed as far as it goes. The container then holds what
            was read and checked before the error, and ``error`` is that error. A struct that the
            error is in holds the members before it; a tensor that is cut lacks its ``data``.

    Raises:
        FormatError: the file cannot be read or is no checkpoint, or anything in it contradicts the
            format and ``partial`` is not set.
    """
    if isinstance(file, Source):
        source = file
    else:
        source = Source.open(file) if isinstance(file, (str, os.PathLike)) else Source.over(file)
    source.seek(0)
    try:
        with _collection_paused():
            return Checkpoint(CHECKPOINT_FILE.parse_stream(source), source)
    except FormatError as error:
        error.file = source.label
        if partial and error.partial:
            return Checkpoint(error.partial, source, error)
        source.close()
        raise
    except OSError as error:
        source.close()
        raise FormatError(
            file=source.label,
            expected="a file that can be read to its end",
            found=reason(error),
            hint="the disk cannot read it; copy the file to another disk and try again",
        ) from error
    except BaseException:
        source.close()
        raise


def build(container: Mapping[str, Any] | Checkpoint, file: BinaryIO) -> None:
    """Write a checkpoint through the structs that parse one.

    Magic, versions of the file, lengths, shapes, padding and the parameter count are derived. The
    caller gives the counters, the hyperparameters, the data of each tensor (a Span, a little-endian
    float32 array, a buffer or an iterable of byte blocks) and the members of the optimizer context
    that carry information; for a LoRA checkpoint also its magic, ``b"lcgg"``, the ranks and the
    feed-forward length. A file without a magic has ``b""`` in its place, and no optimizer.

    Args:
        container: a parsed checkpoint, or mappings nested as in one.
        file: an empty binary file, or a pipe; tensor data are aligned to its first byte.

    Raises:
        FormatError: a member is missing or contradicts the format, or the file cannot be written.
            What was written until then stays in ``file``.
    """
    members = container.container if isinstance(container, Checkpoint) else container
    sink = Sink(file)
    try:
        CHECKPOINT_FILE.build_stream(members, sink)
    except FormatError as error:
        error.file = error.file or sink.label
        raise
    sink.flush()
