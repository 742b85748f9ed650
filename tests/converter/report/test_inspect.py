"""What `ggcp inspect` says of a checkpoint, against readings that share no code with it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shlex
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import COMMAND, ENVIRONMENT, run
from packed import checkpoint
from reference.checkpoint import Checkpoint, read

from converter import inspect
from converter.numeric.statistics import measure
from converter.report.html import as_html
from converter.report.json import as_json
from converter.report.text import as_text
from ggcp_schema import FormatError, Source, parse
from ggcp_schema.synthetic import Synthetic

REAL = [
    "ggcp_42d9b4cfc_11layers",
    "v0_adam_one",
    "v0_lbfgs_patched",
    "v1_adam_one",
    "v1_adam_one_noflash",
    "v1_adam_past3",
    "v1_lbfgs",
    "v1params_adam_default",
    "ggcl_v1_adam_1a5f0a30e",
]
TRUNCATED = "v0_lbfgs_truncated_master43033b7bb"
every_real_file = pytest.mark.parametrize("name", REAL)

# fmt: off
ORDERS = {
    "ggcp_42d9b4cfc_11layers": "plain", "v0_adam_one": "scratch", "v0_lbfgs_patched": "scratch",
    "v1_adam_one": "flash", "v1_adam_one_noflash": "plain", "v1_adam_past3": "flash",
    "v1_lbfgs": "flash", "v1params_adam_default": "scratch", "ggcl_v1_adam_1a5f0a30e": "flash",
}
HYPERPARAMETERS = {
    "vocabulary_size": "n_vocab", "embedding_length": "n_embd", "feed_forward_multiple": "n_mult",
    "head_count": "n_head", "block_count": "n_layer", "rope_dimension_count": "n_rot",
}
COUNTERS = {
    "parameter_count": "nx", "iteration_count": "iter", "just_initialized": "just_initialized",
    "convergence_past_count": "past", "approx_hessian_count": "lbfgs_m",
}
STATE = {
    "best_loss": "fx_best", "previous_loss": "fx_prev", "no_improvement_count": "n_no_improvement",
    "line_search_step": "step", "line_search_j": "j", "line_search_k": "k",
    "line_search_end": "end",
}
PARAMS = {
    "type": "type", "thread_count": "n_threads", "convergence_past_count": "past",
    "convergence_delta": "delta", "no_improvement_limit": "max_no_improvement",
    "print_forward_graph": "print_forward_graph", "print_backward_graph": "print_backward_graph",
    "adam": {
        "iteration_limit": "adam.n_iter", "schedule_factor": "adam.sched",
        "weight_decay": "adam.decay", "learning_rate": "adam.alpha",
        "first_moment_decay": "adam.beta1", "second_moment_decay": "adam.beta2",
        "epsilon": "adam.eps", "loss_epsilon": "adam.eps_f", "gradient_epsilon": "adam.eps_g",
    },
    "lbfgs": {
        "approx_hessian_count": "lbfgs.m", "iteration_limit": "lbfgs.n_iter",
        "line_search_limit": "lbfgs.max_linesearch", "gradient_epsilon": "lbfgs.eps",
        "line_search_tolerance": "lbfgs.ftol", "wolfe_coefficient": "lbfgs.wolfe",
        "smallest_step": "lbfgs.min_step", "largest_step": "lbfgs.max_step",
        "line_search_condition": "lbfgs.linesearch",
    },
}
# fmt: on


def by_c_name(names: dict[str, Any], values: dict[str, float]) -> dict[str, Any]:
    return {
        name: by_c_name(c_name, values) if isinstance(c_name, dict) else values[c_name]
        for name, c_name in names.items()
        if isinstance(c_name, dict) or c_name in values
    }


def arrays(expected: Checkpoint) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    yield from expected.tensors.items()
    yield from (("", vector) for vector in expected.optimizer.vectors.values())


@every_real_file
def test_what_is_in_a_real_file(name: str, fixtures: Path) -> None:
    path = fixtures / f"{name}.bin"
    expected = read(path)
    header, optimizer = expected.header, expected.optimizer
    found = as_json(inspect(path))
    assert found["file"] == {"name": str(path), "bytes": path.stat().st_size}
    assert found["kind"] == ("lora" if expected.ranks else "training")
    assert (found["complete"], found["error"]) == (True, None)
    assert list(found["training"].values()) == [
        header["train_its"],
        header["train_samples"],
        header["train_tokens"],
    ]
    assert found["context_length"] == header["train_tokens"] / header["train_samples"]
    w1 = expected.tensors.get("layers.0.feed_forward.w1.weight")
    if w1 is None:
        w1 = expected.tensors["layers.0.feed_forward.w1.weight.loraB"]
    assert found["hyperparameters"] == {
        **by_c_name(HYPERPARAMETERS, header),
        "feed_forward_length": w1.shape[0],
        "head_dimension": header["n_embd"] // header["n_head"],
    }
    assert found["ranks"] == (expected.ranks or None)
    assert found["parameter_count"] == optimizer.nx
    assert found["optimizer"] == {
        "type": optimizer.type,
        "counters": by_c_name(COUNTERS, vars(optimizer)),
        "params": by_c_name(PARAMS, optimizer.params) if optimizer.params else None,
        "state": by_c_name(STATE, optimizer.scalars),
        "past_losses": optimizer.vectors["pf"].tolist(),
    }
    order = found["parameter_order"]
    assert order["candidates"] == [ORDERS[name]]
    layout = ("version 1", "version 1 with params", "version 0")
    assert found["layout"] == {
        "optimizer": layout[2 if optimizer.version == 0 else bool(optimizer.params)],
        "header": "with n_mult" if expected.ranks else None,
    }


@every_real_file
def test_the_tensors_of_a_real_file(name: str, fixtures: Path) -> None:
    path = fixtures / f"{name}.bin"
    data = path.read_bytes()
    tensors = as_json(inspect(path))["tensors"]
    longest_name = 31 if "42d9b4cfc" in name else None  # the trainers of its day cut them
    for (whole_name, array), tensor in zip(arrays(read(path)), tensors, strict=True):
        assert tensor["name"] == whole_name[:longest_name]
        assert tensor["statistics"] is None
        assert tensor["shape"] == (list(array.shape[::-1]) if array.size else [])
        run_of_bytes = data[tensor["offset"] : tensor["offset"] + tensor["bytes"]]
        assert run_of_bytes == array.tobytes()


@pytest.mark.parametrize("name", [*REAL, TRUNCATED])
def test_statistics_are_those_of_numpy(name: str, fixtures: Path) -> None:
    path = fixtures / f"{name}.bin"
    data = path.read_bytes()
    for tensor in as_json(inspect(path, stats=True))["tensors"]:
        count = tensor["bytes"] // 4
        wide = np.frombuffer(data, "<f4", count, tensor["offset"]).astype(np.float64)
        found = tensor["statistics"]
        bins = found.pop("histogram")
        zeros = int((wide == 0).sum())
        if not count:
            assert set(found.values()) == {None, 0}
            assert bins is None
            continue
        assert found == {
            "minimum": wide.min(),
            "maximum": wide.max(),
            "mean": pytest.approx(wide.mean(), rel=1e-12, abs=1e-15),
            "standard_deviation": pytest.approx(wide.std(), rel=1e-12),
            "norm": pytest.approx(np.linalg.norm(wide), rel=1e-12),
            "zeros": zeros,
            "nan": 0,
            "infinities": 0,
        }
        magnitudes = bins is not None and bins["scale"] == "magnitude"
        assert sum(bins["counts"] if bins else []) == count - zeros * (magnitudes or bins is None)


def statistics_of(values: Any, *, magnitudes: bool = False) -> Any:
    return measure((np.asarray(values, "<f4").tobytes(),), magnitudes=magnitudes)


def test_statistics_of_what_is_no_number() -> None:
    found = statistics_of([math.nan, -math.inf, 3, -0.0, math.inf, 5, 0, math.inf])
    assert (found.nan, found.infinities, found.zeros) == (1, 3, 2)
    assert (found.minimum, found.maximum, found.mean) == (0, 5, 2)
    assert found.deviation == pytest.approx(math.sqrt(4.5))
    assert sum(found.histogram.counts) == 4
    nothing = statistics_of([math.nan] * 3)
    assert (nothing.minimum, nothing.norm, nothing.histogram, nothing.nan) == (None, None, None, 3)


def test_statistics_of_one_value_and_of_the_largest_and_smallest() -> None:
    alone = statistics_of([2.5] * 7)
    assert (alone.minimum, alone.deviation, alone.histogram.counts) == (2.5, 0, (7,))
    largest = float(np.finfo(np.float32).max)
    far = statistics_of([-largest, largest, 1e-45])
    assert far.norm == pytest.approx(largest * math.sqrt(2))
    assert sum(far.histogram.counts) == 3


def test_statistics_over_many_blocks(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    parts = (np.full(300_000, 7.0), random.normal(3, 1e-3, 300_000), random.normal(0, 2, 300_000))
    values = np.concatenate(parts).astype("<f4")
    found = statistics_of(values)
    wide = values.astype(np.float64)
    assert found.mean == pytest.approx(wide.mean(), rel=1e-13)
    assert found.deviation == pytest.approx(wide.std(), rel=1e-13)
    bins = found.histogram
    edges = bins.low + bins.width * np.arange(len(bins.counts) + 1)
    assert 16 <= len(bins.counts) <= 48
    counts, _ = np.histogram(wide, edges)
    assert np.abs(counts - bins.counts).sum() <= 2  # a value on an edge may go either way
    assert sum(bins.counts) == values.size


def test_magnitudes_are_powers_of_two(tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(0, 1, 300_000).astype("<f4") ** 5
    found = statistics_of([0, *values], magnitudes=True).histogram
    exponents = np.frexp(values[values != 0])[1] - 1
    exponents = np.maximum(exponents, -127)  # all that is not normal is in one bin
    expected = np.bincount(exponents - exponents.min())
    assert (found.low, found.width) == (exponents.min(), 1)
    assert found.counts == tuple(expected.tolist())


EXACT: dict[str, Any] = {
    "format": 1,
    "file": {"name": "tiny.bin", "bytes": 0},
    "kind": "training",
    "layout": {"optimizer": "version 1", "header": None},
    "written_by": "train-text-from-scratch, development branch of llama.cpp, d395b19c8 to "
    "4072f20bb (until August 2023)",
    "complete": True,
    "verdict": "whole",
    "error": None,
    "training": {"iteration_count": 3, "sample_count": 6, "token_count": 96},
    "context_length": 16,
    "hyperparameters": {
        "vocabulary_size": 2,
        "embedding_length": 2,
        "feed_forward_multiple": 3,
        "head_count": 1,
        "block_count": 0,
        "rope_dimension_count": 2,
        "feed_forward_length": 6,
        "head_dimension": 2,
    },
    "ranks": None,
    "parameter_count": 10,
    "optimizer": {
        "type": "adam",
        "counters": {
            "parameter_count": 10,
            "iteration_count": 7,
            "just_initialized": 0,
            "convergence_past_count": 3,
            "approx_hessian_count": 0,
        },
        "params": None,
        "state": {"best_loss": 5.5, "previous_loss": "nan", "no_improvement_count": 2},
        "past_losses": [2.0, 3.0, 1.0],  # iteration 7, counted from 0, is the 7 mod 3-th
    },
    "vocabulary": {"wanted_tokens": 2, "found": []},
    "likely_epsilon": None,
    "notes": [
        "The order of the parameters is not certain; convert --resume-with asks for --order.",
        "A loss is not a finite number: the training may have diverged.",
    ],
}


def test_the_structure_of_the_json_is_stable(tmp_path: Path) -> None:
    made = checkpoint(1, past=3)
    data = made.with_field("optimizer.state.previous_loss", struct.pack("<f", math.nan))
    (tmp_path / "tiny.bin").write_bytes(data)
    done = run("inspect", "tiny.bin", "--json", "--stats", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout, parse_constant=pytest.fail)
    tensors, order, steps = (found.pop(name) for name in ("tensors", "parameter_order", "next"))
    assert found.pop("sha256") == hashlib.sha256(data).hexdigest()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found.pop("modified"))
    assert found == {**EXACT, "file": {"name": "tiny.bin", "bytes": len(data)}}
    assert list(order) == ["candidates", "evidence", "indifferent", "sampled"]
    assert order["sampled"] is False
    assert [list(step) for step in steps] == [["purpose", "command"]] * 5
    offset = made.fields["model.norm.data"][0]
    assert tensors[1] == {
        "path": "model.norm",
        "name": "norm.weight",
        "shape": [2],
        "offset": offset,
        "bytes": 8,
        "statistics": {
            "minimum": 1.0,
            "maximum": 2.0,
            "mean": 1.5,
            "standard_deviation": 0.5,
            "norm": pytest.approx(math.sqrt(5)),
            "zeros": 0,
            "nan": 0,
            "infinities": 0,
            "histogram": tensors[1]["statistics"]["histogram"],
        },
    }
    assert list(tensors[1]["statistics"]["histogram"]) == ["scale", "low", "width", "counts"]
    assert [tensor["path"] for tensor in tensors] == [
        "model.tok_embeddings",
        "model.norm",
        "model.output",
        "optimizer.state.first_moments",
        "optimizer.state.second_moments",
        "optimizer.state.past_loss_values",
    ]


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(("done", "losses"), [(0, []), (2, [1, 2]), (3, [1, 2, 3]), (8, [3, 1, 2])])
def test_past_losses_are_put_in_the_order_of_time(
    done: int, losses: list[float], version: int, tmp_path: Path
) -> None:
    path = tmp_path / "past.bin"
    made = checkpoint(version, past=3)
    path.write_bytes(made.with_number("optimizer.iteration_count", done))
    report = inspect(path)
    assert report.optimizer is not None
    assert list(report.optimizer.past_losses) == losses


@pytest.mark.parametrize(("done", "losses"), [(0, []), (2, [1, 2]), (8, [3, 1, 2])])
def test_lbfgs_counts_its_past_losses_in_k(done: int, losses: list[float], tmp_path: Path) -> None:
    path = tmp_path / "past.bin"
    made = checkpoint(1, "lbfgs", past=3)  # its iteration_count is 7
    path.write_bytes(made.with_number("optimizer.state.line_search_k", done))
    report = inspect(path)
    assert report.optimizer is not None
    assert list(report.optimizer.past_losses) == losses


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each reading of a source asks for, from now on."""
    lengths = []
    read_at = Source.read_at

    def counting(self: Source, offset: int, length: int) -> bytes:
        lengths.append(length)
        return read_at(self, offset, length)

    monkeypatch.setattr(Source, "read_at", counting)
    return lengths


