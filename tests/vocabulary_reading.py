"""Reads a vocabulary by the name of its file."""

from __future__ import annotations

from pathlib import Path

from converter.vocabulary import reading
from converter.vocabulary.model import Vocabulary
from ggcp_schema import Source


def read_vocabulary(path: str | Path, *, token_count: int) -> Vocabulary:
    """What ``converter.vocabulary.reading.read_vocabulary`` makes of a file."""
    with Source.open(path) as source:
        return reading.read_vocabulary(source, token_count=token_count)
