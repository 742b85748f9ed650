"""What a Hugging Face folder should hold, worked out by NumPy alone, and a reader of its files.

Weights have the names and shapes of the reference; names and rows of transformers are written by
hand here.
"""

from __future__ import annotations

import json
import math
import pickletools
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from exported import VOCABULARY
from reference import llama
from reference.checkpoint import Checkpoint

from converter.use_cases.carry_out import Writing
from converter.use_cases.export_folder import export_folder
from converter.use_cases.export_options import FolderOptions

Array = npt.NDArray[np.floating]
Tensors = dict[str, Array]

INPUTS = [1, 261, 273, 274, 298, 295, 296, 297, 299, 282, 283, 284, 298, 286, 287, 288]
TARGETS = [*INPUTS[1:], 13]

# fmt: off
# Each real file whose optimizer is Adam: the order in it, n_ctx · n_batch where its gradients are
# sums, and the epsilon of its trainer.
ADAM = {
    "v0_adam_one.bin": ("scratch", 32, 1e-6),
    "v1_adam_one.bin": ("flash", 1, 1e-5),
    "v1_adam_one_noflash.bin": ("plain", 1, 1e-5),
    "v1_adam_past3.bin": ("flash", 1, 1e-5),
    "v1params_adam_default.bin": ("scratch", 32, 1e-6),
}
_LLAMA = {
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}
# fmt: on


def export(checkpoint: Path, path: Path, **options: Any) -> Path:
    """Export to a folder without waiting for the disk, and return its path."""
    options = {"vocabulary": VOCABULARY, **options}
    export_folder(checkpoint, path, FolderOptions(**options), writing=Writing(sync=False))
    return path


def hf_names(n_layer: int) -> dict[str, str]:
    """For each parameter of LlamaForCausalLM, in its order, the tensor of the checkpoint."""
    names = {"model.embed_tokens.weight": "tok_embeddings.weight"}
    for i in range(n_layer):
        for new, old in _LLAMA.items():
            names[f"model.layers.{i}.{new}.weight"] = f"layers.{i}.{old}.weight"
    return {**names, "model.norm.weight": "norm.weight", "lm_head.weight": "output.weight"}


def to_hf(name: str, values: Array, n_head: int) -> Array:
    """A tensor of the checkpoint with its rows as transformers wants them."""
    if not name.endswith(("wq.weight", "wk.weight")):
        return values
    heads = values.reshape(n_head, -1, 2, values.shape[1])
    return heads.swapaxes(1, 2).reshape(values.shape)


def from_hf(name: str, values: Array, n_head: int) -> Array:
    """The inverse of ``to_hf``."""
    if not name.endswith(("wq.weight", "wk.weight")):
        return values
    heads = values.reshape(n_head, 2, -1, values.shape[1])
    return heads.swapaxes(1, 2).reshape(values.shape)


def read_safetensors(path: Path) -> Tensors:
    """All tensors of a file, each in its own type (BF16 as uint16), after checks of the layout."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "pt"}
    found, end = {}, 0
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        assert start == end
        end = stop
        dtype = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[entry["dtype"]]
        values = np.frombuffer(data[8 + length + start : 8 + length + stop], dtype)
        found[name] = values.reshape(entry["shape"])
    assert 8 + length + end == len(data)
    return found


@dataclass(frozen=True)
class Torch:
    """What a file of torch holds, and its zip."""

    value: Any
    entries: list[zipfile.ZipInfo]
    data: bytes


def read_torch(path: Path) -> Torch:
    """Read what torch saves, with nothing but zipfile and the names of the opcodes."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        stem = path.stem
        assert archive.read(f"{stem}/version") == b"3\n"
        assert archive.read(f"{stem}/byteorder") == b"little"
        value = _unpickled(archive.read(f"{stem}/data.pkl"), archive, stem)
        return Torch(value, archive.infolist(), path.read_bytes())


def _unpickled(data: bytes, archive: zipfile.ZipFile, stem: str) -> Any:
    """Carry out the opcodes that plain data and tensors need; others are an error."""
    stack: list[Any] = []
    marks: list[int] = []

    def top() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in ("BININT", "LONG1", "BINFLOAT", "BINUNICODE"):
            stack.append(argument)
        elif name in ("NONE", "NEWTRUE", "NEWFALSE"):
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
        elif name == "GLOBAL":
            stack.append(argument)
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(top()))
        elif name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE"):
            stack.append({"EMPTY_LIST": [], "EMPTY_DICT": {}, "EMPTY_TUPLE": ()}[name])
        elif name == "APPENDS":
            items = top()
            stack[-1].extend(items)
        elif name == "SETITEMS":
            items = top()
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "BINPERSID":
            kind, storage, key, location, count = stack.pop()
            assert (kind, storage, location) == ("storage", "torch FloatStorage", "cpu")
            values = np.frombuffer(archive.read(f"{stem}/data/{key}"), "<f4")
            assert values.size == count
            stack.append(values)
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(_called(stack.pop(), arguments))
        else:
            assert name in ("PROTO", "STOP"), name
    assert len(stack) == 1
    return stack[0]


def _called(function: str, arguments: Sequence[Any]) -> Any:
    if function == "collections OrderedDict":
        return {}
    assert function == "torch._utils _rebuild_tensor_v2"
    values, start, shape, strides, gradient, hooks = arguments
    assert (start, gradient, hooks) == (0, False, {})
    assert strides == tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return values.reshape(shape)


def moments(checkpoint: Checkpoint, order: str, rows: int) -> tuple[Tensors, Tensors]:
    """Both moments of each tensor by its name, divided and rounded once, as they are to go on."""
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    first, second = (
        (checkpoint.optimizer.vectors[name].astype(np.float64) / divisor).astype("<f4")
        for name, divisor in (("m", rows), ("v", rows**2))
    )
    return llama.split(first, order, shapes), llama.split(second, order, shapes)


def float64_steps(
    weights: Mapping[str, Array],
    first: Mapping[str, Array],
    second: Mapping[str, Array],
    steps: int,
    *,
    hyperparameters: Mapping[str, int],
    norm_epsilon: float,
    iteration: int,
    rates: Sequence[float],
    epsilon: float,
    decay: float = 0.0,
    decays_norms: bool = True,
    clipping: float = 0.0,
) -> Tensors:
    """The weights after some iterations of AdamW on one sample, in float64."""
    w = {name: np.asarray(values, np.float64) for name, values in weights.items()}
    m = {name: np.asarray(values, np.float64) for name, values in first.items()}
    v = {name: np.asarray(values, np.float64) for name, values in second.items()}
    for step, rate in zip(range(iteration + 1, iteration + steps + 1), rates, strict=True):
        _, gradients = llama.loss_and_gradients(
            w, hyperparameters, INPUTS, TARGETS, epsilon=norm_epsilon
        )
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
        scale = min(1.0, clipping / norm) if clipping else 1.0
        for name, gradient in gradients.items():
            g = scale * gradient
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            m_hat, v_hat = m[name] / (1 - 0.9**step), v[name] / (1 - 0.999**step)
            shrunk = decay if decays_norms or g.ndim > 1 else 0.0
            w[name] = w[name] * (1 - rate * shrunk) - rate * m_hat / (np.sqrt(v_hat) + epsilon)
    return w


def snippets(page: Path) -> list[str]:
    """The Python in a page of Markdown."""
    blocks = page.read_text(encoding="utf-8").split("```python\n")[1:]
    return [block.split("```")[0] for block in blocks]
