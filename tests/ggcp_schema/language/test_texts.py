"""Many texts, each after its length: read within bounds, held in one buffer, a sequence as any."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggcp_schema import FormatError, Source
from ggcp_schema.language.texts import Limit, Texts, read_texts

LIMIT = Limit(1 << 20, "all texts", "give less")
SOME = (b"a", b"", b"\xff\x00", b"a longer one", b"")


def packed(texts: Sequence[bytes], trailer: bytes = b"") -> bytes:
    layout = "<I" if trailer else "<Q"
    return b"".join(struct.pack(layout, len(text)) + text + trailer for text in texts)


def read(texts: Sequence[bytes], behind: bytes = b"", limit: Limit = LIMIT) -> Texts:
    with Source.over(io.BytesIO(packed(texts) + behind)) as source:
        found, trailers = read_texts(source, len(texts), 8, limit)
        assert (source.read(), trailers) == (behind, b"")
    return found


def test_a_sequence_of_bytes() -> None:
    texts = read(SOME, b"behind")
    assert isinstance(texts, Sequence)
    assert (len(texts), list(texts)) == (5, list(SOME))
    assert [texts[index] for index in range(-5, 5)] == [*SOME, *SOME]
    assert texts[1:3] == SOME[1:3]
    assert b"\xff\x00" in texts
    assert b"b" not in texts
    assert repr(texts) == "<5 texts>"
    for index in (5, -6):
        with pytest.raises(IndexError):
            texts[index]


def test_equality() -> None:
    assert read(SOME) == read(SOME) == SOME == read(SOME)
    assert read(SOME) == list(SOME)
    for other in (SOME[:-1], (*SOME[:-1], b"x"), None, b"a", 5):
        assert read(SOME) != other
    assert read(()) == ()
    with pytest.raises(TypeError):
        hash(read(SOME))


def test_nobody_can_change_them() -> None:
    texts = read(SOME)
    with pytest.raises(TypeError):
        texts[0] = b"x"  # type: ignore[index]
    with pytest.raises(AttributeError):
        texts.other = 1  # type: ignore[attr-defined]


def test_trailers() -> None:
    trailer = struct.pack("<f", 1.5)
    with Source.over(io.BytesIO(packed(SOME, trailer) + b"behind")) as source:
        texts, trailers = read_texts(source, 5, 4, LIMIT, 4)
        assert source.read() == b"behind"
    assert texts == SOME
    assert trailers == 5 * trailer


@given(st.lists(st.binary(max_size=40), max_size=60), st.binary(max_size=9))
def test_any(texts: list[bytes], behind: bytes) -> None:
    assert read(texts, behind) == texts


@given(st.lists(st.binary(max_size=10), min_size=1, max_size=9), st.data())
def test_any_cut_is_an_error(texts: list[bytes], data: st.DataObject) -> None:
    whole = packed(texts)
    length = data.draw(st.integers(0, len(whole) - 1))
    with (
        Source.over(io.BytesIO(whole[:length])) as source,
        pytest.raises(FormatError, match="the end of the file"),
    ):
        read_texts(source, len(texts), 8, LIMIT)


def error_of(data: bytes, count: int, limit: Limit = LIMIT) -> str:
    with Source.over(io.BytesIO(data)) as source, pytest.raises(FormatError) as caught:
        read_texts(source, count, 8, limit)
    return str(caught.value)


def test_a_text_that_leaves_no_room_for_the_lengths_behind_it() -> None:
    assert error_of(packed((b"ab", b"c"))[:-2], 2) == (
        "[0] at offset 0x8: expected 10 bytes, found 9 bytes and the end of the file; "
        "the file is cut short; look for a whole copy of it"
    )


def test_a_text_that_was_read_before_it_was_clear_that_it_leaves_no_room() -> None:
    # Behind the first text there is no room for three more, though it is small.
    data = packed((b"abcd", b"", b"")) + bytes(7)
    assert error_of(data, 4) == (
        "[0] at offset 0x8: expected 28 bytes, found 27 bytes and the end of the file; "
        "the file is cut short; look for a whole copy of it"
    )


def test_the_limit_holds_for_lengths_and_for_texts() -> None:
    data = packed((b"a" * 16, b"b" * 8)) + bytes(100)
    limit = Limit(40, "all texts", "give less")
    assert read((b"a" * 16, b"b" * 8), bytes(100), limit) == (b"a" * 16, b"b" * 8)
    assert error_of(data, 2, limit._replace(end=39)) == (
        "[1] at offset 0x20: expected all texts in the first 39 bytes, "
        "found 8 bytes at 32; give less"
    )
    assert error_of(data, 5, limit._replace(end=39)) == (
        "file at offset 0x0: expected all texts in the first 39 bytes, "
        "found 40 bytes at 0; give less"
    )


def test_a_length_that_no_memory_holds() -> None:
    assert error_of(struct.pack("<Q", 2**64 - 1) + bytes(16), 2) == (
        f"[0] at offset 0x8: expected {2**64 - 1} bytes, found 16 bytes and the end of the file; "
        "the file is cut short; look for a whole copy of it"
    )


def test_memory_is_that_of_the_file_and_four_bytes_for_each() -> None:
    texts = [b"%07d" % index for index in range(100_000)]
    data = packed(texts)
    with Source.over(io.BytesIO(data)) as source:
        tracemalloc.start()
        try:
            found = read_texts(source, len(texts), 8, LIMIT._replace(end=1 << 24))[0]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert found == texts
    assert peak < 2 * (len(data) + 4 * len(texts))  # a buffer that grows has room to spare
