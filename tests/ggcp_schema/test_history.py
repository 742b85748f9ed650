"""The facts about trainers that no file holds, against dates and words written out by hand."""

from __future__ import annotations

import subprocess
import sys

import pytest
from paths import ROOT

from ggcp_schema import history
from ggcp_schema.enums import Layout
from ggcp_schema.order import Order


@pytest.mark.parametrize("module", ["enums", "order", "history"])
def test_importing_it_is_cheap(module: str) -> None:
    code = (
        f"import sys, ggcp_schema.{module}; "
        "print(sorted({'numpy', 'construct', 'ggcp_schema.checkpoint'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_epsilons_of_the_trainers() -> None:
    assert [(e.words, e.since, e.commit) for e in history.EPSILONS] == [
        ("1e-6", "2023-06-13", "e32089b2c"),
        ("5e-6", "2023-07-25", "eb542d393"),
        ("1e-5", "2023-08-21", "6381d4e11"),
    ]
    assert all(float(e.words) == e.value for e in history.EPSILONS)


def test_a_commit_with_its_date() -> None:
    assert history.dated(history.NAMES_WHOLE_SINCE) == "2023-05-29 (4b81c32d5)"
    assert history.dated("4072f20bb") == "2023-08-24 (4072f20bb)"
    with pytest.raises(LookupError, match="0123abcde"):
        history.dated("0123abcde")


def test_what_each_layout_was_written_with() -> None:
    """Measured with the trainers: only version 0 has no mean losses, only version 1 has means."""
    facts = {
        layout: (history.sums_gradients(layout), history.stores_mean_losses(layout))
        for layout in Layout
    }
    assert facts == {
        Layout.VERSION_0: (True, False),
        Layout.VERSION_1: (False, True),
        Layout.VERSION_1_WITH_PARAMS: (True, True),
    }


def test_which_trainers_write_each_layout() -> None:
    names = {
        layout: [trainer.name for trainer in trainers]
        for layout, trainers in history.TRAINERS_OF.items()
    }
    release = "releases e32089b2c to 43033b7bb, d39c8e686"
    assert names == {
        Layout.VERSION_0: [
            "42d9b4cfc (2023-05-21)",
            "ec8e262d1 (2023-05-30) to 83a34444a (2023-05-31)",
            "0d4b87de3 (2023-06-01)",
            release,
        ],
        Layout.VERSION_1_WITH_PARAMS: [release],
        Layout.VERSION_1: [
            "branch from bfc311913",
            "branch from 4ed096c6b (2023-08-14) to 4072f20bb",
        ],
    }


def test_the_orders_in_which_each_kind_of_file_was_written() -> None:
    three = (Order.SCRATCH, Order.FLASH, Order.PLAIN)
    for trainers in history.TRAINERS_OF.values():
        assert history.orders_of(trainers) == three
    assert history.orders_of(history.LORA_TRAINERS) == (Order.FLASH, Order.PLAIN)


def test_where_the_planner_evaluates_from_right_to_left() -> None:
    rtl = "where its planner evaluates from right to left: it prints evaluation order"
    old, middle, last = (trainer.options for trainer in history.TRAINERS[-3:])
    flash_and_plain = {Order.FLASH: "by default", Order.PLAIN: "--no-flash"}
    assert old == flash_and_plain
    assert middle == flash_and_plain | {
        Order.FLASH_RTL: rtl,
        Order.SCRATCH: f"--no-flash, {rtl}",
    }
    assert last == {Order.PLAIN: "by default", Order.SCRATCH: rtl}
    assert history.READERS.keys() == set(Order)


def test_the_epsilons_of_finetune() -> None:
    assert [(e.value, e.words) for e in history.LORA_EPSILONS] == [(5e-6, "5e-6"), (1e-5, "1e-5")]
    assert history.LORA_EPSILONS[1].since == "2023-08-29"


def test_the_writers_of_a_release() -> None:
    assert history.WRITERS[Layout.VERSION_0] == (
        "train-text-from-scratch, llama.cpp from 2023-06-13 (e32089b2c) to 2023-08-28 (43033b7bb), "
        "or its branch from 2023-05-21 (42d9b4cfc) on"
    )


@pytest.mark.parametrize(
    ("date", "version_0", "version_1", "lora"),
    [
        ("2023-05-20", None, None, None),
        ("2023-05-21", "1e-6", "1e-6", None),
        ("2023-07-10", "1e-6", "1e-6", None),
        ("2023-07-25", "1e-6", "1e-6", None),
        ("2023-07-26", "5e-6", "1e-6", None),
        ("2023-07-29", "5e-6", "5e-6", None),
        ("2023-08-16", "5e-6", "5e-6", "5e-6"),
        ("2023-08-21", "5e-6", "5e-6", "5e-6"),
        ("2023-08-22", "1e-5", "5e-6", "5e-6"),
        ("2023-08-24", "1e-5", "5e-6", "5e-6"),
        ("2023-08-25", "1e-5", "1e-5", "5e-6"),
        ("2023-08-28", "1e-5", "1e-5", "5e-6"),
        ("2023-08-29", None, None, "5e-6"),
        ("2023-08-30", None, None, None),
        ("2026-01-01", None, None, None),
    ],
)
def test_what_the_date_of_a_file_says_of_its_epsilon(
    date: str, version_0: str | None, version_1: str | None, lora: str | None
) -> None:
    """Of the day of a change, a file is still the older trainer's."""
    for layout, is_lora, expected in (
        (Layout.VERSION_0, False, version_0),
        (Layout.VERSION_1, False, version_1),
        (Layout.VERSION_1_WITH_PARAMS, False, version_1),
        (Layout.VERSION_1, True, lora),
    ):
        likely = history.likely_epsilon(date, layout, lora=is_lora)
        assert (likely and likely.words) == expected, layout
        if likely:
            assert likely.sentence == f"dated {date}: probably --eps {expected}"