def test_without_stats_only_a_sample_is_read(tmp_path: Path, asked: list[int]) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        Synthetic(vocabulary_size=4000, embedding_length=256, block_count=1).write(file)
    asked.clear()
    order = inspect(path).order
    assert order is not None
    assert [candidate.value for candidate in order.candidates] == ["scratch"]
    # Each of the 12 tensors is compared with each order, 64 KiB from two places at most.
    assert sum(asked) <= 12 * 3 * 2 * 65536 < path.stat().st_size / 10


def test_of_vectors_of_zeros_too(tmp_path: Path, asked: list[int]) -> None:
    path = tmp_path / "zeros.bin"
    with path.open("wb") as file:
        Synthetic(
            vocabulary_size=4000, embedding_length=256, block_count=1, optimizer_version=1
        ).write(file)
    with parse(path) as checkpoint:
        state = checkpoint.container.optimizer.state
        spans = [state.first_moments.data, state.second_moments.data]
    with path.open("r+b") as file:
        for span in spans:
            file.seek(span.offset)
            file.write(bytes(span.length))
    asked.clear()
    report = inspect(path)
    assert report.order is not None
    assert report.order.indifferent
    assert "Every order gives the same bytes. From a sample of each tensor." in as_html(report)
    # Of v the slices between all cuts; then those of both vectors in each order twice, as above.
    assert sum(asked) <= (3 * 12 + 2 * 2 * 2 * 2 * 12) * 65536
    assert max(asked) <= 65536
    thorough = inspect(path, stats=True)
    assert "Every order gives the same bytes. Everything was read." in as_html(thorough)


