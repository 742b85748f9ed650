"""What llama.cpp's own trainers wrote, against an independent reader."""

import io
import lzma
import re
from pathlib import Path

import pytest
from members import tensors, values
from paths import FIXTURES
from real_files import training_checkpoints
from reference.checkpoint import Checkpoint as Reference
from reference.checkpoint import read

from ggcp_schema import build, parse
from ggcp_schema.enums import Layout, OptimizerType

COMPLETE = training_checkpoints()
every_file = pytest.mark.parametrize("name", COMPLETE)

# fmt: off
HEADER = {
    "train_its": "training.iteration_count",
    "train_samples": "training.sample_count",
    "train_tokens": "training.token_count",
    "n_vocab": "hyperparameters.vocabulary_size",
    "n_embd": "hyperparameters.embedding_length",
    "n_mult": "hyperparameters.feed_forward_multiple",
    "n_head": "hyperparameters.head_count",
    "n_layer": "hyperparameters.block_count",
    "n_rot": "hyperparameters.rope_dimension_count",
    "version": "version",
}
PARAMS = {
    "type": "type", "n_threads": "thread_count", "past": "convergence_past_count",
    "delta": "convergence_delta", "max_no_improvement": "no_improvement_limit",
    "print_forward_graph": "print_forward_graph", "print_backward_graph": "print_backward_graph",
    "adam.n_iter": "adam.iteration_limit", "adam.sched": "adam.schedule_factor",
    "adam.decay": "adam.weight_decay", "adam.alpha": "adam.learning_rate",
    "adam.beta1": "adam.first_moment_decay", "adam.beta2": "adam.second_moment_decay",
    "adam.eps": "adam.epsilon", "adam.eps_f": "adam.loss_epsilon",
    "adam.eps_g": "adam.gradient_epsilon",
    "lbfgs.m": "lbfgs.approx_hessian_count", "lbfgs.n_iter": "lbfgs.iteration_limit",
    "lbfgs.max_linesearch": "lbfgs.line_search_limit", "lbfgs.eps": "lbfgs.gradient_epsilon",
    "lbfgs.ftol": "lbfgs.line_search_tolerance", "lbfgs.wolfe": "lbfgs.wolfe_coefficient",
    "lbfgs.min_step": "lbfgs.smallest_step", "lbfgs.max_step": "lbfgs.largest_step",
    "lbfgs.linesearch": "lbfgs.line_search_condition",
}
VECTORS = {
    "adam": {
        "x": "parameters", "g1": "gradients", "g2": "squared_gradients", "m": "first_moments",
        "v": "second_moments", "mh": "corrected_first_moments", "vh": "corrected_second_moments",
        "pf": "past_loss_values",
    },
    "lbfgs": {
        "x": "current_parameters", "xp": "previous_parameters", "g": "current_gradients",
        "gp": "previous_gradients", "d": "search_direction", "pf": "past_loss_values",
        "lmal": "memory_alpha", "lmys": "memory_ys", "lms": "memory_s", "lmy": "memory_y",
    },
}
SCALARS = {
    "fx_best": "best_loss", "fx_prev": "previous_loss", "step": "line_search_step",
    "j": "line_search_j", "k": "line_search_k", "end": "line_search_end",
    "n_no_improvement": "no_improvement_count",
}
# fmt: on


def schema_path(tensor: str) -> str:
    """layers.0.attention.wq.weight is model.layers[0].attention.wq."""
    return "model." + re.sub(r"^layers\.(\d+)", r"layers[\1]", tensor).removesuffix(".weight")


def expected_values(reference: Reference) -> dict[str, object]:
    optimizer = reference.optimizer
    expected: dict[str, object] = {HEADER[name]: reference.header[name] for name in HEADER}
    expected |= {
        "magic": b"pcgg",
        "parameter_count": sum(tensor.size for tensor in reference.tensors.values()),
        "optimizer.version": optimizer.version,
        "optimizer.parameter_count": optimizer.nx,
        "optimizer.iteration_count": optimizer.iter,
        "optimizer.just_initialized": optimizer.just_initialized,
        "optimizer.type": OptimizerType[optimizer.type.upper()],
        "optimizer.convergence_past_count": optimizer.past,
        "optimizer.approx_hessian_count": optimizer.lbfgs_m,
    }
    for name, number in optimizer.params.items():
        expected[f"optimizer.params.{PARAMS[name]}"] = number
    for name, number in optimizer.scalars.items():
        expected[f"optimizer.state.{SCALARS[name]}"] = number
    return expected


