"""Who wrote, read and expected what, and when: trainers, dates, epsilons, orders, scales.

All of it is about llama.cpp, and none of it stands in a checkpoint. Commits are told by their first
nine digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ggcp_schema.enums import Layout
from ggcp_schema.order import Order

MASTER = {
    "e32089b2c": "2023-06-13",
    "eb542d393": "2023-07-25",
    "6381d4e11": "2023-08-21",
    "43033b7bb": "2023-08-28",
    "44c117f41": "2023-08-28",
    "0e76a8992": "2023-09-28",
    "cafcd4f89": "2023-12-14",
    "9588f196b": "2024-05-25",
}
"""Commits of the master branch, and their dates."""

# d39c8e686 to bfc311913 were written from 2023-06-15 on and rebased on the day given.
BRANCHES = {
    "b241b9cb6": "2023-05-17",
    "09b304d01": "2023-05-19",
    "37c69435f": "2023-05-21",
    "42d9b4cfc": "2023-05-21",
    "4b81c32d5": "2023-05-29",
    "ec8e262d1": "2023-05-30",
    "83a34444a": "2023-05-31",
    "0d4b87de3": "2023-06-01",
    "d39c8e686": "2023-07-28",
    "d395b19c8": "2023-07-28",
    "51dc77092": "2023-07-28",
    "bfc311913": "2023-07-28",
    "4ed096c6b": "2023-08-14",
    "0c52c65d7": "2023-08-24",
    "4072f20bb": "2023-08-24",
    "5ce92aed3": "2023-08-29",
    "ecb1b20c8": "2023-08-29",
    "0564f4ed1": "2023-08-29",
    "b04263c1f": "2023-08-29",
}
"""Commits of the branches on which the trainers were developed (github.com/xaedes/llama.cpp)."""


def date_of(commit: str) -> str:
    """Return when a commit was made, as year-month-day.

    Raises:
        LookupError: the date is not known.
    """
    return MASTER[commit] if commit in MASTER else BRANCHES[commit]


def dated(commit: str) -> str:
    """Return a date with the commit that was made then, as messages have it.

    Raises:
        LookupError: the date is not known.
    """
    return f"{date_of(commit)} ({commit})"


class Epsilon(NamedTuple):
    """The epsilon of the RMS norms, fixed in the trainer, of one era.

    Attributes:
        value: the epsilon.
        words: as people write it.
        commit: the first with it.
    """

    value: float
    words: str
    commit: str

    @property
    def since(self) -> str:
        """The date of the commit."""
        return date_of(self.commit)


class LikelyEpsilon(NamedTuple):
    """The epsilon of the RMS norms that a file's date makes probable: a sign, no proof.

    Attributes:
        words: the epsilon as people write it.
        date: of the file, as year-month-day.
    """

    words: str
    date: str

    @property
    def sentence(self) -> str:
        """The same in words, as a part of a sentence."""
        return f"dated {self.date}: probably --eps {self.words}"


EPSILONS = (
    Epsilon(1e-6, "1e-6", "e32089b2c"),
    Epsilon(5e-6, "5e-6", "eb542d393"),
    Epsilon(1e-5, "1e-5", "6381d4e11"),
)
"""The epsilons of train-text-from-scratch on the master branch, the oldest first."""

LORA_EPSILONS = (EPSILONS[1], Epsilon(1e-5, "1e-5", "b04263c1f"))
"""Those of finetune, whose branch kept the older one longer."""

BRANCH_EPSILONS = (
    Epsilon(1e-6, "1e-6", "42d9b4cfc"),
    Epsilon(5e-6, "5e-6", "d39c8e686"),
    Epsilon(1e-5, "1e-5", "0c52c65d7"),
)
"""Those of train-text-from-scratch's branch, whose files have version 1."""

EPSILON_OF_BRANCHES = (
    "branches kept 5e-6 longer: train-text-from-scratch's until 2023-08-24 (0c52c65d7), finetune's "
    "until 2023-08-29 (b04263c1f)"
)
"""Where these dates do not hold."""

_EPSILONS_OF = {
    Layout.VERSION_0: EPSILONS,
    Layout.VERSION_1: BRANCH_EPSILONS,
    Layout.VERSION_1_WITH_PARAMS: BRANCH_EPSILONS,
}
_LAST_SAVED = date_of("43033b7bb")
"""The last day of the trainers that write them; from then on they saved GGUF files."""

MAGICLESS_EPSILON = 1e-6
"""The epsilon of the trainers that wrote no magic, all of them; measured too."""

