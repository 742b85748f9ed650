"""Reads a vocabulary by the name of its file."""

from __future__ import annotations

from pathlib import Path

from converter import vocabulary
from ggcp_schema import Source


def read_vocabulary(path: str | Path, *, token_count: int) -> vocabulary.Vocabulary:
    """What ``converter.vocabulary.read_vocabulary`` makes of a file."""
    with Source.open(path) as source:
        return vocabulary.read_vocabulary(source, token_count=token_count)
