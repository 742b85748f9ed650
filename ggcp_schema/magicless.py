"""The layout of four days: the first trainer's file, without a magic and without an optimizer.

llama.cpp, examples/baby-llama/baby-llama-text.cpp, b241b9cb6 (2023-05-17) to 37c69435f
(2023-05-21); from 42d9b4cfc on, some hours later, the same trainer wrote ``TrainingCheckpoint``.
"""

from __future__ import annotations

from ggcp_schema.language.fields import U32, Struct, computed, field
from ggcp_schema.language.runs import End
from ggcp_schema.model import Hyperparameters, Model
from ggcp_schema.tensor import ElementCount

# fmt: off
MagiclessTraining = Struct(
    field("iteration_count", U32,
        "train_its", "Optimizer iterations planned so far, 16 for each example, over all runs."),
    field("sample_count", U32,
        "train_samples", "Samples seen so far; tokens were not counted yet."),
    docs="How far the training got.",
)

MagiclessCheckpoint = Struct(
    field("training", MagiclessTraining,
        "-", "How far the training got."),
    field("hyperparameters", Hyperparameters,
        "hparams", "The sizes of the model."),
    field("model", Model,
        "model", "The weights."),
    computed("parameter_count", ElementCount(Model),
        "-", "The elements of all tensors of the model."),
    field("end", End(),
        "-", "Nothing follows."),
    docs="A checkpoint without a magic and without an optimizer. llama.cpp, examples/baby-llama/"
        "baby-llama-text.cpp: save_checkpoint, b241b9cb6 (2023-05-17) to 37c69435f (2023-05-21). "
        "Until 09b304d01 its model was trained with the squared error of the logits, from then on "
        "with the cross-entropy. Its first record alone tells it from other files.",
)
# fmt: on

FIRST_NAME: bytes = Model.tok_embeddings.subcon.tensor_name.encode()
"""The name of the first record."""

FIRST_NAME_OFFSET = MagiclessTraining.least + Hyperparameters.least + 20
"""Where that stands: behind the header, three numbers and two dimensions."""

HEAD_LENGTH = FIRST_NAME_OFFSET + len(FIRST_NAME)
"""Bytes at the start of a file that tell whether it is one of these."""


def is_magicless(head: bytes) -> bool:
    """Tell whether a file has its first record where one without a magic has it.

    Args:
        head: the first HEAD_LENGTH bytes of the file, or more.
    """
    return head[FIRST_NAME_OFFSET:HEAD_LENGTH] == FIRST_NAME
