"""``ggcp export --format hf`` and ``ggcp verify`` of what it writes, as a user runs them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import GGJT_VOCABULARY, VOCABULARY
from faults import failing
from gguf import GGMLQuantizationType
from gguf_bytes import F16_TENSOR, F32, STRING, Gguf, Key, Tensor
from gguf_bytes import read as read_gguf
from hf_folder import export, hf_names, read_safetensors
from lora_models import base_weights, write_base
from lora_models import tensors as seen
from paths import ROOT
from reference import llama
from reference.checkpoint import read
from resumed import ggcp

from converter import ConversionError, FolderOptions, Writing, export_folder, verify
from converter.plan import Metadata
from ggcp_schema import FormatError, build
from ggcp_schema.gguf import ValueType
from ggcp_schema.order import Order
from ggcp_schema.synthetic import SyntheticAdapter

HF = ("--format", "hf")
STATE = ("optimizer.pt", "scheduler.pt", "trainer_state.json")
TOKENIZER = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
MODEL = ("README.md", "config.json", "generation_config.json", "ggcp.json", "model.safetensors")
CONTEXT = "ggcp: context length 16: 192 tokens / 12 samples of the training (-c for another)"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def checkpoint(fixtures: Path) -> Path:
    return fixtures / "v0_adam_one.bin"


def test_in_one_line(checkpoint: Path, folder: Path) -> None:
    path = folder / "out"
    said = ggcp(
        *("export", checkpoint, path, *HF, "--vocab", VOCABULARY),
        *("--batch", 2, "--eps", 1e-6, "--verify", "--no-fsync"),
    )
    length = sum(each.stat().st_size for each in path.iterdir() if each.name != "ggcp.json")
    assert said.out == [f"{path}: 21 tensors, {length} bytes"]
    assert said.err == [
        "ggcp: the optimizer state is stored in the order scratch: x holds the model's tensors in "
        "the order scratch",
        CONTEXT,
    ]
    assert (said.code, names(path)) == (0, {*MODEL, *STATE, *TOKENIZER})
    verified = ggcp("verify", checkpoint, path)
    assert (verified.code, verified.out) == (0, [f"{path}: the same as {checkpoint}"])


def test_as_json(checkpoint: Path, folder: Path) -> None:
    options = ("--batch", 2, "--eps", 1e-6, "--json", "-q")
    said = ggcp("export", checkpoint, folder / "out", *HF, *options)
    found = json.loads("\n".join(said.out))
    manifest = json.loads((folder / "out/ggcp.json").read_text())
    del manifest["files"]
    assert {key: found[key] for key in manifest} == manifest
    assert (found["path"], found["tensors"]) == (str(folder / "out"), 21)
    made = manifest["made"]
    chosen = ("context_length", "epsilon", "outtype", "tokenizer")
    assert [made[key] for key in chosen] == [16, 1e-6, "f32", None]
    optimizer = made["optimizer"]
    assert [optimizer[key] for key in ("order", "rows", "batch")] == ["scratch", 32, 2]
    assert (optimizer["settings"]["stored"], optimizer["schedule"]["known"]) == (True, True)
    planned = json.loads(
        "\n".join(ggcp("export", checkpoint, "no", *HF, *options, "--dry-run").out)
    )
    assert planned["made"] == made
    files = {entry["name"]: entry["bytes"] for entry in planned["files"]}
    sizes = {path.name: path.stat().st_size for path in (folder / "out").iterdir()}
    del sizes["ggcp.json"]
    assert files == sizes


def test_a_dry_run_writes_nothing(checkpoint: Path, folder: Path) -> None:
    said = ggcp("export", checkpoint, folder / "out", *HF, "--dry-run", "-q")
    assert (said.code, list(folder.iterdir())) == (0, [])
    assert said.out[0].startswith("README.md               ")
    (row,) = (line for line in said.out if line.startswith("model.layers.1.mlp.down_proj.weight "))
    assert (row.split()[1], row.split()[-2:]) == ("F32", ["3072", "bytes"])
    assert said.out[-1].startswith("7 files, 21 tensors, ")


def test_without_torch_or_its_friends(checkpoint: Path, folder: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys("
        "('torch', 'transformers', 'tokenizers', 'safetensors', 'sentencepiece'))); "
        "from converter.cli import main; main(sys.argv[1:])"
    )
    words = ("export", checkpoint, folder / "out", *HF, "-q", "--vocab", VOCABULARY, "--no-fsync")
    subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        check=True,
    )
    assert names(folder / "out") == {*MODEL, *STATE, *TOKENIZER}


# File, options, the line that says so, what is in the folder.
WITHOUT = [
    (
        "v1_lbfgs.bin",
        {},
        "weights only, no optimizer.pt: PyTorch's L-BFGS searches along a line in another way, and "
        "could not go on exactly",
    ),
    ("pre_37c69435f.bin", {"context_length": 32}, "weights only, no optimizer.pt: the file holds "
     "a model alone"),
    ("model_aug23_lbfgs.gguf", {}, "weights only, no optimizer.pt: the file holds a model alone"),
    (
        "v0_lbfgs_truncated_master43033b7bb.bin",
        {"rescue": True},
        "weights only, no optimizer.pt: the checkpoint is damaged, and its model alone was rescued",
    ),
    (
        "ggcl_1a5f0a30e_one_flash.bin",
        {"base": "base16.gguf"},
        "weights only, no optimizer.pt: the moments of a LoRA are of its pairs, not of the weights "
        "of the merged model",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "line"), WITHOUT)
def test_weights_alone(
    name: str,
    options: dict[str, Any],
    line: str,
    fixtures: Path,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if "base" in options:
        options = {"base": fixtures / options["base"]}
    path = export(fixtures / name, folder / "out", vocabulary=None, **options)
    assert line in caplog.messages
    assert set(STATE).isdisjoint(names(path))
    why = line.removeprefix("weights only, no optimizer.pt: ")
    assert f"There is no optimizer.pt: {why}.\n" in (path / "README.md").read_text()
    assert verify(fixtures / name, path, base=options.get("base")) == []
    has_own = name.endswith(".gguf") or "base" in options
    assert (set(TOKENIZER) <= names(path)) == has_own


def test_an_adapter_that_changes_no_more_than_some_tensors(fixtures: Path, folder: Path) -> None:
    name, base = fixtures / "ggla_oct23_lora.bin", folder / "base.gguf"
    sizes = {"n_vocab": 300, "n_embd": 32, "n_head": 4, "n_layer": 2, "n_rot": 8, "n_ff": 96}
    write_base(base, sizes, base_weights(sizes))
    path = export(name, folder / "out", vocabulary=None, base=base)
    assert verify(name, path, base=base) == []
    assert len(read_safetensors(path / "model.safetensors")) == len(hf_names(2))


@pytest.mark.parametrize("name", ["ggla_1a5f0a30e_lora.bin", "ggcl_v1_adam_1a5f0a30e.bin"])
def test_the_context_length_of_a_lora_is_that_of_its_base(
    name: str, fixtures: Path, folder: Path
) -> None:
    """An adapter counts no tokens, and a LoRA checkpoint those of its own samples: 32 each."""
    base, path = folder / "base.gguf", folder / "out"
    sizes = {"n_vocab": 300, "n_embd": 32, "n_head": 4, "n_layer": 2, "n_rot": 8, "n_ff": 96}
    write_base(base, sizes, base_weights(sizes))
    said = ggcp("export", fixtures / name, path, *HF, "--merge", base)
    assert (said.code, said.err) == (
        0,
        [
            f"ggcp: {WITHOUT[-1][2]}",
            "ggcp: epsilon of the norms 1e-5, as in training (--eps for another)",
        ],
    )
    assert json.loads((path / "config.json").read_text())["max_position_embeddings"] == 64


def test_without_a_vocabulary(
    checkpoint: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export(checkpoint, folder / "first", vocabulary=None, batch=2)
    said = ggcp("export", checkpoint, folder / "out", *HF, "--batch", 2)
    assert said.code == 0
    assert "ggcp: there is no vocabulary: the folder has no tokenizer (--vocab FILE)" in said.err
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "there is no vocabulary: the folder has no tokenizer (--vocab FILE)" in warned
    assert names(folder / "out") == {*MODEL, *STATE}
    page = (folder / "out/README.md").read_text()
    assert "There is no tokenizer here: give ggcp the trainer's `--vocab-model` with" in page
    assert "samples = [...]  # lists of 16 token ids" in page


def test_a_vocabulary_of_its_own_that_no_tokenizer_can_have(
    fixtures: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = (Metadata("tokenizer.ggml.model", ValueType.STRING, "gpt2"),)
    monkeypatch.setattr("converter.inputs.trainer_gguf.TrainerGguf._vocabulary", lambda *_: broken)
    source = fixtures / "chk_oct23_adam_c8_nockpt.gguf"
    path = export(source, folder / "out", vocabulary=None)
    assert names(path) == {*MODEL, *STATE}
    assert caplog.messages[-3] == (
        "the folder has no tokenizer, as none would do what llama.cpp does: "
        f"{source}: expected a llama tokenizer, as the trainers used (tokenizer.ggml.model), "
        "found 'gpt2'; give another copy of the vocabulary, or export without one"
    ) or any("the folder has no tokenizer" in line for line in caplog.messages)


# What is given, what it says; {source} stands for the name of the checkpoint.
REFUSED: list[tuple[str, tuple[object, ...], int, str]] = [
    (
        "ggcl_1a5f0a30e_one_flash.bin",
        (),
        2,
        "ggcp: error: --format hf takes a whole model: give the one that the LoRA was trained on "
        "with --merge",
    ),
    (
        "v0_adam_one.bin",
        ("--outtype", "q8_0"),
        2,
        "ggcp: error: --outtype q8_0 does not go with a Hugging Face folder: give f32 or f16 or "
        "bf16",
    ),
    (
        "v0_adam_one.bin",
        ("--model-name", "a"),
        2,
        "ggcp: error: --model-name does not go with --format hf: it is for a GGUF",
    ),
    (
        "v0_adam_one.bin",
        ("--metadata", "a.json"),
        2,
        "ggcp: error: --metadata does not go with --format hf: it is for a GGUF",
    ),
    (
        "ggcl_1a5f0a30e_one_flash.bin",
        ("--merge", "base16.gguf", "--vocab", "v"),
        2,
        "ggcp: error: --vocab does not go with --merge: the model takes everything but its weights "
        "from BASE.gguf",
    ),
    (
        "v0_adam_one.bin",
        ("--merge", "base16.gguf"),
        1,
        "ggcp: {source}: expected a LoRA, as finetune wrote them, to be merged into a base "
        "model, found a whole model; leave --merge out, or give the LoRA first and its base model "
        "after --merge",
    ),
    (
        "pre_37c69435f.bin",
        (),
        1,
        "ggcp: {source}: expected the context length, found no count of the tokens of the "
        "training; give it with --context-length: 32 in the trainer's source of the time",
    ),
]


@pytest.mark.parametrize(("name", "options", "code", "line"), REFUSED)
def test_refused(
    name: str,
    options: tuple[object, ...],
    code: int,
    line: str,
    fixtures: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = fixtures / name
    words = [fixtures / "base16.gguf" if each == "base16.gguf" else each for each in options]
    if code == 2:
        with pytest.raises(SystemExit):
            ggcp("export", source, folder / "out", *HF, *words)
        return
    said = ggcp("export", source, folder / "out", *HF, *words)
    assert (said.code, said.err[-1]) == (code, line.format(source=source))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("option", [("--batch", 2), ("--order", "flash")])
def test_options_of_a_folder_alone(option: tuple[object, ...], checkpoint: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        ggcp("export", checkpoint, "no", *option)
    assert caught.value.code == 2


def test_a_folder_is_replaced_only_as_it_was_written(checkpoint: Path, folder: Path) -> None:
    path = export(checkpoint, folder / "out", batch=2)
    with pytest.raises(ConversionError):
        export(checkpoint, path, batch=2)
    options = FolderOptions(VOCABULARY, batch=2, outtype="f16")
    export_folder(checkpoint, path, options, writing=Writing(force=True, sync=False))
    assert set(STATE).isdisjoint(names(path))
    (path / "my-run").mkdir()
    with pytest.raises(ConversionError):
        export_folder(checkpoint, path, options, writing=Writing(force=True, sync=False))
    assert "my-run" in names(path)
    assert names(folder) == {"out"}


@pytest.mark.parametrize("inside", ["tokenizer.model", "model.safetensors", "config.json"])
def test_a_folder_that_holds_an_input_is_not_replaced(
    inside: str, fixtures: Path, folder: Path
) -> None:
    """Its own tokenizer is the vocabulary, or one of its files a link to a checkpoint or base."""
    path = export(fixtures / "v0_adam_one.bin", folder / "out", batch=2)
    options: dict[str, Any] = {"vocabulary": path / inside}
    source = fixtures / "v0_adam_one.bin"
    if inside == "model.safetensors":
        options, source = {"vocabulary": None}, folder / "in.bin"
        shutil.copyfile(fixtures / "v0_adam_one.bin", source)
    elif inside == "config.json":
        options, source = {"base": folder / "base.gguf"}, fixtures / "ggcl_1a5f0a30e_one_flash.bin"
        shutil.copyfile(fixtures / "base16.gguf", options["base"])
    if inside != "tokenizer.model":
        (path / inside).unlink()
        os.link(options.get("base") or source, path / inside)
    with pytest.raises(ConversionError) as caught:
        export_folder(
            source, path, FolderOptions(**options), writing=Writing(force=True, sync=False)
        )
    assert str(caught.value) == (
        f"{path}: expected an output that does not hold the input, found the input itself in it, "
        f"'{inside}'; give another name; the input is never removed"
    )
    assert (path / inside).stat().st_size > 0


def test_progress_counts_every_byte(checkpoint: Path, folder: Path) -> None:
    counted: dict[str, list[int]] = {}

    @contextlib.contextmanager
    def progress(what: str, total: int) -> Iterator[Callable[[int], object]]:
        counts = counted[what] = [-total]
        yield counts.append

    writing = Writing(verify=True, sync=False, progress=progress)
    options = FolderOptions(VOCABULARY, batch=2)
    made = export_folder(checkpoint, folder / "out", options, writing=writing)
    assert made.next == (
        f"Go on in PyTorch: {folder / 'out'}/README.md has the code, with all numbers filled in"
    )
    verified: dict[str, list[int]] = counted.copy()
    assert list(verified) == ["Writing", "Verifying"]
    counted.clear()
    export_folder(
        checkpoint,
        folder / "out",
        options,
        writing=Writing(force=True, sync=False, progress=progress),
    )
    assert list(counted) == ["Checking", "Writing"]
    length = sum(
        each.stat().st_size for each in (folder / "out").iterdir() if each.name != "ggcp.json"
    )
    for counts in (*verified.values(), *counted.values()):
        assert (counts[0], sum(counts)) == (-length, 0)


@pytest.mark.parametrize(("sync", "count"), [(True, 13), (False, 0)])
def test_the_disk_is_waited_for_if_it_is_wanted(
    sync: bool, count: int, checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten files and ggcp.json, the folder of them, and the one that it is in."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.delattr(fcntl, "F_FULLFSYNC", raising=False)  # of macOS, which has its own way
    options = FolderOptions(VOCABULARY, batch=2)
    export_folder(checkpoint, folder / "out", options, writing=Writing(sync=sync))
    assert len(synced) == count


def test_a_disk_that_fails_while_a_file_is_written(
    checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", failing(errno.EIO))
    with pytest.raises(ConversionError) as caught:
        export(checkpoint, folder / "out", batch=2)
    assert str(caught.value) == (
        f"{folder / 'out' / 'README.md'}: cannot be written: 'Input/output error'; write to "
        "another folder or disk"
    )
    assert list(folder.iterdir()) == []


N_ROT, BASE, SCALE = (
    f"llama.rope.{name}" for name in ("dimension_count", "freq_base", "scale_linear")
)
EVEN = "an even number of rotated dimensions from 2 to 8"


@pytest.mark.parametrize(
    ("changes", "expected", "found"),
    [
        ({N_ROT: 3}, EVEN, "3 (n_rot)"),
        ({N_ROT: 0}, EVEN, "0 (n_rot)"),
        ({N_ROT: 10}, EVEN, "10 (n_rot)"),
        (
            {N_ROT: 4},
            "positions that are not scaled, where only a part of each head is rotated",
            "4 of 8 dimensions, positions scaled by 0.5",
        ),
        ({BASE: 0.0}, "finite numbers above 0", "0 (base of rope)"),
        ({BASE: float("inf")}, "finite numbers above 0", "inf (base of rope)"),
        ({SCALE: -2.0}, "finite numbers above 0", "-0.5 (scale of rope)"),
        (
            {"llama.attention.layer_norm_rms_epsilon": float("nan")},
            "finite numbers above 0",
            "nan (epsilon)",
        ),
    ],
)
def test_models_that_transformers_does_not_have(
    changes: dict[str, float],
    expected: str,
    found: str,
    fixtures: Path,
    tmp_path: Path,
    folder: Path,
) -> None:
    source, gguf = tmp_path / "in.gguf", read_gguf(fixtures / "chk_aug23_rope.gguf")
    for name, value in changes.items():
        gguf.key(name).value = value
    source.write_bytes(gguf.to_bytes())
    with pytest.raises(ConversionError) as caught:
        export(source, folder / "out", vocabulary=None)
    assert str(caught.value) == (
        f"{source}: expected {expected}, found {found}; transformers has no such model; make a "
        "GGUF of it, without --format hf"
    )
    assert list(folder.iterdir()) == []


# A base model that a folder cannot express: what is changed in it, the error.
BASES: dict[str, tuple[Callable[[Gguf], Any], str]] = {
    "another rope": (
        lambda base: base.keys.append(Key("llama.rope.scaling.type", STRING, "yarn")),
        "llama.rope.scaling.type: expected none or linear, found yarn",
    ),
    "a tensor too many": (
        lambda base: base.tensors.append(Tensor("rope_freqs.weight", (4,), bytes(16))),
        "tensor rope_freqs.weight: expected only the tensors of a LLaMA model, found another",
    ),
    "no context length": (
        lambda base: base.keys.remove(base.key("llama.context_length")),
        "llama.context_length: expected a whole number above 0, found none",
    ),
    "a rope that is a text": (
        lambda base: base.keys.append(Key("llama.rope.freq_base", STRING, "x")),
        "llama.rope.freq_base: expected a number, found x",
    ),
}


@pytest.mark.parametrize("case", BASES)
def test_bases_that_a_folder_cannot_express(
    case: str, fixtures: Path, tmp_path: Path, folder: Path
) -> None:
    base, gguf = tmp_path / "base.gguf", read_gguf(fixtures / "base16.gguf")
    change, error = BASES[case]
    gguf.keys = [key for key in gguf.keys if key.name != "llama.rope.freq_base"]
    change(gguf)
    base.write_bytes(gguf.to_bytes())
    with pytest.raises(FormatError) as caught:
        export(
            fixtures / "ggcl_1a5f0a30e_one_flash.bin", folder / "out", vocabulary=None, base=base
        )
    assert str(caught.value) == (
        f"{base}: {error}; transformers has no such model in this form; merge it "
        "into a GGUF, without --format hf"
    )
    assert list(folder.iterdir()) == []


def test_a_base_in_half_precision_and_with_a_linear_rope(
    fixtures: Path, tmp_path: Path, folder: Path
) -> None:
    """A tensor that a sparse adapter leaves alone is widened; the others get what was learnt."""
    base, gguf = tmp_path / "base.gguf", read_gguf(fixtures / "base16.gguf")
    output = gguf.tensor("output.weight")
    half = np.frombuffer(output.data, "<f4").astype("<f2")
    output.data, output.type = half.tobytes(), F16_TENSOR
    gguf.keys += [
        Key("llama.rope.scaling.type", STRING, "linear"),
        Key("llama.rope.scaling.factor", F32, 4.0),
    ]
    base.write_bytes(gguf.to_bytes())
    name = fixtures / "ggcl_1a5f0a30e_one_flash.bin"
    path = export(name, folder / "out", vocabulary=None, base=base)
    config = json.loads((path / "config.json").read_text())
    assert config["rope_parameters"]["factor"] == 4.0
    delta = llama.lora_deltas(read(name).tensors)["output.weight"]
    wanted = (half.astype(np.float64).reshape(delta.shape) + delta).astype("<f4")
    found = read_safetensors(path / "model.safetensors")["lm_head.weight"]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert verify(name, path, base=base) == []


SHARED = {"n_vocab": 300, "n_embd": 32, "n_head": 4, "n_layer": 1, "n_rot": 8, "n_ff": 32}


def of_an_adapter(
    folder: Path,
    keys: dict[str, Any],
    rows_of_keys: int = 32,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
) -> tuple[Path, Path, dict[str, Any]]:
    """An adapter that changes the output alone, and a base; an adapter says nothing of heads."""
    synthetic = SyntheticAdapter(300, 32, 8, head_count=4, block_count=1, lora_r=2)
    container = synthetic.container()
    container["tensors"] = [t for t in container["tensors"] if t["name"].startswith(b"output.")]
    with (folder / "adapter.bin").open("wb") as file:
        build(container, file)
    weights = base_weights(SHARED)
    for name in ("wk", "wv"):
        weights[f"layers.0.attention.{name}.weight"] = weights[f"layers.0.attention.{name}.weight"][
            :rows_of_keys
        ]
    types = {"blk.0.ffn_gate.weight": kind}
    write_base(folder / "base.gguf", SHARED, weights, keys=keys, types=types)
    return folder / "adapter.bin", folder / "base.gguf", weights


def test_a_base_whose_heads_share_keys_and_values(tmp_path: Path, folder: Path) -> None:
    adapter, base, weights = of_an_adapter(tmp_path, {"llama.attention.head_count_kv": 2}, 16)
    path = export(adapter, folder / "out", vocabulary=None, base=base)
    config = json.loads((path / "config.json").read_text())
    assert (config["num_attention_heads"], config["num_key_value_heads"]) == (4, 2)
    found = read_safetensors(path / "model.safetensors")
    layer = "model.layers.0.self_attn."
    rows = [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15]
    key, value = (weights[f"layers.0.attention.{name}.weight"] for name in ("wk", "wv"))
    np.testing.assert_array_equal(found[f"{layer}k_proj.weight"], key[rows])
    np.testing.assert_array_equal(found[f"{layer}v_proj.weight"], value)


def test_a_base_that_says_nothing_of_shared_heads(tmp_path: Path, folder: Path) -> None:
    """As llama.cpp takes it: each head has keys and values of its own."""
    adapter, base, _ = of_an_adapter(tmp_path, {"llama.attention.head_count_kv": None})
    path = export(adapter, folder / "out", vocabulary=None, base=base)
    config = json.loads((path / "config.json").read_text())
    assert (config["num_key_value_heads"], config["rope_theta"]) == (4, 10000.0)


def test_shared_heads_of_which_a_part_is_rotated(tmp_path: Path, folder: Path) -> None:
    keys = {"llama.attention.head_count_kv": 2, "llama.rope.dimension_count": 4}
    adapter, base, weights = of_an_adapter(tmp_path, keys, 16)
    path = export(adapter, folder / "out", vocabulary=None, base=base)
    found = read_safetensors(path / "model.safetensors")
    head = np.array([0, 2, 1, 3, 4, 5, 6, 7])
    query, key, value = (weights[f"layers.0.attention.w{kind}.weight"] for kind in "qkv")
    rows = np.concatenate([head + 8 * index for index in range(4)])
    np.testing.assert_array_equal(
        found["model.layers.0.self_attn.qkv_proj.weight"],
        np.concatenate([query[rows], key[rows[:16]], value]),
    )


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_what_an_adapter_leaves_alone_is_widened(kind: str, tmp_path: Path, folder: Path) -> None:
    adapter, base, _ = of_an_adapter(tmp_path, {}, kind=GGMLQuantizationType[kind])
    path = export(adapter, folder / "out", vocabulary=None, base=base)
    found = read_safetensors(path / "model.safetensors")["model.layers.0.mlp.gate_proj.weight"]
    np.testing.assert_array_equal(found, seen(base)["blk.0.ffn_gate.weight"])


def test_a_quantized_tensor_that_an_adapter_leaves_alone(tmp_path: Path, folder: Path) -> None:
    adapter, base, _ = of_an_adapter(tmp_path, {}, kind=GGMLQuantizationType.Q8_0)
    with pytest.raises(FormatError) as caught:
        export(adapter, folder / "out", vocabulary=None, base=base)
    error = caught.value
    assert (error.file, error.path, error.expected, error.found, error.hint) == (
        str(base),
        "tensor blk.0.ffn_gate.weight",
        "F32, F16 or BF16",
        "Q8_0",
        "transformers has no such model in this form; merge it into a GGUF, without --format hf",
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("keys", "rows", "error"),
    [
        ({"llama.attention.head_count": 3, "llama.attention.head_count_kv": 3}, 32,
         "llama.attention.head_count: expected a divisor of 32, and a multiple of 3, found 3"),
        ({"llama.attention.head_count_kv": 3}, 32,
         "llama.attention.head_count: expected a divisor of 32, and a multiple of 3, found 4"),
        ({"llama.context_length": 0}, 32,
         "llama.context_length: expected a whole number above 0, found 0"),
        ({"llama.attention.head_count_kv": 2}, 32,
         "tensor blk.0.attn_k.weight: expected the dimensions [32, 16], found [32, 32]"),
        ({}, 16,
         "tensor blk.0.attn_k.weight: expected the dimensions [32, 32], found [32, 16]"),
    ],
)  # fmt: skip
def test_bases_of_an_adapter_that_make_no_model(
    keys: dict[str, Any],
    rows: int,
    error: str,
    tmp_path: Path,
    folder: Path,
) -> None:
    adapter, base, _ = of_an_adapter(tmp_path, keys, rows)
    with pytest.raises(FormatError) as caught:
        export(adapter, folder / "out", vocabulary=None, base=base)
    assert str(caught.value) == (
        f"{base}: {error}; transformers has no such model in this form; merge it into a GGUF, "
        "without --format hf"
    )
    assert list(folder.iterdir()) == []


Change = Callable[[Path], Any]


def edited(name: str, old: bytes, new: bytes) -> Change:
    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        assert old in data
        (folder / name).write_bytes(data.replace(old, new, 1))

    return change


def flipped(name: str, at: int) -> Change:
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[at] ^= 1
        (folder / name).write_bytes(bytes(data))

    return change


def without_a_file(members: dict[str, Any]) -> dict[str, Any]:
    del members["files"]["config.json"]
    return members


# fmt: off
CHANGES: dict[str, tuple[Change, list[str]]] = {
    "a key of the config": (
        edited("config.json", b'"rms_norm_eps": 1e-06', b'"rms_norm_eps": 1e-05'),
        ["config.json: key rms_norm_eps: expected 1e-06, found 1e-05"]),
    "a key is gone": (
        edited("trainer_state.json", b'  "save_steps": 500,\n', b""),
        ["trainer_state.json: key save_steps: missing"]),
    "a key too many": (
        edited("generation_config.json", b"{", b'{"a": 1,'),
        ["generation_config.json: key a: not expected"]),
    "no JSON": (
        edited("config.json", b"{", b""),
        ["config.json: expected JSON as it was written, found something else"]),
    "a weight": (
        flipped("model.safetensors", -1),
        ["model.safetensors: tensor lm_head.weight: the data differ from byte {size} of the file "
         "on"]),
    "a moment": (
        flipped("optimizer.pt", 20000),
        ["optimizer.pt: the data differ from byte 0x4e20 of the file on"]),
    "the tokenizer": (
        edited("tokenizer.json", b'"version":"1.0"', b'"version":"1.1"'),
        ['tokenizer.json: key version: expected "1.0", found "1.1"']),
    "the page": (
        edited("README.md", b"A LLaMA", b"a llama"),
        ["README.md: the data differ from byte 0x15 of the file on"]),
    "a file is cut": (
        lambda folder: (folder / "scheduler.pt").write_bytes(b"PK"),
        ["scheduler.pt: expected 680 bytes, found 2"]),
    "a file is gone": (
        lambda folder: (folder / "scheduler.pt").unlink(),
        ["scheduler.pt: missing"]),
    "a file too many": (
        lambda folder: (folder / "a.txt").write_bytes(b""),
        ["a.txt: not expected"]),
    "a file too many, whose name a terminal would obey": (
        lambda folder: (folder / "\x1b[2J\n").write_bytes(b""),
        [r"\x1b[2J\n: not expected"]),
    "a long key too many": (
        edited("config.json", b"{", b'{"%s": 1,' % (b"a" * 5000)),
        [f"config.json: key {'a' * 57}...: not expected"]),
    "a file that only ggcp.json knows": (
        edited("ggcp.json", b'"files": {\n',
               b'"files": {"a.txt": {"size": 0, "sha256": "%s"},' % (64 * b"0")),
        ["a.txt: not expected"]),
    "a hash": (
        lambda folder: edited("ggcp.json", json.loads((folder / "ggcp.json").read_text())
                              ["files"]["config.json"]["sha256"].encode(), b"0" * 64)(folder),
        ["ggcp.json: files[config.json]: another size or hash than that of the file"]),
    "a file that ggcp.json does not list": (
        lambda folder: (folder / "ggcp.json").write_text(json.dumps(without_a_file(
            json.loads((folder / "ggcp.json").read_text())))),
        ["ggcp.json: files[config.json]: another size or hash than that of the file"]),
    "a setting in ggcp.json": (
        edited("ggcp.json", b'"learning_rate": 0.001', b'"learning_rate": 0.002'),
        ["ggcp.json: key made.optimizer.settings.learning_rate: expected 0.001, found 0.002"]),
}
# fmt: on


@pytest.fixture(scope="module")
def written(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "out"
    return export(fixtures / "v0_adam_one.bin", folder, epsilon=1e-6, batch=2)


@pytest.mark.parametrize("case", CHANGES)
def test_what_differs_is_said(case: str, checkpoint: Path, written: Path, folder: Path) -> None:
    path = folder / "out"
    shutil.copytree(written, path)
    change, lines = CHANGES[case]
    change(path)
    size = hex(next(path.glob("*.safetensors")).stat().st_size - 1)
    assert verify(checkpoint, path) == [line.format(size=size) for line in lines]


def test_what_differs_in_one_line(checkpoint: Path, written: Path, folder: Path) -> None:
    path = folder / "out"
    shutil.copytree(written, path)
    flipped("optimizer.pt", 20000)(path)
    said = ggcp("verify", checkpoint, path)
    # format, version and choices; ten files; 21 tensors
    assert said.out[0] == (
        f"{path}: different: 1 of 34 things: weights identical, 1 tensor of the optimizer differs"
    )
    flipped("model.safetensors", -1)(path)
    said = ggcp("verify", checkpoint, path)
    assert said.out[0] == (
        f"{path}: different: 2 of 34 things: not made from this checkpoint, or changed since; "
        "give the right two, or make it again"
    )


def test_a_file_of_the_folder_that_is_written_to_while_it_is_compared(
    checkpoint: Path, written: Path, folder: Path
) -> None:
    path = folder / "out"
    shutil.copytree(written, path)
    file = path / "model.safetensors"

    touched = itertools.count(1)  # each time it is another

    @contextlib.contextmanager
    def progress(_what: str, _total: int) -> Iterator[Callable[[int], object]]:
        yield lambda _: os.utime(file, ns=(0, 10**9 * next(touched)))

    with pytest.raises(FormatError) as caught:
        verify(checkpoint, path, progress=progress)
    assert caught.value.file == str(file)
    assert caught.value.found == "the same size, written to since"


def test_a_batch_that_says_nothing_of_the_scale_is_the_same(fixtures: Path, folder: Path) -> None:
    path = export(fixtures / "v1_adam_one.bin", folder / "out", batch=4)
    assert verify(fixtures / "v1_adam_one.bin", path) == []


def test_checkpoints_of_other_kinds(fixtures: Path, written: Path) -> None:
    source = fixtures / "ggcl_1a5f0a30e_one_flash.bin"
    with pytest.raises(ConversionError) as caught:
        verify(source, written)
    assert str(caught.value) == (
        f"{source}: expected a checkpoint that holds a whole model, found a LoRA; the folder was "
        "not made from this file; give the one that it was made from"
    )
    lines = verify(fixtures / "pre_37c69435f.bin", written)
    assert {f"{name}: not expected" for name in STATE} <= set(lines)


def test_a_damaged_checkpoint_of_which_a_folder_says_nothing(fixtures: Path, written: Path) -> None:
    source = fixtures / "v0_lbfgs_truncated_master43033b7bb.bin"
    with pytest.raises(FormatError) as export_refused:
        export(source, written.parent / "never")
    with pytest.raises(FormatError) as caught:
        verify(source, written)
    assert str(caught.value) == str(export_refused.value)
    assert caught.value.file == str(source)


def test_another_version_of_ggcp_is_no_difference(
    checkpoint: Path, written: Path, folder: Path
) -> None:
    shutil.copytree(written, folder / "out")
    edited("ggcp.json", b'"version": "', b'"version": "0.')(folder / "out")
    assert verify(checkpoint, folder / "out") == []


def test_another_checkpoint(fixtures: Path, written: Path) -> None:
    lines = verify(fixtures / "v1_adam_one.bin", written)
    assert any(line.startswith("model.safetensors: tensor lm_head.weight: ") for line in lines)
    assert any(line.startswith("key ggcp.stored_parameter_order: expected flash") for line in lines)


def test_a_checkpoint_whose_optimizer_is_another(fixtures: Path, written: Path) -> None:
    lines = verify(fixtures / "v0_lbfgs_patched.bin", written)
    assert any(
        line.startswith('ggcp.json: key made.optimizer: expected null, found {"order": "scratch",')
        for line in lines
    )
    for name in ("optimizer.pt", "scheduler.pt", "trainer_state.json"):
        assert f"{name}: not expected" in lines


@pytest.mark.parametrize(
    ("old", "new", "path", "expected", "found"),
    [
        (b'"context_length": 16', b'"context_length": 0', "context_length",
         "a whole number above 0", "0"),
        (b'"context_length": 16', b'"context_length": true', "context_length",
         "a whole number above 0", "True"),
        (b'"context_length": 16', b'"context_length": 9223372036854775808', "context_length",
         "a whole number above 0", "9223372036854775808"),
        (b'"epsilon": 1e-06', b'"epsilon": 0.0', "epsilon", "a number above 0", "0.0"),
        (b'"epsilon": 1e-06', b'"epsilon": 1e999', "epsilon", "a number above 0", "inf"),
        (b'"epsilon": 1e-06', b'"epsilon": 1', "epsilon", "a number above 0", "1"),
        (b'"outtype": "f32"', b'"outtype": "%s"' % (61 * b"x"), "outtype", "f32 or f16 or bf16",
         60 * "x"),
        (b'"outtype": "f32"', b'"outtype": "\\u001b[1m"', "outtype", "f32 or f16 or bf16",
         r"\x1b[1m"),
        (b'"epsilon": 1e-06', b'"epsilon": "x"', "epsilon", "a number above 0", "x"),
        (b'"outtype": "f32"', b'"outtype": "q8_0"', "outtype", "f32 or f16 or bf16", "q8_0"),
        (b'"order": "scratch"', b'"order": []', "optimizer.order",
         "scratch or flash or plain or flash-rtl", "[]"),
        (b'"rows": 32', b'"rows": -1', "optimizer.rows", "a whole number above 0", "-1"),
        (b'"from": "v0_adam_one.bin"', b'"from": 7', "from", "a text on one line", "7"),
        (b'"from": "v0_adam_one.bin"', b'"from": "\\ud800"', "from", "a text on one line",
         "\\ud800"),
        (b'"from": "v0_adam_one.bin"', b'"from": "a\\nb"', "from", "a text on one line", "a\\nb"),
        (b'"outtype": "f32"', b'"outtype": ""', "outtype", "f32 or f16 or bf16", "an empty text"),
        (b'"made": {', b'"made": 1, "other": {', "", "an object", "1"),
    ],
)  # fmt: skip
def test_choices_that_are_none(
    old: bytes,
    new: bytes,
    path: str,
    expected: str,
    found: str,
    checkpoint: Path,
    written: Path,
    folder: Path,
) -> None:
    shutil.copytree(written, folder / "out")
    edited("ggcp.json", old, new)(folder / "out")
    with pytest.raises(FormatError) as caught:
        verify(checkpoint, folder / "out")
    where = f"made.{path}".rstrip(".")
    assert str(caught.value) == (
        f"{folder / 'out' / 'ggcp.json'}: {where}: expected {expected}, found {found}; give a "
        "folder that ggcp wrote, or write it again from the checkpoint"
    )


def test_a_folder_without_ggcp_json(checkpoint: Path, folder: Path) -> None:
    with pytest.raises(FormatError) as caught:
        verify(checkpoint, folder)
    assert str(caught.value).startswith(f"{folder / 'ggcp.json'}: file: expected a file to read, ")


def test_a_merged_model_needs_its_base(fixtures: Path, written: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        verify(fixtures / "v0_adam_one.bin", written, base=fixtures / "base16.gguf")
    assert str(caught.value) == (
        f"{written}: expected a merged model to go with --merge, found none; leave --merge out"
    )


def merged(fixtures: Path, folder: Path) -> tuple[Path, Path]:
    """A base of its own, and what finetune's changes made of it."""
    base = folder / "base.gguf"
    shutil.copyfile(fixtures / "base16.gguf", base)
    source = fixtures / "ggcl_1a5f0a30e_one_flash.bin"
    return base, export(source, folder / "out", vocabulary=None, base=base)


