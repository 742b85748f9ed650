"""What is no checkpoint is recognised, named, and answered with what to do."""

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile

import pytest
from packed import checkpoint
from vocabulary_files import gguf, pair, text, tokenizer

from ggcp_schema import FormatError, parse

MODEL = (
    "a model, not a checkpoint; it works as --vocab, and llama.cpp's convert_llama_ggml_to_gguf.py "
    "makes a GGUF of it (with the package gguf below 0.9: later ones write F32 and F16 wrongly)"
)
OTHER_TOOLS = (
    "this program reads what llama.cpp's trainers saved in 2023; for the models of other tools "
    "there is llama.cpp's convert_hf_to_gguf.py"
)
GIVE = "give a .bin checkpoint of train-text-from-scratch or finetune from 2023"
VOCABULARY = "it holds no model and works as --vocab; give the checkpoint itself first"
BIG_ENDIAN = "only little-endian checkpoints can be read; train or copy on a little-endian machine"


RANK = "training.lora.rank.token_embd"
THREE = (b"<unk>", b"<s>", b"</s>")
EMBEDDING = text(b"token_embd.weight") + struct.pack("<IQIQ", 1, 1, 0, 0)


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("checkpoint.bin"))
    return file.getvalue()


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, checkpoint().data)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "found", "hint"),
    [
        pytest.param(
            b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
            "a GGUF that is damaged, or of a version that nobody reads",
            "get another copy of it",
            id="gguf 1",
        ),
        pytest.param(
            gguf(pair("general.type", 8, text(b"adapter")), pair(RANK, 4, bytes(4))),
            "an adapter (GGUF)",
            "it runs beside its base model as it is (llama.cpp's --lora); nothing needs to be "
            "converted",
            id="gguf adapter",
        ),
        pytest.param(
            gguf(pair(RANK, 4, bytes(4)), pair("optimizer.file_version", 4, bytes(4))),
            "a LoRA checkpoint (GGUF)",
            "ggcp inspect, export and convert read it; this schema describes the files before GGUF",
            id="gguf LoRA",
        ),
        pytest.param(
            gguf(pair("optimizer.file_version", 4, bytes(4)), tensors=1) + EMBEDDING,
            "a training checkpoint (GGUF)",
            "ggcp inspect, export and convert read it; this schema describes the files before GGUF",
            id="gguf training",
        ),
        pytest.param(
            gguf(*tokenizer(*THREE), tensors=1) + EMBEDDING,
            "a model (GGUF) with 3 tokens",
            "llama.cpp runs it as it is, so nothing needs to be converted; its tokens work as "
            "--vocab",
            id="gguf model",
        ),
        pytest.param(
            gguf(*tokenizer(*THREE)),
            "a vocabulary (GGUF) with 3 tokens",
            VOCABULARY,
            id="gguf vocabulary",
        ),
        pytest.param(
            gguf(pair("general.name", 8, text(b"x"))),
            "a GGUF of another kind",
            "it holds neither a model nor a vocabulary of llama.cpp; give the checkpoint itself",
            id="gguf of another kind",
        ),
        pytest.param(
            struct.pack("<9I", 0x67676A74, 3, 32000, 4096, 256, 32, 32, 128, 0),
            "a LLaMA model file (ggjt) with 32000 tokens",
            MODEL,
            id="ggjt",
        ),
        pytest.param(
            struct.pack("<9I", 0x67676D66, 1, 300, 4096, 256, 32, 32, 128, 0),
            "a LLaMA model file (ggmf) with 300 tokens",
            MODEL,
            id="ggmf",
        ),
        pytest.param(
            struct.pack("<8I", 0x67676D6C, 32000, 4096, 256, 32, 32, 128, 0),
            "a LLaMA model file (ggml) with 32000 tokens",
            MODEL,
            id="ggml",
        ),
        pytest.param(
            struct.pack("<12I", 0x67676D6C, 51864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1),
            "a whisper.cpp model (ggml)",
            "it understands speech, and is no file of llama.cpp; whisper.cpp runs it",
            id="whisper",
        ),
        pytest.param(
            struct.pack("<3I", 0x67676D6C, 300, 4096),
            "a LLaMA model file (ggml) with 300 tokens",
            MODEL,
            id="ggml cut behind its count",
        ),
        pytest.param(
            struct.pack("<2I", 0x67676D6C, 7),
            "a LLaMA model file (ggml)",
            MODEL,
            id="cut ggml",
        ),
        pytest.param(
            zipped("archive/data.pkl"), "a PyTorch file (.pt, .pth or .bin)", OTHER_TOOLS, id="pt"
        ),
        pytest.param(
            pickle.dumps({"model": 1}, protocol=2),
            "a PyTorch file (.pt, .pth or .bin)",
            OTHER_TOOLS,
            id="pickle",
        ),
        pytest.param(
            struct.pack("<Q", 2) + b"{}", "a safetensors file", OTHER_TOOLS, id="safetensors"
        ),
        pytest.param(
            struct.pack("<8i", 0x616B3432, 1, 288, 768, 6, 6, 6, 32000),
            "a llama2.c model",
            "it holds no training state; llama2.c runs it, and llama.cpp's "
            "llama-convert-llama2c-to-ggml makes a GGUF of it",
            id="llama2.c",
        ),
        pytest.param(
            struct.pack("<IfI5sfI5s", 27, 0, 5, b"<unk>", 0, 5, b"\n<s>\n"),
            "a llama2.c tokenizer (tokenizer.bin)",
            "it goes with a llama2.c model; give the checkpoint itself",
            id="llama2.c tokenizer",
        ),
        pytest.param(
            b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02",
            "a SentencePiece model (tokenizer.model)",
            VOCABULARY,
            id="tokenizer.model",
        ),
        pytest.param(
            b'{\n  "version": "1.0",\n  "truncation": null,',
            "a tokenizer.json",
            "it holds no model, and cannot be read as a vocabulary either; give the checkpoint "
            "itself",
            id="tokenizer.json",
        ),
        pytest.param(b'{"a": 1}', "a JSON file", GIVE, id="json"),
        pytest.param("Es war einmal …\n".encode() * 40, "a text", GIVE, id="text"),
        pytest.param(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "a Git LFS pointer, not the file itself",
            "download the file itself, with git lfs pull",
            id="lfs",
        ),
        pytest.param(
            b"\n<!DOCTYPE html><title>404</title>",
            "a web page (HTML)",
            "the download failed; download the file again",
            id="html",
        ),
        pytest.param(
            zipped("checkpoint.bin"),
            "a zip archive",
            "unpack it with unzip and give the file inside",
            id="zip",
        ),
        pytest.param(
            gzip.compress(bytes(checkpoint().data)),
            "a gzip archive",
            "unpack it with gunzip and give the file inside",
            id="gzip",
        ),
        pytest.param(
            lzma.compress(b"x"),
            "an xz archive",
            "unpack it with unxz and give the file inside",
            id="xz",
        ),
        pytest.param(
            bz2.compress(b"x"),
            "a bzip2 archive",
            "unpack it with bunzip2 and give the file inside",
            id="bz2",
        ),
        pytest.param(
            b"\x28\xb5\x2f\xfd\x04\0",
            "a Zstandard archive",
            "unpack it with unzstd and give the file inside",
            id="zst",
        ),
        pytest.param(
            b"7z\xbc\xaf\x27\x1c\0\4",
            "a 7-Zip archive",
            "unpack it with 7z x and give the file inside",
            id="7z",
        ),
        pytest.param(
            b"Rar!\x1a\x07\x01\0",
            "a RAR archive",
            "unpack it with unrar x and give the file inside",
            id="rar",
        ),
        pytest.param(
            tarred(), "a tar archive", "unpack it with tar -xf and give the file inside", id="tar"
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
            "the trainer's --model-out (ggml-checkpoint-f32.bin) often stayed empty, and the "
            "checkpoint is another file, its --checkpoint-out; if this was the checkpoint, the "
            "training was stopped while saving: look for an older copy",
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
            GIVE,
            id="unknown",
        ),
        pytest.param(
            struct.pack("<Q", 3) + b"{}",  # safetensors say how long their head is
            r"'\x03\x00\x00\x00'",
            GIVE,
            id="safetensors whose head is longer than the file",
        ),
        pytest.param(
            b"\n\x1b[31m",
            r"'\n\x1b[3'",
            GIVE,
            id="unprintable",
        ),
    ],
)
def test_a_foreign_file(data: bytes, found: str, hint: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse(io.BytesIO(data))
    assert str(caught.value) == (
        f"magic at offset 0x0: expected a checkpoint, found {found}; {hint}"
    )
