"""What stands in a Hugging Face folder, against NumPy and a reader of its own; without torch."""

from __future__ import annotations

import io
import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import export as export_gguf
from exported import random_weights, write_checkpoint
from gguf_bytes import read as read_gguf
from hf_folder import (
    ADAM,
    Torch,
    export,
    from_hf,
    hf_names,
    moments,
    read_safetensors,
    read_torch,
    snippets,
    to_hf,
)
from reference.checkpoint import gguf_names, read
from resumed import made

from converter.use_cases.convert import ResumeWith, convert
from ggcp_schema.order import Order
from ggcp_schema.synthetic import Synthetic

SMALL: dict[str, Any] = {"vocabulary_size": 300, "embedding_length": 16, "head_count": 2}


def exported(name: str, fixtures: Path, folder: Path, **options: Any) -> Path:
    _, rows, epsilon = ADAM[name]
    header = read(fixtures / name).header
    batch = rows * header["train_samples"] // header["train_tokens"] if rows > 1 else None
    options = {"epsilon": epsilon, "batch": batch, **options}
    return export(fixtures / name, folder / "out", **options)


@pytest.mark.parametrize("name", ADAM)
def test_weights_and_moments(name: str, fixtures: Path, folder: Path) -> None:
    checkpoint = read(fixtures / name)
    order, rows, _ = ADAM[name]
    path = exported(name, fixtures, folder)
    names, n_head = hf_names(checkpoint.header["n_layer"]), checkpoint.header["n_head"]
    tensors = read_safetensors(path / "model.safetensors")
    assert list(tensors) == list(names)
    first, second = moments(checkpoint, order, rows)
    optimizer = read_torch(path / "optimizer.pt").value
    groups = optimizer["param_groups"]
    counted = [name for group in groups for name in group["param_names"]]
    assert counted == sorted(names, key=lambda name: "norm" in name)
    assert [group["params"] for group in groups] == [
        list(range(len(groups[0]["params"]))),
        list(range(len(groups[0]["params"]), len(names))),
    ]
    for index, new in enumerate(counted):
        old, state = names[new], optimizer["state"][index]
        assert list(state) == ["step", "exp_avg", "exp_avg_sq"]
        found = (tensors[new], state["exp_avg"], state["exp_avg_sq"])
        for values, stored in zip(found, (checkpoint.tensors, first, second), strict=True):
            np.testing.assert_array_equal(values, to_hf(old, stored[old], n_head))
        assert (state["step"].shape, state["step"]) == ((), checkpoint.optimizer.iter)


# fmt: off
SETTINGS = {
    # lr, eps, decay of matrices and of norms; its schedule: a warmup of 0 shows in what is stored.
    "v0_adam_one.bin": (
        0.001 * 0.5 * (1 + math.cos(math.pi * 30 / 1000)), 1e-8 / 32, 0.0, 0.0),
    "v1params_adam_default.bin": (
        0.001 * 0.5 * (1 + math.cos(math.pi * 32 / 1000)), 1e-8 / 32, 1.0, 1.0),
    "v1_adam_one.bin": (0.001 * 30 / 100, 1e-8, 0.1, 0.0),
}
# fmt: on


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name: str, fixtures: Path, folder: Path) -> None:
    path, done = exported(name, fixtures, folder), read(fixtures / name).optimizer.iter
    rate, epsilon, *decays = SETTINGS[name]
    groups = read_torch(path / "optimizer.pt").value["param_groups"]
    for group, decay in zip(groups, decays, strict=True):
        found = {key: value for key, value in group.items() if not key.startswith("param")}
        assert found == {
            "lr": pytest.approx(rate, rel=1e-12),
            "betas": (0.9, 0.999),
            "eps": epsilon,
            "weight_decay": pytest.approx(decay),
            "amsgrad": False,
            "maximize": False,
            "foreach": None,
            "capturable": False,
            "differentiable": False,
            "fused": None,
            "decoupled_weight_decay": True,
            "initial_lr": 0.001,
        }
    assert read_torch(path / "scheduler.pt").value == {
        "base_lrs": [0.001, 0.001],
        "last_epoch": done,
        "_step_count": done + 1,
        "_last_lr": [groups[0]["lr"]] * 2,
        "lr_lambdas": [None, None],
    }
    state = json.loads((path / "trainer_state.json").read_text())
    end = 1100 if name.startswith("v1_") else 1000  # after a warmup, or without one
    assert state == {
        # The members of TrainerState, and of TrainerControl (transformers, trainer_callback.py).
        "best_global_step": None,
        "best_metric": None,
        "best_model_checkpoint": None,
        "epoch": 0.0,
        "eval_steps": 500,
        "global_step": done,
        "is_hyper_param_search": False,
        "is_local_process_zero": True,
        "is_world_process_zero": True,
        "log_history": [],
        "logging_steps": 500,
        "max_steps": end,
        "num_input_tokens_seen": 0,
        "num_train_epochs": 1,
        "save_steps": 500,
        "stateful_callbacks": {
            "TrainerControl": {
                "args": {
                    "should_training_stop": False,
                    "should_epoch_stop": False,
                    "should_save": False,
                    "should_evaluate": False,
                    "should_log": False,
                },
                "attributes": {},
            }
        },
        "total_flos": 0,
        "train_batch_size": 8 if name.startswith("v1_") else 2,
        "trial_name": None,
        "trial_params": None,
    }


