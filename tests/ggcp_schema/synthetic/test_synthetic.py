"""Synthetic checkpoints: valid, repeatable, and what they promise about their numbers."""

import dataclasses
import hashlib
import io
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.checkpoint import Checkpoint as Reference
from reference.checkpoint import read
from reference.llama import split

from ggcp_schema import FormatError, build, parse
from ggcp_schema.enums import Layout, OptimizerType
from ggcp_schema.order import Order
from ggcp_schema.synthetic import Synthetic, SyntheticAdapter

POSITIVE_VECTORS = {"g2", "v", "vh"}


@st.composite
def synthetics(draw: st.DrawFn) -> Synthetic:
    head_count = draw(st.integers(1, 3))
    head_dimension = 2 * draw(st.integers(1, 4))
    version = draw(st.integers(0, 1))
    return Synthetic(
        vocabulary_size=draw(st.integers(1, 20)),
        embedding_length=head_count * head_dimension,
        feed_forward_multiple=draw(st.integers(1, 40)),
        head_count=head_count,
        block_count=draw(st.integers(0, 3)),
        rope_dimension_count=draw(
            st.none() | st.integers(1, head_dimension // 2).map(lambda half: 2 * half)
        ),
        optimizer_type=draw(st.sampled_from(OptimizerType)),
        optimizer_version=version,
        with_params=draw(st.booleans()) if version else False,
        convergence_past_count=draw(st.integers(0, 5)),
        approx_hessian_count=draw(st.integers(1, 5)),
        order=draw(st.sampled_from(Order)),
        unseen_token_count=draw(st.integers(0, 25)),
        iteration_count=draw(st.integers(0, 1000)),
        seed=draw(st.integers(-(2**63), 2**64)),
    )


def written(synthetic: Synthetic) -> bytes:
    file = io.BytesIO()
    synthetic.write(file)
    return file.getvalue()


def referenced(data: bytes, folder: Path) -> Reference:
    path = folder / "synthetic.bin"
    path.write_bytes(data)
    return read(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synthetic")


@settings(max_examples=80, deadline=None)
@given(synthetic=synthetics())
def test_any_synthetic_is_a_valid_checkpoint(synthetic: Synthetic, folder: Path) -> None:
    data = written(synthetic)
    assert written(synthetic) == data
    reference = referenced(data, folder)
    sizes = ("n_vocab", "n_embd", "n_mult", "n_head", "n_layer", "n_rot")
    assert [reference.header[name] for name in sizes] == list(synthetic.hyperparameters.values())
    head_dimension = synthetic.embedding_length // synthetic.head_count
    assert reference.header["n_rot"] == (synthetic.rope_dimension_count or min(64, head_dimension))
    optimizer = reference.optimizer
    lbfgs = synthetic.optimizer_type is OptimizerType.LBFGS
    assert (optimizer.version, optimizer.type, optimizer.past, optimizer.lbfgs_m) == (
        synthetic.optimizer_version,
        synthetic.optimizer_type.name.lower(),
        synthetic.convergence_past_count,
        synthetic.approx_hessian_count if lbfgs else 0,
    )
    assert optimizer.iter == reference.header["train_its"] == synthetic.iteration_count
    with_params = synthetic.with_params or synthetic.optimizer_version == 0
    assert bool(optimizer.params) is with_params

    again = io.BytesIO()
    with parse(io.BytesIO(data)) as checkpoint:
        build(checkpoint, again)
        assert (
            checkpoint.optimizer.layout
            is {
                (0, True): Layout.VERSION_0,
                (1, False): Layout.VERSION_1,
                (1, True): Layout.VERSION_1_WITH_PARAMS,
            }[synthetic.optimizer_version, with_params]
        )
    assert again.getvalue() == data


@settings(max_examples=60, deadline=None)
@given(synthetic=synthetics())
def test_the_numbers_make_sense_together(synthetic: Synthetic, folder: Path) -> None:
    reference = referenced(written(synthetic), folder)
    shapes = {name: tensor.shape for name, tensor in reference.tensors.items()}
    vectors = reference.optimizer.vectors
    seen = max(synthetic.vocabulary_size - synthetic.unseen_token_count, 0)
    if "x" in vectors:  # the parameters themselves, in the order that was asked for
        for name, part in split(vectors["x"], synthetic.order.value, shapes).items():
            np.testing.assert_array_equal(part, reference.tensors[name], name)
    for name in {"m", "v"} & set(vectors):
        embeddings = split(vectors[name], synthetic.order.value, shapes)["tok_embeddings.weight"]
        assert not embeddings[seen:].any()
        unseen = embeddings[seen:].size
        assert np.count_nonzero(vectors[name]) == vectors[name].size - unseen
    for name in POSITIVE_VECTORS & set(vectors):
        assert vectors[name].min() >= 0
    for tensor in (*reference.tensors.values(), *vectors.values()):
        assert np.isfinite(tensor).all()
    for tensor in reference.tensors.values():
        assert (abs(tensor) <= 0.04).all()
        assert tensor.size < 8 or np.unique(tensor).size > 1


def test_every_number_of_the_order_is_another() -> None:
    """Otherwise a wrong order would not be seen."""
    files = {order: written(Synthetic(order=order)) for order in Order}
    assert len(set(files.values())) == 4
    assert len({hashlib.sha256(data[:0x2000]).digest() for data in files.values()}) == 1


def test_the_second_moments_are_alike_within_a_tensor_and_no_others(folder: Path) -> None:
    """The spread of their logarithms tells the order, as it does in real files."""
    for order in Order:
        reference = referenced(written(Synthetic(order=order)), folder)
        shapes = {name: tensor.shape for name, tensor in reference.tensors.items()}
        spread = {}
        for candidate in Order:
            parts = split(reference.optimizer.vectors["v"], candidate.value, shapes)
            spread[candidate] = sum(part.size * np.log(part).var() for part in parts.values())
        assert min(spread, key=spread.__getitem__) is order


def test_another_seed_gives_other_numbers_in_the_same_places() -> None:
    first, second = written(Synthetic(seed=1)), written(Synthetic(seed=2))
    assert len(first) == len(second)
    with parse(io.BytesIO(first)) as one, parse(io.BytesIO(second)) as other:
        for name in ("tok_embeddings", "norm", "output"):
            assert one.model[name].data[1:] == other.model[name].data[1:]
            assert one.model[name].data.array().tolist() != other.model[name].data.array().tolist()
        for name in ("parameters", "first_moments", "second_moments"):
            pair = [checkpoint.optimizer.state[name].data.array() for checkpoint in (one, other)]
            assert not np.array_equal(*pair)


def test_a_seed_counts_to_its_64th_bit() -> None:
    seeds = (0, 1, 128, 2**32, 2**63)
    assert len({written(Synthetic(seed=seed, block_count=0)) for seed in seeds}) == len(seeds)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"vocabulary_size": 0},
            "hyperparameters.vocabulary_size: expected at least 1, found 0; give another value",
        ),
        (
            {"head_count": 0},
            "hyperparameters.head_count: expected at least 1, found 0; give another value",
        ),
        (
            {"head_count": 5},
            "hyperparameters.head_count: expected a divisor of 32 (embedding_length), found 5; "
            "give another value",
        ),
        (
            {"rope_dimension_count": 10},
            "hyperparameters.rope_dimension_count: expected an even number from 2 to 32 / 4 (the "
            "head dimension), found 10; give another value",
        ),
        (
            {"embedding_length": 2**32},
            "hyperparameters.embedding_length: expected a whole number from 0 to 4294967295, found "
            "4294967296; give another value",
        ),
        (
            {"block_count": -1},
            "hyperparameters.block_count: expected a whole number from 0 to 4294967295, found -1; "
            "give another value",
        ),
    ],
)
def test_hyperparameters_that_no_model_can_have(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError) as caught:
        Synthetic(**change).write(io.BytesIO())
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"optimizer_version": 2}, "optimizer.version"),
        ({"convergence_past_count": -1}, "optimizer.params.convergence_past_count"),
        (
            {"optimizer_type": OptimizerType.LBFGS, "approx_hessian_count": 0},
            "optimizer.params.lbfgs.approx_hessian_count",
        ),
        (
            {"optimizer_version": 1, "optimizer_type": OptimizerType.LBFGS}
            | {"approx_hessian_count": -1},
            "optimizer.approx_hessian_count",
        ),
        ({"iteration_count": 2**31}, "training.sample_count"),
        ({"context_length": 2**31}, "training.token_count"),
    ],
)
def test_other_numbers_that_no_checkpoint_can_hold(change: dict[str, Any], path: str) -> None:
    with pytest.raises(FormatError) as caught:
        dataclasses.replace(Synthetic(), **change).write(io.BytesIO())
    assert caught.value.path == path


