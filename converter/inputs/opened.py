"""What all inputs have in common: an open file, and what of it can be had if it is damaged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from converter.facts import Facts
from converter.inputs.rescue import offering_rescue, refusing_rescue, warn_of_damage
from converter.progress import LOGGER
from converter.snapshot import Snapshot
from ggcp_schema import FormatError, Source


class Opened(ABC):
    """An open file that was read as far as it goes; use it in a ``with`` statement.

    Attributes:
        source: the file.
        lora: whether it holds the change of a model, not a model.
        error: what is wrong with it; None if nothing is.
    """

    source: Source
    lora: bool
    error: FormatError | None

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *exception: object) -> None:
        self.source.close()

    @abstractmethod
    def facts(self) -> Facts:
        """Return all that is known of it."""

    @abstractmethod
    def partial_snapshot(self) -> Snapshot | None:
        """Return what is in it as far as it was read; None if not even all of the model is.

        Of a LoRA its pairs stand for the model.
        """

    @abstractmethod
    def _snapshot(self) -> Snapshot:
        """Return what was read, of which all is there that is to be used."""

    def snapshot(self) -> Snapshot:
        """Return all that is in it.

        Raises:
            FormatError: it is damaged.
        """
        if self.error is not None:
            raise self.error
        return self._snapshot()

    def model(self, *, rescue: bool) -> Snapshot:
        """Return its model or pairs, where ``rescue`` is set also from a damaged file.

        Raises:
            FormatError: it is damaged; with ``rescue``, in a way that takes some of them.
        """
        if self.error is None:
            if rescue:
                LOGGER.info("nothing to rescue: the checkpoint is whole")
            return self._snapshot()
        found = self.partial_snapshot()
        if not rescue:
            raise offering_rescue(self.error, whole=found is not None, lora=self.lora)
        if found is None:
            return self._filled(self.error)
        warn_of_damage(self.error, lora=self.lora)
        return replace(found, optimizer=None, missing=0)

    def _filled(self, error: FormatError) -> Snapshot:
        """Return a model with zeros for what is missing, where an input can tell what that is.

        Raises:
            FormatError: it cannot.
        """
        raise refusing_rescue(error, lora=self.lora)
