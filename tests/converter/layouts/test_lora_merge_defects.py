"""Base models that a LoRA checkpoint does not fit, and what verify says of merged models."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from gguf import GGMLQuantizationType
from gguf_bytes import ARRAY, STRING, Key
from gguf_bytes import read as read_gguf
from lora_models import F16, Case, base_weights, case_of, keys, types

from converter import ConversionError, Writing, export_lora
from converter.numeric import delta as lora_delta
from converter.use_cases.verify import verify
from ggcp_schema import FormatError

REAL = "ggcl_v1_adam_1a5f0a30e.bin"
ANOTHER = "give the model that the checkpoint was trained on (finetune's --model-base)"


@pytest.fixture
def case(fixtures: Path, tmp_path: Path) -> Case:
    return case_of(fixtures / REAL, tmp_path)


# A base that does not fit


def refused(case: Case, folder: Path, **options: Any) -> str:
    """The message, after the name of the base model; nothing may have been written."""
    with pytest.raises((FormatError, ConversionError)) as caught:
        export_lora(case.source, folder / "out.gguf", base=case.base, **options)
    assert not any(folder.iterdir())
    message = str(caught.value)
    assert message.startswith(f"{case.base}: ")
    return message.removeprefix(f"{case.base}: ")


def without_offset(message: str) -> str:
    path, _, rest = message.partition(": ")
    return f"{path.partition(' at offset ')[0]}: {rest}"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("llama.block_count", 3, "2, as in the checkpoint (n_layer), found 3"),
        ("llama.embedding_length", 64, "32, as in the checkpoint (n_embd), found 64"),
        ("llama.feed_forward_length", 128, "96, as in the checkpoint (n_ff), found 128"),
        ("llama.feed_forward_length", [96, 96], "96, as in the checkpoint (n_ff), found 2 numbers"),
        ("llama.attention.head_count", 8, "4, as in the checkpoint (n_head), found 8"),
        (
            "llama.attention.head_count_kv",
            2,
            "4, as in the checkpoint (n_head; finetune of that time knew no others for keys and "
            "values), found 2",
        ),
        ("llama.rope.dimension_count", 4, "8, as in the checkpoint (n_rot), found 4"),
    ],
)
def test_another_size(key: str, value: Any, words: str, case: Case, folder: Path) -> None:
    case.write_base(keys={key: value})
    message = refused(case, folder)
    assert message.startswith(f"{key} at offset 0x")
    assert without_offset(message) == f"{key}: expected {words}; {ANOTHER}"


def test_a_size_that_the_base_does_not_say(case: Case, folder: Path) -> None:
    case.write_base(keys={"llama.block_count": None})
    assert refused(case, folder) == (
        "llama.block_count: expected 2, as in the checkpoint (n_layer), found no such key; "
        + ANOTHER
    )


def test_sizes_that_follow_from_others_need_not_be_said(case: Case) -> None:
    absent = {"llama.attention.head_count_kv": None, "llama.rope.dimension_count": None}
    case.write_base(keys=absent)
    output = case.base.with_name("out.gguf")
    export_lora(case.source, output, base=case.base)
    assert not absent.keys() & keys(output).keys()


def test_another_number_of_tokens(case: Case, folder: Path) -> None:
    case.weights = base_weights({**case.sizes, "n_vocab": 301})
    case.write_base()
    assert refused(case, folder) == (
        "token_embd.weight: expected the dimensions [32, 300], as in the checkpoint, "
        f"found [32, 301]; {ANOTHER}"
    )


def test_another_architecture(case: Case, folder: Path) -> None:
    case.write_base(architecture="gpt2")
    message = refused(case, folder)
    assert without_offset(message) == (
        f"general.architecture: expected 'llama', found gpt2; {ANOTHER}"
    )


def test_a_tensor_that_is_not_there(case: Case, folder: Path) -> None:
    del case.weights["output.weight"]
    case.write_base()
    assert refused(case, folder) == (
        "output.weight: expected a tensor of the dimensions [32, 300], found no such tensor; "
        + ANOTHER
    )


def test_quantized_weights(case: Case, folder: Path) -> None:
    case.write_base(types={"blk.1.attn_k.weight": GGMLQuantizationType.Q8_0})
    assert refused(case, folder) == (
        "blk.1.attn_k.weight: expected F32, F16 or BF16, found Q8_0; nothing can be added to "
        "quantized weights: give the F32, F16 or BF16 model that this one was made from, or make "
        "an adapter (without --merge), which runs with it"
    )


def test_one_file_of_several(case: Case, folder: Path) -> None:
    case.write_base(keys={"split.count": 3})
    message = refused(case, folder)
    assert without_offset(message) == (
        "split.count: expected a whole model, found one of 3; join its files first: "
        "llama-gguf-split --merge"
    )


def test_an_empty_array_of_the_base_is_told(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    case.write_base()
    # The independent reader takes no texts but UTF-8.
    data = case.base.read_bytes()
    case.base.write_bytes(data.replace(struct.pack("<Qs", 1, b"\xff"), struct.pack("<Qs", 1, b"b")))
    whole = read_gguf(case.base)
    whole.keys.append(Key("general.tags", ARRAY, (STRING, [])))
    case.base.write_bytes(whole.to_bytes())
    output = case.base.with_name("out.gguf")
    export_lora(case.source, output, base=case.base)
    assert [record.getMessage() for record in caplog.records] == [
        "general.tags of the base model is left out: an array without elements"
    ]
    assert "general.tags" not in keys(output)


def test_the_type_of_a_merged_model(case: Case, folder: Path) -> None:
    case.write_base()
    with pytest.raises(ConversionError) as caught:
        export_lora(case.source, folder / "out.gguf", base=case.base, outtype="q4_0")
    assert str(caught.value) == (
        f"{case.source}: expected --outtype f32 or f16 or bf16 or q8_0 for a merged model, found "
        "q4_0; give one of these, or leave --outtype out"
    )
    assert not any(folder.iterdir())


@pytest.mark.parametrize("name", ["base.gguf", "lora.bin"])
def test_no_input_is_written_to(name: str, case: Case, tmp_path: Path) -> None:
    case.write_base()
    source = tmp_path / "lora.bin"
    source.write_bytes(case.source.read_bytes())
    before = (tmp_path / name).read_bytes()
    with pytest.raises(ConversionError) as caught:
        export_lora(source, tmp_path / name, base=case.base, writing=Writing(force=True))
    assert str(caught.value) == (
        f"{tmp_path / name}: expected an output that is not the input, found the input itself; "
        "give another name; the input is never written to"
    )
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("changed", ["base", "source"])
def test_a_file_that_is_written_to_meanwhile(
    changed: str, case: Case, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.write_base()
    source = tmp_path / "lora.bin"
    source.write_bytes(case.source.read_bytes())
    victim = {"base": case.base, "source": source}[changed]
    rows = lora_delta.Delta.rows

    def meanwhile(self: Any, first: int, count: int) -> Any:
        with victim.open("ab") as file:
            file.write(b"!")
        return rows(self, first, count)

    monkeypatch.setattr(lora_delta.Delta, "rows", meanwhile)
    with pytest.raises(FormatError) as caught:
        export_lora(source, folder / "out.gguf", base=case.base)
    assert "another program is writing to the file" in str(caught.value)
    assert str(caught.value).startswith(f"{victim}: ")
    assert not any(folder.iterdir())


# verify


def test_what_verify_says_of_a_merged_model(case: Case) -> None:
    case.write_base(F16)
    output = case.base.with_name("out.gguf")
    export_lora(case.source, output, base=case.base)
    with output.open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\0")
    [difference] = verify(case.source, output, base=case.base)
    last = list(types(output))[-1]
    assert difference.startswith(f"tensor {last}: the data differ from byte 0x")


def check_refused(case: Case, output: Path, base: Path | None) -> str:
    with pytest.raises(ConversionError) as caught:
        verify(case.source, output, base=base)
    return str(caught.value).removeprefix(f"{output}: ")


def test_verify_needs_the_base_of_a_merged_model(case: Case) -> None:
    case.write_base()
    output = case.base.with_name("out.gguf")
    export_lora(case.source, output, base=case.base)
    assert check_refused(case, output, None) == (
        "expected the base model with it, found a merged model alone; name the base model with "
        "--merge BASE.gguf"
    )


def test_verify_needs_no_base_for_an_adapter(case: Case) -> None:
    case.write_base()
    output = case.base.with_name("out.gguf")
    export_lora(case.source, output)
    assert check_refused(case, output, case.base) == (
        "expected a merged model to go with --merge, found none; leave --merge out"
    )