MAGICLESS_CONTEXT_LENGTH = 32
"""Tokens in a sample of theirs: a constant in ``main``, for who did not change the source."""

MAGICLESS_WRITERS = (
    "baby-llama-text, the first trainer, llama.cpp's branch from 2023-05-17 (b241b9cb6) to "
    "2023-05-21 (37c69435f)"
)
"""Which trainer wrote checkpoints without a magic."""

MAGICLESS_NOTE = (
    "It holds no optimizer state: the model can be exported, its training cannot go on. The "
    "context length is not in it either: the source of the time had "
    f"{MAGICLESS_CONTEXT_LENGTH}. Until {dated('09b304d01')} the loss was the squared error of the "
    "logits: such a model gives nearly every token the same probability, whatever runs it."
)
"""What is worth knowing of such a checkpoint."""

HISTORICAL_EPSILON = 1e-5
"""What the historical converter always wrote, whatever the trainer used."""

WRITERS = {
    Layout.VERSION_0: f"train-text-from-scratch, llama.cpp from {dated('e32089b2c')} to "
    f"{dated('43033b7bb')}, or its branch from {dated('42d9b4cfc')} on",
    Layout.VERSION_1: "train-text-from-scratch, development branch of llama.cpp, d395b19c8 to "
    "4072f20bb (until August 2023)",
    Layout.VERSION_1_WITH_PARAMS: "train-text-from-scratch, one commit of llama.cpp's development "
    "branch, d39c8e686",
}
"""Which trainers wrote training checkpoints, by the layout of the optimizer context."""

LORA_WRITERS = "finetune, development branch of llama.cpp, 2023-08-16 to 2023-08-29"
"""Which trainer wrote LoRA checkpoints."""

ADAPTER_WRITERS = (
    "finetune, llama.cpp from 2023-08-16 to July 2024, or convert-lora-to-ggml.py, April 2023 to "
    "May 2024"
)
"""Who wrote LoRA adapters (ggla)."""

NAMES_WHOLE_SINCE = "4b81c32d5"
"""The commit before which trainers cut the names of tensors, from the first of them on."""

MOST_ROTATED = 64
"""Dimensions of a head that rotate at most, by default (--rotmax)."""

LORA_MULTIPLE = 4
"""n_mult in the header that finetune wrote from 0564f4ed1 on, whatever the base model's is."""


RIGHT_TO_LEFT = "where its planner evaluates from right to left: it prints evaluation order"
"""What makes the graph of the same options meet the parameters in another order."""


class Trainer(NamedTuple):
    """A trainer, and with which options it writes and expects which order of the parameters."""

    name: str
    options: Mapping[Order, str]


# fmt: off
TRAINERS = (
    Trainer("42d9b4cfc (2023-05-21)", {
        Order.PLAIN: "always"}),
    Trainer("ec8e262d1 (2023-05-30) to 83a34444a (2023-05-31)", {
        Order.FLASH: "by default"}),
    Trainer("0d4b87de3 (2023-06-01)", {
        Order.SCRATCH: "by default"}),
    Trainer("releases e32089b2c to 43033b7bb, d39c8e686", {
        Order.SCRATCH: "by default",
        Order.FLASH: "--no-scratch",
        Order.PLAIN: "--no-scratch --no-flash"}),
    Trainer("branch from bfc311913", {
        Order.SCRATCH: "by default",
        Order.FLASH: "--no-checkpointing --no-scratch",
        Order.PLAIN: "--no-checkpointing --no-scratch --no-flash"}),
    Trainer("branch from 4ed096c6b (2023-08-14) to 4072f20bb", {
        Order.FLASH: "by default",
        Order.PLAIN: "--no-flash"}),
    Trainer("finetune, development branch, 2023-08-16 to 2023-08-29", {
        Order.FLASH: "by default",
        Order.PLAIN: "--no-flash"}),
    Trainer("trainers with GGUF from 44c117f41 (2023-08-28), before 0e76a8992", {
        Order.FLASH: "by default",
        Order.PLAIN: "--no-flash"}),
    Trainer("trainers with GGUF from 0e76a8992 (2023-09-28), before 9588f196b", {
        Order.FLASH: "by default",
        Order.PLAIN: "--no-flash",
        Order.FLASH_RTL: RIGHT_TO_LEFT,
        Order.SCRATCH: f"--no-flash, {RIGHT_TO_LEFT}"}),
    Trainer("trainers with GGUF from 9588f196b (2024-05-25) to the last (July 2024)", {
        Order.PLAIN: "by default",
        Order.SCRATCH: RIGHT_TO_LEFT}),
)
"""The trainers, the oldest first.

Those with GGUF write none of the files of this schema; they go on training from converted ones.
"""
# fmt: on

