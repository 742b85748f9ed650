"""Files to start from: all real ones, and small synthetic ones of every layout, made as needed."""

from __future__ import annotations

import functools
import io
import itertools
import random
import struct
from collections.abc import Iterator, Sequence

from real_files import unpacked

from fuzz import common
from fuzz.common import ROOT
from fuzz.null import NullOutput
from ggcp_schema import FormatError
from ggcp_schema.enums import NameFamily, OptimizerType
from ggcp_schema.order import Order
from ggcp_schema.synthetic import Synthetic, SyntheticAdapter, SyntheticLora, SyntheticMagicless
from ggcp_schema.synthetic.base import SyntheticFile

TYPES = (OptimizerType.ADAM, OptimizerType.LBFGS)


def real(beginning: tuple[str, ...] = ("v0", "v1", "ggc", "ggla", "pre")) -> Iterator[bytes]:
    """The fixtures whose names begin so."""
    for path in sorted((ROOT / "fixtures").iterdir()):
        if path.name.startswith(beginning):
            yield from (data for _, data in unpacked(path))


def written(made: SyntheticFile) -> bytes:
    file = io.BytesIO()
    made.write(file)
    return file.getvalue()


def small(chance: random.Random) -> bytes:
    """A small checkpoint or adapter of any layout."""
    sizes = {
        "vocabulary_size": chance.choice((3, 4, 7)),
        "embedding_length": chance.choice((2, 4, 8)),
        "head_count": chance.choice((1, 2)),
        "block_count": chance.choice((0, 1, 1, 2)),
        "seed": chance.randrange(4),
    }
    state = {
        "optimizer_type": chance.choice(TYPES),
        "convergence_past_count": chance.choice((0, 0, 1, 3)),
        "approx_hessian_count": chance.choice((1, 2)),
        "context_length": chance.choice((1, 16)),
        "iteration_count": chance.choice((1, 100)),
    }
    ranks = {kind: chance.randrange(4) for kind in ("wq", "w1", "norm", "output")}
    try:
        if chance.random() < 0.1:
            return written(
                SyntheticMagicless(**sizes, feed_forward_multiple=chance.choice((1, 32)))
            )
        if chance.random() < 0.15:
            return written(
                SyntheticAdapter(
                    **sizes,
                    feed_forward_length=chance.choice((1, 5, 6)),
                    ranks=chance.choice((1, 2, ranks)),
                    lora_alpha=chance.choice((0, 1, 6)),
                    lora_r=chance.choice((1, 4)),
                )
            )
        if chance.random() < 0.35:
            multiple = chance.choice((None, 4))
            return written(
                SyntheticLora(
                    **sizes,
                    **state,
                    names=chance.choice(list(NameFamily)),
                    feed_forward_multiple=multiple,
                    feed_forward_length=chance.choice((1, 5, 6)),
                    ranks=chance.choice((0, 1, 2, ranks)),
                )
            )
        version = chance.choice((0, 1))
        return written(
            Synthetic(
                **sizes,
                **state,
                feed_forward_multiple=chance.choice((1, 3, 32)),
                rope_dimension_count=chance.choice((None, None, 2)),
                optimizer_version=version,
                with_params=version == 1 and chance.random() < 0.5,
                order=chance.choice(list(Order)),
                unseen_token_count=chance.choice((0, 1)),
            )
        )
    except FormatError:  # hyperparameters that do not go together
        return small(chance)


@functools.cache
def training(layers: int = 1) -> bytes:
    """A checkpoint from which others are made."""
    return written(
        Synthetic(
            vocabulary_size=3, embedding_length=4, feed_forward_multiple=4, head_count=1,
            block_count=layers, unseen_token_count=1,
        )
    )  # fmt: skip


@functools.cache
def lora() -> bytes:
    """A LoRA checkpoint whose base is the model of ``training``."""
    return written(
        SyntheticLora(
            vocabulary_size=3, embedding_length=4, feed_forward_length=12, head_count=1,
            block_count=1, ranks=1,
        )
    )  # fmt: skip


