"""How a report words its numbers."""

from __future__ import annotations

import pytest

from converter.report.words import in_bytes

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (KIB - 1, "1,023 bytes"),
        (KIB, "1,024 bytes (1.0 KiB)"),
        (3 * KIB // 2, "1,536 bytes (1.5 KiB)"),
        (MIB - 1, "1,048,575 bytes (1024.0 KiB)"),
        (MIB, "1,048,576 bytes (1.0 MiB)"),
        (GIB - MIB, "1,072,693,248 bytes (1023.0 MiB)"),
        (GIB, "1,073,741,824 bytes (1.0 GiB)"),
        (5 * GIB // 2, "2,684,354,560 bytes (2.5 GiB)"),
    ],
)
def test_a_length_in_bytes(length: int, words: str) -> None:
    assert in_bytes(length) == words