def refusal(path: Path) -> FormatError | None:
    try:
        parse(path).close()
    except FormatError as error:
        return error
    return None


class TestDamaged:
    def test_the_report_comes_first_and_the_error_at_the_end(self, fixtures: Path) -> None:
        path = fixtures / f"{TRUNCATED}.bin"
        with pytest.raises(FormatError) as caught:
            parse(path)
        done = run("inspect", path, "--all", "--tensors")
        assert done.returncode == 1
        assert done.stderr == f"ggcp: {caught.value}\n"
        assert "  context length   16" in done.stdout
        assert "layers.0.feed_forward.w2.weight" in done.stdout

    def test_json(self, fixtures: Path) -> None:
        path = fixtures / f"{TRUNCATED}.bin"
        done = run("inspect", path, "--json")
        found = json.loads(done.stdout)
        assert done.returncode == 1
        assert found["complete"] is False
        assert found["error"]["path"] == "model.layers[0].feed_forward.w3.padding"
        assert found["error"]["offset"] == 0xC1B3
        assert (found["optimizer"], found["parameter_order"]) == (None, None)
        assert len(found["tensors"]) == 11

    @pytest.mark.parametrize(
        ("version", "kind", "step"), [(0, "adam", 5), (0, "lbfgs", 7), (1, "adam", 1)]
    )
    def test_cut_at_any_byte(self, version: int, kind: str, step: int, tmp_path: Path) -> None:
        whole = checkpoint(version, kind, past=3)
        path = tmp_path / "cut.bin"
        seen = 0
        for length in range(4, len(whole.data), step):
            path.write_bytes(whole.data[:length])
            with pytest.raises(FormatError) as caught:
                parse(path)
            report = inspect(path, stats=True)
            assert str(report.error) == str(caught.value)
            assert json.loads(json.dumps(as_json(report), allow_nan=False))["complete"] is False
            assert as_text(report)
            assert len(report.tensors) >= seen
            seen = len(report.tensors)

    def test_wrong_numbers_anywhere(self, tmp_path: Path) -> None:
        whole = checkpoint(n_layer=1)
        path = tmp_path / "wrong.bin"
        for name, (start, length) in whole.fields.items():
            if length != 4 or name == "magic" or name.endswith(".data"):
                continue
            for number in (0, 2**32 - 1):
                path.write_bytes(whole.with_number(name, number))
                report = inspect(path)
                found = json.loads(json.dumps(as_json(report), allow_nan=False))
                error = refusal(path)
                assert found["complete"] is (error is None)
                assert as_text(report).startswith("Whole: ") is (error is None)
                assert str(report.error) == str(error)
                if error is not None:
                    assert found["error"]["path"] == error.path
                    assert error.offset is not None
                    assert error.offset >= start or name.startswith("hyperparameters."), name