def checkpoints() -> Iterator[bytes]:
    """Checkpoints of every layout, small and real, whole and cut, and what people take for them."""
    for version, kind, with_params, past in itertools.product((0, 1), TYPES, (False, True), (0, 3)):
        if version == 0 and with_params:
            continue
        for layers in (0, 1):
            yield written(
                Synthetic(
                    vocabulary_size=3, embedding_length=4, feed_forward_multiple=4, head_count=1,
                    block_count=layers, optimizer_version=version, optimizer_type=kind,
                    with_params=with_params, convergence_past_count=past, approx_hessian_count=2,
                )
            )  # fmt: skip
    for kind, multiple, layers in itertools.product(TYPES, (4, None), (0, 1)):
        yield written(
            SyntheticLora(
                vocabulary_size=3, embedding_length=4, feed_forward_length=12, head_count=1,
                block_count=layers, optimizer_type=kind, feed_forward_multiple=multiple, ranks=1,
                approx_hessian_count=2,
            )
        )  # fmt: skip
    for names in NameFamily:
        yield written(
            SyntheticLora(
                vocabulary_size=3, embedding_length=4, feed_forward_length=12, head_count=1,
                block_count=2, ranks=1, names=names,
            )
        )  # fmt: skip
    for layers in (0, 1):
        sizes = {"vocabulary_size": 3, "embedding_length": 4, "block_count": layers}
        yield written(SyntheticMagicless(**sizes, feed_forward_multiple=4, head_count=1))
        yield written(SyntheticAdapter(**sizes, head_count=1, feed_forward_length=12, ranks=1))
    yield training()
    yield lora()
    yield training()[:2500]
    for magic in (b"GGUF", b"tjgg", b"fmgg", b"lmgg", b"PK\x03\x04", b"ggcp", b"\x1f\x8b"):
        yield magic + training()[4:200]
    yield bytes(100)
    yield b""
    yield from real()


def resumable(data: bytes) -> bytes:
    """The GGUF that a checkpoint is converted to.

    Raises:
        FormatError: it is damaged.
        ConversionError: it holds no optimizer.
    """
    from converter.gguf_io.writer import write
    from converter.inputs import open_checkpoint
    from converter.use_cases.convert import planned_conversion

    output = common.file("output")
    with open_checkpoint(common.file("input").fill(data)) as opened:
        write(planned_conversion(opened.snapshot()), NullOutput(output))  # type: ignore[arg-type]
    return output.content()