def test_config(fixtures: Path, folder: Path) -> None:
    path = exported("v0_adam_one.bin", fixtures, folder)
    assert json.loads((path / "config.json").read_text()) == {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 300,
        "hidden_size": 16,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "hidden_act": "silu",
        "max_position_embeddings": 16,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
        "dtype": "float32",
        "mlp_bias": False,
        "rope_theta": 10000.0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "rope_scaling": None,
    }
    assert json.loads((path / "generation_config.json").read_text()) == {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
    }


def test_config_of_a_gguf_with_a_rope_of_its_own(fixtures: Path, folder: Path) -> None:
    path = export(fixtures / "chk_aug23_rope.gguf", folder / "out", vocabulary=None)
    found = json.loads((path / "config.json").read_text())
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 20000.0}
    assert (found["rope_theta"], found["rope_parameters"]) == (20000.0, rope)
    assert found["rope_scaling"] == rope
    assert (path / "tokenizer.json").exists()


def test_config_where_a_part_of_each_head_is_rotated(tmp_path: Path, folder: Path) -> None:
    synthetic = Synthetic(embedding_length=196, head_count=2, rope_dimension_count=64)
    (tmp_path / "in.bin").write_bytes(made(synthetic))
    path = export(tmp_path / "in.bin", folder / "out", batch=2)
    found = json.loads((path / "config.json").read_text())
    factor = 0.6530612244897960  # 64/98 is 0.65306122448979587…, of which int(98 · …) is 63
    assert (int(98 * (64 / 98)), int(98 * found["partial_rotary_factor"])) == (63, 64)
    assert found["partial_rotary_factor"] == pytest.approx(factor)
    wide = read(tmp_path / "in.bin").tensors["layers.0.feed_forward.w1.weight"].shape[0]
    parameters = found.pop("rope_parameters")
    assert found == {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "vocab_size": 300,
        "hidden_size": 196,
        "intermediate_size": wide,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 98,
        "hidden_act": "silu",
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "sliding_window": None,
        "original_max_position_embeddings": 64,
        "partial_rotary_factor": found["partial_rotary_factor"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
        "dtype": "float32",
        "rope_scaling": None,
        "rope_theta": 10000.0,
    }
    assert parameters == {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": found["partial_rotary_factor"],
        "original_max_position_embeddings": 64,
    }


def test_matrices_of_a_model_that_rotates_a_part_of_each_head(tmp_path: Path, folder: Path) -> None:
    synthetic = Synthetic(embedding_length=16, head_count=2, rope_dimension_count=4, block_count=1)
    weights = random_weights(synthetic)
    checkpoint = write_checkpoint(tmp_path / "in.bin", synthetic, weights)
    path = export(checkpoint, folder / "out", order=Order.SCRATCH, batch=1)
    tensors = read_safetensors(path / "model.safetensors")
    q, k, v, gate, up = (
        weights[f"layers.0.{name}.weight"]
        for name in (
            *(f"attention.w{kind}" for kind in "qkv"),
            "feed_forward.w1",
            "feed_forward.w3",
        )
    )
    rows = [0, 2, 1, 3, 4, 5, 6, 7, 8, 10, 9, 11, 12, 13, 14, 15]
    found = tensors["model.layers.0.self_attn.qkv_proj.weight"]
    np.testing.assert_array_equal(found, np.concatenate([q[rows], k[rows], v]))
    found = tensors["model.layers.0.mlp.gate_up_proj.weight"]
    np.testing.assert_array_equal(found, np.concatenate([gate, up]))
    layer = [
        f"model.layers.0.{name}.weight"
        for name in (
            *("self_attn.o_proj", "self_attn.qkv_proj", "mlp.gate_up_proj", "mlp.down_proj"),
            *("input_layernorm", "post_attention_layernorm"),
        )
    ]  # in the order of modeling_phi3.py
    assert list(tensors) == [
        "model.embed_tokens.weight",
        *layer,
        "model.norm.weight",
        "lm_head.weight",
    ]
    groups = read_torch(path / "optimizer.pt").value["param_groups"]
    assert groups[0]["param_names"] == ["model.embed_tokens.weight", *layer[:4], "lm_head.weight"]
    assert groups[1]["param_names"] == [*layer[4:], "model.norm.weight"]


@pytest.mark.parametrize("outtype", ["f16", "bf16"])
def test_half_precision_is_weights_alone(
    outtype: str, fixtures: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ggcp"):
        path = exported("v1_adam_one.bin", fixtures, folder, outtype=outtype)
    assert caplog.messages[0] == (
        "weights only, no optimizer.pt: the moments would lose their precision when they are "
        "loaded beside such weights"
    )
    assert {"optimizer.pt", "scheduler.pt", "trainer_state.json"}.isdisjoint(
        each.name for each in path.iterdir()
    )
    stored = read(fixtures / "v1_adam_one.bin").tensors
    tensors = read_safetensors(path / "model.safetensors")
    for new, old in hf_names(2).items():
        wanted = to_hf(old, stored[old], 2)
        if outtype == "f16":
            np.testing.assert_array_equal(tensors[new], wanted.astype("<f2"))
        else:
            found = (tensors[new].astype("<u4") << 16).view("<f4")
            np.testing.assert_allclose(found, wanted, rtol=2**-8, atol=0)
    config = json.loads((path / "config.json").read_text())
    assert config["dtype"] == {"f16": "float16", "bf16": "bfloat16"}[outtype]


@pytest.mark.parametrize("name", ["v0_adam_one.bin", "v1_adam_one.bin", "v0_lbfgs_patched.bin"])
def test_back_through_gguf_byte_for_byte(name: str, fixtures: Path, folder: Path) -> None:
    model = export_gguf(fixtures / name, folder / "model.gguf", epsilon=1e-6)
    path = export(fixtures / name, folder / "out", epsilon=1e-6, batch=2)
    tensors = read_safetensors(path / "model.safetensors")
    header = read(fixtures / name).header
    n_layer, n_head = header["n_layer"], header["n_head"]
    back = {
        gguf_names(n_layer)[old]: from_hf(old, tensors[new], n_head).tobytes()
        for new, old in hf_names(n_layer).items()
    }
    assert back == {tensor.name: tensor.data for tensor in read_gguf(model).tensors}


def scheduled(factor: float, **members: Any) -> bytes:
    """A checkpoint of 100 iterations in runs of 16, of which the last stored some factor."""
    changes = {"optimizer.params.adam.schedule_factor": factor, **members}
    return made(Synthetic(**SMALL), changes)


def group_of(data: bytes, folder: Path, **options: Any) -> tuple[Torch, str]:
    (folder / "in.bin").write_bytes(data)
    path = export(folder / "in.bin", folder / "out", batch=2, **options)
    return read_torch(path / "optimizer.pt"), (path / "README.md").read_text()


def cold_at(iteration: int) -> float:
    """The factor of a schedule without a warmup."""
    return 0.5 * (1 + math.cos(math.pi * iteration / 1000))


WARMED, COLD = 84 / 100, cold_at(84)


# After 100 iterations a warmup of 100 is over; without one the cosine has begun.
@pytest.mark.parametrize(
    ("factor", "rate", "words"),
    [
        (WARMED, 1.0, "| schedule | warmup 100, cosine to 0 at 1100 | the file |"),
        (
            COLD,
            0.5 * (1 + math.cos(math.pi / 10)),
            "| schedule | warmup 0, cosine to 0 at 1000 | the file |",
        ),
        (0.3, 1.0, "| schedule | warmup 100, cosine to 0 at 1100 | assumed |"),
        (0.8401, 1.0, "| schedule | warmup 100, cosine to 0 at 1100 | assumed |"),
        (0.0, 1.0, "| schedule | warmup 100, cosine to 0 at 1100 | assumed |"),
    ],
)
def test_the_warmup_follows_from_the_factor_of_the_run_before(
    factor: float, rate: float, words: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ggcp"):
        found, page = group_of(scheduled(factor), folder)
    assert found.value["param_groups"][0]["lr"] == pytest.approx(0.001 * rate, rel=1e-9)
    assert words in page
    warned = (
        "the file does not tell how the learning rate was scheduled; a warmup of 100 iterations, "
        "the trainer's default, is assumed"
    )
    assert (warned in caplog.messages) == ("assumed" in words)
    assert ("\nWhat is assumed is what the trainer" in page) == ("assumed" in words)


@pytest.mark.parametrize(
    ("done", "factor", "rate", "words"),
    [
        # The end of the first run, which began at 0; the lines of the schedules meet nowhere near.
        (16, 0.0, 0.16, "warmup 100, cosine to 0 at 1100 | the file |"),
        (16, 1.0, cold_at(16), "warmup 0, cosine to 0 at 1000 | the file |"),
        # No run began at -6, whatever the cosine is there.
        (10, cold_at(6), 0.1, "warmup 100, cosine to 0 at 1100 | assumed |"),
        # One iteration before the end, at it, and at that of a schedule without a warmup.
        (1099, 0.5 * (1 + math.cos(math.pi * 983 / 1000)), 0.5 * (1 + math.cos(math.pi * 0.999)),
         "warmup 100, cosine to 0 at 1100 | the file |"),
        (1100, 0.5 * (1 + math.cos(math.pi * 984 / 1000)), 1.0,
         "ended; a new cosine to iteration 2100 | chosen |"),
        (1000, cold_at(984), 1.0, "ended; a new cosine to iteration 2000 | chosen |"),
    ],
)  # fmt: skip
def test_where_a_schedule_begins_and_ends(
    done: int, factor: float, rate: float, words: str, folder: Path
) -> None:
    found, page = group_of(scheduled(factor, **{"optimizer.iteration_count": done}), folder)
    assert found.value["param_groups"][0]["lr"] == pytest.approx(0.001 * rate, rel=1e-9)
    assert f"| schedule | {words}\n" in page


def test_a_schedule_that_has_ended_begins_anew(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ggcp"):
        found, page = group_of(scheduled(0.0, **{"optimizer.iteration_count": 1200}), folder)
    assert found.value["param_groups"][0]["lr"] == 0.001
    assert "| schedule | ended; a new cosine to iteration 2200 | chosen |" in page
    assert "max_steps=2200, warmup_steps=1200" in page
    assert "What is assumed" not in page  # a factor of 0 is that of the end, where 1184 is past it
    made_of = json.loads((folder / "out" / "ggcp.json").read_text())["made"]
    assert made_of["optimizer"]["schedule"] == {
        "known": True, "is_new": True, "warmup": 1200, "end": 2200, "smallest": 0.0,
    }  # fmt: skip
    assert "t / 1200 if t < 1200 else 0.5 * (1 + math.cos(math.pi * (t - 1200) / 1000))" in page
    assert caplog.messages[-1] == (
        "the schedule of the learning rate has ended; a new one, of 1000 iterations from 0.001 on, "
        "begins at iteration 1200"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"epsilon": -1e-8},
        {"first_moment_decay": 1.0},
        {"weight_decay": math.inf},
    ],
)
def test_settings_with_which_adam_cannot_run(
    changes: dict[str, float], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    members = {f"optimizer.params.adam.{name}": value for name, value in changes.items()}
    with caplog.at_level(logging.WARNING, "ggcp"):
        found, page = group_of(made(Synthetic(**SMALL), members), folder)
    group = found.value["param_groups"][0]
    assert (group["initial_lr"], group["weight_decay"]) == (0.001, 1.0)
    assert (group["betas"], group["eps"]) == ((0.9, 0.999), 1e-8 / 128)
    assert "| learning rate | 0.001, now 0.001 | assumed |" in page
    assert (
        "Adam cannot run with the settings that the file stores; they are left out"
        in caplog.messages
    )


def test_the_page(fixtures: Path, folder: Path) -> None:
    path = exported("v1_adam_one.bin", fixtures, folder)
    page = (path / "README.md").read_text(encoding="utf-8")
    assert page.startswith("# `v1_adam_one.bin`\n\nA LLaMA model of 16,336 parameters (F32)")
    assert "\nWhat is assumed is what the trainer of that time did by default.\n" in page
    for row in (
        "| iterations done | 30 | the file |",
        "| learning rate | 0.001, now 0.0003 | assumed |",
        "| schedule | warmup 100, cosine to 0.1 at 1100 | assumed |",
        "| betas | 0.9, 0.999 | assumed |",
        "| epsilon | 1e-08 | assumed |",
        "| weight decay | 0.1 (matrices only) | assumed |",
        "| clipping | norm of 1 | the trainer |",
    ):
        assert f"\n{row}\n" in page
    samples, pytorch, trainer = snippets(path / "README.md")
    assert "ids[at : at + 16]" in samples
    assert len(pytorch.splitlines()) <= 16
    assert "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)" in pytorch
    assert "0.1 + 0.45 * (1 + math.cos(math.pi * (t - 100) / 1000)), last_epoch=29)" in pytorch
    assert 'lr_scheduler_kwargs={"min_lr_rate": 0.1}' in trainer
    assert "max_steps=1100, warmup_steps=100" in trainer


def test_names_in_the_page_are_no_markdown(tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "a`**b**`\n# c.bin"
    source.write_bytes(made(Synthetic(**SMALL)))
    path = export(source, folder / "out", batch=2)
    assert (path / "README.md").read_text().startswith("# `a'**b**'\\n# c.bin`\n")
    made_of = json.loads((path / "ggcp.json").read_text())["made"]
    assert made_of["from"] == r"a`**b**`\n# c.bin"


def test_values_that_are_not_finite_or_do_not_stay_so_are_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    synthetic = Synthetic(**SMALL, block_count=1)
    weights = random_weights(synthetic)
    weights["norm.weight"][3] = math.nan
    weights["output.weight"][2, 5] = 65_520  # the least that is infinite in half precision
    checkpoint = write_checkpoint(folder / "in.bin", synthetic, weights)
    with caplog.at_level(logging.WARNING, "ggcp"):
        export(checkpoint, folder / "out", outtype="f16")
    assert caplog.messages[-2:] == [
        "model.norm.weight: 1 NaN and 0 infinite of 16 values, as in the checkpoint",
        "lm_head.weight: 1 of 4800 values are finite in the checkpoint but not as F16; "
        "--outtype f32 keeps them",
    ]


def test_a_folder_is_the_same_whatever_the_file_is_read_from(fixtures: Path, folder: Path) -> None:
    one = exported("v0_adam_one.bin", fixtures, folder)
    other = export(
        fixtures / "v0_adam_one.bin", folder / "other", epsilon=1e-6, batch=2, order=Order.SCRATCH
    )
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()


def test_a_file_in_memory_has_a_name(fixtures: Path, folder: Path) -> None:
    data = io.BytesIO((fixtures / "v1_adam_one.bin").read_bytes())
    path = export(data, folder / "out")  # type: ignore[arg-type] # as open_checkpoint takes it
    assert (path / "README.md").read_text().startswith("# `checkpoint`\n")


# fmt: off
SAID = {  # what ggcp.json says of the optimizer, by INTEROP's rules for trainers of the two times
    "v0_adam_one.bin": {
        "order": "scratch", "rows": 32, "batch": 2,
        "settings": {
            "stored": True, "iteration": 30, "learning_rate": 0.001, "betas": [0.9, 0.999],
            "epsilon": 1e-8 / 32, "weight_decay": 0.0, "weight_decay_of_norms": 0.0,
            "clipping": 0.0},
        "schedule": {
            "known": True, "is_new": False, "warmup": 0, "end": 1000, "smallest": 0.0}},
    "v1_adam_one.bin": {
        "order": "flash", "rows": 1, "batch": 8,
        "settings": {
            "stored": False, "iteration": 30, "learning_rate": 0.001, "betas": [0.9, 0.999],
            "epsilon": 1e-8, "weight_decay": 0.1, "weight_decay_of_norms": 0.0,
            "clipping": 1.0},
        "schedule": {
            "known": False, "is_new": False, "warmup": 100, "end": 1100, "smallest": 0.1}},
}
# fmt: on


@pytest.mark.parametrize("name", SAID)
def test_ggcp_json(name: str, fixtures: Path, folder: Path) -> None:
    path = exported(name, fixtures, folder)
    found = json.loads((path / "ggcp.json").read_text())
    del found["files"], found["version"]
    assert found == {
        "format": 1,
        "made": {
            "from": name,
            "kind": found["made"]["kind"],
            "merged": False,
            "rescued": False,
            "context_length": 16,
            "epsilon": ADAM[name][2],
            "outtype": "f32",
            "tokenizer": "vocabulary",
            "optimizer": SAID[name],
            "without_optimizer": None,
        },
    }
    page = (path / "README.md").read_text()
    summed = name.startswith("v0_")
    assert ("\n| weight decay | 0 (all) | the file |\n" in page) == summed
    assert ("| clipping | none | the trainer |" in page) == summed
    assert ("max_grad_norm=0.0," in page) == summed
    assert ("- The old trainer kept the rate for " in page) == summed


def test_moments_that_were_divided_before(fixtures: Path, folder: Path) -> None:
    """A GGUF for a later trainer tells by how much; the settings are those of the old one."""
    source, between = fixtures / "v0_adam_one.bin", folder / "between.gguf"
    convert(source, between, epsilon=1e-6, resume_with=ResumeWith(Order.FLASH, batch=2))
    first = read_torch(exported("v0_adam_one.bin", fixtures, folder) / "optimizer.pt").value
    path = export(between, folder / "again")
    second = read_torch(path / "optimizer.pt").value
    for one, other in zip(first["state"].values(), second["state"].values(), strict=True):
        for name in ("exp_avg", "exp_avg_sq"):
            np.testing.assert_array_equal(one[name], other[name])
    given = export(between, folder / "given", batch=4) / "ggcp.json"
    assert json.loads(given.read_text())["made"]["optimizer"]["batch"] == 4
    # A GGUF stores no settings: those of the old trainer by default, which decayed all tensors.
    for group in second["param_groups"]:
        assert (group["eps"], group["weight_decay"]) == (1e-8 / 32, 1.0)
        assert group["lr"] == pytest.approx(0.001 * 30 / 100, rel=1e-12)
    said = json.loads((path / "ggcp.json").read_text())["made"]["optimizer"]
    assert (said["rows"], said["batch"]) == (1, 2)
    assert said["settings"]["clipping"] == 0.0
    assert said["schedule"]["smallest"] == 0.0


def test_rows_that_are_no_whole_samples_tell_no_batch(fixtures: Path, folder: Path) -> None:
    between = folder / "between.gguf"
    resume = ResumeWith(Order.FLASH, batch=2)
    convert(fixtures / "v0_adam_one.bin", between, epsilon=1e-6, resume_with=resume)
    gguf = read_gguf(between)
    gguf.key("ggcp.gradient_rows").value = 33
    between.write_bytes(gguf.to_bytes())
    path = export(between, folder / "out")
    said = json.loads((path / "ggcp.json").read_text())["made"]["optimizer"]
    assert said["batch"] == 8  # the trainers' -b by default


@pytest.mark.parametrize(
    ("length", "epsilon"),
    [(1, "1e-08"), (2, "5e-09, divided as the moments by 2 rows of a batch")],
)
def test_gradients_summed_over_few_tokens(length: int, epsilon: str, folder: Path) -> None:
    """Where nothing is divided it is still the trainer that decays all tensors, clips nothing."""
    (folder / "in.bin").write_bytes(made(Synthetic(**SMALL, context_length=length)))
    path = export(folder / "in.bin", folder / "out", batch=1)
    groups = read_torch(path / "optimizer.pt").value["param_groups"]
    assert [group["weight_decay"] for group in groups] == [1.0, 1.0]
    said = json.loads((path / "ggcp.json").read_text())["made"]["optimizer"]
    assert (said["rows"], said["settings"]["clipping"]) == (length, 0.0)
    assert f"\n| epsilon | {epsilon} |" in (path / "README.md").read_text()


@pytest.mark.parametrize(("limit", "block"), [(1, False), (2, True)])
def test_a_rate_that_changed_with_each_iteration(limit: int, block: bool, folder: Path) -> None:
    changes = {"optimizer.params.adam.iteration_limit": limit}
    (folder / "in.bin").write_bytes(made(Synthetic(**SMALL), changes))
    page = export(folder / "in.bin", folder / "out", batch=2) / "README.md"
    line = "- The old trainer kept the rate for 2 iterations at a time; here it changes with each."
    assert (line in page.read_text()) == block
    assert ("kept the rate" in page.read_text()) == block


@pytest.mark.parametrize(("tokens", "end"), [(2, None), (3, 2)])
def test_ids_of_a_tiny_vocabulary(tokens: int, end: int | None, folder: Path) -> None:
    small = {**SMALL, "vocabulary_size": tokens}
    (folder / "in.bin").write_bytes(made(Synthetic(**small)))
    path = export(folder / "in.bin", folder / "out", vocabulary=None, batch=2)
    for name in ("config.json", "generation_config.json"):
        found = json.loads((path / name).read_text())
        assert (found["bos_token_id"], found["eos_token_id"]) == (1, end)