def test_a_merged_model_comes_from_a_lora(fixtures: Path, folder: Path) -> None:
    base, path = merged(fixtures, folder)
    source = fixtures / "v0_adam_one.bin"
    with pytest.raises(ConversionError) as caught:
        verify(source, path, base=base)
    assert str(caught.value) == (
        f"{source}: expected a LoRA, as finetune wrote them, to be merged into a base model, found "
        "a whole model; leave --merge out, or give the LoRA first and its base model after --merge"
    )


@pytest.mark.parametrize("which", ["base", "checkpoint"])
def test_an_input_that_is_written_to_while_it_is_compared(
    which: str, fixtures: Path, folder: Path
) -> None:
    base, path = merged(fixtures, folder)
    source = folder / "in.bin"
    shutil.copyfile(fixtures / "ggcl_1a5f0a30e_one_flash.bin", source)
    changed = base if which == "base" else source

    @contextlib.contextmanager
    def progress(_what: str, _total: int) -> Iterator[Callable[[int], object]]:
        yield lambda _: None
        os.utime(changed, ns=(0, 0))

    with pytest.raises(FormatError) as caught:
        verify(source, path, base=base, progress=progress)
    length = changed.stat().st_size
    assert str(caught.value) == (
        f"{changed}: file: expected the {length} bytes that were there when reading began, "
        "found the same size, written to since; another program is writing to the file; "
        "wait until it is done and try again"
    )


def test_the_same_vocabulary_from_another_file(checkpoint: Path, folder: Path) -> None:
    path = export(checkpoint, folder / "out", vocabulary=GGJT_VOCABULARY, order=Order.SCRATCH)
    assert verify(checkpoint, path) == []


def test_what_the_checkpoint_contradicts(checkpoint: Path, written: Path, folder: Path) -> None:
    shutil.copytree(written, folder / "out")
    edited("ggcp.json", b'"rows": 32', b'"rows": 33')(folder / "out")
    assert (
        "key ggcp.gradient_rows: expected a multiple of 16 (the context length), found 33"
        in verify(checkpoint, folder / "out")
    )
    assert read(checkpoint).header["n_layer"] == 2
