"""LLaMA in float64 NumPy: forward pass, greedy decoding, gradient, and Adam as the trainers ran it.

Weights carry the checkpoint's names and NumPy shapes. `hyperparameters` is a checkpoint's header,
or any mapping with n_head, n_layer and n_rot.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Weights = Mapping[str, npt.NDArray[np.floating]]


@dataclass
class _Model:
    """The float64 weights of one model, with what its computation needs besides."""

    weights: dict[str, Array]
    n_head: int
    n_layer: int
    n_rot: int
    rope_base: float
    epsilon: float
    rope_scale: float = 1.0


def _model(
    weights: Weights,
    hyperparameters: Mapping[str, int],
    epsilon: float,
    rope_dimension_count: int | None,
    rope_base: float,
    deltas: Weights | None = None,
) -> _Model:
    full = {name: np.asarray(weight, np.float64) for name, weight in weights.items()}
    for name, delta in (deltas or {}).items():
        full[name] = full[name] + delta
    n_rot = hyperparameters["n_rot"] if rope_dimension_count is None else rope_dimension_count
    n_head, n_layer = hyperparameters["n_head"], hyperparameters["n_layer"]
    return _Model(full, n_head, n_layer, n_rot, rope_base, epsilon)


def forward(
    weights: Weights,
    hyperparameters: Mapping[str, int],
    tokens: Sequence[int],
    *,
    epsilon: float,
    rope_dimension_count: int | None = None,
    rope_base: float = 10000.0,
    rope_scale: float = 1.0,
    deltas: Weights | None = None,
) -> Array:
    """The logits [n_tokens, n_vocab]. `deltas` are added to the weights of their names."""
    model = _model(weights, hyperparameters, epsilon, rope_dimension_count, rope_base, deltas)
    model.rope_scale = rope_scale
    return _forward(model, tokens)[0]


def greedy(
    weights: Weights,
    hyperparameters: Mapping[str, int],
    prompt: Sequence[int],
    count: int,
    *,
    epsilon: float,
    rope_dimension_count: int | None = None,
    rope_base: float = 10000.0,
    rope_scale: float = 1.0,
    deltas: Weights | None = None,
) -> list[tuple[int, float]]:
    """The `count` most probable next tokens, one after the other, with their log-probabilities."""
    model = _model(weights, hyperparameters, epsilon, rope_dimension_count, rope_base, deltas)
    model.rope_scale = rope_scale
    tokens, chosen = list(prompt), []
    for _ in range(count):
        log_probabilities = log_softmax(_forward(model, tokens)[0][-1])
        token = int(log_probabilities.argmax())
        chosen.append((token, float(log_probabilities[token])))
        tokens.append(token)
    return chosen


def loss_and_gradients(
    weights: Weights,
    hyperparameters: Mapping[str, int],
    inputs: Sequence[int],
    targets: Sequence[int],
    *,
    epsilon: float,
    rope_dimension_count: int | None = None,
    rope_base: float = 10000.0,
    deltas: Weights | None = None,
) -> tuple[float, dict[str, Array]]:
    """The mean cross-entropy over the rows, and its gradient for every weight."""
    model = _model(weights, hyperparameters, epsilon, rope_dimension_count, rope_base, deltas)
    logits, tape = _forward(model, inputs)
    rows = np.arange(len(targets))
    log_probabilities = log_softmax(logits)
    d_logits = np.exp(log_probabilities)
    d_logits[rows, targets] -= 1
    return (
        float(-log_probabilities[rows, targets].mean()),
        _backward(model, inputs, tape, d_logits / len(targets)),
    )


def adam(
    weights: Weights,
    first_moments: Mapping[str, npt.NDArray[np.floating]],
    second_moments: Mapping[str, npt.NDArray[np.floating]],
    iteration: int,
    steps: int,
    *,
    hyperparameters: Mapping[str, int],
    inputs: Sequence[int],
    targets: Sequence[int],
    epsilon: float,
) -> list[float]:
    """The loss before the first and after each of `steps` iterations that follow `iteration`.

    The trainers' Adam at their defaults: alpha 0.001, beta 0.9 and 0.999, eps 1e-8, a cosine
    schedule over 1000 iterations that ends at 0.1; without weight decay and gradient clipping.
    """

    def of(trained: Weights) -> tuple[float, dict[str, Array]]:
        return loss_and_gradients(trained, hyperparameters, inputs, targets, epsilon=epsilon)

    return _adam(weights, first_moments, second_moments, iteration, steps, of)


def lora_adam(
    base: Weights,
    tensors: Weights,
    first_moments: Mapping[str, npt.NDArray[np.floating]],
    second_moments: Mapping[str, npt.NDArray[np.floating]],
    iteration: int,
    steps: int,
    *,
    hyperparameters: Mapping[str, int],
    inputs: Sequence[int],
    targets: Sequence[int],
    epsilon: float,
) -> list[float]:
    """The same where not the weights of `base` are trained but the pairs A, B of a LoRA."""

    def of(trained: Weights) -> tuple[float, dict[str, Array]]:
        loss, of_weights = loss_and_gradients(
            *(base, hyperparameters, inputs, targets), epsilon=epsilon, deltas=lora_deltas(trained)
        )
        gradients = {}
        for name, gradient in of_weights.items():  # of B·Aᵀ; a norm is its only row
            rows = np.atleast_2d(gradient)
            gradients[name + ".loraA"] = rows.T @ trained[name + ".loraB"]
            gradients[name + ".loraB"] = rows @ trained[name + ".loraA"]
        return loss, gradients

    return _adam(tensors, first_moments, second_moments, iteration, steps, of)


def _adam(
    weights: Weights,
    first_moments: Mapping[str, npt.NDArray[np.floating]],
    second_moments: Mapping[str, npt.NDArray[np.floating]],
    iteration: int,
    steps: int,
    loss_and_gradients_of: Callable[[Weights], tuple[float, dict[str, Array]]],
) -> list[float]:
    weights = {name: np.asarray(weight, np.float64) for name, weight in weights.items()}
    m = {name: np.asarray(moment, np.float64) for name, moment in first_moments.items()}
    v = {name: np.asarray(moment, np.float64) for name, moment in second_moments.items()}
    losses = []
    for t in range(iteration + 1, iteration + steps + 2):
        loss, gradients = loss_and_gradients_of(weights)
        losses.append(loss)
        schedule = 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * (t - 1) / 1000))
        for name, g in gradients.items():
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            m_hat, v_hat = m[name] / (1 - 0.9**t), v[name] / (1 - 0.999**t)
            weights[name] = weights[name] - 0.001 * schedule * m_hat / (np.sqrt(v_hat) + 1e-8)
    return losses


def lora_deltas(tensors: Weights) -> dict[str, Array]:
    """What the pairs A, B of a LoRA checkpoint add to the weights of their names."""
    deltas = {}
    for name, a in tensors.items():
        if name.endswith(".loraA"):
            weight = name.removesuffix(".loraA")
            delta = np.asarray(tensors[weight + ".loraB"], np.float64) @ a.T
            # A norm's B has one row: its delta is a vector like the norm itself.
            deltas[weight] = delta[0] if weight.endswith("norm.weight") else delta
    return deltas


def parameter_names(order: str, n_layer: int, *, pairs: bool = False) -> list[str]:
    """The tensors of a flat vector, in the order in which a training graph met them.

    In a LoRA checkpoint each stands for its pair.
    """
    up, down = range(n_layer), range(n_layer)[::-1]

    def layers(indices: Iterable[int], kinds: str) -> list[str]:
        return [f"layers.{i}.{kind}" for i in indices for kind in kinds.split()]

    # fmt: off
    names = {
        "scratch": [
            "tok_embeddings",
            *layers(up, "attention_norm attention.wq attention.wk attention.wv attention.wo "
                        "ffn_norm feed_forward.w3 feed_forward.w1 feed_forward.w2"),
            "norm", "output",
        ],
        "flash": [
            "output", "norm",
            *layers(down, "feed_forward.w2 feed_forward.w1 ffn_norm "
                          "attention.wo attention.wq attention_norm"),
            "tok_embeddings",
            *layers(up, "attention.wk attention.wv feed_forward.w3"),
        ],
        "plain": [
            "output", "norm",
            *layers(down, "feed_forward.w2 feed_forward.w1 ffn_norm "
                          "attention.wo attention_norm"),
            "tok_embeddings",
            *layers(up, "attention.wv attention.wk attention.wq feed_forward.w3"),
        ],
        "flash-rtl": [
            "tok_embeddings",
            *layers(up, "attention.wv attention_norm attention.wk attention.wq attention.wo "
                        "ffn_norm feed_forward.w3 feed_forward.w1 feed_forward.w2"),
            "norm", "output",
        ],
    }[order]
    # fmt: on
    halves = {"scratch": "BA", "flash": "AB", "plain": "AB", "flash-rtl": "BA"}[order]
    ends = [f".lora{half}" for half in halves] if pairs else [""]
    return [f"{name}.weight{end}" for name in names for end in ends]


def split(
    vector: npt.NDArray[np.floating], order: str, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, npt.NDArray[np.floating]]:
    """A flat vector over all parameters, cut into the tensors of `shapes` (NumPy shapes)."""
    n_layer = len({name.split(".")[1] for name in shapes if name.startswith("layers.")})
    names = parameter_names(order, n_layer, pairs="norm.weight.loraA" in shapes)
    assert sorted(names) == sorted(shapes)
    ends = np.cumsum([np.prod(shapes[name], dtype=int) for name in names])
    assert ends[-1] == vector.size
    parts = np.split(vector, ends[:-1])
    return {name: part.reshape(shapes[name]) for name, part in zip(names, parts, strict=True)}


def log_softmax(logits: Array) -> Array:
    """Of the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _rotate(model: _Model, x: Array, direction: int = 1) -> Array:
    """Interleaved rope on the first n_rot dimensions of heads [n_head, n_tokens, head_dim]."""
    n_rot = model.n_rot
    frequencies = model.rope_base ** (-np.arange(0, n_rot, 2) / n_rot)
    places = model.rope_scale * np.arange(x.shape[1])
    turns = np.exp(1j * direction * places[:, None] * frequencies)
    turned = (x[..., 0:n_rot:2] + 1j * x[..., 1:n_rot:2]) * turns
    rotated = x.copy()
    rotated[..., 0:n_rot:2], rotated[..., 1:n_rot:2] = turned.real, turned.imag
    return rotated


