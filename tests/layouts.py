"""A complete tiny checkpoint of each layout, written by hand: the bytes, and what they say.

The model has 2 tokens, 2 embedding elements, 1 head and no layer, so 10 parameters; that of
``ONE_LAYER`` has a layer of 56 parameters more. A text of bytes holds hexadecimal, ``"characters"``
and ``00*21`` for 21 zero bytes; what follows a # is commentary. In it, @ is the offset in the file.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

# fmt: off
HEADER = """
"pcgg"                # magic: the u32 'ggcp', low byte first
00000000              # version
03000000              # train_its 3
06000000              # train_samples 6
60000000              # train_tokens 96
02000000              # n_vocab 2
02000000              # n_embd 2
03000000              # n_mult 3: n_ff is 5, rounded up to 6
01000000              # n_head 1
{layers}000000        # n_layer
02000000              # n_rot 2
"""
MODEL = """
02000000 15000000 00000000 02000000 02000000  # @2c n_dims 2, name_len 21, F32, ne 2 2
"tok_embeddings.weight" 00*11                 # @40 up to @60
0000803f 00000040 00004040 00008040           # 1 2 3 4
01000000 0b000000 00000000 02000000           # @70 n_dims 1, name_len 11, F32, ne 2
"norm.weight" 00*21                           # @80 up to @a0
0000a040 0000c040                             # 5 6
02000000 0d000000 00000000 02000000 02000000  # @a8 n_dims 2, name_len 13, F32, ne 2 2
"output.weight" 00*23                         # @bc up to @e0
0000e040 00000041 00001041 00002041           # 7 8 9 10, up to @f0
"""
PARAMS = """
{type}000000                      # type
06000000                          # n_threads 6
{past}000000                      # past
0000003f                          # delta 0.5
64000000                          # max_no_improvement 100
00 01                             # print_forward_graph, print_backward_graph
a55a                              # what the compiler left
10000000                          # adam.n_iter 16
0000803e 00000040 00004040        # adam.sched 0.25, decay 2, alpha 3
0000403f 0000603f                 # adam.beta1 0.75, beta2 0.875
00008040 0000a040 0000c040        # adam.eps 4, eps_f 5, eps_g 6
{m}000000                         # lbfgs.m
11000000 14000000                 # lbfgs.n_iter 17, max_linesearch 20
0000803d 0000003e 0000f03f        # lbfgs.eps 0.0625, ftol 0.125, wolfe 1.875
00000000 0000c8c2                 # lbfgs.min_step 0, max_step -100
02000000                          # lbfgs.linesearch 2
"""
COUNTERS = """
0a00000000000000      # nx 10
07000000              # iter 7
01000000              # just_initialized 1
"""
# The record of a vector of ten starts 8 bytes into an aligned block, but for the first, which
# starts where the counters end, and ends as far into one.
RECORD_10 = "01000000 00000000 00000000 0a000000"  # n_dims 1, no name, F32, ne 10
ONE_TO_TEN = """
0000803f 00000040 00004040 00008040 0000a040  # 1 2 3 4 5
0000c040 0000e040 00000041 00001041 00002041  # 6 7 8 9 10
"""
TENS = """
00002041 0000a041 0000f041 00002042 00004842  # 10 20 30 40 50
00007042 00008c42 0000a042 0000b442 0000c842  # 60 70 80 90 100
"""
ZEROS = "00*40"
HALVES = "0000003f*10"                            # 0.5 ten times
NO_PAST_LOSSES = "00000000 00000000 00000000 00*12"  # n_dims 0, no name, F32; no data
THREE_PAST_LOSSES = """
01000000 00000000 00000000 03000000 00*8      # n_dims 1, no name, F32, ne 3
0000803f 00000040 0000803f                    # 1 2 1
"""
ADAM_SCALARS = """
0000403f              # fx_best 0.75
0000803f              # fx_prev 1
02000000              # n_no_improvement 2
"""
# With two corrections. The first of the memory's records ends 8 bytes into an aligned block.
LBFGS_ALPHA = """
01000000 00000000 00000000 02000000 00*{pad}  # lmal: n_dims 1, no name, F32, ne 2
0000003f 0000803f                             # 0.5 1
"""
LBFGS_MEMORY = f"""
01000000 00000000 00000000 02000000 00*8      # lmys: n_dims 1, no name, F32, ne 2
0000803f 00000040                             # 1 2
02000000 00000000 00000000 0a000000 02000000 00*4   # lms: n_dims 2, no name, F32, ne 10 2
{ONE_TO_TEN} {TENS}
02000000 00000000 00000000 0a000000 02000000 00*28  # lmy: the same
{ZEROS} {ONE_TO_TEN}
"""
LBFGS_SCALARS = """
0000403f              # fx_best 0.75
0000803e              # step 0.25
03000000              # j 3
ffffffff              # k -1
01000000              # end 1
02000000              # n_no_improvement 2
"""
VERSION_1 = "01000000 {past}000000 {m}000000"  # version, past, lbfgs.m

LAYER = """
01000000 1e000000 00000000 02000000           # @f0 ne 2
"layers.0.attention_norm.weight" 00*2         # @100
0000803f 00000040                             # 1 2
02000000 1c000000 00000000 02000000 02000000  # @128 ne 2 2
"layers.0.attention.wq.weight" 00*8           # @13c
0000803f 00000040 00004040 00008040           # 1 2 3 4
02000000 1c000000 00000000 02000000 02000000  # @170
"layers.0.attention.wk.weight" 00*0           # @184, which ends aligned
0000a040 0000c040 0000e040 00000041           # 5 6 7 8
02000000 1c000000 00000000 02000000 02000000  # @1b0
"layers.0.attention.wv.weight" 00*0           # @1c4
00001041 00002041 0000803f 00000040           # 9 10 1 2
02000000 1c000000 00000000 02000000 02000000  # @1f0
"layers.0.attention.wo.weight" 00*0           # @204
00004040 00008040 0000a040 0000c040           # 3 4 5 6
01000000 18000000 00000000 02000000           # @230
"layers.0.ffn_norm.weight" 00*8               # @240
0000e040 00000041                             # 7 8
02000000 1f000000 00000000 02000000 06000000  # @268 ne 2 6
"layers.0.feed_forward.w1.weight" 00*5        # @27c, which ends @29b, up to @2a0
0000803f*6 00000040*6                         # 1 six times, 2 six times
02000000 1f000000 00000000 06000000 02000000  # @2d0 ne 6 2
"layers.0.feed_forward.w2.weight" 00*29       # @2e4, which ends @303, up to @320
00004040*6 00008040*6                         # 3 six times, 4 six times
02000000 1f000000 00000000 02000000 06000000  # @350 ne 2 6
"layers.0.feed_forward.w3.weight" 00*29       # @364, which ends @383, up to @3a0
0000a040*6 0000c040*6                         # 5 six times, 6 six times, up to @3d0
"""
ONE_LAYER_OPTIMIZER = """
01000000              # @3d0 version
01000000              # past 1
00000000              # lbfgs.m
4200000000000000      # nx 66
07000000              # iter 7
00000000              # just_initialized 0
01000000 00000000 00000000 42000000 00*4      # @3ec m: n_dims 1, no name, F32, ne 66
0000803f*33 00000040*33                       # 1 and 2, 33 times each
01000000 00000000 00000000 42000000 00*8      # @508 v: the same
00004040*33 00000000*33                       # 3 and 0, 33 times each
01000000 00000000 00000000 01000000 00*8      # @628 pf: n_dims 1, no name, F32, ne 1
0000803f                                      # 1
"""
# fmt: on


def packed(text: str) -> bytes:
    """The bytes of an annotated text."""
    data = b""
    for line in text.splitlines():
        for token in line.split("#")[0].split():
            item, _, times = token.partition("*")
            quoted = re.fullmatch(r'"(.*)"', item)
            data += (quoted[1].encode() if quoted else bytes.fromhex(item)) * int(times or 1)
    return data


class Tiny(NamedTuple):
    """One hand-written file.

    Attributes:
        data: its bytes.
        container: what ``build`` takes to write them: data as arrays of NumPy's shape.
        offsets: where the data of each tensor start.
    """

    data: bytes
    container: dict[str, Any]
    offsets: dict[str, int]


def floats(values: Any, *shape: int) -> Any:
    """An array of NumPy's shape."""
    return np.array(values, "<f4").reshape(shape or len(values))


