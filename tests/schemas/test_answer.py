"""A server's answer reads back as it was written; anything else is refused by the name of the field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.answer import ServerAnswer, decode_answer, encode_answer
from schemas.errors import DecodeError


@given(
    st.text(max_size=40),
    st.integers(0, 2**63 - 1),
    st.dictionaries(st.integers(0, 999), st.integers(0, 100_000), min_size=1, max_size=8),
)
def test_round_trip(camera: str, seq: int, pairs: dict[int, int]) -> None:
    answer = ServerAnswer(camera, seq, tuple(pairs), tuple(step / 100_000 for step in pairs.values()))
    assert decode_answer(encode_answer(answer)) == answer


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "bad_json"),
        ("{}", "wrong_type"),
        ('["gate",1]', "wrong_type"),
        ('["gate",-1,[[1,0.5]]]', "out_of_range"),
        ('["gate",1,[]]', "wrong_type"),
        ('["gate",1,[[1]]]', "wrong_type"),
        ('["gate",1,[[1,1.5]]]', "out_of_range"),
        ('["gate",1,[[1,0.5],[1,0.2]]]', "out_of_range"),
        ('["gate",1,[[1,0.1],[2,0.1],[3,0.1],[4,0.1],[5,0.1],[6,0.1],[7,0.1],[8,0.1],[9,0.1]]]', "too_large"),
    ],
)
def test_what_is_no_answer_is_refused(text: str, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_answer(text)
    assert caught.value.reason == reason
