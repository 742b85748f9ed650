"""What a checkpoint becomes for the trainer that reads it, worked out by NumPy and hand-written
orders alone; and the command in this process.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gguf_bytes import GGUF_VECTORS, STRING, U64, Gguf, Key, expected
from reference import llama
from reference.checkpoint import Checkpoint

from converter import __version__, cli
from converter.inputs import Opened, open_checkpoint
from ggcp_schema import build
from ggcp_schema.enums import OptimizerType
from ggcp_schema.synthetic import Synthetic

Array = npt.NDArray[np.float32]

# Each complete real file: the order in it, and n_ctx · n_batch where its gradients are sums.
REAL = {
    "ggcp_42d9b4cfc_11layers.bin": ("plain", 16),
    "v0_adam_one.bin": ("scratch", 32),
    "v0_lbfgs_patched.bin": ("scratch", 1),
    "v1_adam_one.bin": ("flash", 1),
    "v1_adam_one_noflash.bin": ("plain", 1),
    "v1_adam_past3.bin": ("flash", 1),
    "v1_lbfgs.bin": ("flash", 1),
    "v1params_adam_default.bin": ("scratch", 32),
}
# Each LoRA checkpoint, whose gradients are of the mean loss.
LORA = {
    "ggcl_1a5f0a30e_one_flash.bin": "flash",
    "ggcl_1a5f0a30e_one_noflash.bin": "plain",
    "ggcl_v1_adam_1a5f0a30e.bin": "flash",
}
ORDERS = ("flash", "plain", "scratch", "flash-rtl")
NOT_FLAT = ("pf", "lmal", "lmys")
SMALL = {"vocabulary_size": 40, "embedding_length": 8, "feed_forward_multiple": 8, "head_count": 2}


GOES_ON = "ggcp: Go on"
"""How the note begins that names the next command, which has tests of its own."""


class Said(NamedTuple):
    """How a command ended, and its lines on standard output and, but for ``GOES_ON``, error."""

    code: int
    out: list[str]
    err: list[str]


def ggcp(*arguments: object) -> Said:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(argument) for argument in arguments])
    notes = [line for line in err.getvalue().splitlines() if not line.startswith(GOES_ON)]
    return Said(code, out.getvalue().splitlines(), notes)


def shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in checkpoint.tensors.items()}


def reordered(vector: Array, stored: str, target: str, checkpoint: Checkpoint) -> Array:
    """Flat vectors, one or several as rows, in another order of the parameters."""
    pairs = bool(checkpoint.ranks)
    names = llama.parameter_names(target, checkpoint.header["n_layer"], pairs=pairs)
    rows = []
    for row in vector.reshape(-1, checkpoint.optimizer.nx):
        parts = llama.split(row, stored, shapes(checkpoint))
        rows.append(np.concatenate([parts[name].ravel() for name in names]))
    return np.concatenate(rows)


def divided(vector: Array, divisor: int) -> Array:
    """Computed in float64 and rounded once."""
    return (vector.astype(np.float64) / np.float64(divisor)).astype("<f4")


def resumed(
    checkpoint: Checkpoint, stored: str, target: str, rows: int, epsilon: float = 1e-5
) -> Gguf:
    """The whole GGUF that a checkpoint becomes."""
    gguf = expected(checkpoint, __version__, epsilon)
    if checkpoint.optimizer.type == "adam":  # of the mean now, whatever they were of
        gguf.key("ggcp.gradients").value = "mean"
    gguf.keys += [
        Key("ggcp.parameter_order", STRING, target),
        Key("ggcp.stored_parameter_order", STRING, stored),
        Key("ggcp.gradient_rows", U64, rows),
    ]
    for name, vector in flat(checkpoint).items():
        data = reordered(vector, stored, target, checkpoint)
        divisor = {"m": rows, "v": rows**2}.get(name, 1)
        gguf.tensor(gguf_name(checkpoint, name)).data = divided(data, divisor).tobytes()
    return gguf


def flat(checkpoint: Checkpoint) -> dict[str, Array]:
    """The vectors over all parameters that go into the GGUF, by their names in C."""
    vectors = checkpoint.optimizer.vectors
    names = GGUF_VECTORS[checkpoint.optimizer.type]
    return {name: vectors[name] for name in names if name not in NOT_FLAT}


def gguf_name(checkpoint: Checkpoint, name: str) -> str:
    kind = checkpoint.optimizer.type
    return f"optimizer.{kind}.{GGUF_VECTORS[kind][name]}"


def made(given: Synthetic, changes: Mapping[str, Any] | None = None) -> bytes:
    """A synthetic checkpoint with other values at paths such as ``optimizer.state.x``."""
    container = given.container()
    for path, value in (changes or {}).items():
        *outer, name = path.split(".")
        place: Any = container
        for step in outer:
            place = place[step]
        place[name] = value
    file = io.BytesIO()
    build(container, file)
    return file.getvalue()


def parsed(given: Synthetic, changes: Mapping[str, Any] | None = None) -> Opened:
    return open_checkpoint(io.BytesIO(made(given, changes)))


def elements(given: Synthetic, vector: str) -> Array:
    """A vector of the optimizer's state as its synthetic checkpoint has it."""
    container = given.container()
    return np.frombuffer(b"".join(container["optimizer"]["state"][vector]), "<f4").copy()


VERSION_1 = Synthetic(**SMALL, optimizer_version=1)  # type: ignore[arg-type]
LBFGS = Synthetic(**SMALL, optimizer_type=OptimizerType.LBFGS)  # type: ignore[arg-type]
