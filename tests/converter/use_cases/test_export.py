"""What a model's GGUF holds: every key, type and value, and every byte of every tensor."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from exported import (
    GGJT_VOCABULARY,
    VOCABULARY,
    expected_model,
    export,
    random_weights,
    vocabulary_keys,
    write_checkpoint,
)
from gguf import GGUFReader
from gguf_bytes import (
    BF16_TENSOR,
    F16_TENSOR,
    F32_TENSOR,
    Q8_0_TENSOR,
    STRING,
    U32,
    Gguf,
    Key,
    read,
)
from reference import checkpoint as reference
from vocabulary_files import array, gguf, pair, text, tokenizer

from converter import __version__
from converter.errors import ConversionError
from converter.use_cases.carry_out import Writing
from converter.use_cases.export import export as run_export
from converter.use_cases.export_options import ExportOptions
from converter.use_cases.verify import verify
from ggcp_schema import FormatError
from ggcp_schema.synthetic import Synthetic

CONTEXT_LENGTHS = {
    "ggcp_42d9b4cfc_11layers.bin": 8,
    "v0_adam_one.bin": 16,
    "v0_lbfgs_patched.bin": 16,
    "v1_adam_one.bin": 16,
    "v1_adam_one_noflash.bin": 16,
    "v1_adam_past3.bin": 16,
    "v1_lbfgs.bin": 16,
    "v1params_adam_default.bin": 16,
}


def model(fixtures: Path, name: str, **options: object) -> Gguf:
    return expected_model(
        reference.read(fixtures / name),
        Path(name).stem,
        version=__version__,
        context_length=CONTEXT_LENGTHS[name],
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("vocabulary", [VOCABULARY, GGJT_VOCABULARY])
@pytest.mark.parametrize("name", CONTEXT_LENGTHS)
def test_every_key_and_every_byte(
    name: str, vocabulary: Path, fixtures: Path, tmp_path: Path
) -> None:
    path = export(fixtures / name, tmp_path / "model.gguf", vocabulary=vocabulary)
    assert read(path) == model(fixtures, name)


def f16(values: npt.NDArray[np.float32]) -> bytes:
    return values.astype("<f2").tobytes()


def bf16(values: npt.NDArray[np.float32]) -> bytes:
    """The upper half of each float32, rounded to the nearest, to an even one where two are."""
    bits = values.astype("<f4").view("<u4").astype(np.uint64)
    low, high = bits & 0xFFFF, bits >> 16
    up = (low > 0x8000) | ((low == 0x8000) & (high % 2 == 1))
    return (high + up).astype("<u2").tobytes()


def q8_0(values: npt.NDArray[np.float32]) -> bytes:
    """ggml-quants.c, quantize_row_q8_0_ref, one block of 32 after the other."""
    data = b""
    for block in values.reshape(-1, 32):
        scale = np.float32(np.abs(block).max() / np.float32(127))
        inverse = np.float32(1) / scale if scale else np.float32(0)
        scaled = (block * inverse).astype(np.float64)
        rounded = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)
        data += np.float16(scale).tobytes() + rounded.astype(np.int8).tobytes()
    return data


ENCODINGS = {
    "f16": (1, F16_TENSOR, f16),
    "bf16": (32, BF16_TENSOR, bf16),
    "q8_0": (7, Q8_0_TENSOR, q8_0),
}


def encoded(expected: Gguf, outtype: str) -> Gguf:
    """The same model with its matrices of another type, or F16 where Q8_0 cannot hold them."""
    for tensor in expected.tensors:
        if len(tensor.dims) == 1:
            continue
        chosen = "f16" if outtype == "q8_0" and tensor.dims[0] % 32 else outtype
        _, tensor.type, encode = ENCODINGS[chosen]
        tensor.data = encode(np.frombuffer(tensor.data, "<f4"))
    return expected


@pytest.mark.parametrize("outtype", ENCODINGS)
def test_types(outtype: str, fixtures: Path, tmp_path: Path) -> None:
    name = "v1_adam_one.bin"
    path = export(fixtures / name, tmp_path / "model.gguf", outtype=outtype)
    assert read(path) == encoded(model(fixtures, name, file_type=ENCODINGS[outtype][0]), outtype)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of which Q8_0 holds all but w2, whose rows have 96 + 8 elements."""
    synthetic = Synthetic(embedding_length=32, feed_forward_multiple=8, block_count=1)
    path = tmp_path_factory.mktemp("mixed") / "mixed.bin"
    weights = random_weights(synthetic)
    assert weights["layers.0.feed_forward.w2.weight"].shape == (32, 88)
    return write_checkpoint(path, synthetic, weights)


