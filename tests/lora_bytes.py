"""LoRA checkpoints written by hand and with ``struct`` alone, and recipes of synthetic ones."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st

from ggcp_schema.enums import OptimizerType
from ggcp_schema.synthetic import SyntheticLora

# A complete file without layers: 3 tokens of 2 elements, all ranks 1.
# fmt: off
BYTES = bytes.fromhex("".join((
    "6c636767",          # 0000 magic 'ggcl', low byte first
    "00000000",          #      version 0
    "0a000000",          #      train_its 10
    "14000000",          #      train_samples 20
    "40010000",          #      train_tokens 320
    "03000000",          # 0014 n_vocab 3
    "02000000",          #      n_embd 2
    "04000000",          #      n_mult 4
    "01000000",          #      n_head 1
    "00000000",          #      n_layer 0
    "02000000",          #      n_rot 2
    "01000000" * 12,     # 002c ranks
    # 005c tok_embeddings A
    "02000000",          #      n_dims 2
    "1b000000",          #      name_len 27
    "00000000",          #      type F32
    "01000000" "02000000",  #   ne: rank, n_embd
    "746f6b5f656d62656464696e67732e7765696768742e6c6f726141",  # tok_embeddings.weight.loraA
    "00" * 21,           # 008b padding to 160
    "0000803f" "00000040",              # 00a0 1 2
    # 00a8 tok_embeddings B
    "02000000" "1b000000" "00000000"
    "01000000" "03000000",  #   ne: rank, n_vocab
    "746f6b5f656d62656464696e67732e7765696768742e6c6f726142",  # tok_embeddings.weight.loraB
    "00" * 9,            # 00d7 padding to 224
    "00004040" "00008040" "0000a040",   # 00e0 3 4 5
    # 00ec norm A
    "02000000" "11000000" "00000000"
    "01000000" "02000000",  #   ne: rank, n_embd
    "6e6f726d2e7765696768742e6c6f726141",  # norm.weight.loraA
    "00" * 15,           # 0111 padding to 288
    "0000c040" "0000e040",              # 0120 6 7
    # 0128 norm B
    "02000000" "11000000" "00000000"
    "01000000" "01000000",  #   ne: rank, 1
    "6e6f726d2e7765696768742e6c6f726142",  # norm.weight.loraB
    "00" * 19,           # 014d padding to 352
    "00000041",                         # 0160 8
    # 0164 output A
    "02000000" "13000000" "00000000"
    "01000000" "02000000",  #   ne: rank, n_embd
    "6f75747075742e7765696768742e6c6f726141",  # output.weight.loraA
    "00" * 21,           # 018b padding to 416
    "00001041" "00002041",              # 01a0 9 10
    # 01a8 output B
    "02000000" "13000000" "00000000"
    "01000000" "03000000",  #   ne: rank, n_vocab
    "6f75747075742e7765696768742e6c6f726142",  # output.weight.loraB
    "00" * 17,           # 01cf padding to 480
    "00003041" "00004041" "00005041",   # 01e0 11 12 13
    # 01ec optimizer context
    "01000000",          #      version 1
    "00000000",          #      past 0
    "00000000",          #      lbfgs.m 0
    "0d00000000000000",  #      nx 13 = 2 + 3 + 2 + 1 + 2 + 3
    "0a000000",          #      iter 10
    "00000000",          #      just_initialized 0
    # 0208 adam.m
    "01000000" "00000000" "00000000"  # n_dims 1, no name, F32
    "0d000000",          #      ne: nx
    "00" * 8,            # 0218 padding to 544
    "0000003f" * 13,     # 0220 0.5
    # 0254 adam.v
    "01000000" "00000000" "00000000" "0d000000",
    "00" * 28,           # 0264 padding to 640
    "0000803e" * 13,     # 0280 0.25
    # 02b4 pf, which does not exist: no dimensions, and 704 needs no padding
    "00000000" "00000000" "00000000",
    "0000b040",          # 02c0 fx_best 5.5
    "0000b840",          #      fx_prev 5.75
    "02000000",          #      n_no_improvement 2
)))
# fmt: on

RANKS = {
    "attention_norm": 1,
    "wq": 2,
    "wk": 3,
    "wv": 4,
    "wo": 5,
    "ffn_norm": 6,
    "w1": 7,
    "w2": 8,
    "w3": 9,
    "tok_embeddings": 10,
    "norm": 11,
    "output": 12,
}
SIZES = {"n_vocab": 3, "n_embd": 2, "n_mult": 4, "n_head": 1, "n_layer": 0, "n_rot": 2}
N_FF = 5


def tensors(n_layer: int = 2) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name and ne of each record of a file in which no two kinds have the same rank."""
    n_vocab, n_embd = SIZES["n_vocab"], SIZES["n_embd"]
    shapes = {
        "tok_embeddings": (n_embd, n_vocab),
        "norm": (n_embd, 1),
        "output": (n_embd, n_vocab),
    }
    for i in range(n_layer):
        shapes |= {
            f"layers.{i}.attention_norm": (n_embd, 1),
            f"layers.{i}.attention.wq": (n_embd, n_embd),
            f"layers.{i}.attention.wk": (n_embd, n_embd),
            f"layers.{i}.attention.wv": (n_embd, n_embd),
            f"layers.{i}.attention.wo": (n_embd, n_embd),
            f"layers.{i}.ffn_norm": (n_embd, 1),
            f"layers.{i}.feed_forward.w1": (n_embd, N_FF),
            f"layers.{i}.feed_forward.w2": (N_FF, n_embd),
            f"layers.{i}.feed_forward.w3": (n_embd, N_FF),
        }
    for name, lengths in shapes.items():
        for half, length in zip("AB", lengths, strict=True):
            yield f"{name}.weight.lora{half}", (RANKS[name.rpartition(".")[2]], length)


