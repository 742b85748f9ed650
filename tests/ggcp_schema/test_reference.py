"""The references check themselves before anything is checked against them."""

from pathlib import Path

import numpy as np
import pytest
from reference import llama, llama_cpp
from reference.checkpoint import Checkpoint, read

INPUTS = [1, 261, 273, 274, 298, 295, 296, 297, 299, 282, 283, 284, 298, 286, 287, 288]
TARGETS = [*INPUTS[1:], 13]

# File: order, epsilon, rows of a batch (1 where the gradient is a mean already), losses. The
# losses are PyTorch's in float64; the trainers themselves gave the same within 3e-6.
RESUMED = {
    "v0_adam_one.bin": (
        *("scratch", 1e-6, 32),
        [5.470584, 5.462482, 5.454307, 5.446043, 5.437680, 5.429224],
    ),
    "v1_adam_one.bin": (
        *("flash", 1e-5, 1),
        [5.470821, 5.462721, 5.454550, 5.446290, 5.437932, 5.429481],
    ),
    "v1_adam_one_noflash.bin": (
        *("plain", 1e-5, 1),
        [5.470821, 5.462721, 5.454550, 5.446290, 5.437932, 5.429481],
    ),
}


def shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in checkpoint.tensors.items()}


@pytest.mark.parametrize("name", RESUMED)
def test_adam_continues_as_the_trainers_did(fixtures: Path, name: str) -> None:
    order, epsilon, rows, losses = RESUMED[name]
    checkpoint = read(fixtures / name)
    m, v = (
        llama.split(
            checkpoint.optimizer.vectors[vector].astype(np.float64) / scale,
            order,
            shapes(checkpoint),
        )
        for vector, scale in (("m", rows), ("v", rows**2))
    )
    measured = llama.adam(
        checkpoint.tensors,
        m,
        v,
        checkpoint.optimizer.iter,
        5,
        hyperparameters=checkpoint.header,
        inputs=INPUTS,
        targets=TARGETS,
        epsilon=epsilon,
    )
    assert measured == pytest.approx(losses, abs=1e-6)


def test_the_order_of_a_version_0_file_is_the_one_in_which_x_holds_the_weights(
    fixtures: Path,
) -> None:
    checkpoint = read(fixtures / "v0_adam_one.bin")
    x = checkpoint.optimizer.vectors["x"]
    right = [
        order
        for order in ("scratch", "flash", "plain", "flash-rtl")
        if all(
            np.array_equal(part, checkpoint.tensors[name])
            for name, part in llama.split(x, order, shapes(checkpoint)).items()
        )
    ]
    assert right == ["scratch"]


@pytest.mark.parametrize("order", ["scratch", "flash", "plain", "flash-rtl"])
def test_an_order_holds_every_parameter_once(fixtures: Path, order: str) -> None:
    checkpoint = read(fixtures / "v1_adam_one.bin")
    names = llama.parameter_names(order, checkpoint.header["n_layer"])
    assert sorted(names) == sorted(checkpoint.tensors)


def test_the_gradient_matches_finite_differences(fixtures: Path) -> None:
    checkpoint = read(fixtures / "v1_adam_one.bin")
    rng = np.random.default_rng(0)
    # Far from the initial weights, where some gradients are too small to measure.
    weights = {
        name: tensor + 0.3 * rng.standard_normal(tensor.shape)
        for name, tensor in checkpoint.tensors.items()
    }

    def loss_and_gradients(changed: dict[str, np.ndarray]) -> tuple[float, dict[str, np.ndarray]]:
        return llama.loss_and_gradients(
            {**weights, **changed},
            checkpoint.header,
            INPUTS,
            TARGETS,
            epsilon=1e-5,
            rope_dimension_count=6,  # below the head dimension of 8
        )

    _, gradients = loss_and_gradients({})
    assert gradients.keys() == weights.keys()
    step = 1e-5
    for name, weight in weights.items():
        direction = rng.standard_normal(weight.shape)
        ahead, behind = (
            loss_and_gradients({name: weight + sign * step * direction})[0] for sign in (1, -1)
        )
        expected = (ahead - behind) / (2 * step)
        assert np.sum(gradients[name] * direction) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_future_does_not_change_the_past(fixtures: Path) -> None:
    checkpoint = read(fixtures / "v1_adam_one.bin")
    whole, beginning = (
        llama.forward(checkpoint.tensors, checkpoint.header, tokens, epsilon=1e-5)
        for tokens in (INPUTS, INPUTS[:5])
    )
    np.testing.assert_allclose(whole[:5], beginning, atol=1e-12)


def test_lora_deltas_have_the_shapes_of_the_weights(fixtures: Path) -> None:
    checkpoint = read(fixtures / "ggcl_v1_adam_1a5f0a30e.bin")
    deltas = llama.lora_deltas(checkpoint.tensors)
    assert len(deltas) == 3 + 9 * 2
    assert deltas["tok_embeddings.weight"].shape == (300, 32)
    assert deltas["norm.weight"].shape == (32,)
    assert deltas["layers.1.feed_forward.w2.weight"].shape == (32, 96)
    a, b = (checkpoint.tensors[f"layers.1.feed_forward.w2.weight.lora{half}"] for half in "AB")
    # Position i along the input, j along the output, summed over the ranks.
    assert deltas["layers.1.feed_forward.w2.weight"][7, 50] == pytest.approx(
        sum(float(a[50, r]) * float(b[7, r]) for r in range(2)), rel=1e-12
    )


def test_llama_cpp_says_why_it_refuses_a_file(fixtures: Path) -> None:
    with pytest.raises(llama_cpp.EngineError) as caught:
        llama_cpp.greedy_log_probabilities(fixtures / "vocab300.gguf", [1], 1)
    assert "tensor 'token_embd.weight' not found" in str(caught.value)
