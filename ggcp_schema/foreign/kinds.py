"""The kinds of files that people take for a checkpoint, and checkpoints: what to do with each."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

_COPY = "the file was never written, or was lost on the disk; look for a copy"
_ENDIAN = "only little-endian checkpoints can be read; train or copy on a little-endian machine"
_LLAMA = (
    "a model, not a checkpoint; it works as --vocab, and llama.cpp's convert_llama_ggml_to_gguf.py "
    "makes a GGUF of it (with the package gguf below 0.9: later ones write F32 and F16 wrongly)"
)
_OF_OTHER_TOOLS = (
    "this program reads what llama.cpp's trainers saved in 2023; for the models of other tools "
    "there is llama.cpp's convert_hf_to_gguf.py"
)
NO_CHECKPOINT = "give a .bin checkpoint of train-text-from-scratch or finetune from 2023"
"""What to do with a file that is no checkpoint."""

_VOCABULARY = "it holds no model and works as --vocab; give the checkpoint itself first"


class Kind(Enum):
    """What a file is in words, and what to do with it where a checkpoint is expected."""

    TRAINING = "a training checkpoint (ggcp)", "give it as the checkpoint"
    LORA = "a LoRA checkpoint (ggcl)", "give it as the checkpoint"
    GGLA = "a LoRA adapter (ggla)", "give it as the checkpoint"
    GGJT = "a LLaMA model file (ggjt)", _LLAMA
    GGMF = "a LLaMA model file (ggmf)", _LLAMA
    GGML = "a LLaMA model file (ggml)", _LLAMA
    BIG_ENDIAN_TRAINING = "a checkpoint of a big-endian machine", _ENDIAN
    BIG_ENDIAN_LORA = "a LoRA checkpoint of a big-endian machine", _ENDIAN
    MAGICLESS = (
        "a training checkpoint of 17 to 21 May 2023, before the magic",
        "give it as the checkpoint",
    )
    GGUF_ADAPTER = (
        "an adapter (GGUF)",
        "it runs beside its base model as it is (llama.cpp's --lora); nothing needs to be "
        "converted",
    )
    GGUF_LORA = (
        "a LoRA checkpoint (GGUF)",
        "ggcp inspect, export and convert read it; this schema describes the files before GGUF",
    )
    GGUF_TRAINING = (
        "a training checkpoint (GGUF)",
        "ggcp inspect, export and convert read it; this schema describes the files before GGUF",
    )
    GGUF_MODEL = (
        "a model (GGUF)",
        "llama.cpp runs it as it is, so nothing needs to be converted; its tokens work as --vocab",
    )
    GGUF_VOCABULARY = "a vocabulary (GGUF)", _VOCABULARY
    GGUF = (
        "a GGUF of another kind",
        "it holds neither a model nor a vocabulary of llama.cpp; give the checkpoint itself",
    )
    DAMAGED_GGUF = (
        "a GGUF that is damaged, or of a version that nobody reads",
        "get another copy of it",
    )
    PYTORCH = "a PyTorch file (.pt, .pth or .bin)", _OF_OTHER_TOOLS
    SAFETENSORS = "a safetensors file", _OF_OTHER_TOOLS
    LLAMA2C = (
        "a llama2.c model",
        "it holds no training state; llama2.c runs it, and llama.cpp's "
        "llama-convert-llama2c-to-ggml makes a GGUF of it",
    )
    LLAMA2C_TOKENIZER = (
        "a llama2.c tokenizer (tokenizer.bin)",
        "it goes with a llama2.c model; give the checkpoint itself",
    )
    WHISPER = (
        "a whisper.cpp model (ggml)",
        "it understands speech, and is no file of llama.cpp; whisper.cpp runs it",
    )
    SENTENCEPIECE = "a SentencePiece model (tokenizer.model)", _VOCABULARY
    TOKENIZER_JSON = (
        "a tokenizer.json",
        "it holds no model, and cannot be read as a vocabulary either; give the checkpoint itself",
    )
    JSON = "a JSON file", NO_CHECKPOINT
    LFS_POINTER = (
        "a Git LFS pointer, not the file itself",
        "download the file itself, with git lfs pull",
    )
    HTML = "a web page (HTML)", "the download failed; download the file again"
    TEXT = "a text", NO_CHECKPOINT
    ZIP = "a zip archive", "unpack it with unzip and give the file inside"
    GZIP = "a gzip archive", "unpack it with gunzip and give the file inside"
    XZ = "an xz archive", "unpack it with unxz and give the file inside"
    ZSTANDARD = "a Zstandard archive", "unpack it with unzstd and give the file inside"
    BZIP2 = "a bzip2 archive", "unpack it with bunzip2 and give the file inside"
    SEVEN_ZIP = "a 7-Zip archive", "unpack it with 7z x and give the file inside"
    RAR = "a RAR archive", "unpack it with unrar x and give the file inside"
    TAR = "a tar archive", "unpack it with tar -xf and give the file inside"
    EMPTY = (
        "an empty file",
        "the trainer's --model-out (ggml-checkpoint-f32.bin) often stayed empty, and the "
        "checkpoint is another file, its --checkpoint-out; if this was the checkpoint, the "
        "training was stopped while saving: look for an older copy",
    )
    ZEROS = "zeros", _COPY

    def __init__(self, what: str, hint: str) -> None:
        self.what = what
        self.hint = hint


class Foreign(NamedTuple):
    """What a file is.

    Attributes:
        kind: of which kind.
        token_count: tokens of the vocabulary in it; None if it holds none.
    """

    kind: Kind
    token_count: int | None = None

    @property
    def what(self) -> str:
        """What it is, in words."""
        count = self.token_count
        return self.kind.what if count is None else f"{self.kind.what} with {count} tokens"