@pytest.mark.parametrize("head", [b"tjgg", b"", b"PK\x03\x04"])
def test_what_is_no_checkpoint(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.bin"
    path.write_bytes(head)
    with pytest.raises(FormatError) as caught:
        parse(path)
    done = run("inspect", path, "--html", tmp_path / "page.html")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"ggcp: {caught.value}\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["other.bin"]


class TestNotes:
    def notes(self, data: bytes | bytearray, folder: Path) -> str:
        path = folder / "noted.bin"
        path.write_bytes(data)
        return " ".join(as_json(inspect(path, stats=True))["notes"])

    def test_padding(self, tmp_path: Path) -> None:
        whole = checkpoint(1)
        _, length = whole.fields["model.norm.padding"]
        data = whole.with_field("model.norm.padding", b"\1" * length)
        assert "padding before the data of 1 tensors, model.norm first, is not zero" in self.notes(
            data, tmp_path
        )
        assert "padding" not in self.notes(whole.data, tmp_path)

    def test_cut_names(self, tmp_path: Path) -> None:
        data = checkpoint(1, n_layer=11, longest_name=31).data
        # layers.10.feed_forward.w1, .w2 and .w3 have 32 bytes, as nothing else does.
        assert (
            "The names of 3 tensors are cut, as the first trainers, of 2023-05-17 to 2023-05-29 "
            "(4b81c32d5), wrote names of more than 31 bytes."
        ) in self.notes(data, tmp_path)
        assert "are cut" not in self.notes(checkpoint(1, n_layer=11).data, tmp_path)

    def test_rotated_dimensions(self, tmp_path: Path) -> None:
        notes = self.notes(checkpoint(1, n_embd=4, n_rot=2).data, tmp_path)
        assert "2 dimensions of each head rotate, not 4: the trainer's --rotmax." in notes
        assert "Only 2 of the 4 dimensions of a head rotate." in notes

    def test_counters_without_a_context_length(self, tmp_path: Path) -> None:
        data = checkpoint(1).with_number("training.token_count", 97)
        assert "The context length does not follow" in self.notes(data, tmp_path)

    def test_values_that_are_no_numbers(self, tmp_path: Path) -> None:
        whole = checkpoint(1)
        data = whole.with_field("model.norm.data", struct.pack("<2f", math.nan, math.inf))
        notes = self.notes(data, tmp_path)
        assert "There are NaN in 1 tensors, model.norm first." in notes
        assert "There are infinite values in 1 tensors, model.norm first." in notes

    def test_losses_of_version_0_are_no_means(self, fixtures: Path) -> None:
        for name in REAL:
            notes = " ".join(as_json(inspect(fixtures / f"{name}.bin"))["notes"])
            assert ("no mean losses" in notes) == name.startswith(("v0_", "ggcp_")), name

    def test_moments_of_summed_gradients(self, fixtures: Path) -> None:
        for name in REAL:
            notes = " ".join(as_json(inspect(fixtures / f"{name}.bin"))["notes"])
            summed = name.startswith(("v0_adam", "ggcp_", "v1params_adam"))  # L-BFGS has no moments
            assert ("The moments are those of gradients summed over a batch" in notes) == summed, (
                name
            )

    def test_a_lora_without_multiple(self, fixtures: Path, tmp_path: Path) -> None:
        data = (fixtures / "ggcl_v1_adam_1a5f0a30e.bin").read_bytes()
        four = bytearray(data)
        four[28:32] = struct.pack("<I", 4)
        assert "n_mult is 4, a constant in finetune" in self.notes(four, tmp_path)


class TestNextSteps:
    """The commands are run as they are printed, by a shell."""

    def commands(self, name: str | Path, folder: Path) -> list[str]:
        done = run("inspect", name, "--json", cwd=folder)
        return [step["command"] for step in json.loads(done.stdout)["next"]]

    def shell(self, command: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
        script = f'ggcp() {{ {shlex.join(COMMAND)} "$@"; }}\n{command}'
        return subprocess.run(
            ["bash", "-c", script], cwd=folder, env=ENVIRONMENT, capture_output=True, check=False
        )

    @pytest.mark.parametrize("name", ["v0_adam_one", "v1_lbfgs", "ggcl_v1_adam_1a5f0a30e"])
    def test_they_work(self, name: str, fixtures: Path, tmp_path: Path) -> None:
        (tmp_path / "IN.bin").write_bytes((fixtures / f"{name}.bin").read_bytes())
        (tmp_path / "VOCAB").write_bytes((fixtures / "vocab300.ggjt").read_bytes())
        commands = self.commands("IN.bin", tmp_path)
        assert len(commands) == (4 if name == "v1_lbfgs" else 5)
        for command in commands:
            if "BASE.gguf" in command:
                continue
            if "convert" in command:
                command += " --force"
            done = self.shell(command, tmp_path)
            assert (command, done.returncode) == (command, 0), done.stderr

    def test_rescue(self, fixtures: Path, tmp_path: Path) -> None:
        (tmp_path / "IN.bin").write_bytes((fixtures / f"{TRUNCATED}.bin").read_bytes())
        (tmp_path / "VOCAB").write_bytes((fixtures / "vocab300.ggjt").read_bytes())
        [command] = self.commands("IN.bin", tmp_path)
        assert command == "ggcp export IN.bin IN-model.gguf --vocab VOCAB --rescue"
        assert self.shell(command, tmp_path).returncode == 0

    def test_rescue_of_a_model_that_is_whole(self, tmp_path: Path) -> None:
        (tmp_path / "IN.bin").write_bytes(checkpoint(n_layer=1).data[:-1])
        assert self.commands("IN.bin", tmp_path) == [
            "ggcp export IN.bin IN-model.gguf --vocab VOCAB --rescue"
        ]

    def test_nothing_is_promised_where_too_much_is_missing(self, tmp_path: Path) -> None:
        whole = checkpoint(n_layer=1)
        start, _ = whole.fields["model.layers[0].feed_forward.w2.data"]
        (tmp_path / "IN.bin").write_bytes(whole.data[:start])
        assert self.commands("IN.bin", tmp_path) == []

    @pytest.mark.parametrize(
        "name",
        [
            b"a b.bin",
            b"it's $HOME.bin",
            b"-n.bin",
            b"~\x7f.bin",
            b"two\nlines\t.bin",
            b"\xff\\'.bin",
        ],
    )
    def test_the_name_is_one_word_for_the_shell(self, name: bytes, tmp_path: Path) -> None:
        path = tmp_path / os.fsdecode(name)
        path.write_bytes(checkpoint(1).data)
        argument = os.fsdecode(b"./" + name)
        for command in self.commands(argument, tmp_path)[-1:]:
            assert command.isprintable()
            converted = command.replace("ggcp verify", "ggcp convert")
            assert self.shell(converted, tmp_path).returncode == 0
            assert self.shell(command, tmp_path).returncode == 0
        stem = os.fsdecode(name.removesuffix(b".bin"))
        assert (tmp_path / f"{stem}-resume.gguf").exists()


class TestText:
    def test_no_tensors(self, fixtures: Path) -> None:
        path = fixtures / "v0_adam_one.bin"
        assert "norm.weight" in run("inspect", path, "--tensors").stdout
        assert "norm.weight" not in run("inspect", path).stdout
        assert "norm.weight" not in run("inspect", path, "--stats", "--no-tensors").stdout
        found = json.loads(run("inspect", path, "--no-tensors", "--json").stdout)
        assert "tensors" not in found

    @pytest.mark.parametrize(
        ("name", "title"), [("v0_adam_one", "Model"), ("ggcl_v1_adam_1a5f0a30e", "Base model")]
    )
    def test_whose_sizes_are_listed(self, name: str, title: str, fixtures: Path) -> None:
        lines = as_text(inspect(fixtures / f"{name}.bin")).splitlines()
        assert [line for line in lines if line in ("Model", "Base model")] == [title]

    def test_quiet(self, fixtures: Path) -> None:
        done = run("inspect", fixtures / "v0_adam_one.bin", "--quiet")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_a_terminal_with_ascii_only(self, fixtures: Path) -> None:
        environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
        done = subprocess.run(
            [*COMMAND, "inspect", fixtures / "v0_adam_one.bin", "--all", "--stats"],
            env=environment,
            capture_output=True,
            check=True,
        )
        text = done.stdout.decode("ascii")
        assert "\\" not in text
        assert "16 x 300" in text
        assert "#####" in text

    def test_the_width_is_kept_outside_of_tables(self, fixtures: Path) -> None:
        report = inspect(fixtures / "v0_adam_one.bin")
        text = as_text(report, tensors=False, width=60)
        head = text.partition("What you can do next")[0]
        long = [line for line in head.splitlines() if len(line) > 60]
        assert long == [f"  name        {fixtures / 'v0_adam_one.bin'}"]

    def test_the_map_is_to_scale(self, fixtures: Path) -> None:
        lines = as_text(inspect(fixtures / "v0_adam_one.bin"), plain=True).splitlines()
        head = lines[0], *lines[lines.index("Map of the file, to scale (bytes)") :]
        # Each of 40 cells is 13,112.3 bytes, and each vector 65,376: 4.986 cells.
        vectors = [line for line in head if line.endswith("#####")]
        assert [line.index("#") - vectors[0].index("#") for line in vectors] == [*range(0, 35, 5)]
        assert [line.count("#") for line in vectors] == [5] * 7
        # All before them takes 66,800 bytes, of which the last numbers are 44: 5.09 cells.
        assert next(line for line in head if "header  " in line).index("#") == (
            vectors[0].index("#") - 5
        )

    def test_a_region_too_short_to_draw_is_a_sliver(self, fixtures: Path) -> None:
        lines = as_text(inspect(fixtures / "v0_adam_one.bin")).splitlines()
        lines = lines[lines.index("Map of the file, to scale (bytes)") :]
        # An eighth of a cell is 1,639 bytes; the header has 60, the last numbers have 12.
        bars = {line[2:20].strip(): line.split("  ")[-1] for line in lines if line[:2] == "  "}
        assert bars["header"] == "▏"
        assert bars["last numbers"].strip() == "▕"

    def test_layers_are_put_together_where_there_are_many(self, tmp_path: Path) -> None:
        path = tmp_path / "many.bin"
        path.write_bytes(checkpoint(1, n_layer=40).data)
        text = as_text(inspect(path), tensors=False)
        assert "layers 0 to 39" in text
        assert "  layer 7 " not in text


def test_an_empty_folder(tmp_path: Path) -> None:
    done = run("inspect", tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"ggcp: {tmp_path}: file: expected a file, or a folder with files, found a folder without "
        "files; give the name of a file, or of the folder that holds it\n"
    )


def test_a_file_written_to_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "growing.bin"
    path.write_bytes(checkpoint(1).data)

    @contextlib.contextmanager
    def progress(description: str, total: int) -> Iterator[Any]:
        assert (description, total) == ("Measuring", 4 * (10 + 20))
        with path.open("ab") as file:
            file.write(b"more")
        yield lambda _count: None

    with pytest.raises(FormatError) as caught:
        inspect(path, stats=True, progress=progress)
    assert "another program is writing to the file" in str(caught.value)