def test_rows_that_q8_0_cannot_hold_become_f16(
    mixed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ggcp")
    path = export(mixed, tmp_path / "model.gguf", outtype="q8_0", epsilon=1e-5, context_length=9)
    found = read(path)
    expected = encoded(
        expected_model(
            reference.read(mixed), "mixed", version=__version__, context_length=9, file_type=7
        ),
        "q8_0",
    )
    quantized = Key("general.quantization_version", U32, 2)
    expected.keys.insert(expected.keys.index(expected.key("general.file_type")) + 1, quantized)
    assert found == expected
    assert {t.name: t.type for t in found.tensors if t.type != Q8_0_TENSOR} == {
        "output_norm.weight": F32_TENSOR,
        "blk.0.attn_norm.weight": F32_TENSOR,
        "blk.0.ffn_norm.weight": F32_TENSOR,
        "blk.0.ffn_down.weight": F16_TENSOR,
    }
    assert caplog.messages == [
        "1 of 9 matrices become F16: their rows are not a multiple of 32, as Q8_0 needs "
        "(blk.0.ffn_down.weight)"
    ]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose layer has matrices of more than one block of 1 MiB, ending within one."""
    path = tmp_path_factory.mktemp("large") / "large.bin"
    with path.open("wb") as file:
        Synthetic(embedding_length=608, head_count=19, block_count=1, optimizer_version=1).write(
            file
        )
    return path


@pytest.mark.parametrize("outtype", ["f32", *ENCODINGS])
def test_tensors_of_many_blocks(outtype: str, large: Path, tmp_path: Path) -> None:
    path = export(large, tmp_path / "model.gguf", outtype=outtype)
    stored = reference.read(large)
    found = read(path)
    assert len(found.tensors) == 3 + 9
    for name, values in zip(reference.gguf_names(1).values(), stored.tensors.values(), strict=True):
        if values.ndim == 1 or outtype == "f32":
            assert found.tensor(name).data == values.tobytes(), name
        elif outtype != "q8_0":
            assert found.tensor(name).data == ENCODINGS[outtype][2](values), name
        else:
            assert_q8_0(found.tensor(name).data, values)


def assert_q8_0(data: bytes, values: npt.NDArray[np.float32]) -> None:
    """The whole tensor at once: that loop over blocks would take minutes."""
    blocks = values.reshape(-1, 32)
    stored = np.frombuffer(data, [("scale", "<f2"), ("values", "i1", 32)])
    scales = np.abs(blocks).max(axis=1) / np.float32(127)
    np.testing.assert_array_equal(stored["scale"], scales.astype("<f2"))
    scaled = (blocks * (1 / scales)[:, None]).astype(np.float64)
    np.testing.assert_array_equal(
        stored["values"], np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)
    )


@pytest.mark.parametrize(("embedding_length", "rotated"), [(160, 64), (160, 2), (256, 128)])
def test_factors_of_rope(embedding_length: int, rotated: int, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.bin"
    with checkpoint.open("wb") as file:
        Synthetic(
            embedding_length=embedding_length,
            head_count=1,
            rope_dimension_count=rotated,
            block_count=1,
        ).write(file)
    found = read(export(checkpoint, tmp_path / "model.gguf", outtype="q8_0"))
    assert len(found.tensors) == 3 + 9 + 1
    factors = found.tensors[-1]
    assert (factors.name, factors.dims, factors.type) == (
        "rope_freqs.weight",
        (embedding_length // 2,),
        F32_TENSOR,
    )
    assert found.key("llama.rope.dimension_count").value == embedding_length
    values = np.frombuffer(factors.data, "<f4").astype(np.float64)
    # What llama.cpp turns a pair by at the first position, and what the trainer did.
    pairs = np.arange(embedding_length // 2)
    angles = 10000.0 ** (-2 * pairs / embedding_length) / values
    trained = np.where(pairs < rotated // 2, 10000.0 ** (-2 * pairs / rotated), 0)
    np.testing.assert_allclose(angles, trained, rtol=1e-6, atol=1e-29)


def test_a_chat_template_is_never_copied(fixtures: Path, tmp_path: Path) -> None:
    keys = vocabulary_keys()
    template = [Key("tokenizer.chat_template", STRING, "{{ messages }}")]
    template += [Key("tokenizer.chat_template.tool_use", STRING, "{{ tools }}")]
    vocabulary = tmp_path / "vocabulary.gguf"
    vocabulary.write_bytes(Gguf(keys + template, []).to_bytes())
    path = export(fixtures / "v1_adam_one.bin", tmp_path / "model.gguf", vocabulary=vocabulary)
    assert read(path) == model(fixtures, "v1_adam_one.bin")


def test_options(fixtures: Path, tmp_path: Path) -> None:
    path = export(
        fixtures / "v1_adam_one.bin",
        tmp_path / "model.gguf",
        context_length=2048,
        epsilon=5e-6,
        model_name="Ein Modell, ganz klein",
    )
    expected = model(fixtures, "v1_adam_one.bin", epsilon=5e-6)
    expected.key("llama.context_length").value = 2048
    expected.key("general.name").value = "Ein Modell, ganz klein"
    assert read(path) == expected


CONTEXT_LENGTH = "context length 16: 192 tokens / 12 samples of the training (-c for another)"
EPSILON = (
    "the epsilon of the norms is not in the file; 1e-5 is assumed: trainers before 2023-07-25 "
    "had 1e-6, before 2023-08-21 5e-6 (see --eps in ggcp export --help)"
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [CONTEXT_LENGTH, EPSILON]),
        ({"epsilon": 1e-5}, [CONTEXT_LENGTH]),
        ({"context_length": 16}, [EPSILON]),
        ({"context_length": 16, "epsilon": 1e-6}, []),
    ],
)
def test_what_was_assumed_is_said(
    options: dict[str, float],
    expected: list[str],
    fixtures: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "ggcp")
    export(fixtures / "v0_adam_one.bin", tmp_path / "model.gguf", **options)
    assert caplog.messages == expected


def test_that_transformers_ignores_the_factors_of_rope_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = tmp_path / "checkpoint.bin"
    with checkpoint.open("wb") as file:
        Synthetic(rope_dimension_count=6).write(file)
    export(checkpoint, tmp_path / "model.gguf", epsilon=1e-5, context_length=64)
    assert caplog.messages == [
        "only 6 of the 8 dimensions of a head are rotated: exact in llama.cpp through "
        "rope_freqs.weight, which transformers ignores: its results will be wrong"
    ]


def with_counters(fixtures: Path, path: Path, samples: int, tokens: int) -> Path:
    data = bytearray((fixtures / "v0_adam_one.bin").read_bytes())
    data[12:20] = samples.to_bytes(4, "little") + tokens.to_bytes(4, "little")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("samples", "tokens"), [(0, 192), (12, 0), (0, 0), (12, 191), (192, 12)])
def test_a_context_length_that_does_not_follow(
    samples: int, tokens: int, fixtures: Path, tmp_path: Path, folder: Path
) -> None:
    checkpoint = with_counters(fixtures, tmp_path / "counters.bin", samples, tokens)
    with pytest.raises(ConversionError) as caught:
        export(checkpoint, folder / "model.gguf")
    assert str(caught.value) == (
        f"{checkpoint}: expected training counters whose tokens are a multiple of the samples, "
        f"which gives the context length, found {tokens} tokens, {samples} samples; give the "
        "trainer's --ctx (128 by default) with --context-length"
    )
    assert list(folder.iterdir()) == []
    path = export(checkpoint, folder / "model.gguf", context_length=128)
    assert read(path).key("llama.context_length").value == 128


def test_another_number_of_tokens(fixtures: Path, tmp_path: Path, folder: Path) -> None:
    vocabulary = tmp_path / "vocabulary.gguf"
    tokens = [b"<unk>", b"<s>", b"</s>"]
    vocabulary.write_bytes(
        gguf(
            pair("tokenizer.ggml.model", 8, text(b"llama")),
            array("tokenizer.ggml.tokens", 8, 3, b"".join(map(text, tokens))),
        )
    )
    with pytest.raises(FormatError) as caught:
        export(fixtures / "v1_adam_one.bin", folder / "model.gguf", vocabulary=vocabulary)
    error = caught.value
    assert error.file == str(vocabulary)
    assert error.expected == "300 tokens, as many as the checkpoint has (n_vocab)"
    assert error.found == "3 tokens"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        (
            {"embedding_length": 15, "head_count": 3, "rope_dimension_count": 4},
            "expected heads of an even dimension, found 5 (n_embd / n_head)",
        ),
        ({"block_count": 0}, "expected at least one layer, found none (n_layer)"),
    ],
)
def test_models_that_no_engine_runs(
    sizes: dict[str, int], expected: str, tmp_path: Path, folder: Path
) -> None:
    checkpoint = tmp_path / "checkpoint.bin"
    with checkpoint.open("wb") as file:
        Synthetic(**sizes).write(file)  # type: ignore[arg-type]
    with pytest.raises(ConversionError) as caught:
        export(checkpoint, folder / "model.gguf")
    assert str(caught.value) == (
        f"{checkpoint}: {expected}; llama.cpp aborts on such a model; ggcp convert keeps it for "
        "the trainers"
    )
    assert list(folder.iterdir()) == []


def test_a_lora_checkpoint(fixtures: Path, folder: Path) -> None:
    checkpoint = fixtures / "ggcl_v1_adam_1a5f0a30e.bin"
    with pytest.raises(ConversionError) as caught:
        export(checkpoint, folder / "model.gguf")
    assert str(caught.value) == (
        f"{checkpoint}: expected a training checkpoint (ggcp), which holds a model, found a LoRA "
        "checkpoint (ggcl); it holds only what finetune changed in another model: without "
        "--vocab it becomes an adapter, with --merge BASE.gguf a whole model"
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("which", ["checkpoint", "vocabulary", "metadata"])
def test_no_input_is_written_to(which: str, fixtures: Path, tmp_path: Path) -> None:
    inputs = {name: tmp_path / name for name in ("checkpoint", "vocabulary", "metadata")}
    inputs["checkpoint"].write_bytes((fixtures / "v1_adam_one.bin").read_bytes())
    inputs["vocabulary"].write_bytes(VOCABULARY.read_bytes())
    inputs["metadata"].write_text('{"general.author": "Me"}')
    before = inputs[which].read_bytes()
    options = ExportOptions(inputs["vocabulary"], metadata=inputs["metadata"])
    with pytest.raises(ConversionError) as caught:
        run_export(inputs["checkpoint"], inputs[which], options, writing=Writing(force=True))
    assert caught.value.expected == "an output that is not the input"
    assert inputs[which].read_bytes() == before


def test_tokens_that_are_no_text(fixtures: Path, tmp_path: Path) -> None:
    """Any bytes, empty ones too, stay as they are."""
    texts = [b"<unk>", b"<s>", b"</s>", b"\xff\xfe\x00", b"", *(b"%d" % n for n in range(295))]
    vocabulary = tmp_path / "vocabulary.gguf"
    vocabulary.write_bytes(gguf(*tokenizer(*texts)))
    checkpoint = fixtures / "v1_adam_one.bin"
    path = export(checkpoint, tmp_path / "model.gguf", vocabulary=vocabulary)
    field = GGUFReader(path).fields["tokenizer.ggml.tokens"]
    assert [field.parts[index].tobytes() for index in field.data] == texts
    assert verify(checkpoint, path) == []