def _norm(model: _Model, x: Array, name: str) -> tuple[Array, Array]:
    """RMSNorm of the rows; the second result is each row's 1 / rms."""
    scale = 1 / np.sqrt((x**2).mean(axis=1, keepdims=True) + model.epsilon)
    return x * scale * model.weights[name], scale


def _norm_backward(
    model: _Model, gradients: dict[str, Array], name: str, x: Array, scale: Array, d_y: Array
) -> Array:
    gradients[name] = (d_y * x * scale).sum(axis=0)
    d_scaled = d_y * model.weights[name]
    along_x = (d_scaled * x).mean(axis=1)[:, None]
    return scale * (d_scaled - x * scale**2 * along_x)


def _forward(model: _Model, tokens: Sequence[int]) -> tuple[Array, list[tuple[Array, ...]]]:
    """The logits, and the tape: per layer, then for the output, what the gradient needs."""
    w, tape = model.weights, list[tuple[Array, ...]]()

    def heads(y: Array) -> Array:
        return y.reshape(len(tokens), model.n_head, -1).swapaxes(0, 1)

    future = np.triu(np.full((len(tokens), len(tokens)), -np.inf), 1)
    x = w["tok_embeddings.weight"][list(tokens)]
    for i in range(model.n_layer):
        layer = f"layers.{i}."
        a, a_scale = _norm(model, x, layer + "attention_norm.weight")
        q, k, v = (heads(a @ w[f"{layer}attention.w{kind}.weight"].T) for kind in "qkv")
        q, k = _rotate(model, q), _rotate(model, k)
        p = np.exp(log_softmax(q @ k.swapaxes(1, 2) / np.sqrt(q.shape[2]) + future))
        o = (p @ v).swapaxes(0, 1).reshape(x.shape)
        z = x + o @ w[layer + "attention.wo.weight"].T
        b, b_scale = _norm(model, z, layer + "ffn_norm.weight")
        gate = b @ w[layer + "feed_forward.w1.weight"].T
        up = b @ w[layer + "feed_forward.w3.weight"].T
        sigmoid = 1 / (1 + np.exp(-gate))
        tape.append((x, a, a_scale, q, k, v, p, o, z, b, b_scale, gate, up, sigmoid))
        x = z + (gate * sigmoid * up) @ w[layer + "feed_forward.w2.weight"].T
    y, y_scale = _norm(model, x, "norm.weight")
    tape.append((x, y, y_scale))
    return y @ w["output.weight"].T, tape


