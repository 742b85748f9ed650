"""The ggla adapters of finetune and of convert-lora-to-ggml.py: pairs alone, and their factor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from converter.facts import Facts, Group, TensorFacts
from converter.inputs.opened import Opened
from converter.inputs.regions import file_regions
from converter.parts import Array
from converter.progress import LOGGER
from converter.snapshot import Counters, SizesOfBase, Snapshot
from ggcp_schema import Checkpoint, Source, Span, printable
from ggcp_schema.checkpoint import CHECKPOINT_FILE
from ggcp_schema.ggla import F16_TYPE, Pairs, pairs_of, path_of
from ggcp_schema.history import ADAPTER_WRITERS
from ggcp_schema.places import place
from ggcp_schema.tensor import element_count

_MEANINGS = {
    "lora_alpha": "The changes are multiplied by it.",
    "lora_r": "The changes are divided by it; ranks are those of the pairs.",
}


class LoraAdapterFile(Opened):
    """A file with the magic ``ggla``, parsed as far as it goes.

    Attributes:
        source: the open file.
        lora: True: it holds the change of a model.
        error: what is wrong with it; None if nothing is.
    """

    lora = True

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.source = checkpoint.source
        self.error = checkpoint.error
        self._container: Mapping[str, Any] = checkpoint.container

    def _snapshot(self) -> Snapshot:
        found = pairs_of(self._container["tensors"])
        if not found.complete and any(path.endswith((".wq", ".wk")) for path in found.pairs):
            LOGGER.warning(
                "only some tensors change, as in an adapter of PEFT: rows of q and k are then in "
                "PEFT's order, which is not that of llama.cpp's models; if you have PEFT's files, "
                "give them to convert_lora_to_gguf.py instead"
            )
        # Where some tensors are missing, whole layers may be.
        sizes = {**found.sizes, **({} if found.complete else {"block_count": None})}
        widened = _Widened(self.source)
        return Snapshot(
            source=self.source,
            kind="a LoRA adapter (ggla)",
            counters=Counters(0, 0, None),
            sizes=SizesOfBase(**sizes),
            weights={
                f"{path}.{half}": _array(record, widened)
                for path, pair in found.pairs.items()
                for half, record in (("a", pair.a), ("b", pair.b))
            },
            ranks=_ranks(found),
            optimizer=None,
            optimizer_version=None,
            context_length=None,
            epsilon=None,
            rope=None,
            vocabulary=None,
            kept=None,
            delta_scale=self._container["lora_alpha"] / self._container["lora_r"],
            missing=None,
            resumption=None,
            locate=self._locate,
        )

    def _locate(self, path: str) -> int | None:
        try:
            return place(CHECKPOINT_FILE, self._container, path)
        except LookupError:
            return None

    def partial_snapshot(self) -> Snapshot | None:
        """Return None: it has no optimizer, and where it is damaged, pairs are missing."""
        return None

    def facts(self) -> Facts:
        """Return all that is known of it."""
        container = self._container
        records = container.get("tensors", [])
        tensors = tuple(_tensor(record) for record in records if "data" in record)
        sizes, ranks, count = {}, {}, None
        if self.error is None:
            found = pairs_of(records)
            sizes, ranks = found.sizes, _ranks(found)
            count = sum(element_count(tensor.shape) for tensor in tensors)
        factors = {name: container[name] for name in _MEANINGS if name in container}
        return Facts(
            file=self.source.label or "",
            length=self.source.size,
            lora=True,
            kind="LoRA adapter (ggla), without any training state",
            kind_code="adapter",
            header_layout="",
            header_note="",
            written_by=ADAPTER_WRITERS,
            training=Group(),
            hyperparameters=Group(sizes),
            ranks=Group({**factors, **ranks}, _MEANINGS),
            context_length=None,
            parameter_count=count,
            optimizer=None,
            tensors=tensors,
            regions=file_regions(
                tensors,
                header=self._locate("tensors") or self.source.size,
                optimizer_header=0,
                length=self.source.size,
                damaged=self.error is not None,
            ),
            error=self.error,
            aborted_save=False,
            vocabulary_tokens=None,
            epsilon=None,
            converted=False,
        )


class _Widened(Source):
    """A file of float16 as if it were one of float32: all that is in it stands twice as far."""

    def __init__(self, source: Source) -> None:
        self._of = source
        self.label = source.label

    def read_at(self, offset: int, length: int) -> bytes:
        """Return bytes of the elements, each widened exactly.

        Raises:
            FormatError: the file was cut or cannot be read.
        """
        data = self._of.read_at(offset // 2, length // 2)
        return np.frombuffer(data, "<f2").astype("<f4").tobytes()


def _array(record: Mapping[str, Any], widened: Source) -> Array:
    span: Span = record["data"]
    shape = span.shape if len(span.shape) == 2 else (*span.shape, 1)  # B of a norm
    if record["type"] == F16_TYPE:
        return Array(shape, (Span(widened, 2 * span.offset, 2 * span.length, shape),))
    return Array(shape, (Span(span.source, span.offset, span.length, shape),))


def _ranks(found: Pairs) -> dict[str, int]:
    """Return the rank of each kind of pair of which all have the same."""
    ranks: dict[str, set[int]] = {}
    for path, pair in found.pairs.items():
        ranks.setdefault(path.rpartition(".")[2], set()).add(pair.a["shape"][0])
    return {kind: min(some) for kind, some in ranks.items() if len(some) == 1}


def _tensor(record: Mapping[str, Any]) -> TensorFacts:
    tensor, half = path_of(record["name"]) or ("", "")
    return TensorFacts(
        path=f"model.{tensor}.{half}" if half else "model.unknown",
        name=printable(record["name"].decode("ascii", "backslashreplace")),
        shape=tuple(record["shape"]),
        data=record["data"],
        name_cut=False,
        padding_zero=not record["padding"].strip(b"\0"),
    )