# fmt: off
_ONE_TO_TEN = range(1, 11)
_TENS = range(10, 101, 10)
_STORED_HYPERPARAMETERS = {
    "vocabulary_size": 2, "embedding_length": 2, "feed_forward_multiple": 3,
    "head_count": 1, "block_count": 0, "rope_dimension_count": 2,
}
_TRAINING = {"iteration_count": 3, "sample_count": 6, "token_count": 96}
_MODEL = {
    "tok_embeddings": floats([1, 2, 3, 4], 2, 2),
    "norm": floats([5, 6]),
    "output": floats([7, 8, 9, 10], 2, 2),
    "layers": [],
}
_MODEL_OFFSETS = {"model.tok_embeddings": 0x60, "model.norm": 0xA0, "model.output": 0xE0}
_ADAM_SETTINGS = {
    "iteration_limit": 16, "schedule_factor": 0.25, "weight_decay": 2.0, "learning_rate": 3.0,
    "first_moment_decay": 0.75, "second_moment_decay": 0.875,
    "epsilon": 4.0, "loss_epsilon": 5.0, "gradient_epsilon": 6.0,
}
_LBFGS_SETTINGS = {
    "iteration_limit": 17, "line_search_limit": 20,
    "gradient_epsilon": 0.0625, "line_search_tolerance": 0.125, "wolfe_coefficient": 1.875,
    "smallest_step": 0.0, "largest_step": -100.0, "line_search_condition": 2,
}
_ADAM_END = {"best_loss": 0.75, "previous_loss": 1.0, "no_improvement_count": 2}
_LBFGS_END = {
    "best_loss": 0.75, "line_search_step": 0.25,
    "line_search_j": 3, "line_search_k": -1, "line_search_end": 1, "no_improvement_count": 2,
}
_VECTORS = {
    "version 0 Adam": {
        "parameters": _ONE_TO_TEN,
        "gradients": _TENS,
        "squared_gradients": [0.0] * 10,
        "first_moments": [0.5] * 10,
        "second_moments": _TENS,
        "corrected_first_moments": _ONE_TO_TEN,
        "corrected_second_moments": [0.0] * 10,
    },
    "Adam": {"first_moments": _ONE_TO_TEN, "second_moments": [0.5] * 10},
    "L-BFGS": {
        "current_parameters": _ONE_TO_TEN,
        "previous_parameters": _TENS,
        "current_gradients": [0.0] * 10,
        "previous_gradients": [0.5] * 10,
        "search_direction": _TENS,
    },
}
_VECTOR_BYTES = {
    "version 0 Adam": [ONE_TO_TEN, TENS, ZEROS, HALVES, TENS, ONE_TO_TEN, ZEROS],
    "Adam": [ONE_TO_TEN, HALVES],
    "L-BFGS": [ONE_TO_TEN, TENS, ZEROS, HALVES, TENS],
}
# fmt: on