def _backward(
    model: _Model, tokens: Sequence[int], tape: list[tuple[Array, ...]], d_logits: Array
) -> dict[str, Array]:
    w, gradients = model.weights, dict[str, Array]()

    def linear(name: str, source: Array, d_result: Array) -> Array:
        gradients[name] = d_result.T @ source
        return d_result @ w[name]

    def rows(y: Array) -> Array:
        return y.swapaxes(0, 1).reshape(len(tokens), -1)

    x, y, y_scale = tape[-1]
    d_y = linear("output.weight", y, d_logits)
    d_x = _norm_backward(model, gradients, "norm.weight", x, y_scale, d_y)
    for i in reversed(range(model.n_layer)):
        layer = f"layers.{i}."
        x, a, a_scale, q, k, v, p, o, z, b, b_scale, gate, up, sigmoid = tape[i]
        silu = gate * sigmoid
        d_hidden = linear(layer + "feed_forward.w2.weight", silu * up, d_x)
        d_gate = d_hidden * up * (sigmoid + silu * (1 - sigmoid))
        d_b = linear(layer + "feed_forward.w1.weight", b, d_gate)
        d_b += linear(layer + "feed_forward.w3.weight", b, d_hidden * silu)
        d_z = d_x + _norm_backward(model, gradients, layer + "ffn_norm.weight", z, b_scale, d_b)
        d_o = linear(layer + "attention.wo.weight", o, d_z)
        d_o = d_o.reshape(len(tokens), model.n_head, -1).swapaxes(0, 1)
        d_p = d_o @ v.swapaxes(1, 2)
        d_s = p * (d_p - (d_p * p).sum(axis=2, keepdims=True)) / np.sqrt(q.shape[2])
        d_q = rows(_rotate(model, d_s @ k, -1))
        d_k = rows(_rotate(model, d_s.swapaxes(1, 2) @ q, -1))
        d_v = rows(p.swapaxes(1, 2) @ d_o)
        d_a = linear(layer + "attention.wq.weight", a, d_q)
        d_a += linear(layer + "attention.wk.weight", a, d_k)
        d_a += linear(layer + "attention.wv.weight", a, d_v)
        d_x = d_z + _norm_backward(
            model, gradients, layer + "attention_norm.weight", x, a_scale, d_a
        )
    gradients["tok_embeddings.weight"] = np.zeros_like(w["tok_embeddings.weight"])
    np.add.at(gradients["tok_embeddings.weight"], list(tokens), d_x)
    return gradients