class Counter:
    """A file that forgets what is written to it."""

    position = 0

    def write(self, data: Any) -> int:
        self.position += len(data)
        return len(data)

    def tell(self) -> int:
        return self.position


def test_an_adapter_as_finetune_made_it_by_default() -> None:
    """--lora-r 4 and --lora-alpha 4: the changes are taken as they are."""
    file = io.BytesIO()
    SyntheticAdapter(vocabulary_size=7, embedding_length=8, feed_forward_multiple=8).write(file)
    # magic, version, lora_r, lora_alpha; then dimensions, length of the name, type, the shape of A
    head = struct.pack("<4s3I", b"algg", 1, 4, 4) + struct.pack("<5I", 2, 23, 0, 4, 8)
    assert file.getvalue().startswith(head + b"token_embd.weight.loraA")


@pytest.mark.parametrize("kind", OptimizerType)
def test_a_large_one_is_never_in_memory(kind: OptimizerType) -> None:
    """200 MB pass through blocks of 1 MB."""
    large = Synthetic(
        vocabulary_size=30000,
        embedding_length={OptimizerType.ADAM: 96, OptimizerType.LBFGS: 48}[kind],
        block_count=1,
        optimizer_type=kind,
        unseen_token_count=10000,
    )
    file = Counter()
    tracemalloc.start()
    large.write(file)  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert file.position > 180e6
    assert peak < 8e6


def test_what_is_changed_in_one_stays_out_of_the_next() -> None:
    given = Synthetic().container()
    given["optimizer"]["params"]["adam"]["schedule_factor"] = 0.25
    given["optimizer"]["params"]["lbfgs"]["largest_step"] = 0.25
    params = Synthetic().container()["optimizer"]["params"]
    assert (params["adam"]["schedule_factor"], params["lbfgs"]["largest_step"]) == (1.0, 1e20)