def record(ne: tuple[int, ...], name: str = "") -> bytes:
    return struct.pack(f"<{3 + len(ne)}I", len(ne), len(name), 0, *ne) + name.encode()


def file_with_layers(
    n_layer: int = 2, *, n_mult_stored: bool = True, **changed: tuple[int, int]
) -> bytes:
    """Write a file with `struct` alone; `changed` gives another ne to tensors, by name."""
    stored = {**SIZES, "n_layer": n_layer}
    sizes = [size for name, size in stored.items() if name != "n_mult" or n_mult_stored]
    file = io.BytesIO()
    file.write(b"lcgg" + struct.pack(f"<{4 + len(sizes)}I", 0, 10, 20, 320, *sizes))
    file.write(struct.pack("<12I", *RANKS.values()))

    def write(head: bytes, count: int) -> None:
        file.write(head)
        file.write(bytes(-file.tell() % 32))
        file.write(np.arange(count, dtype="<f4").tobytes())

    nx = 0
    for name, expected in tensors(n_layer):
        nx += expected[0] * expected[1]
        ne = changed.get(name, expected)
        write(record(ne, name), ne[0] * ne[1])
    file.write(struct.pack("<IiiqiI", 1, 0, 0, nx, 10, 0))
    write(record((nx,)), nx)
    write(record((nx,)), nx)
    write(record(()), 0)
    file.write(struct.pack("<ffi", 5.5, 5.75, 2))
    return file.getvalue()


@st.composite
def recipes(draw: st.DrawFn) -> SyntheticLora:
    heads = draw(st.integers(1, 3))
    return SyntheticLora(
        vocabulary_size=draw(st.integers(1, 9)),
        embedding_length=heads * 2 * draw(st.integers(1, 4)),
        feed_forward_multiple=draw(st.none() | st.integers(1, 2**32 - 1)),
        feed_forward_length=draw(st.integers(1, 30)),
        head_count=heads,
        block_count=draw(st.integers(0, 12)),
        ranks=draw(
            st.integers(0, 5)
            | st.dictionaries(st.sampled_from(sorted(RANKS)), st.integers(0, 40), max_size=12)
        ),
        rope_dimension_count=2,
        optimizer_type=draw(st.sampled_from(OptimizerType)),
        convergence_past_count=draw(st.integers(0, 3)),
        approx_hessian_count=draw(st.integers(1, 3)),
        seed=draw(st.integers(0, 9)),
    )
