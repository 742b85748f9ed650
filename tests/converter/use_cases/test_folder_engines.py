"""Training goes on in PyTorch from an exported folder as if it had never been interrupted.

Losses are too weak a sign: with the moments of queries and keys left as the trainers have them they
change by 4e-6, and the weights by 9e-3. So weights are compared, with an independent computation in
float64.
"""

from __future__ import annotations

import json
import math
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import header, random_weights, write_checkpoint
from gguf_bytes import read as read_gguf
from hf_folder import (
    ADAM,
    INPUTS,
    TARGETS,
    export,
    float64_steps,
    from_hf,
    hf_names,
    moments,
    snippets,
)
from reference import llama
from reference.checkpoint import Checkpoint, gguf_names, read

from ggcp_schema.order import Order
from ggcp_schema.synthetic import Synthetic

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when transformers is imported

pytestmark = [
    pytest.mark.engines,
    # What these packages warn about among themselves is not about the files.
    pytest.mark.filterwarnings("ignore"),
]

STEPS = 5
SAMPLE = [*INPUTS, TARGETS[-1]]
PYTORCH, TRAINER = 1, 2  # which snippet of the page


@pytest.fixture(autouse=True)
def _engine() -> None:
    pytest.importorskip("torch", exc_type=ImportError)
    pytest.importorskip("transformers", exc_type=ImportError)


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
    wanted = llama.forward(checkpoint.tensors, checkpoint.header, INPUTS, epsilon=ADAM[name][2])
    print(f"{name}: largest difference of logits {np.abs(found - wanted).max():.3g}")
    np.testing.assert_allclose(found, wanted, atol=1e-6, rtol=0)


