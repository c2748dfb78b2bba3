"""Dead-letter headers: where a record came from and why it was refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letter import DeadLetter, dead_letter_from_headers
from schemas.errors import DecodeError


@given(st.text(max_size=60), st.integers(0, 47), st.integers(0, 2**63), st.booleans())
def test_headers_round_trip_among_others(error: str, partition: int, offset: int, stub: bool) -> None:
    letter = DeadLetter("bad_zstd", error, "offload", partition, offset, stub)
    headers = [("traceparent", b"00-1"), *letter.headers()]
    assert dead_letter_from_headers(headers) == letter


def test_a_long_error_is_cut() -> None:
    letter = DeadLetter("bad_zstd", "ä" * 10_000, "offload", 0, 0)
    assert max(len(value) for _, value in letter.headers()) <= 1_024
    assert dead_letter_from_headers(letter.headers()).reason == "bad_zstd"


def test_a_missing_or_bad_header_is_named() -> None:
    headers = dict(DeadLetter("bad_zstd", "", "offload", 0, 0).headers())
    with pytest.raises(DecodeError, match="partition"):
        dead_letter_from_headers((headers | {"saccade-dead-partition": b"x"}).items())
    del headers["saccade-dead-reason"]
    with pytest.raises(DecodeError, match="saccade-dead-reason"):
        dead_letter_from_headers(headers.items())
