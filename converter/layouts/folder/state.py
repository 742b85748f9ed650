"""The state of a training as transformers' Trainer saves it, and loads it to go on.

optimizer.pt is what ``torch.optim.AdamW.state_dict()`` returns. Without scheduler.pt the Trainer
ignores it without a word; without trainer_state.json it stops. rng_state.pth and training_args.bin
are not needed (transformers, trainer.py: ``_load_optimizer_and_scheduler``).
"""

from __future__ import annotations

import struct
from typing import Any

from converter.hf_io.pickled import StoredTensor
from converter.hf_io.torch_file import torch_file
from converter.layouts.folder.adam import Adam
from converter.layouts.folder.config import as_json
from converter.layouts.folder.weights import Parameter, parts_of
from converter.numeric.scale import divided
from converter.plan import PlannedFile
from converter.snapshot import Hyperparameters, Moments

_EVERY = 500
"""Steps between notes and saves: the Trainer's default. It wants numbers."""


def state_files(
    adam: Adam, moments: Moments, parameters: tuple[Parameter, ...], sizes: Hyperparameters
) -> tuple[PlannedFile, ...]:
    """Return optimizer.pt, scheduler.pt and trainer_state.json.

    Args:
        adam: the settings.
        moments: of each tensor.
        parameters: of the model, in the order of ``named_parameters()``.
        sizes: of the model.
    """
    groups = (
        [each for each in parameters if not each.is_norm],
        [each for each in parameters if each.is_norm],
    )
    decays = (adam.weight_decay, adam.weight_decay_of_norms)
    state = {
        index: _state_of(each, adam, moments, sizes)
        for index, each in enumerate(each for group in groups for each in group)
    }
    first_of_norms = len(groups[0])
    param_groups = [
        _group(adam, decay, start, [each.name for each in group])
        for group, decay, start in zip(groups, decays, (0, first_of_norms), strict=True)
    ]
    return (
        torch_file("optimizer.pt", {"state": state, "param_groups": param_groups}),
        torch_file("scheduler.pt", _scheduler(adam)),
        PlannedFile.of("trainer_state.json", as_json(_trainer_state(adam))),
    )


def _state_of(
    parameter: Parameter, adam: Adam, moments: Moments, sizes: Hyperparameters
) -> dict[str, StoredTensor]:
    shape, rows = parameter.shape[::-1], float(moments.resumption.rows)
    first, second = (
        StoredTensor(
            shape, tuple(divided(part, divisor) for part in parts_of(parameter, sizes, arrays))
        )
        for arrays, divisor in ((moments.first, rows), (moments.second, rows**2))
    )
    # Each has a count of its own: AdamW adds to it in place.
    step = PlannedFile.of("step", struct.pack("<f", adam.iteration)).parts
    return {"step": StoredTensor((), step), "exp_avg": first, "exp_avg_sq": second}


def _group(adam: Adam, decay: float, start: int, names: list[str]) -> dict[str, Any]:
    return {
        "lr": adam.rate,
        "betas": adam.betas,
        "eps": adam.epsilon,
        "weight_decay": decay,
        "amsgrad": False,
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "fused": None,
        "decoupled_weight_decay": True,
        "initial_lr": adam.alpha,
        "params": list(range(start, start + len(names))),
        "param_names": names,
    }


def _scheduler(adam: Adam) -> dict[str, Any]:
    return {
        "base_lrs": [adam.alpha] * 2,
        "last_epoch": adam.iteration,
        "_step_count": adam.iteration + 1,
        "_last_lr": [adam.rate] * 2,
        "lr_lambdas": [None] * 2,
    }


def _trainer_state(adam: Adam) -> dict[str, Any]:
    """Return trainer_state.json; the first save fails where there is no TrainerControl."""
    control = {
        "should_training_stop": False,
        "should_epoch_stop": False,
        "should_save": False,
        "should_evaluate": False,
        "should_log": False,
    }
    return {
        "best_global_step": None,
        "best_metric": None,
        "best_model_checkpoint": None,
        "epoch": 0.0,
        "eval_steps": _EVERY,
        "global_step": adam.iteration,
        "is_hyper_param_search": False,
        "is_local_process_zero": True,
        "is_world_process_zero": True,
        "log_history": [],
        "logging_steps": _EVERY,
        "max_steps": adam.schedule.end,
        "num_input_tokens_seen": 0,
        "num_train_epochs": 1,
        "save_steps": _EVERY,
        "stateful_callbacks": {"TrainerControl": {"args": control, "attributes": {}}},
        "total_flos": 0,
        "train_batch_size": adam.batch,
        "trial_name": None,
        "trial_params": None,
    }
