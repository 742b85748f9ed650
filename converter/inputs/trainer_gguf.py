"""The GGUF files of the later trainers: training and LoRA checkpoints, and the models they wrote.

Read by the tables with which the trainers' layout is written (layouts/tables.py), in the other
direction. What each revision wrote: llama.cpp, examples/train-text-from-scratch and
examples/finetune, 44c117f41 (2023-08-28) to July 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeVar

from gguf import GGUFType, Keys

from converter.facts import Facts
from converter.gguf_io import keys
from converter.gguf_io.reader import read_gguf
from converter.inputs.gguf_fields import DAMAGED, GgufFields
from converter.inputs.gguf_optimizer import optimizer_of
from converter.inputs.opened import Opened
from converter.inputs.trainer_gguf_facts import facts_of
from converter.layouts.tables import (
    ARCHITECTURE,
    CONTEXT_LENGTH,
    COUNTER_ROWS,
    HEAD_COUNT,
    HEAD_COUNT_KV,
    RANK_ROWS,
    RMS_EPSILON,
    ROPE_FREQUENCY_BASE,
    ROPE_SCALE_LINEAR,
    SIZE_ROWS,
    tensor_name,
    weight_shapes,
)
from converter.parts import Array
from converter.progress import LOGGER
from converter.snapshot import (
    Counters,
    Hyperparameters,
    Rope,
    Snapshot,
)
from converter.vocabulary.gguf_file import tokenizer_of
from ggcp_schema import FormatError, Source
from ggcp_schema.foreign import Foreign, ForeignFileError, Kind, gguf_kind
from ggcp_schema.language.checks import shown

T = TypeVar("T")

_RANK_PREFIX = "training.lora.rank."


class TrainerGguf(Opened):
    """A GGUF of the trainers, read as far as its tensors are whole.

    Attributes:
        source: the open file.
        lora: whether it is one of finetune.
        error: what is wrong with it; None if nothing is.

    Raises:
        FormatError: its head is damaged, or it is none of the trainers.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._gguf = read_gguf(source, partial=True)
        self._fields = GgufFields(self._gguf)
        self.lora = any(key.startswith(_RANK_PREFIX) for key in self._gguf.keys)
        self._has_optimizer = keys.OPTIMIZER_FILE_VERSION in self._gguf.keys
        if not (self.lora or self._has_optimizer or self._is_model()):
            raise self._refused()
        self.error: FormatError | None = self._gguf.error
        self._read: Snapshot | None = None
        try:
            self._read = self._mapped
            self._require_end()
        except FormatError as error:
            error.file = source.label
            self.error = self.error or error

    def _is_model(self) -> bool:
        adapter = self._gguf.value(Keys.General.TYPE) == GGUFType.ADAPTER
        return not adapter and tensor_name("tok_embeddings") in self._gguf.tensors

    def _refused(self) -> FormatError:
        kind = gguf_kind(self._gguf.keys, self._gguf.tensors, self._gguf.value(Keys.General.TYPE))
        found = Foreign(kind, self._token_count() if kind is Kind.GGUF_VOCABULARY else None)
        source = self.source
        return ForeignFileError(found, found.what, size=source.size, file=source.label)

    def _token_count(self) -> int | None:
        tokens = self._gguf.keys[Keys.Tokenizer.LIST].metadata
        return None if tokens.element_type is None else len(tokens.value)

    def facts(self) -> Facts:
        """Return all that is known of it."""
        return facts_of(self._gguf, self._read, lora=self.lora, error=self.error)

    def partial_snapshot(self) -> Snapshot | None:
        """Return what is in it as far as it was read; None if not even all of the model is."""
        return self._read

    def _snapshot(self) -> Snapshot:
        return self._mapped

    def _require_end(self) -> None:
        """Make sure that nothing follows the data but their padding."""
        stops = [span.data.offset + span.data.length for span in self._gguf.tensors.values()]
        stop = max(stops, default=self._gguf.data_offset)
        stop = -(-stop // self._gguf.alignment) * self._gguf.alignment
        if self.source.size > stop:
            raise FormatError(
                path="end",
                offset=stop,
                expected="the end of the file",
                found=f"{self.source.size - stop} bytes more",
                hint="something was appended, or the file is damaged; look for another copy",
            )

    @cached_property
    def _mapped(self) -> Snapshot:
        gguf = self._gguf
        architecture = gguf.value(Keys.General.ARCHITECTURE)
        if architecture != ARCHITECTURE:
            raise self._fields.wrong(Keys.General.ARCHITECTURE, f"'{ARCHITECTURE}'")
        sizes = self._sizes()
        ranks = self._fields.numbers(RANK_ROWS) if self.lora else None
        weights = self._weights(sizes, ranks)
        counters = Counters(0, 0, 0)
        if self.lora or self._has_optimizer:
            counters = Counters(**self._fields.numbers(COUNTER_ROWS))
        by_converter = CONTEXT_LENGTH not in gguf.keys
        trained = counters.tokens_per_sample if by_converter else None
        version = gguf.value(keys.GGCP_OPTIMIZER_VERSION)
        return Snapshot(
            source=self.source,
            kind=f"a {'LoRA' if self.lora else 'training'} checkpoint (GGUF)"
            if self._has_optimizer
            else "a model of a trainer (GGUF)",
            counters=counters,
            sizes=sizes,
            weights=weights,
            ranks=ranks,
            optimizer=optimizer_of(gguf, self._fields, weights, lora=self.lora)
            if self._has_optimizer
            else None,
            optimizer_version=version if isinstance(version, int) else None,
            context_length=trained if by_converter else self._fields.number(CONTEXT_LENGTH),
            epsilon=self._fields.single(RMS_EPSILON),
            rope=None if self.lora else self._rope(),
            vocabulary=self._vocabulary(sizes.vocabulary_size),
            kept=tuple(
                value.metadata
                for key, value in gguf.keys.items()
                if key != Keys.General.ARCHITECTURE
            ),
            delta_scale=1.0,
            missing=None,
            resumption=None,
            locate=self._fields.offset,
        )

    def _sizes(self) -> Hyperparameters:
        sizes = self._fields.numbers(SIZE_ROWS)
        head_count = sizes["head_count"]
        if not head_count or sizes["embedding_length"] % head_count:
            raise self._fields.wrong(HEAD_COUNT, f"a divisor of {sizes['embedding_length']}")
        name = tensor_name("tok_embeddings.b" if self.lora else "tok_embeddings")
        embeddings = self._fields.tensor(name)
        if len(embeddings.shape) != 2:
            raise self._fields.shape_error(name, "two dimensions", embeddings.shape)
        most = len(self._gguf.tensors) // 9
        if sizes["block_count"] > most:  # before anything is looped over
            raise self._fields.wrong(
                SIZE_ROWS[2].key, f"at most {most}, by the tensors in the file"
            )
        given = (
            self._fields.number(HEAD_COUNT_KV) if HEAD_COUNT_KV in self._gguf.keys else head_count
        )
        if not given or head_count % given:
            raise self._fields.wrong(HEAD_COUNT_KV, f"a divisor of {head_count} (the heads)")
        return Hyperparameters(
            **sizes, vocabulary_size=embeddings.shape[1], key_value_head_count=given
        )

    def _weights(self, sizes: Hyperparameters, ranks: Mapping[str, int] | None) -> dict[str, Array]:
        weights = {}
        for path, wanted in weight_shapes(sizes, ranks):
            shape = wanted
            if path.endswith((".wk.b", ".wv.b")):
                shape = (wanted[0], sizes.key_value_length)
            weights[path] = self._fields.array(tensor_name(path), shape)
        known = {*map(tensor_name, weights)}
        for name in self._gguf.tensors:
            if name not in known and not name.startswith("optimizer."):
                raise FormatError(
                    path=f"tensor {shown(name)}",
                    expected="only tensors that the trainers write",
                    found="another one",
                    hint=DAMAGED,
                )
        return weights

    def _rope(self) -> Rope:
        base = self._fields.single(ROPE_FREQUENCY_BASE)
        inverse = self._fields.single(ROPE_SCALE_LINEAR)
        usual = Rope()
        return Rope(usual.base if base is None else base, 1 / inverse if inverse else usual.scale)

    def _vocabulary(self, token_count: int) -> Any:
        if Keys.Tokenizer.LIST not in self._gguf.keys:
            return None
        try:
            return tokenizer_of(self._gguf.keys, token_count).metadata
        except FormatError as error:
            LOGGER.warning("the vocabulary in the file cannot be used: %s", error)
            return None
