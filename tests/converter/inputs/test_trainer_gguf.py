"""The GGUF files of the later trainers, through every command, against their own bytes."""

from __future__ import annotations

import copy
import json
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import run
from gguf_bytes import (
    ARRAY,
    BOOL,
    F16_TENSOR,
    F32,
    STRING,
    U32,
    U64,
    Gguf,
    Key,
    Tensor,
    read,
)
from reference import checkpoint as reference
from reference import llama, llama_cpp
from resumed import REAL, resumed

from converter import ConversionError, ResumeWith, Writing, convert, export, inspect, verify
from converter.report.json import as_json
from converter.use_cases.export_options import ExportOptions
from ggcp_schema import FormatError
from ggcp_schema.order import Order

DAMAGED = "the file is damaged, or none that a trainer of llama.cpp wrote; look for another copy"
TRAINING = ("chk_aug23_rope.gguf", "chk_oct23_adam_c8_nockpt.gguf", "v1_lbfgs.gguf")
LORA = ("chk_jul24_lora_ranks.gguf", "chk_oct23_lora_nockpt.gguf", "ggcl_0564f4ed1.gguf")
MODEL = "model_aug23_lbfgs.gguf"
TWINS = ("v1_adam_one", "v1_adam_one_noflash", "v1_adam_past3", "v1_lbfgs")
QUICK = Writing(sync=False, verify=True)
NO_ID = 2**32 - 1


def value(gguf: Gguf, name: str) -> Any:
    return gguf.key(name).value


