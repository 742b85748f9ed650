"""What a checkpoint may be, where there is a choice of few."""

from __future__ import annotations

import enum


class OptimizerType(enum.IntEnum):
    """C: ``enum ggml_opt_type``."""

    ADAM = 0
    LBFGS = 1


class Layout(enum.Enum):
    """The layouts of the optimizer context, by what their documentation calls them."""

    VERSION_0 = "version 0"
    VERSION_1 = "version 1"
    VERSION_1_WITH_PARAMS = "version 1 with params"


class HeaderLayout(enum.Enum):
    """The two layouts of a LoRA checkpoint's header, by what the hyperparameters hold."""

    WITH_MULTIPLE = "with n_mult"
    WITHOUT_MULTIPLE = "without n_mult"


class NameFamily(enum.Enum):
    """How finetune named the tensors of a LoRA checkpoint; a file keeps to one family."""

    ORDINARY = "ordinary"
    W1_A = "w1_a"
    WITHOUT_LAYERS = "without layers."
