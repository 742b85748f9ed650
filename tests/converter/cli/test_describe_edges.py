"""What is said of a comparison and of a plan, whatever is in them."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from converter.cli.describe import comparison_as_json, headline, plan_as_json, plan_as_text
from converter.gguf_io.comparison import Subject
from converter.parts import Computed
from converter.plan import Metadata, Plan, PlannedTensor
from converter.use_cases.comparison import Comparison
from ggcp_schema.gguf import ValueType


@pytest.mark.parametrize(
    ("differing", "words", "identical"),
    [
        ({Subject.KEY: 1}, "weights identical, 1 key differs", True),
        ({Subject.KEY: 2}, "weights identical, 2 keys differ", True),
        ({Subject.FILE: 1}, "weights identical, 1 order or size differs", True),
        ({Subject.FILE: 2}, "weights identical, 2 orders or sizes differ", True),
        ({Subject.MEMBER: 1}, "weights identical, 1 file differs", True),
        ({Subject.MEMBER: 3}, "weights identical, 3 files differ", True),
        ({Subject.OPTIMIZER: 1}, "weights identical, 1 tensor of the optimizer differs", True),
        (
            {Subject.OPTIMIZER: 2, Subject.KEY: 1},
            "weights identical, 1 key and 2 tensors of the optimizer differ",
            True,
        ),
        ({Subject.TYPE: 4}, "weights of another type (4)", False),
        (
            {Subject.TYPE: 1, Subject.KEY: 2},
            "weights of another type (1), 2 keys differ",
            False,
        ),
        (
            {Subject.WEIGHTS: 1, Subject.KEY: 1},
            "not made from this checkpoint, or changed since; give the right two, or make it again",
            False,
        ),
        ({Subject.TYPE: 1, Subject.KEY: 1}, "weights of another type (1), 1 key differs", False),
    ],
)
def test_a_headline(differing: dict[Subject, int], words: str, identical: bool) -> None:
    found = Comparison(20, Counter(differing), ["line"])
    total = sum(differing.values())
    expected = f"different: {total} of 20 things: "
    assert headline(found) == expected + words
    assert comparison_as_json(found) == {
        "same": False,
        "differences": ["line"],
        "compared": 20,
        "different": total,
        "weights_identical": identical,
    }


def test_nothing_differs() -> None:
    assert comparison_as_json(Comparison(20, Counter(), [])) == {
        "same": True,
        "differences": [],
        "compared": 20,
        "different": 0,
        "weights_identical": True,
    }


def test_values_of_every_kind() -> None:
    """JSON has no NaN and no bytes; names in a file may hold what a terminal obeys."""
    plan = Plan(
        "llama",
        (
            Metadata("a", ValueType.STRING, b"x\xff\x1b"),
            Metadata("b", ValueType.FLOAT32, math.nan),
            Metadata("c", ValueType.ARRAY, [b"y", b"\x07"], ValueType.STRING),
            Metadata("d", ValueType.ARRAY, np.array([0.5, -math.inf]), ValueType.FLOAT32),
            Metadata("\x1b[1m", ValueType.UINT32, 7),
        ),
        (
            PlannedTensor("tok_embeddings", (2, 3), (Computed(24, lambda: iter(())),)),
            PlannedTensor("norm", (2,), (Computed(8, lambda: iter(())),)),
        ),
    )
    assert plan_as_text(plan).split("\n") == [
        "general.architecture  STRING            llama",
        r"a                     STRING            x\xff\x1b",
        "b                     FLOAT32           nan",
        "c                     ARRAY of STRING   2 elements",
        "d                     ARRAY of FLOAT32  2 elements",
        r"\x1b[1m               UINT32            7",
        "",
        "tok_embeddings  F32  2 × 3  24 bytes",
        "norm            F32  2      8 bytes",
        "",
        "2 tensors, 32 bytes of data",
    ]
    assert plan_as_json(plan)["metadata"] == [
        {"key": "a", "type": "STRING", "value": r"x\xff\x1b"},
        {"key": "b", "type": "FLOAT32", "value": "nan"},
        {"key": "c", "type": "ARRAY of STRING", "value": ["y", r"\x07"]},
        {"key": "d", "type": "ARRAY of FLOAT32", "value": [0.5, "-inf"]},
        {"key": "\x1b[1m", "type": "UINT32", "value": 7},
    ]
