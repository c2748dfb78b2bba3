"""What a message may hold before a field of it is looked at."""

from __future__ import annotations

import time

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import envelope
from schemas.errors import DecodeError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=70)
    | st.binary(max_size=300)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=60)),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
    max_leaves=20,
)


def count(value: object) -> int:
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(count, value.values()))
    return 1 + sum(map(count, value)) if isinstance(value, list) else 1


@given(st.dictionaries(st.text(max_size=40), VALUES, max_size=6))
def test_few_values_come_through_however_they_are_nested(values: dict[str, object]) -> None:
    assert count(values) < 1024
    assert envelope.unpack("message", envelope.pack(values)).values == values


@pytest.mark.parametrize(
    "extra",
    [
        [[[[[[0] * 60] * 60] * 60] * 9]] * 5,
        [{str(key): [[]] * 60 for key in range(60)}] * 60,
        [b""] * 60 + [[None] * 60] * 60,
    ],
)
def test_many_values_are_refused_at_once(extra: object) -> None:
    data = msgpack.packb({"v": 1, "ignored": extra})
    assert len(data) > 1024
    started_s = time.perf_counter()
    with pytest.raises(DecodeError, match="more than 1024 values") as caught:
        envelope.unpack("frame", data)
    assert caught.value.reason == "too_large"
    assert time.perf_counter() - started_s < 0.05


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_be_refused_or_read(data: bytes) -> None:
    try:
        envelope.unpack("message", data)
    except DecodeError as error:
        assert str(error)
