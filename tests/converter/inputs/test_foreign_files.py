"""What is no checkpoint is recognised, named, and answered with what to do."""

import gzip
import io
import struct
import zipfile

import pytest
from packed import checkpoint

from ggcp_schema import FormatError, parse

MODEL = "a model, not a training checkpoint: llama.cpp's convert-llama-ggmlv3-to-gguf reads it"
BIG_ENDIAN = "only little-endian checkpoints can be read; train or copy on a little-endian machine"


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("checkpoint.bin", checkpoint().data)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "found", "hint"),
    [
        pytest.param(
            b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
            "a GGUF file",
            "already a GGUF: nothing needs to be converted; give it to llama.cpp as it is",
            id="gguf",
        ),
        pytest.param(
            struct.pack("<II", 0x67676A74, 3), "a model file of 2023 (ggjt)", MODEL, id="ggjt"
        ),
        pytest.param(
            struct.pack("<II", 0x67676D66, 1), "a model file of 2023 (ggmf)", MODEL, id="ggmf"
        ),
        pytest.param(
            struct.pack("<II", 0x67676D6C, 32000), "a model file of 2023 (ggml)", MODEL, id="ggml"
        ),
        pytest.param(
            zipped(), "a zip archive", "unpack it and give the .bin file inside", id="zip"
        ),
        pytest.param(
            gzip.compress(bytes(checkpoint().data)),
            "a gzip archive",
            "unpack it with gunzip and give the file inside",
            id="gzip",
        ),
        pytest.param(
            struct.pack(">II", 0x67676370, 0),
            "a checkpoint of a big-endian machine",
            BIG_ENDIAN,
            id="big-endian ggcp",
        ),
        pytest.param(
            struct.pack(">II", 0x6767636C, 0),
            "a LoRA checkpoint of a big-endian machine",
            BIG_ENDIAN,
            id="big-endian ggcl",
        ),
        pytest.param(
            b"",
            "an empty file",
            "the training was stopped while saving; look for an older copy",
            id="empty",
        ),
        pytest.param(
            bytes(1000),
            "zeros",
            "the file was never written, or was lost on the disk; look for a copy",
            id="zeros",
        ),
        pytest.param(
            b"\x89PNG\r\n\x1a\n",
            r"'\x89PNG'",
            "give a .bin checkpoint of train-text-from-scratch or finetune from 2023",
            id="unknown",
        ),
        pytest.param(
            b"\n\x1b[31m",
            r"'\n\x1b[3'",
            "give a .bin checkpoint of train-text-from-scratch or finetune from 2023",
            id="unprintable",
        ),
    ],
)
def test_a_foreign_file(data: bytes, found: str, hint: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse(io.BytesIO(data))
    assert str(caught.value) == (
        "magic at offset 0x0: expected 'pcgg' (a training checkpoint) or 'lcgg' (a LoRA "
        f"checkpoint), found {found}; {hint}"
    )