def tiny(version: int, kind: str, with_params: bool, past: int) -> Tiny:
    """The hand-written pieces of one layout, put together; ``past`` is 0 or 3."""
    lbfgs = kind == "L-BFGS"
    m = 2 if lbfgs else 0
    vectors = "version 0 Adam" if version == 0 and not lbfgs else kind
    numbers = {"type": f"{int(lbfgs):02}", "past": f"{past:02}", "m": f"{m:02}"}
    head = f"{version:02}000000" + PARAMS if with_params else VERSION_1
    text = HEADER.format(layers="00") + MODEL + head.format(**numbers) + COUNTERS
    # The counters end 4 bytes after an aligned offset with params, 12 bytes without.
    for index, values in enumerate(_VECTOR_BYTES[vectors]):
        padding = 8 if index else 12 if with_params else 4
        text += f"{RECORD_10} 00*{padding}\n{values}\n"
    text += THREE_PAST_LOSSES if past else NO_PAST_LOSSES
    if lbfgs:
        text += LBFGS_ALPHA.format(pad=4 if past else 16) + LBFGS_MEMORY + LBFGS_SCALARS
    else:
        text += "\n" + ADAM_SCALARS

    start = 0x180 if with_params else 0x120  # of the first vector's data; each takes 64 bytes
    state: dict[str, Any] = {}
    offsets = dict(_MODEL_OFFSETS)
    for index, (name, elements) in enumerate(_VECTORS[vectors].items()):
        state[name] = floats(list(elements))
        offsets[f"optimizer.state.{name}"] = start + 0x40 * index
    after = start + 0x40 * len(_VECTORS[vectors])  # where the past losses' data would start
    state["past_loss_values"] = floats([1, 2, 1]) if past else floats([])
    offsets["optimizer.state.past_loss_values"] = after
    if lbfgs:
        state |= {
            "memory_alpha": floats([0.5, 1]),
            "memory_ys": floats([1, 2]),
            "memory_s": floats([*_ONE_TO_TEN, *_TENS], 2, 10),
            "memory_y": floats([0] * 10 + [*_ONE_TO_TEN], 2, 10),
        }
        for name, distance in zip(
            ("memory_alpha", "memory_ys", "memory_s", "memory_y"), (32, 64, 96, 224), strict=True
        ):
            offsets[f"optimizer.state.{name}"] = after + distance
    state |= _LBFGS_END if lbfgs else _ADAM_END
    optimizer = {"version": version, "iteration_count": 7, "just_initialized": 1, "state": state}
    if with_params:
        optimizer["params"] = _settings(int(lbfgs), past, m)
    else:
        optimizer |= {"type": int(lbfgs), "convergence_past_count": past, "approx_hessian_count": m}
    return Tiny(packed(text), _container(_STORED_HYPERPARAMETERS, _MODEL, optimizer), offsets)