def run(folder: Path, which: int, samples: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a snippet of the README with some samples, and return its model."""
    monkeypatch.chdir(folder)
    space: dict[str, Any] = {"folder": ".", "samples": samples}
    exec(snippets(folder / "README.md")[which], space)
    return space["model"]


def stopping(monkeypatch: pytest.MonkeyPatch, at: int, **given: Any) -> None:
    """Let Trainers run here, without a GPU, and stop at a step; the snippet stays as it is."""
    import transformers

    class Stop(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step >= at

    class Trainer(transformers.Trainer):
        def __init__(self, **given: Any) -> None:
            super().__init__(**{**given, "callbacks": [*given["callbacks"], Stop()]})

    plain = transformers.TrainingArguments
    monkeypatch.setattr(
        transformers, "TrainingArguments", partial(plain, use_cpu=True, report_to=[], **given)
    )
    monkeypatch.setattr(transformers, "Trainer", Trainer)


@pytest.mark.parametrize("name", ADAM)
def test_weights_in_pytorch(
    name: str, fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, folder = exported(name, fixtures, tmp_path)
    batch = json.loads((folder / "trainer_state.json").read_text())["train_batch_size"]
    found = run(folder, PYTORCH, [SAMPLE] * (batch * STEPS), monkeypatch)
    far = furthest(weights_of(found, checkpoint), expected(checkpoint, name))
    print(f"{name}: weights {far:.3g} apart after {STEPS} steps in PyTorch")
    assert far < 1e-6


@pytest.mark.parametrize("name", ADAM)
def test_weights_in_a_trainer(
    name: str, fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, folder = exported(name, fixtures, tmp_path)
    stopping(monkeypatch, checkpoint.optimizer.iter + STEPS)
    found = run(folder, TRAINER, [SAMPLE] * 64, monkeypatch)
    far = furthest(weights_of(found, checkpoint), expected(checkpoint, name))
    print(f"{name}: weights {far:.3g} apart after {STEPS} steps in a Trainer")
    assert far < 1e-6


def test_moments_of_queries_left_as_they_were_would_be_noticed(
    fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses would not tell: they change by 4e-6."""
    monkeypatch.setattr("converter.layouts.folder.state.parts_of", unmoved)
    checkpoint, folder = exported("v0_adam_one.bin", fixtures, tmp_path)
    found = run(folder, PYTORCH, [SAMPLE] * (2 * STEPS), monkeypatch)
    assert furthest(weights_of(found, checkpoint), expected(checkpoint, "v0_adam_one.bin")) > 1e-3


def unmoved(parameter: Any, _sizes: Any, arrays: Any) -> Any:
    return tuple(part for path in parameter.paths for part in arrays[path].parts)


def test_torch_loads_the_state_without_trust_and_in_place(fixtures: Path, tmp_path: Path) -> None:
    import torch

    checkpoint, folder = exported("v1_adam_one.bin", fixtures, tmp_path)
    first, _ = moments(checkpoint, "flash", 1)
    for options in ({}, {"mmap": True}):
        state = torch.load(folder / "optimizer.pt", weights_only=True, **options)
        embeddings = state["state"][0]["exp_avg"].numpy()
        np.testing.assert_array_equal(embeddings, first["tok_embeddings.weight"])
        assert float(state["state"][20]["step"]) == 30
    assert torch.load(folder / "scheduler.pt", weights_only=True)["last_epoch"] == 30


TEXT = "Once upon a time there was a little forest. " * 40


@pytest.mark.parametrize("which", [PYTORCH, TRAINER])
def test_the_page_runs_as_it_stands(
    which: int, fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = exported("v0_adam_one.bin", fixtures, tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    stopping(monkeypatch, 33)
    monkeypatch.chdir(folder)
    space: dict[str, Any] = {}
    before = {name: values.clone() for name, values in loaded(folder).named_parameters()}
    for snippet in (snippets(folder / "README.md")[each] for each in (0, which)):
        exec(snippet, space)
    assert len(space["samples"]) > 6
    assert {len(sample) for sample in space["samples"]} == {16}
    after = dict(space["model"].named_parameters())
    assert all((after[name] != values).any() for name, values in before.items())


def test_a_trainer_saves(fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which fails where trainer_state.json lacks what the first save needs."""
    _, folder = exported("v0_adam_one.bin", fixtures, tmp_path)
    stopping(monkeypatch, 32, save_steps=1)
    run(folder, TRAINER, [SAMPLE] * 64, monkeypatch)
    saved = json.loads((tmp_path / "run/checkpoint-32/trainer_state.json").read_text())
    assert saved["global_step"] == 32


def of_gguf(path: Path) -> tuple[dict[str, int], dict[str, Any], dict[str, Any], Any]:
    """Hyperparameters, weights, keys and vectors of a GGUF checkpoint, by the reference's names."""
    gguf = read_gguf(path)
    keys = {key.name: key.value for key in gguf.keys}
    tensors = {
        tensor.name: np.frombuffer(tensor.data, "<f4").reshape(tensor.dims[::-1])
        for tensor in gguf.tensors
    }
    sizes = {
        "n_head": keys["llama.attention.head_count"],
        "n_layer": keys["llama.block_count"],
        "n_rot": keys["llama.rope.dimension_count"],
    }
    weights = {old: tensors[new] for old, new in gguf_names(sizes["n_layer"]).items()}
    return sizes, weights, keys, tensors


@pytest.mark.parametrize(
    ("name", "rope_base", "rope_scale"),
    [("chk_aug23_rope.gguf", 20000.0, 0.5), ("chk_oct23_adam_c8_nockpt.gguf", 10000.0, 1.0)],
)
def test_logits_of_gguf_checkpoints(
    name: str, rope_base: float, rope_scale: float, fixtures: Path, tmp_path: Path
) -> None:
    import torch

    folder = export(fixtures / name, tmp_path / "folder", vocabulary=None)
    sizes, weights, keys, _ = of_gguf(fixtures / name)
    found = loaded(folder)(torch.tensor([INPUTS])).logits[0].detach().numpy()
    wanted = llama.forward(
        weights,
        sizes,
        INPUTS,
        epsilon=keys["llama.attention.layer_norm_rms_epsilon"],
        rope_base=rope_base,
        rope_scale=rope_scale,
    )
    np.testing.assert_allclose(found, wanted, atol=1e-6, rtol=0)


def test_weights_from_a_gguf_checkpoint(
    fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a trainer that evaluated from right to left, so that the order is flash-rtl."""
    name = "chk_oct23_adam_c8_nockpt.gguf"
    folder = export(fixtures / name, tmp_path / "folder", vocabulary=None, batch=1)
    sizes, weights, keys, tensors = of_gguf(fixtures / name)
    shapes = {name: weight.shape for name, weight in weights.items()}
    first, second = (
        llama.split(tensors[f"optimizer.adam.{which}_moments"], "flash-rtl", shapes)
        for which in ("first", "second")
    )
    done = keys["optimizer.iteration_count"]
    wanted = float64_steps(
        weights,
        first,
        second,
        STEPS,
        hyperparameters=sizes,
        norm_epsilon=keys["llama.attention.layer_norm_rms_epsilon"],
        iteration=done,
        rates=[1e-3 * t / 100 for t in range(done, done + STEPS)],
        epsilon=1e-8,
        decay=0.1,
        decays_norms=False,
        clipping=1.0,
    )
    found = run(folder, PYTORCH, [SAMPLE] * STEPS, monkeypatch)
    names = hf_names(sizes["n_layer"])
    back = {
        names[name]: from_hf(names[name], values.detach().numpy(), sizes["n_head"])
        for name, values in found.named_parameters()
    }
    assert furthest(back, wanted) < 1e-6


@pytest.mark.parametrize(
    ("embedding_length", "head_count", "rotated"), [(32, 2, 4), (196, 2, 64), (206, 1, 64)]
)
def test_a_head_that_is_rotated_in_part(
    embedding_length: int, head_count: int, rotated: int, tmp_path: Path
) -> None:
    """98 and 206 dimensions are those of which int(D · (64 / D)) is 63."""
    import torch

    synthetic = Synthetic(
        embedding_length=embedding_length,
        head_count=head_count,
        rope_dimension_count=rotated,
        vocabulary_size=300,
    )
    weights = random_weights(synthetic)
    checkpoint = write_checkpoint(tmp_path / "checkpoint.bin", synthetic, weights)
    folder = export(checkpoint, tmp_path / "folder", epsilon=1e-5, batch=1, order=Order.SCRATCH)
    model = loaded(folder)
    assert type(model).__name__ == "Phi3ForCausalLM"
    found = model(torch.tensor([INPUTS])).logits[0].detach().numpy()
    wanted = llama.forward(weights, header(synthetic), INPUTS, epsilon=1e-5)
    print(f"largest {np.abs(wanted).max():.3g}, difference {np.abs(found - wanted).max():.3g}")
    np.testing.assert_allclose(found, wanted, atol=5e-4, rtol=0)
    state = torch.load(folder / "optimizer.pt", weights_only=True)
    shapes = {name: tuple(values.shape) for name, values in model.named_parameters()}
    names = [name for group in state["param_groups"] for name in group["param_names"]]
    assert sorted(names) == sorted(shapes)
    for index, name in enumerate(names):
        assert tuple(state["state"][index]["exp_avg_sq"].shape) == shapes[name]
    norms = [name for name in shapes if "norm" in name]
    assert names == [name for name in shapes if name not in norms] + norms


@pytest.mark.parametrize("name", ["ggcl_1a5f0a30e_one_flash.bin"])
def test_a_merged_lora(name: str, fixtures: Path, tmp_path: Path) -> None:
    import torch

    folder = export(
        fixtures / name, tmp_path / "folder", vocabulary=None, base=fixtures / "base16.gguf"
    )
    sizes, weights, keys, _ = of_gguf(fixtures / "base16.gguf")
    wanted = llama.forward(
        weights,
        sizes,
        INPUTS,
        epsilon=keys["llama.attention.layer_norm_rms_epsilon"],
        deltas=llama.lora_deltas(read(fixtures / name).tensors),
    )
    found = loaded(folder)(torch.tensor([INPUTS])).logits[0].detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=5e-6, rtol=0)