def text(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def array(key: bytes, kind: int, count: int, elements: bytes) -> bytes:
    return text(key) + struct.pack("<IIQ", 9, kind, count) + elements


def gguf(pairs: list[bytes], tensors: list[tuple[bytes, tuple[int, ...], int, bytes]]) -> bytes:
    """A GGUF of packed keys and of tensors: name, dimensions, type and data."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs)
    offset = 0
    for name, shape, kind, data in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += len(data) + -len(data) % 32
    body = b"".join(data + bytes(-len(data) % 32) for _, _, _, data in tensors)
    return head + bytes(-len(head) % 32) + body if tensors else head


@functools.cache
def vocabulary(count: int) -> bytes:
    """A vocabulary-only GGUF of ``count`` tokens."""
    return gguf([_LLAMA, *_vocabulary_keys(count)], [])


_LLAMA = text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")


def _vocabulary_keys(count: int) -> Iterator[bytes]:
    names = [b"<unk>", b"<s>", b"</s>", *(b"t%d" % index for index in range(count))][:count]
    yield text(b"tokenizer.ggml.model") + struct.pack("<I", 8) + text(b"llama")
    yield array(b"tokenizer.ggml.tokens", 8, count, b"".join(map(text, names)))
    yield array(b"tokenizer.ggml.scores", 6, count, struct.pack(f"<{count}f", *range(count)))
    yield array(b"tokenizer.ggml.token_type", 5, count, struct.pack(f"<{count}i", *[1] * count))
    for name, token in zip((b"bos", b"eos", b"unknown"), (1, 2, 0), strict=True):
        if token < count:
            yield text(b"tokenizer.ggml.%s_token_id" % name) + struct.pack("<II", 4, token)


def ggjt(magic: bytes, version: int | None) -> bytes:
    """A model file of 2023 of four tokens, without tensors."""
    head = magic + (b"" if version is None else struct.pack("<I", version))
    head += struct.pack("<7I", 4, 32, 32, 4, 1, 8, 0)
    for token in (b" \xe2\x81\x87 ", b"", b"", b"a b"):
        head += struct.pack("<I", len(token)) + token
        head += b"" if version is None else struct.pack("<f", -1.0)
    return head


def _varint(number: int) -> bytes:
    low = number & 0x7F
    return bytes([low]) if number < 0x80 else bytes([low | 0x80]) + _varint(number >> 7)


def _message(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


PIECES = ((b"<unk>", 2), (b"<s>", 3), (b"</s>", 3), (b"\xe2\x96\x81a", 1), (b"user", 4))
"""Texts of a small vocabulary, and their types."""

TOKENIZER_PIECES = (*PIECES, (b"\xe2\x96\x81", 1), (b"a", 1))
"""The same, of which a tokenizer can be made: the characters are there too."""


def sentencepiece(pieces: Sequence[tuple[bytes, int]] = PIECES) -> bytes:
    """A SentencePiece model, as a protocol buffer."""
    model = b""
    for piece, kind in pieces:
        packed = _message(1, piece) + b"\x15" + struct.pack("<f", -1.0) + b"\x18" + _varint(kind)
        model += _message(1, packed)
    trainer = b"\x18\x02" + b"\x20" + _varint(len(pieces))  # BPE, so many pieces
    normalizer = _message(1, b"identity") + b"\x18\x01" + b"\x20\x00"
    return model + _message(2, trainer) + _message(3, normalizer)


def vocabularies() -> Iterator[bytes]:
    """Vocabulary files of every kind, small and real."""
    yield from (vocabulary(count) for count in (1, 3, 4))
    yield from (ggjt(b"tjgg", version) for version in (1, 3))
    yield ggjt(b"fmgg", 1)
    yield ggjt(b"lmgg", None)
    yield sentencepiece()
    scalars = ("B", "b", "H", "h", "I", "i", "f", "?", None, None, "Q", "q", "d")
    yield gguf(
        [
            text(b"key.%d" % kind) + struct.pack(f"<I{layout}", kind, 1)
            for kind, layout in enumerate(scalars)
            if layout
        ]
        + [
            array(b"array.%d" % kind, kind, 2, struct.pack(f"<2{layout}", 1, 0))
            for kind, layout in enumerate(scalars)
            if layout
        ],
        [],
    )
    yield from real(("vocab",))
    yield from (b"pcgg", b"lcgg", b"algg", b"PK\x03\x04", b"{}", b"\0" * 8, b"")


def models(*more: bytes) -> Iterator[bytes]:
    """Models in GGUF that a LoRA checkpoint of ``lora`` can be merged into, of each type.

    Args:
        more: further keys, packed.
    """
    for kind, size in ((0, 4), (1, 2), (30, 2)):
        sizes = {
            b"llama.embedding_length": 4,
            b"llama.block_count": 1,
            b"llama.feed_forward_length": 12,
            b"llama.attention.head_count": 1,
            b"llama.rope.dimension_count": 4,
            b"general.alignment": 32,
        }
        pairs = [_LLAMA]
        pairs += [text(key) + struct.pack("<II", 4, value) for key, value in sizes.items()]
        pairs += more
        shapes: list[tuple[bytes, tuple[int, ...]]] = [
            (b"token_embd", (4, 3)), (b"output_norm", (4,)), (b"output", (4, 3)),
            (b"blk.0.attn_norm", (4,)), (b"blk.0.attn_q", (4, 4)), (b"blk.0.attn_k", (4, 4)),
            (b"blk.0.attn_v", (4, 4)), (b"blk.0.attn_output", (4, 4)), (b"blk.0.ffn_norm", (4,)),
            (b"blk.0.ffn_gate", (4, 12)), (b"blk.0.ffn_down", (12, 4)), (b"blk.0.ffn_up", (4, 12)),
        ]  # fmt: skip
        tensors = []
        for name, shape in shapes:
            count = shape[0] * (shape[1] if len(shape) == 2 else 1)
            vector = len(shape) == 1
            data = bytes(count * (4 if vector else size))
            tensors.append((name + b".weight", shape, 0 if vector else kind, data))
        yield gguf(pairs, tensors)


def whole_models() -> Iterator[bytes]:
    """The same with the keys that a Hugging Face folder takes from its base."""
    return models(
        text(b"llama.context_length") + struct.pack("<II", 4, 16),
        text(b"llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, 1e-5),
        text(b"llama.rope.freq_base") + struct.pack("<If", 6, 10000.0),
        *_vocabulary_keys(3),
    )