TRAINERS_OF = {
    Layout.VERSION_0: TRAINERS[:4],
    Layout.VERSION_1_WITH_PARAMS: TRAINERS[3:4],
    Layout.VERSION_1: TRAINERS[4:6],
}
"""The trainers that write training checkpoints, by the layout of the optimizer context."""

GGUF_TRAINERS = TRAINERS[7:]
"""Those that write GGUF checkpoints."""


def gguf_writers(*, lora: bool, converted: bool, file_version: int, container_version: int) -> str:
    """Return which trainers wrote a GGUF checkpoint, in words.

    Args:
        lora: whether it is one of finetune.
        converted: whether it says that it was made from another file.
        file_version: ``training.file_version``.
        container_version: version of the GGUF.
    """
    if converted:
        return "ggcp, from a checkpoint before GGUF"
    trainer = "finetune" if lora else "train-text-from-scratch"
    since = "2023-08-29 (0564f4ed1)" if lora else "2023-08-28 (44c117f41)"
    if file_version == 0:
        return f"{trainer}, llama.cpp from {since} to 2023-09-28"
    if container_version == 2:
        return f"{trainer}, llama.cpp from 2023-09-28 (0e76a8992) to 2023-10-20"
    return f"{trainer}, llama.cpp from 2023-10-20 (8cf19d60d) to July 2024"


LORA_TRAINERS = TRAINERS[6:7]
"""Those that write LoRA checkpoints."""


def orders_of(trainers: tuple[Trainer, ...]) -> tuple[Order, ...]:
    """Return the orders in which some trainers write."""
    return tuple(order for order in Order if any(order in t.options for t in trainers))


READERS = {
    Order.FLASH: "August 2023 to May 2024 without --no-flash",
    Order.PLAIN: "August 2023 to May 2024 with --no-flash, and July 2024",
    Order.SCRATCH: "September 2023 to May 2024 with --no-flash, and July 2024, where it evaluates "
    "from right to left",
    Order.FLASH_RTL: "September 2023 to May 2024 without --no-flash where it evaluates from right "
    "to left",
}
"""Which trainers with GGUF (train-text-from-scratch, finetune) expect each order."""

SCALE = (
    "Releases and d39c8e686 take the gradient of the loss summed over the n_ctx * n_batch rows of "
    "a batch, trainers from 51dc77092 on that of its mean. So the former's first moments are "
    "n_ctx * n_batch times as large as the latter's, the second moments the square of that."
)
"""What the moments are moments of."""


def sums_gradients(layout: Layout) -> bool:
    """Tell whether the trainers took the gradient of the sum over a batch, not of the mean."""
    return layout is not Layout.VERSION_1


def likely_epsilon(date: str, layout: Layout, *, lora: bool) -> LikelyEpsilon | None:
    """Return which epsilon the trainer probably had that saved a file; None if its date is no sign.

    A trainer is older than what it saves, so one of the day on which the epsilon changed still had
    the old one. Files that seem older or younger than all trainers of their layout were copied, or
    come from a trainer that had been kept: nothing is said of them.

    Args:
        date: when the file was last written to, as year-month-day.
        layout: of the optimizer context.
        lora: whether it is a checkpoint of finetune.
    """
    epsilons = LORA_EPSILONS if lora else _EPSILONS_OF[layout]
    first, last = ("2023-08-16", "2023-08-29") if lora else (date_of("42d9b4cfc"), _LAST_SAVED)
    if not first <= date <= last:
        return None
    era = next((era for era in reversed(epsilons) if era.since < date), epsilons[0])
    return LikelyEpsilon(era.words, date)


def stores_mean_losses(layout: Layout) -> bool:
    """Tell whether the losses in the optimizer context are mean losses."""
    return layout is not Layout.VERSION_0


NO_MEAN_LOSS = (
    "Not a mean loss: releases sum the loss of the last row over the threads, their branch before "
    "them that of all rows of a batch."
)
"""What a loss is where ``stores_mean_losses`` says no."""

NO_MEAN_LOSSES = (
    "The losses are no mean losses: releases sum the loss of a batch's last row over the threads, "
    "their branch before them that of all its rows."
)
"""The same of all losses in a file."""

ONLY_THE_TREND = (
    "This layout stores no mean loss but a sum, in releases over threads of the last row's, so "
    "only the trend means something."
)
"""The same beside a chart of them."""