@pytest.mark.parametrize("name", [*TRAINING, MODEL])
def test_an_exported_model(
    name: str, fixtures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The weights to the byte, in their order; what inference needs, nothing of the training."""
    caplog.set_level(logging.INFO, "ggcp")
    source, path = read(fixtures / name), tmp_path / "model.gguf"
    export(fixtures / name, path, ExportOptions(), writing=QUICK)
    made = read(path)
    weights = [t for t in source.tensors if not t.name.startswith("optimizer.")]
    assert made.tensors == weights
    there = {key.name: key for key in source.keys}
    names = {key.name for key in made.keys}
    assert not {n for n in names if n.startswith(("training.", "optimizer."))}
    for key in made.keys:
        if key.name in there and key.name != "general.name":
            assert (key.type, key.value) == (there[key.name].type, there[key.name].value)
    missing = {n for n in there if n.startswith("tokenizer.")} - names
    assert missing == {n for n in there if there[n].value == NO_ID and n.endswith("_token_id")}
    assert value(made, "llama.attention.head_count_kv") == value(
        source, "llama.attention.head_count"
    )
    assert value(made, "llama.vocab_size") == 300
    assert verify(fixtures / name, path) == []
    said = [message for message in caplog.messages if message.startswith("context length")]
    # Of the others nothing was counted, or 192 tokens in 26 samples.
    counted = {TRAINING[0]: "640 tokens / 40 samples", TRAINING[2]: "128 tokens / 8 samples"}
    assert (
        said
        == [f"context length 16: {counted.get(name)} of the training (-c for another)"][
            : name in counted
        ]
    )


def test_a_rope_of_another_base_and_scale(
    fixtures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export(fixtures / TRAINING[0], tmp_path / "model.gguf", ExportOptions(), writing=QUICK)
    made = read(tmp_path / "model.gguf")
    assert value(made, "llama.rope.freq_base") == 20000
    assert value(made, "llama.rope.scaling.type") == "linear"
    assert value(made, "llama.rope.scaling.factor") == 2  # the trainer's --rope-freq-scale 0.5
    assert (
        "positions are scaled by 0.5: exact in llama.cpp, but transformers ignores that in a GGUF, "
        "and its results will be wrong"
    ) in caplog.messages
    assert value(made, "llama.attention.layer_norm_rms_epsilon") == np.float32(1e-6)


@pytest.mark.parametrize(
    ("name", "base", "scale", "epsilon"),
    [
        (TRAINING[0], 20000, 0.5, 1e-6),
        (TRAINING[1], 10000, 1, 1e-5),
        (TRAINING[2], 10000, 1, 1e-5),
        (MODEL, 10000, 1, 1e-5),
    ],
)
def test_llama_cpp_says_what_float64_says(
    name: str, base: float, scale: float, epsilon: float, fixtures: Path, tmp_path: Path
) -> None:
    source, path = read(fixtures / name), tmp_path / "model.gguf"
    export(fixtures / name, path, ExportOptions(), writing=QUICK)
    weights = {
        old_name(t.name): np.frombuffer(t.data, "<f4").reshape(t.dims[::-1])
        for t in source.tensors
        if not t.name.startswith("optimizer.")
    }
    sizes = {
        "n_head": value(source, "llama.attention.head_count"),
        "n_layer": value(source, "llama.block_count"),
        "n_rot": value(source, "llama.rope.dimension_count"),
    }
    prompt = [1, 261, 273]
    expected = llama.greedy(
        weights, sizes, prompt, 4, epsilon=epsilon, rope_base=base, rope_scale=scale
    )
    found = llama_cpp.greedy_log_probabilities(path, prompt, 4)
    assert [token for token, _ in found] == [token for token, _ in expected]
    for (_, one), (_, other) in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=2e-5)


def old_name(name: str) -> str:
    """The name of a GGUF's tensor in a checkpoint before GGUF."""
    words = {
        "token_embd": "tok_embeddings",
        "output_norm": "norm",
        "attn_norm": "attention_norm",
        "attn_q": "attention.wq",
        "attn_k": "attention.wk",
        "attn_v": "attention.wv",
        "attn_output": "attention.wo",
        "ffn_gate": "feed_forward.w1",
        "ffn_down": "feed_forward.w2",
        "ffn_up": "feed_forward.w3",
    }
    parts = name.split(".")
    return ".".join(words.get(p, "layers" if p == "blk" else p) for p in parts)


@pytest.mark.parametrize("name", [*TRAINING, *LORA])
def test_converted_as_it_is(name: str, fixtures: Path, tmp_path: Path) -> None:
    source, path = read(fixtures / name), tmp_path / "same.gguf"
    convert(fixtures / name, path, writing=QUICK)
    made = read(path)
    assert made.tensors == source.tensors
    kept = {key.name: (key.type, key.value) for key in made.keys}
    assert {key.name: (key.type, key.value) for key in source.keys}.items() <= kept.items()
    assert {n for n in kept if n not in {key.name for key in source.keys}} >= {"ggcp.version"}
    assert verify(fixtures / name, path) == []


def test_the_shuffle_of_the_samples_is_kept(fixtures: Path, tmp_path: Path) -> None:
    """Keys of file_version 1, for trainers from 0e76a8992 on."""
    convert(fixtures / TRAINING[1], tmp_path / "same.gguf", writing=QUICK)
    made = read(tmp_path / "same.gguf")
    assert (made.key("training.iteration_count").type, value(made, "training.iteration_count")) == (
        U64,
        12,
    )
    assert value(made, "training.shuffle.samples_hash") == 3570974511528473132
    assert value(made, "training.shuffle.rng_state").startswith("7 4097098180 3572822661 ")


def test_what_a_trainer_wrote_is_never_scaled(fixtures: Path, tmp_path: Path) -> None:
    """The vectors hold the same numbers, in another order."""
    wanted = ResumeWith(Order.PLAIN, Order.FLASH, batch=8)
    convert(fixtures / TRAINING[0], tmp_path / "plain.gguf", resume_with=wanted, writing=QUICK)
    before, after = read(fixtures / TRAINING[0]), read(tmp_path / "plain.gguf")
    for name in ("optimizer.adam.first_moments", "optimizer.adam.second_moments"):
        one, other = (np.frombuffer(tensor(g, name).data, "<u4") for g in (before, after))
        assert not np.array_equal(one, other)
        assert np.array_equal(np.sort(one), np.sort(other))
    assert value(after, "ggcp.gradient_rows") == 1


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("target", Order)
def test_vectors_in_another_order(twin: str, target: Order, fixtures: Path, tmp_path: Path) -> None:
    """The trainer before wrote the same run, in which an independent reader knows every vector."""
    source, path = fixtures / f"{twin}.gguf", tmp_path / "reordered.gguf"
    convert(source, path, resume_with=ResumeWith(target), writing=QUICK)
    stored = reference.read(fixtures / f"{twin}.bin")
    wanted = resumed(stored, REAL[f"{twin}.bin"][0], target.value, 1)
    assert read(path).tensors == wanted.tensors
    assert value(read(path), "ggcp.stored_parameter_order") == REAL[f"{twin}.bin"][0]
    assert verify(source, path) == []


def tensor(gguf: Gguf, name: str) -> Tensor:
    (found,) = (t for t in gguf.tensors if t.name == name)
    return found


@pytest.mark.parametrize("name", LORA)
def test_an_adapter(name: str, fixtures: Path, tmp_path: Path) -> None:
    """A transposed, B as it is, the roles of token_embd exchanged, no norms."""
    source, path = read(fixtures / name), tmp_path / "adapter.gguf"
    export(fixtures / name, path, ExportOptions(), writing=QUICK)
    made = {t.name: t for t in read(path).tensors}
    pairs = {t.name: t for t in source.tensors if not t.name.startswith("optimizer.")}
    expected = {n for n in pairs if "norm" not in n}
    assert set(made) == expected
    for n, t in pairs.items():
        if "norm" in n or n.startswith("token_embd"):
            continue
        matrix = np.frombuffer(t.data, "<f4").reshape(t.dims[::-1])
        wanted = matrix.T if n.endswith("lora_a") else matrix
        assert made[n].data == np.ascontiguousarray(wanted).tobytes()
    assert made["token_embd.weight.lora_a"].data == pairs["token_embd.weight.lora_b"].data
    assert made["token_embd.weight.lora_b"].data == pairs["token_embd.weight.lora_a"].data
    assert verify(fixtures / name, path) == []


AUGUST = "llama.cpp from 2023-08-28 (44c117f41) to 2023-09-28"
OCTOBER = "llama.cpp from 2023-09-28 (0e76a8992) to 2023-10-20"

# fmt: off
SAID: dict[str, dict[str, Any]] = {
    TRAINING[0]: {
        "kind": "training", "training": [20, 40, 640], "context_length": 16,
        "parameter_count": 12976, "best_loss": 5.7, "order": ["flash"],
        "words": "training checkpoint (GGUF)",
        "written_by": f"train-text-from-scratch, {AUGUST}"},
    TRAINING[1]: {
        "kind": "training", "training": [12, 26, 192], "context_length": 8,
        "parameter_count": 19696, "best_loss": 5.699511528015137, "order": None,
        "words": "training checkpoint (GGUF)",
        "written_by": f"train-text-from-scratch, {OCTOBER}"},
    LORA[0]: {
        "kind": "lora", "training": [12, 26, 768], "context_length": 32, "parameter_count": 7011,
        "best_loss": 6.210315704345703, "order": None,
        "words": "LoRA finetune checkpoint (GGUF)",
        "written_by": "finetune, llama.cpp from 2023-10-20 (8cf19d60d) to July 2024"},
    TRAINING[2]: {
        "kind": "training", "training": [0, 8, 128], "context_length": 16,
        "parameter_count": 12976, "best_loss": 5.70418643951416, "order": ["flash"],
        "words": "training checkpoint (GGUF)", "written_by": f"train-text-from-scratch, {AUGUST}"},
    LORA[2]: {
        "kind": "lora", "training": [4, 8, 128], "context_length": 16, "parameter_count": 5173,
        "best_loss": 5.902493953704834, "order": ["flash"],
        "words": "LoRA finetune checkpoint (GGUF)",
        "written_by": "finetune, llama.cpp from 2023-08-29 (0564f4ed1) to 2023-09-28"},
    MODEL: {
        "kind": "model", "training": [], "context_length": 16, "parameter_count": 12976,
        "best_loss": None, "order": None,
        "words": "model of a trainer (GGUF)",
        "written_by": f"train-text-from-scratch, {AUGUST}"},
}
# fmt: on


@pytest.mark.parametrize("name", SAID)
def test_what_inspect_says(name: str, fixtures: Path) -> None:
    report = inspect(fixtures / name)
    said, found = SAID[name], as_json(report)
    assert (report.kind, report.written_by) == (said["words"], said["written_by"])
    assert (found["format"], found["complete"], found["error"]) == (1, True, None)
    assert found["kind"] == said["kind"]
    assert list(found["training"].values()) == said["training"]
    assert found["context_length"] == said["context_length"]
    assert found["parameter_count"] == said["parameter_count"]
    source = read(fixtures / name)
    assert [t["name"] for t in found["tensors"]] == [t.name for t in source.tensors]
    assert [tuple(t["shape"]) for t in found["tensors"]] == [t.dims for t in source.tensors]
    if said["best_loss"] is None:
        assert found["optimizer"] is None
    else:
        loss = value(source, f"optimizer.{value(source, 'optimizer.type')}.best_loss")
        assert found["optimizer"]["state"]["best_loss"] == loss
        kept = 6 if found["optimizer"]["type"] == "lbfgs" else 0
        assert found["optimizer"]["counters"]["approx_hessian_count"] == kept
        assert loss == pytest.approx(said["best_loss"], abs=0.1)
    if said["order"] is not None:
        assert found["parameter_order"]["candidates"] == said["order"]
    commands = [step["command"] for step in found["next"]]
    assert commands
    assert not [command for command in commands if "--vocab" in command]


def test_the_line_search_of_lbfgs(fixtures: Path) -> None:
    """The trainer itself left the count of iterations at 0."""
    report = as_json(inspect(fixtures / TRAINING[2]))
    assert report["optimizer"]["type"] == "lbfgs"
    assert report["optimizer"]["counters"]["iteration_count"] == 0
    assert report["optimizer"]["state"] == {
        "best_loss": np.float32(5.7041864),
        "line_search_step": 1,
        "line_search_j": 4,
        "line_search_k": 5,
        "line_search_end": 4,
        "no_improvement_count": 0,
    }


def test_the_page_and_the_text(fixtures: Path, tmp_path: Path) -> None:
    for name in (*TRAINING, *LORA, MODEL):
        page = tmp_path / f"{name}.html"
        done = run("inspect", fixtures / name, "--stats", "--html", page)
        assert (done.returncode, done.stderr) == (0, "")
        assert name in page.read_text(encoding="utf-8")
        assert "This file is damaged" not in page.read_text(encoding="utf-8")
        text = run("inspect", fixtures / name)
        assert text.returncode == 0
        assert "checkpoint (GGUF)" in text.stdout or "model of a trainer (GGUF)" in text.stdout


def test_a_model_holds_no_training_state(fixtures: Path, folder: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        convert(fixtures / MODEL, folder / "out.gguf")
    assert str(caught.value) == (
        f"{fixtures / MODEL}: expected a checkpoint with the state of an optimizer, to go on "
        "training from, found a model of a trainer (GGUF), which holds none; make of it what "
        "today's engines run: ggcp export"
    )
    assert list(folder.iterdir()) == []


# One test for each defect: what is changed in a file, and what is said of it.
def dropped(name: str) -> Any:
    def change(gguf: Gguf) -> None:
        gguf.keys = [key for key in gguf.keys if key.name != name]

    return change


def another(name: str, kind: int, new: Any) -> Any:
    def change(gguf: Gguf) -> None:
        gguf.key(name).type, gguf.key(name).value = kind, new

    return change


def without(name: str) -> Any:
    def change(gguf: Gguf) -> None:
        gguf.tensors = [t for t in gguf.tensors if t.name != name]

    return change


def as_f16(gguf: Gguf) -> None:
    weight = tensor(gguf, "output.weight")
    weight.data, weight.type = weight.data[: len(weight.data) // 2], F16_TENSOR


def flattened(gguf: Gguf) -> None:
    weight = tensor(gguf, "output.weight")
    weight.dims = (300, 16)


def one_more(gguf: Gguf) -> None:
    gguf.tensors.append(Tensor("rope_freqs.weight", (4,), bytes(16)))


# fmt: off
DEFECTS: dict[str, tuple[Any, str]] = {
    "another architecture": (another("general.architecture", STRING, "falcon"),
        "general.architecture at offset {at}: expected 'llama', found falcon as STRING"),
    "no embedding length": (dropped("llama.embedding_length"),
        "llama.embedding_length: expected a whole number (UINT32 or UINT64), found no such key"),
    "a text for a number": (another("llama.block_count", STRING, "1"),
        "llama.block_count at offset {at}: expected a whole number (UINT32 or UINT64), found 1 as "
        "STRING"),
    "no heads": (another("llama.attention.head_count", U32, 0),
        "llama.attention.head_count at offset {at}: expected a divisor of 16, found 0 as UINT32"),
    "more layers than tensors": (another("llama.block_count", U32, 2**31),
        "llama.block_count at offset {at}: expected at most 1, by the tensors in the file, found "
        "2147483648 as UINT32"),
    "an epsilon that is a number of another type": (
        another("llama.attention.layer_norm_rms_epsilon", U32, 1),
        "llama.attention.layer_norm_rms_epsilon at offset {at}: expected a number (FLOAT32), found "
        "1 as UINT32"),
    "a tensor too few": (without("blk.0.ffn_up.weight"),
        "tensor blk.0.ffn_up.weight: expected a tensor of this name, found none"),
    "a tensor too many": (one_more,
        "tensor rope_freqs.weight: expected only tensors that the trainers write, found another "
        "one"),
    "other dimensions": (flattened,
        "tensor output.weight at offset {data}: expected the dimensions [16, 300], found "
        "[300, 16]"),
    "another parameter count": (another("optimizer.parameter_count", U64, 12977),
        "optimizer.parameter_count at offset {at}: expected 12976 (the elements of all tensors), "
        "found 12977 as UINT64"),
    "an unknown optimizer": (another("optimizer.type", STRING, "sgd"),
        "optimizer.type at offset {at}: expected 'adam' or 'lbfgs', found sgd as STRING"),
    "a list for the optimizer": (another("optimizer.type", ARRAY, (STRING, ["adam"])),
        "optimizer.type at offset {at}: expected 'adam' or 'lbfgs', found an array as ARRAY"),
    "a loss that is a text": (another("optimizer.adam.best_loss", STRING, "x"),
        "optimizer.adam.best_loss at offset {at}: expected a value of the type FLOAT32, found x as "
        "STRING"),
    "no second moments": (without("optimizer.adam.second_moments"),
        "tensor optimizer.adam.second_moments: expected a tensor of this name, found none"),
    "past without losses": (another("optimizer.convergence_past_count", U32, 3),
        "tensor optimizer.adam.past_loss_values: expected a tensor of this name, found none"),
    "a flag that is a number": (another("optimizer.just_initialized", U32, 0),
        "optimizer.just_initialized at offset {at}: expected a value of the type BOOL, found 0 as "
        "UINT32"),
}
# fmt: on


def offsets(data: bytes, key: str, name: str) -> dict[str, str]:
    """Where the value of a key stands, and the data of a tensor, found by their names."""
    at = data.find(struct.pack("<Q", len(key)) + key.encode())
    info = data.find(struct.pack("<Q", len(name)) + name.encode()) + 8 + len(name)
    (dimensions,) = struct.unpack_from("<I", data, info)
    (offset,) = struct.unpack_from("<Q", data, info + 8 + 8 * dimensions)
    end = 0
    last = list(read(data).tensors)[-1].name
    end = data.find(struct.pack("<Q", len(last)) + last.encode()) + 8 + len(last)
    (dimensions,) = struct.unpack_from("<I", data, end)
    end += 4 + 8 * dimensions + 12
    return {"at": hex(at + 8 + len(key) + 4), "data": hex(-(-end // 32) * 32 + offset)}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_refused_with_its_message(
    defect: str, fixtures: Path, tmp_path: Path, folder: Path
) -> None:
    change, complaint = DEFECTS[defect]
    gguf = copy.deepcopy(read(fixtures / TRAINING[0]))
    change(gguf)
    path = tmp_path / "changed.gguf"
    path.write_bytes(gguf.to_bytes())
    key = complaint.split(" ")[0].rstrip(":")
    expected = complaint.format(**offsets(path.read_bytes(), key, "output.weight"))
    for action in (
        lambda: convert(path, folder / "out.gguf"),
        lambda: export(path, folder / "out.gguf", ExportOptions()),
    ):
        with pytest.raises(FormatError) as caught:
            action()
        assert str(caught.value).startswith(f"{path}: {expected}; {DAMAGED}")
    assert list(folder.iterdir()) == []
    assert inspect(path).error is not None


def test_weights_of_another_type_are_refused(fixtures: Path, tmp_path: Path, folder: Path) -> None:
    gguf = read(fixtures / MODEL)
    as_f16(gguf)
    path = tmp_path / "half.gguf"
    path.write_bytes(gguf.to_bytes())
    with pytest.raises(FormatError) as caught:
        export(path, folder / "out.gguf", ExportOptions())
    assert caught.value.expected == "F32, in which trainers write"
    assert caught.value.found == "F16"
    assert list(folder.iterdir()) == []


def test_bytes_behind_the_data_are_refused(fixtures: Path, tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "more.gguf"
    whole = (fixtures / TRAINING[0]).read_bytes()
    path.write_bytes(whole + b"more")
    with pytest.raises(FormatError) as caught:
        convert(path, folder / "out.gguf")
    assert (caught.value.path, caught.value.offset) == ("end", len(whole))
    assert caught.value.found == "4 bytes more"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "last"), [(TRAINING[0], "adam.second_moments"), (TRAINING[2], "lbfgs.memory_y")]
)
def test_an_optimizer_that_is_cut_can_be_rescued(
    name: str, last: str, fixtures: Path, tmp_path: Path, folder: Path
) -> None:
    whole = (fixtures / name).read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[:-4])
    for action in (
        lambda: convert(path, folder / "out.gguf"),
        lambda: export(path, folder / "out.gguf", ExportOptions()),
    ):
        with pytest.raises(FormatError) as caught:
            action()
        assert caught.value.path == f"tensor optimizer.{last}"
    assert "the model in front of it is whole, and --rescue exports it" in caught.value.hint
    assert list(folder.iterdir()) == []
    export(path, folder / "out.gguf", ExportOptions(rescue=True), writing=QUICK)
    weights = [t for t in read(whole).tensors if not t.name.startswith("optimizer.")]
    made = read(folder / "out.gguf")
    assert made.tensors == weights
    assert value(made, "ggcp.missing_values") == 0
    assert verify(path, folder / "out.gguf") == []


def test_weights_that_are_cut_cannot_be_rescued(
    fixtures: Path, tmp_path: Path, folder: Path
) -> None:
    whole = (fixtures / MODEL).read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[:-64])
    with pytest.raises(FormatError) as caught:
        export(path, folder / "out.gguf", ExportOptions(rescue=True))
    assert caught.value.path == "tensor blk.0.ffn_up.weight"
    assert "more of the model is missing or damaged" in caught.value.hint
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("keys", "tensors", "found"),
    [
        (
            [Key("general.type", STRING, "adapter"), Key("adapter.type", STRING, "lora")],
            [Tensor("output.weight.lora_a", (4, 1), bytes(16))],
            "an adapter (GGUF); it runs beside its base model as it is (llama.cpp's --lora); "
            "nothing needs to be converted",
        ),
        (
            [Key("tokenizer.ggml.tokens", ARRAY, (STRING, ["a", "b"]))],
            [],
            "a vocabulary (GGUF) with 2 tokens; it holds no model and works as --vocab; give the "
            "checkpoint itself first",
        ),
        (
            [Key("general.name", STRING, "x"), Key("a.b", BOOL, True), Key("a.c", F32, 1.0)],
            [Tensor("conv.weight", (4,), bytes(16))],
            "a GGUF of another kind; it holds neither a model nor a vocabulary of llama.cpp; give "
            "the checkpoint itself",
        ),
    ],
)
def test_a_gguf_of_another_kind(
    keys: list[Key], tensors: list[Tensor], found: str, tmp_path: Path, folder: Path
) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(
        Gguf([Key("general.architecture", STRING, "llama"), *keys], tensors).to_bytes()
    )
    for arguments in (("inspect", path), ("export", path, folder / "out"), ("convert", path, "x")):
        done = run(*arguments, cwd=folder)
        assert done.returncode == 1
        assert done.stderr == (
            f"ggcp: {path}: magic at offset 0x0: expected a checkpoint, found {found}\n"
        )
    assert list(folder.iterdir()) == []


def test_a_list_for_a_version_is_no_crash(fixtures: Path, tmp_path: Path) -> None:
    gguf = read(fixtures / TRAINING[0])
    gguf.keys = [key for key in gguf.keys if not key.name.startswith("llama.context")]
    for name in ("ggcp.optimizer_version", "ggcp.parameter_order", "ggcp.gradient_rows"):
        gguf.keys.append(Key(name, ARRAY, (U32, [1])))
    (tmp_path / "odd.gguf").write_bytes(gguf.to_bytes())
    assert json.loads(run("inspect", tmp_path / "odd.gguf", "--json").stdout)["complete"]


@pytest.mark.parametrize(
    ("name", "target", "summed"),
    [
        ("v0_adam_one.bin", None, True),
        ("v0_adam_one.bin", Order.FLASH, False),
        ("v0_lbfgs_patched.bin", None, False),  # there are no moments
        ("v1_adam_one.bin", None, False),
    ],
)
def test_moments_of_summed_gradients_are_told(
    name: str, target: Order | None, summed: bool, fixtures: Path, tmp_path: Path
) -> None:
    path = tmp_path / "made.gguf"
    resume_with = None if target is None else ResumeWith(target, batch=2)
    convert(fixtures / name, path, resume_with=resume_with, writing=QUICK)
    notes = [note for note in as_json(inspect(path))["notes"] if "summed over a batch" in note]
    assert len(notes) == summed


def test_rows_that_nothing_can_be_divided_by(fixtures: Path, tmp_path: Path) -> None:
    first, odd, last = (tmp_path / f"{name}.gguf" for name in ("first", "odd", "last"))
    to_flash = ResumeWith(Order.FLASH, batch=2)
    convert(fixtures / "v0_adam_one.bin", first, resume_with=to_flash, writing=QUICK)
    gguf = read(first)
    gguf.key("ggcp.gradient_rows").value = 0
    odd.write_bytes(gguf.to_bytes())
    convert(odd, last, resume_with=ResumeWith(Order.PLAIN, Order.FLASH), writing=QUICK)
    assert value(read(last), "ggcp.gradient_rows") == 1
    assert verify(odd, last) == []


def test_rows_by_which_moments_were_divided_are_not_forgotten(
    fixtures: Path, tmp_path: Path
) -> None:
    """A checkpoint that was reordered and scaled once, converted again, as it is and reordered."""
    first, second, third = (tmp_path / f"{name}.gguf" for name in ("first", "second", "third"))
    to_flash, to_plain = ResumeWith(Order.FLASH, batch=2), ResumeWith(Order.PLAIN)
    convert(fixtures / "v0_adam_one.bin", first, resume_with=to_flash, writing=QUICK)
    convert(first, second, writing=QUICK)
    convert(first, third, resume_with=to_plain, writing=QUICK)
    report = inspect(first)
    assert report.kind == "training checkpoint (GGUF)"
    assert report.written_by == "ggcp, from a checkpoint before GGUF"
    assert value(read(first), "ggcp.gradient_rows") == 32
    assert read(second).tensors == read(first).tensors
    for path in (second, third):
        assert value(read(path), "ggcp.gradient_rows") == 32
        assert value(read(path), "ggcp.gradients") == "mean"
        assert verify(first, path) == []
    name = "optimizer.adam.second_moments"
    one, other = (np.frombuffer(tensor(read(p), name).data, "<u4") for p in (first, third))
    assert np.array_equal(np.sort(one), np.sort(other))


def as_another_converter_wrote_it(path: Path, *dropped_keys: str) -> None:
    gguf = read(path)
    gguf.keys = [key for key in gguf.keys if not key.name.startswith(dropped_keys)]
    path.write_bytes(gguf.to_bytes())


def test_version_1_in_the_order_scratch_is_of_summed_gradients(
    fixtures: Path, tmp_path: Path
) -> None:
    """What 1.0.0 wrote does not say it; the trainers of that version and order summed."""
    source, old = fixtures / "v1params_adam_default.bin", tmp_path / "old.gguf"
    convert(source, old, writing=QUICK)
    as_another_converter_wrote_it(old, "ggcp.gradients")
    with pytest.raises(ConversionError, match="expected the batch size with which the moments"):
        convert(old, tmp_path / "no.gguf", resume_with=ResumeWith(Order.FLASH), writing=QUICK)
    to_flash = ResumeWith(Order.FLASH, batch=2)
    convert(old, tmp_path / "then.gguf", resume_with=to_flash, writing=QUICK)
    convert(source, tmp_path / "at once.gguf", resume_with=to_flash, writing=QUICK)
    then, at_once = read(tmp_path / "then.gguf"), read(tmp_path / "at once.gguf")
    assert then.tensors == at_once.tensors
    assert value(then, "ggcp.gradient_rows") == value(at_once, "ggcp.gradient_rows") == 2 * 16
    assert value(then, "ggcp.gradients") == value(at_once, "ggcp.gradients") == "mean"
    assert verify(old, tmp_path / "then.gguf") == []


def test_version_1_in_another_order_is_of_mean_gradients(fixtures: Path, tmp_path: Path) -> None:
    source, old, new = fixtures / "v1_adam_one.bin", tmp_path / "old.gguf", tmp_path / "new.gguf"
    convert(source, old, writing=QUICK)
    as_another_converter_wrote_it(old, "ggcp.gradients")
    said = run("convert", old, new, "--resume-with", "plain", "--eps", "1e-5", "--no-fsync")
    assert (said.returncode, "moments" in said.stderr) == (0, False)
    assert value(read(new), "ggcp.gradient_rows") == 1
    assert value(read(new), "ggcp.gradients") == "mean"
    assert verify(old, new) == []


def test_moments_of_an_unknown_converter_are_divided_where_that_is_asked_for(
    fixtures: Path, tmp_path: Path
) -> None:
    """As the script of 2023 wrote it: nothing but the trainers' own keys."""
    source, old, new = fixtures / "v0_adam_one.bin", tmp_path / "old.gguf", tmp_path / "new.gguf"
    convert(source, old, writing=QUICK)
    as_another_converter_wrote_it(old, "ggcp.")
    convert(old, new, resume_with=ResumeWith(Order.FLASH), writing=QUICK)
    assert value(read(new), "ggcp.gradients") == "unknown"
    assert value(read(new), "ggcp.gradient_rows") == 1
    assert verify(old, new) == []
    divided = tmp_path / "divided.gguf"
    convert(old, divided, resume_with=ResumeWith(Order.FLASH, batch=2), writing=QUICK)
    assert value(read(divided), "ggcp.gradients") == "mean"
    assert value(read(divided), "ggcp.gradient_rows") == 32
    assert verify(old, divided) == []
    name = "optimizer.adam.first_moments"
    one, other = (np.frombuffer(tensor(read(p), name).data, "<f4") for p in (new, divided))
    assert np.array_equal((one.astype("f8") / 32).astype("f4"), other)