def _settings(kind: int, past: int, m: int) -> dict[str, Any]:
    return {
        "type": kind,
        "thread_count": 6,
        "convergence_past_count": past,
        "convergence_delta": 0.5,
        "no_improvement_limit": 100,
        "print_forward_graph": 0,
        "print_backward_graph": 1,
        "compiler_padding": b"\xa5\x5a",
        "adam": _ADAM_SETTINGS,
        "lbfgs": {**_LBFGS_SETTINGS, "approx_hessian_count": m},
    }


def _container(
    hyperparameters: dict[str, int], model: dict[str, Any], optimizer: dict[str, Any]
) -> dict[str, Any]:
    return {
        "training": _TRAINING,
        "hyperparameters": hyperparameters,
        "model": model,
        "optimizer": optimizer,
    }


TINY = {
    f"version {version}{' with params' * (version and params)} {kind} past {past}": tiny(
        version, kind, params, past
    )
    for version, params in ((0, True), (1, False), (1, True))
    for kind in ("Adam", "L-BFGS")
    for past in (0, 3)
}

_LAYER = {
    "attention_norm": floats([1, 2]),
    "attention": {
        "wq": floats([1, 2, 3, 4], 2, 2),
        "wk": floats([5, 6, 7, 8], 2, 2),
        "wv": floats([9, 10, 1, 2], 2, 2),
        "wo": floats([3, 4, 5, 6], 2, 2),
    },
    "ffn_norm": floats([7, 8]),
    "feed_forward": {
        "w1": floats([1] * 6 + [2] * 6, 6, 2),
        "w2": floats([3] * 6 + [4] * 6, 2, 6),
        "w3": floats([5] * 6 + [6] * 6, 6, 2),
    },
}
ONE_LAYER = Tiny(
    packed(HEADER.format(layers="01") + MODEL + LAYER + ONE_LAYER_OPTIMIZER + ADAM_SCALARS),
    _container(
        {**_STORED_HYPERPARAMETERS, "block_count": 1},
        {**_MODEL, "layers": [_LAYER]},
        {
            "version": 1,
            "type": 0,
            "convergence_past_count": 1,
            "approx_hessian_count": 0,
            "iteration_count": 7,
            "just_initialized": 0,
            "state": {
                "first_moments": floats([1] * 33 + [2] * 33),
                "second_moments": floats([3] * 33 + [0] * 33),
                "past_loss_values": floats([1]),
                **_ADAM_END,
            },
        },
    ),
    {
        **_MODEL_OFFSETS,
        "model.layers[0].attention_norm": 0x120,
        "model.layers[0].attention.wq": 0x160,
        "model.layers[0].attention.wk": 0x1A0,
        "model.layers[0].attention.wv": 0x1E0,
        "model.layers[0].attention.wo": 0x220,
        "model.layers[0].ffn_norm": 0x260,
        "model.layers[0].feed_forward.w1": 0x2A0,
        "model.layers[0].feed_forward.w2": 0x320,
        "model.layers[0].feed_forward.w3": 0x3A0,
        "optimizer.state.first_moments": 0x400,
        "optimizer.state.second_moments": 0x520,
        "optimizer.state.past_loss_values": 0x640,
    },
)
TINY["version 1 Adam, one layer"] = ONE_LAYER
