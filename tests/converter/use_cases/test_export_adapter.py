"""LoRA adapters of 2023 (ggla): exported, merged, compared, inspected; in llama.cpp itself."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import numpy as np
import pytest
from gguf_bytes import read
from lora_models import base_weights, tensors, write_base
from reference import checkpoint as reference
from reference import llama, llama_cpp

from converter import ConversionError, Writing, convert, export_lora, inspect, verify
from converter.report.advice import notes, steps, summary
from converter.report.html import as_html
from converter.report.json import as_json
from converter.report.text import as_text
from ggcp_schema import FormatError
from ggcp_schema.synthetic import SyntheticAdapter

REAL = ["ggla_1a5f0a30e_lora.bin", "ggla_oct23_lora.bin", "ggla_jul24_lora_ranks.bin"]
PROMPT = [1, 261, 273, 274]
COUNT = 5
HEADER = {"n_vocab": 300, "n_embd": 32, "n_head": 4, "n_layer": 2, "n_rot": 8}
SIZES = {**HEADER, "n_ff": 96}
EPSILON = 1e-5


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the shape that all these adapters are for."""
    path = tmp_path_factory.mktemp("base") / "base.gguf"
    write_base(path, SIZES, base_weights(SIZES))
    return path


def weights_of(base: Path) -> dict[str, np.ndarray]:
    stored = tensors(base)
    return {old: stored[new] for old, new in reference.gguf_names(2).items()}


def deltas_of(adapter: Path, *, norms: bool) -> dict[str, np.ndarray]:
    lora_r, lora_alpha, pairs = reference.read_adapter(adapter)
    return {
        name: delta * (lora_alpha / lora_r)
        for name, delta in llama.lora_deltas(pairs).items()
        if norms or not name.endswith("norm.weight")
    }


