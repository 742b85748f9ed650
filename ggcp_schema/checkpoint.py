"""The file: what its first four bytes say it is, and all that follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from construct import Construct

from ggcp_schema.language.checks import CUT, shown
from ggcp_schema.language.errors import FormatError
from ggcp_schema.language.fields import U32, Struct, computed, derived, field
from ggcp_schema.language.runs import End, Signature
from ggcp_schema.lora import LoraCheckpoint
from ggcp_schema.model import Hyperparameters, Model, Training
from ggcp_schema.optimizer import OptimizerContext
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
    field("optimizer", OptimizerContext(),
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

_ALREADY = "already a GGUF: nothing needs to be converted; give it to llama.cpp as it is"
_MODEL = "a model, not a training checkpoint: llama.cpp's convert-llama-ggmlv3-to-gguf reads it"
FOREIGN = {
    b"GGUF": ("a GGUF file", _ALREADY),
    b"algg": (
        "a LoRA adapter (ggla)",
        "the adapter holds no training state; give the checkpoint that finetune wrote beside it",
    ),
    b"tjgg": ("a model file of 2023 (ggjt)", _MODEL),
    b"fmgg": ("a model file of 2023 (ggmf)", _MODEL),
    b"lmgg": ("a model file of 2023 (ggml)", _MODEL),
    b"PK\x03\x04": ("a zip archive", "unpack it and give the .bin file inside"),
    b"ggcp": (
        "a checkpoint of a big-endian machine",
        "only little-endian checkpoints can be read; train or copy on a little-endian machine",
    ),
    b"ggcl": (
        "a LoRA checkpoint of a big-endian machine",
        "only little-endian checkpoints can be read; train or copy on a little-endian machine",
    ),
}
"""First bytes of files that people take for a checkpoint: what each is, and what to do."""

MAGICLESS = (
    "a checkpoint of 17 to 21 May 2023, before the magic (no optimizer state)",
    "this layout of four days is not supported; open an issue at the project and attach the file",
)


def recognised(head: bytes) -> tuple[str, str]:
    """Say what a file that is no checkpoint is, from its first 128 bytes, and what to do."""
    if head[:4] in FOREIGN:
        return FOREIGN[head[:4]]
    if head[:2] == b"\x1f\x8b":
        return "a gzip archive", "unpack it with gunzip and give the file inside"
    if b"tok_embeddings.weight" in head[32:96]:
        return MAGICLESS
    if not head:
        return "an empty file", "the training was stopped while saving; look for an older copy"
    if not head.strip(b"\0"):
        return "zeros", "the file was never written, or was lost on the disk; look for a copy"
    return (
        shown(head[:4]),
        "give a .bin checkpoint of train-text-from-scratch or finetune from 2023",
    )


def _left_by_aborted_save(error: FormatError, size: int) -> bool:
    """Tell whether the file ends in the last layer's w3 or right behind it."""
    blocks = error.partial.get("hyperparameters", {}).get("block_count", 0)
    if not blocks or error.hint != CUT:
        return False
    if error.path == "optimizer.version":
        return error.offset == size
    return error.path.startswith(f"model.layers[{blocks - 1}].feed_forward.w3.")


class CheckpointFile(Construct):  # type: ignore[misc]
    """A whole file, whose layout is chosen by its magic."""

    layouts: Mapping[bytes, Struct] = {b"pcgg": TrainingCheckpoint, b"lcgg": LoraCheckpoint}

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        head = stream.read(128)
        stream.seek(0)
        layout = self.layouts.get(head[:4])
        if layout is None:
            found, hint = recognised(head)
            raise FormatError(
                path="magic",
                offset=0,
                expected="'pcgg' (a training checkpoint) or 'lcgg' (a LoRA checkpoint)",
                found=found,
                hint=hint,
            )
        try:
            return layout._parse(stream, context, path)
        except FormatError as error:
            if layout is TrainingCheckpoint and _left_by_aborted_save(error, stream.size):
                error.hint = ABORTED_SAVE
            raise

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        magic = obj.get("magic", b"pcgg") if isinstance(obj, Mapping) else b"pcgg"
        layout = self.layouts.get(magic) if isinstance(magic, bytes) else None
        if layout is None:
            raise FormatError(
                path="magic",
                offset=0,
                expected=" or ".join(map(shown, self.layouts)),
                found=shown(magic),
                hint="give the magic of a checkpoint, or none for a training checkpoint",
            )
        return layout._build(obj, stream, context, path)


CHECKPOINT_FILE = CheckpointFile()
