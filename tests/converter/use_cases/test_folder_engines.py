"""Training goes on in PyTorch from an exported folder as if it had never been interrupted.

Losses are too weak a sign: with the moments of queries and keys left as the trainers have them they
change by 4e-6, and the weights by 9e-3. So weights are compared, with an independent computation in
float64.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hf_folder import ADAM, INPUTS, TARGETS, export, float64_steps, from_hf, hf_names, moments
from reference import llama
from reference.checkpoint import Checkpoint, read

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when transformers is imported

pytestmark = [
    pytest.mark.engines,
    # What these packages warn about among themselves is not about the files.
    pytest.mark.filterwarnings("ignore"),
]

STEPS = 5
SAMPLE = [*INPUTS, TARGETS[-1]]


@pytest.fixture(autouse=True)
def _engine() -> None:
    pytest.importorskip("torch", exc_type=ImportError)
    pytest.importorskip("transformers", exc_type=ImportError)


def rates(name: str) -> list[float]:
    """Of the iterations that follow, as the trainers scheduled them by default; --warmup 0 shows."""
    done = 30 if "11layers" not in name else None
    del done
    return []


def loaded(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )


def weights_of(model: Any, checkpoint: Checkpoint) -> dict[str, Any]:
    """The weights of a model of transformers, by the names and rows of the checkpoint."""
    names, n_head = hf_names(checkpoint.header["n_layer"]), checkpoint.header["n_head"]
    return {
        names[name]: from_hf(names[name], values.detach().numpy().astype(np.float64), n_head)
        for name, values in model.named_parameters()
    }


def furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def expected(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """What the trainer's own settings do, in float64, without anything from the folder."""
    order, rows, norm_epsilon = ADAM[name]
    optimizer = checkpoint.optimizer
    done, params = optimizer.iter, optimizer.params

    def rate(t: int) -> float:
        if params:  # --warmup 0 shows in the stored factor; a cosine over 1000 iterations to 0
            return params["adam.alpha"] * 0.5 * (1 + math.cos(math.pi * t / 1000))
        return 1e-3 * t / 100 if t < 100 else math.nan  # nothing is stored: a warmup of 100

    return float64_steps(
        checkpoint.tensors,
        *moments(checkpoint, order, rows),
        STEPS,
        hyperparameters=checkpoint.header,
        norm_epsilon=norm_epsilon,
        iteration=done,
        rates=[rate(t) for t in range(done, done + STEPS)],
        epsilon=1e-8 / rows,
        decay=params["adam.decay"] / params["adam.alpha"] if params else 0.1,
        decays_norms=bool(params),
        clipping=0.0 if params else 1.0,
    )


def exported(name: str, fixtures: Path, tmp_path: Path) -> tuple[Checkpoint, Path]:
    checkpoint = read(fixtures / name)
    _, rows, epsilon = ADAM[name]
    context = checkpoint.header["train_tokens"] // checkpoint.header["train_samples"]
    batch = rows // context if rows > 1 else 1
    return checkpoint, export(fixtures / name, tmp_path / "folder", epsilon=epsilon, batch=batch)


@pytest.mark.parametrize("name", ADAM)
def test_logits(name: str, fixtures: Path, tmp_path: Path) -> None:
    import torch

    checkpoint, folder = exported(name, fixtures, tmp_path)
    found = loaded(folder)(torch.tensor([INPUTS])).logits[0].detach().numpy()
    wanted = llama.forward(
        checkpoint.tensors, checkpoint.header, INPUTS, epsilon=ADAM[name][2]
    )
    print(f"{name}: largest difference of logits {np.abs(found - wanted).max():.3g}")
    np.testing.assert_allclose(found, wanted, atol=1e-6, rtol=0)


def continued(folder: Path, steps: int = STEPS) -> Any:
    """A model after some more steps in plain PyTorch, everything taken from the folder."""
    import torch

    model = loaded(folder)
    state = torch.load(folder / "optimizer.pt", weights_only=True)
    weights = dict(model.named_parameters())
    groups = [{"params": [weights[n] for n in g["param_names"]]} for g in state["param_groups"]]
    optimizer = torch.optim.AdamW(groups)
    optimizer.load_state_dict(state)
    schedule = torch.load(folder / "scheduler.pt", weights_only=True)
    assert schedule["_last_lr"] == [group["lr"] for group in optimizer.param_groups]
    return model, optimizer


def lines_of(page: Path, heading: int) -> str:
    """A snippet of the page."""
    return page.read_text(encoding="utf-8").split("```python\n")[heading].split("```")[0]


def run_snippets(folder: Path, which: int, monkeypatch: pytest.MonkeyPatch, samples: Any) -> Any:
    """Run the README's own code with given samples, and return its model."""
    monkeypatch.chdir(folder)
    space: dict[str, Any] = {"folder": ".", "samples": samples}
    exec(lines_of(folder / "README.md", which), space)  # noqa: S102
    return space


@pytest.mark.parametrize("name", ADAM)
def test_weights_in_pytorch(
    name: str, fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, folder = exported(name, fixtures, tmp_path)
    batch = int(lines_of(folder / "README.md", 2).split(".split(")[1].split(")")[0])
    found = run_snippets(folder, 2, monkeypatch, [SAMPLE] * (batch * STEPS))["model"]
    far = furthest(weights_of(found, checkpoint), expected(checkpoint, name))
    print(f"{name}: weights {far:.3g} apart after {STEPS} steps in PyTorch")
    assert far < 1e-6


@pytest.mark.parametrize("name", ADAM)
def test_weights_in_a_trainer(
    name: str, fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    checkpoint, folder = exported(name, fixtures, tmp_path)
    plain = transformers.TrainingArguments

    class Stop(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step >= checkpoint.optimizer.iter + STEPS

    class Trainer(transformers.Trainer):
        def __init__(self, **given: Any) -> None:
            given["callbacks"] = [*given["callbacks"], Stop()]
            super().__init__(**given)

    monkeypatch.setattr(
        transformers,
        "TrainingArguments",
        lambda *args, **given: plain(*args, **given, use_cpu=True, report_to=[]),
    )
    monkeypatch.setattr(transformers, "Trainer", Trainer)
    found = run_snippets(folder, 3, monkeypatch, [SAMPLE] * 64)["model"]
    far = furthest(weights_of(found, checkpoint), expected(checkpoint, name))
    print(f"{name}: weights {far:.3g} apart after {STEPS} steps in a Trainer")
    assert far < 1e-6
