"""The checksum by which two copies of a file are told to be the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from ggcp_schema import Source, Span


def sha256_of(source: Source, progress: Callable[[int], object]) -> str:
    """Read a whole file, in blocks of a megabyte, and return its SHA-256 (FIPS 180-4).

    Args:
        source: the file.
        progress: called with the number of bytes after each block.

    Returns:
        64 hexadecimal digits, as ``sha256sum`` prints them.

    Raises:
        FormatError: the file cannot be read.
    """
    digest = hashlib.sha256(usedforsecurity=False)
    for block in Span(source, 0, source.size, ()).blocks():
        digest.update(block)
        progress(len(block))
    return digest.hexdigest()