def test_there_is_a_file_of_each_layout(fixtures: Path) -> None:
    found = set()
    for name in COMPLETE:
        with parse(fixtures / name) as checkpoint:
            found.add((checkpoint.optimizer.layout, OptimizerType(checkpoint.optimizer.type)))
    assert found == {
        (Layout.VERSION_0, OptimizerType.ADAM),
        (Layout.VERSION_0, OptimizerType.LBFGS),
        (Layout.VERSION_1, OptimizerType.ADAM),
        (Layout.VERSION_1, OptimizerType.LBFGS),
        (Layout.VERSION_1_WITH_PARAMS, OptimizerType.ADAM),
    }


@every_file
def test_building_what_was_parsed_gives_the_same_bytes(name: str, fixtures: Path) -> None:
    file = io.BytesIO()
    with parse(fixtures / name) as checkpoint:
        build(checkpoint, file)
    assert file.getvalue() == (fixtures / name).read_bytes()


@every_file
def test_values_are_those_of_the_reference(name: str, fixtures: Path) -> None:
    expected = expected_values(read(fixtures / name))
    with parse(fixtures / name) as checkpoint:
        parsed = values(checkpoint.container)
    assert {path: parsed[path] for path in expected} == expected
    # Nothing else is there but what follows from these, and bytes without a meaning.
    assert set(parsed) - set(expected) <= {
        "hyperparameters.feed_forward_length",
        "optimizer.params.compiler_padding",
        "optimizer.layout",
        "end",
    }


@every_file
def test_tensors_are_those_of_the_reference(name: str, fixtures: Path) -> None:
    reference = read(fixtures / name)
    expected = {schema_path(tensor): array for tensor, array in reference.tensors.items()}
    names = VECTORS[reference.optimizer.type]
    for vector, array in reference.optimizer.vectors.items():
        expected[f"optimizer.state.{names[vector]}"] = array
    with parse(fixtures / name) as checkpoint:
        parsed = tensors(checkpoint.container)
        assert list(parsed) == list(expected)
        for path, record in parsed.items():
            array = record["data"].array()
            assert array.dtype.str == "<f4"
            assert array.shape == expected[path].shape, path
            assert array.tobytes() == expected[path].tobytes(), path
            assert not array.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


@every_file
def test_the_file_is_accounted_for_to_the_last_byte(name: str, fixtures: Path) -> None:
    """The fields' lengths by the format, and the spans, cover the file without hole or overlap."""
    with parse(fixtures / name) as checkpoint:
        size = (fixtures / name).stat().st_size
        spans = [record["data"] for record in tensors(checkpoint.container).values()]
        records = tensors(checkpoint.container).values()
        heads = sum(
            12 + 4 * record["n_dims"] + len(record["name"]) + len(record["padding"])
            for record in records
        )
        context = 28 if checkpoint.optimizer.layout is Layout.VERSION_1 else 116
        scalars = 24 if checkpoint.optimizer.type == OptimizerType.LBFGS else 12
        assert 44 + heads + sum(span.length for span in spans) + context + scalars == size
        ends = [span.offset + span.length for span in spans]
        assert all(end <= span.offset for end, span in zip(ends, spans[1:], strict=False))
        assert all(span.offset % 32 == 0 for span in spans)


def test_blocks_are_of_bounded_size_and_in_order(fixtures: Path) -> None:
    with parse(fixtures / "v0_adam_one.bin") as checkpoint:
        span = checkpoint.optimizer.state.first_moments.data
        blocks = list(span.blocks(1000))
        assert {len(block) for block in blocks[:-1]} == {1000}
        assert len(blocks[-1]) == span.length % 1000
        assert b"".join(blocks) == span.array().tobytes()


def test_a_decompressing_file_is_read_and_not_what_it_decompresses() -> None:
    """Its descriptor is that of the packed file."""
    path = FIXTURES / "v0_lbfgs_patched.bin.xz"
    with lzma.open(path) as packed, parse(packed) as checkpoint:
        file = io.BytesIO()
        build(checkpoint, file)
        checkpoint.source.check_unchanged()
    assert file.getvalue() == lzma.decompress(path.read_bytes())
