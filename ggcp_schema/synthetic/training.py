"""Synthetic training checkpoints, written through the structs that parse real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from ggcp_schema.history import MOST_ROTATED
from ggcp_schema.language.fields import Struct
from ggcp_schema.model import Hyperparameters, Model
from ggcp_schema.optimizer import VERSION_0_STATES, VERSION_1_STATES
from ggcp_schema.synthetic.base import SyntheticCheckpoint, checked

# What ggml_opt_default_params and the trainer set; the file needs values, nothing here reads them.
_ADAM_PARAMS = {
    "iteration_limit": 16,
    "schedule_factor": 1.0,
    "weight_decay": 0.001,
    "learning_rate": 0.001,
    "first_moment_decay": 0.9,
    "second_moment_decay": 0.999,
    "epsilon": 1e-8,
    "loss_epsilon": 1e-5,
    "gradient_epsilon": 0.001,
}
_LBFGS_PARAMS = {
    "iteration_limit": 16,
    "line_search_limit": 20,
    "gradient_epsilon": 1e-5,
    "line_search_tolerance": 1e-4,
    "wolfe_coefficient": 0.9,
    "smallest_step": 1e-20,
    "largest_step": 1e20,
    "line_search_condition": 1,
}
_PARAMS = {
    "thread_count": 6,
    "convergence_delta": 1e-5,
    "no_improvement_limit": 100,
    "print_forward_graph": 0,
    "print_backward_graph": 0,
    "compiler_padding": bytes(2),
}


@dataclass(frozen=True)
class Synthetic(SyntheticCheckpoint):
    """What a synthetic training checkpoint is made of.

    Attributes:
        optimizer_version: 0 (the releases) or 1 (the development branch).
        with_params: version 1 with params, the layout of one commit.
        unseen_token_count: how many of the last tokens were never seen in training.
    """

    feed_forward_multiple: int | None = 32
    _: KW_ONLY
    optimizer_version: int = 0
    with_params: bool = False
    unseen_token_count: int = 0

    _model: ClassVar[Struct] = Model
    _most_rotated: ClassVar[float] = MOST_ROTATED

    def _header(self) -> dict[str, Any]:
        found = checked("hyperparameters", Hyperparameters, self.hyperparameters)
        return {"hyperparameters": found}

    def _optimizer(self, lengths: Mapping[str, int]) -> tuple[Struct, dict[str, Any]]:
        states = VERSION_0_STATES if self.optimizer_version == 0 else VERSION_1_STATES
        context: dict[str, Any] = {"version": self.optimizer_version}
        kind = int(self.optimizer_type)
        if self.optimizer_version == 0 or self.with_params:
            context["params"] = {
                **_PARAMS,
                "type": kind,
                "adam": {**_ADAM_PARAMS},  # whose owner may change it
                "convergence_past_count": lengths["convergence_past_count"],
                "lbfgs": {**_LBFGS_PARAMS, "approx_hessian_count": lengths["approx_hessian_count"]},
            }
        else:
            context |= {**lengths, "type": kind}
        return states[self.optimizer_type], context

    def _zeros(self, path: str) -> int:
        unseen = min(self.unseen_token_count, self.vocabulary_size) * self.embedding_length
        return unseen if path == "tok_embeddings" else 0