def assert_same(
    found: list[tuple[int, float]], wanted: list[tuple[int, float]], within: float
) -> None:
    assert [token for token, _ in found] == [token for token, _ in wanted]
    assert max(abs(a[1] - b[1]) for a, b in zip(found, wanted, strict=True)) < within


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("merged", [False, True])
def test_llama_cpp_says_what_float64_says(
    name: str, merged: bool, base: Path, fixtures: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.gguf"
    export_lora(fixtures / name, output, base=base if merged else None)
    if merged:
        found = llama_cpp.greedy_log_probabilities(output, PROMPT, COUNT)
    else:
        found = llama_cpp.greedy_log_probabilities(base, PROMPT, COUNT, lora_paths=[output])
    arguments = (weights_of(base), HEADER, PROMPT, COUNT)
    deltas = deltas_of(fixtures / name, norms=merged)
    wanted = llama.greedy(*arguments, epsilon=EPSILON, deltas=deltas)
    assert_same(found, wanted, 1e-5)
    without = llama.greedy(*arguments, epsilon=EPSILON)
    assert abs(without[0][1] - wanted[0][1]) > 1e-3


@pytest.mark.parametrize("name", REAL)
def test_what_was_made_is_compared(name: str, base: Path, fixtures: Path, tmp_path: Path) -> None:
    adapter, merged = tmp_path / "adapter.gguf", tmp_path / "merged.gguf"
    export_lora(fixtures / name, adapter)
    export_lora(fixtures / name, merged, base=base)
    assert verify(fixtures / name, adapter) == []
    assert verify(fixtures / name, merged, base=base) == []
    other = REAL[(REAL.index(name) + 1) % 3]
    assert verify(fixtures / other, adapter) != []
    assert verify(fixtures / other, merged, base=base) != []


def test_the_factor_goes_into_b_and_is_rounded_once(
    fixtures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, scale in (("ggla_jul24_lora_ranks.bin", 1.5), ("ggla_oct23_lora.bin", 1.0)):
        lora_r, lora_alpha, pairs = reference.read_adapter(fixtures / name)
        assert lora_alpha / lora_r == scale
        export_lora(fixtures / name, tmp_path / f"{name}.gguf")
        found = read((tmp_path / f"{name}.gguf").read_bytes())
        assert {k.name: k.value for k in found.keys}["adapter.lora.alpha"] == 0
        made = {tensor.name: tensor.data for tensor in found.tensors}
        for old, new in reference.gguf_names(2).items():
            if old.endswith("norm.weight"):
                assert f"{new}.lora_b" not in made
                continue
            a, b = (pairs[f"{old}.lora{half}"] for half in "AB")
            scaled = (b.astype(np.float64) * scale).astype("<f4").tobytes()
            first, second = (scaled, a.tobytes()), (a.T.tobytes(), scaled)
            wanted = first if old == "tok_embeddings.weight" else second
            assert (made[f"{new}.lora_a"], made[f"{new}.lora_b"]) == wanted
    assert not [message for message in caplog.messages if "PEFT" in message]  # it changes few


def peft(path: Path, *, layer: int = 1, seed: int = 0) -> None:
    """Write an adapter with `struct` alone, as convert-lora-to-ggml.py did: q and v, A in F16."""
    random = np.random.default_rng(seed)
    file = bytearray(b"algg" + struct.pack("<3I", 1, 4, 8))
    for kind in ("wq", "wv"):
        for half, number, dtype in (("A", 1, "<f2"), ("B", 0, "<f4")):
            name = f"layers.{layer}.attention.{kind}.weight.lora{half}".encode()
            file += struct.pack("<5I", 2, len(name), number, 4, 32) + name
            file += bytes(-len(file) % 32) + random.normal(0, 0.2, (32, 4)).astype(dtype).tobytes()
    path.write_bytes(file)


def test_half_precision_is_widened_exactly(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    peft(tmp_path / "peft.bin")
    export_lora(tmp_path / "peft.bin", tmp_path / "adapter.gguf")
    export_lora(tmp_path / "peft.bin", tmp_path / "merged.gguf", base=base)
    assert (
        caplog.messages
        == [
            "only some tensors change, as in an adapter of PEFT: rows of q and k are then in "
            "PEFT's order, which is not that of llama.cpp's models; if you have PEFT's files, "
            "give them to convert_lora_to_gguf.py instead"
        ]
        * 2
    )
    _, _, pairs = reference.read_adapter(tmp_path / "peft.bin")
    made = {t.name: t.data for t in read((tmp_path / "adapter.gguf").read_bytes()).tensors}
    assert list(made) == [f"blk.1.attn_{k}.weight.lora_{half}" for k in "qv" for half in "ab"]
    a = pairs["layers.1.attention.wq.weight.loraA"]
    assert made["blk.1.attn_q.weight.lora_a"] == a.T.tobytes()
    weights, merged = weights_of(base), weights_of(tmp_path / "merged.gguf")
    deltas = deltas_of(tmp_path / "peft.bin", norms=True)
    assert set(deltas) == {f"layers.1.attention.{kind}.weight" for kind in ("wq", "wv")}
    for name, weight in weights.items():
        wanted = weight.astype(np.float64) + deltas.get(name, 0)
        np.testing.assert_array_equal(merged[name], wanted.astype("<f4"))
    assert verify(tmp_path / "peft.bin", tmp_path / "adapter.gguf") == []
    values = as_json(inspect(tmp_path / "peft.bin", stats=True))
    assert [tensor["statistics"] is None for tensor in values["tensors"]] == [True, False] * 2
    assert values["hyperparameters"] == {"embedding_length": 32, "block_count": 2}


def test_what_is_not_measured_is_a_dash(tmp_path: Path) -> None:
    """Elements of two bytes are not; the others in the same file are."""
    peft(tmp_path / "peft.bin")
    report = inspect(tmp_path / "peft.bin", stats=True)
    rows = [line.split() for line in as_text(report).split("\n") if ".attention.wq." in line]
    assert [row[-7:] == ["-"] * 7 for row in rows] == [True, False]
    assert [len(row) for row in rows] == [len(rows[0])] * 2
    assert as_html(report).count("layers.1.attention.wq.weight.lora") == 2


def test_a_base_that_does_not_fit(base: Path, tmp_path: Path) -> None:
    with (tmp_path / "large.bin").open("wb") as file:
        SyntheticAdapter(block_count=3).write(file)
    with pytest.raises(FormatError) as caught:
        export_lora(tmp_path / "large.bin", tmp_path / "o.gguf", base=base)
    assert "expected 3, as in the checkpoint (n_layer), found 2" in str(caught.value)
    peft(tmp_path / "high.bin", layer=7)
    with pytest.raises(FormatError, match=r"blk\.7\.attn_q\.weight: expected a tensor"):
        export_lora(tmp_path / "high.bin", tmp_path / "o.gguf", base=base)


def test_there_is_nothing_to_convert(fixtures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        convert(fixtures / REAL[0], tmp_path / "resume.gguf")
    assert str(caught.value) == (
        f"{fixtures / REAL[0]}: expected a checkpoint with the state of an optimizer, to go on "
        "training from, found a LoRA adapter (ggla), which holds none; make of it what today's "
        "engines run: ggcp export"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_name_cannot_write_to_the_terminal(fixtures: Path, tmp_path: Path) -> None:
    data = (fixtures / REAL[2]).read_bytes()
    assert data[0x24:0x3B] == b"token_embd.weight.loraA"
    path = tmp_path / "odd.bin"
    path.write_bytes(data[:0x24] + b"\x1b]0;x\x07\r" + data[0x2B:])
    report = inspect(path)
    assert as_json(report)["tensors"][0]["name"] == "\\x1b]0;x\\x07\\rmbd.weight.loraA"
    for shown in (as_text(report), as_html(report)):
        assert not {"\x1b", "\x07", "\r"} & set(shown)


def test_it_is_inspected(fixtures: Path) -> None:
    report = inspect(fixtures / REAL[2], stats=True)
    values = as_json(report)
    assert (values["format"], values["kind"], values["complete"]) == (1, "adapter", True)
    assert (values["optimizer"], values["parameter_order"], values["training"]) == (None, None, {})
    assert values["hyperparameters"] == {
        "embedding_length": 32,
        "vocabulary_size": 300,
        "feed_forward_length": 96,
        "block_count": 2,
    }
    ranks = values["ranks"]
    assert (ranks.pop("lora_alpha"), ranks.pop("lora_r")) == (6, 4)
    assert (ranks["wq"], ranks["wv"], ranks["norm"], len(ranks)) == (3, 5, 1, 12)
    assert values["parameter_count"] == 7011
    assert len(values["tensors"]) == 42
    assert all(tensor["statistics"] for tensor in values["tensors"])
    assert summary(report) == "A LoRA of 7,011 parameters in 2 layers."
    assert notes(report) == ()
    assert [step.command.split()[1] for step in steps(report)] == ["export", "export", "verify"]
    for words in (as_text(report), as_html(report)):
        assert "LoRA adapter (ggla), without any training state" in words
        assert "merged.gguf" in words


def test_a_damaged_one_is_told(fixtures: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "cut.bin"
    damaged.write_bytes((fixtures / REAL[0]).read_bytes()[:-100])
    report = inspect(damaged)
    assert report.error is not None
    assert (report.error.path, len(report.tensors)) == ("tensors[41].data", 41)
    assert steps(report) == ()
    assert "damaged" in as_text(report)
    assert sum(region.length for region in report.regions) == damaged.stat().st_size
    with pytest.raises(FormatError, match=r"tensors\[41\]\.data at offset"):
        export_lora(damaged, tmp_path / "out.gguf")


def test_every_synthetic_adapter_goes_the_same_way(base: Path, tmp_path: Path) -> None:
    with (tmp_path / "made.bin").open("wb") as file:
        SyntheticAdapter(ranks={"wq": 0, "w2": 9}, lora_alpha=2, gguf_names=False).write(file)
    for merged_with in (None, base):
        path = tmp_path / f"out-{merged_with is None}.gguf"
        export_lora(tmp_path / "made.bin", path, base=merged_with)
        assert verify(tmp_path / "made.bin", path, base=merged_with) == []


@pytest.fixture(autouse=True)
def _warnings_are_caught(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "ggcp")


def test_heads_that_share_keys_and_values_were_shared_in_another_way(
    fixtures: Path, tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """finetune repeated the keys and values of 2 heads as a whole, engines each of them 4 times."""
    gguf = read(fixtures / "chk_oct23_lora_nockpt.gguf")
    sizes = {"attention.head_count": 8, "attention.head_count_kv": 2, "rope.dimension_count": 4}
    for name, size in sizes.items():
        gguf.key(f"llama.{name}").value = size
    less = 0
    for tensor in gguf.tensors:
        if tensor.name.endswith(("attn_k.weight.lora_b", "attn_v.weight.lora_b")):
            rank, rows = tensor.dims
            less += rank * (rows - 8)
            tensor.dims, tensor.data = (rank, 8), tensor.data[: 4 * rank * 8]
    gguf.key("optimizer.parameter_count").value -= less
    for tensor in gguf.tensors:
        if tensor.name.startswith("optimizer."):
            tensor.dims, tensor.data = (tensor.dims[0] - less,), tensor.data[: -4 * less]
    source = tmp_path / "in.gguf"
    source.write_bytes(gguf.to_bytes())
    words = (
        "finetune gave query head h the key and value head h mod 2, engines give it h div 4: it "
        "trained a scrambled base; what it learnt carries over faithfully, and still does not do "
        "what its loss promised"
    )
    export_lora(source, folder / "adapter.gguf", writing=Writing(sync=False))
    assert words in caplog.messages
    caplog.clear()
    export_lora(
        fixtures / "chk_oct23_lora_nockpt.gguf", folder / "a.gguf", writing=Writing(sync=False)
    )
    assert not any("query head" in message for message in caplog.messages)
