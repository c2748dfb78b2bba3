"""`frames` messages: exact round trip, old bytes readable, everything else a DecodeError with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DecodeError
from schemas.frame import ENCODINGS, Frame, decode_frame, encode_frame, identity_of
from schemas.limits import MAX_FRAME_BYTES, MAX_FRAME_PIXELS

GOLDEN = Path(__file__).parent / "golden"
FRAME = Frame(
    site="north",
    camera="north/gate-1",
    seq=41,
    captured_ns=1_763_700_000_123_456_789,
    width=640,
    height=480,
    encoding="jpeg",
    image=b"\xff\xd8" + bytes(range(256)) + b"\xff\xd9",
    live=True,
    truth=7,
)

names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,30}\Z")
frames = st.builds(
    Frame,
    site=st.just(""),
    camera=names,
    seq=st.integers(0, 2**63 - 1),
    captured_ns=st.integers(0, 2**63 - 1),
    width=st.integers(1, 4096),
    height=st.integers(1, 4096),
    encoding=st.sampled_from(sorted(ENCODINGS)),
    image=st.binary(max_size=2_000),
    live=st.booleans(),
    truth=st.none() | st.integers(-1, 999),
)


def decode(data: bytes) -> Frame:
    return decode_frame(data, max_frame_bytes=MAX_FRAME_BYTES, max_frame_pixels=MAX_FRAME_PIXELS)


def changed(**fields: object) -> bytes:
    values = msgpack.unpackb(encode_frame(FRAME)) | fields
    return msgpack.packb({name: value for name, value in values.items() if value != "absent"})


def reason(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    return caught.value.reason


@given(frames)
def test_round_trip_is_exact(frame: Frame) -> None:
    assert decode(encode_frame(frame)) == frame


@given(frames, names)
def test_round_trip_with_a_site(frame: Frame, site: str) -> None:
    sited = replace(frame, site=site, camera=f"{site}/{frame.camera}")
    assert decode(encode_frame(sited)) == sited


def test_bytes_of_version_1_stay_readable() -> None:
    assert decode((GOLDEN / "frame_v1.bin").read_bytes()) == FRAME


def test_unknown_fields_of_newer_writers_are_ignored() -> None:
    assert decode(changed(exposure_ms=3.5)) == FRAME


@given(st.integers(0, 10_000))
def test_every_truncation_is_refused(length: int) -> None:
    data = encode_frame(FRAME)
    assert reason(data[: length % len(data)]) == "truncated"


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    reason(data)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_gives_a_frame_or_a_decode_error(position: int, mask: int) -> None:
    data = bytearray(encode_frame(FRAME))
    data[position % len(data)] ^= mask
    try:
        decode(bytes(data))
    except DecodeError:
        return


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"v": 2}, "version"),
        ({"v": "1"}, "wrong_type"),
        ({"v": "absent"}, "missing_field"),
        ({"camera": "absent"}, "missing_field"),
        ({"camera": "south/gate"}, "bad_name"),
        ({"camera": "north/ga te"}, "bad_name"),
        ({"camera": "gate"}, "bad_name"),
        ({"camera": b"north/gate"}, "wrong_type"),
        ({"camera": "x" * 300}, "too_large"),
        ({"seq": -1}, "out_of_range"),
        ({"seq": 2**63}, "out_of_range"),
        ({"seq": True}, "wrong_type"),
        ({"seq": 1.0}, "wrong_type"),
        ({"width": 0}, "out_of_range"),
        ({"width": 8_000, "height": 8_000}, "too_large"),
        ({"width": 65_536}, "out_of_range"),
        ({"encoding": "bmp"}, "out_of_range"),
        ({"image": "text"}, "wrong_type"),
        ({"live": 1}, "wrong_type"),
        ({"truth": -2}, "out_of_range"),
    ],
)
def test_a_bad_field_is_refused_with_its_reason(fields: dict[str, object], expected: str) -> None:
    assert reason(changed(**fields)) == expected


def test_what_is_no_map_is_refused() -> None:
    assert reason(msgpack.packb([1, 2])) == "wrong_type"
    assert reason(encode_frame(FRAME) + b"\x00") == "trailing_bytes"
    assert reason(b"\xc1") == "bad_msgpack"


def test_headers_that_promise_more_than_they_bring_allocate_nothing() -> None:
    nested = b"\xdd\x00\x0f\xff\xff" * 1_000
    assert reason(nested) in {"bad_msgpack", "truncated"}


def test_an_image_above_the_limit_is_refused() -> None:
    data = encode_frame(FRAME)
    with pytest.raises(DecodeError) as caught:
        decode_frame(data, max_frame_bytes=len(FRAME.image) - 1, max_frame_pixels=MAX_FRAME_PIXELS)
    assert caught.value.reason == "too_large"
    assert decode_frame(data, max_frame_bytes=len(FRAME.image), max_frame_pixels=640 * 480) == FRAME


def test_of_a_refused_frame_its_identity_can_be_read_where_it_is_sound() -> None:
    too_large = changed(width=60_000, height=60_000, encoding="bmp", image="absent", truth="x")
    found = identity_of(too_large)
    assert found == replace(FRAME, width=1, height=1, encoding="", image=b"", truth=None)
    for broken in (
        b"",
        changed(v=99),
        changed(seq=-1),
        changed(camera="absent"),
        changed(camera="south/gate-1"),
    ):
        assert identity_of(broken) is None
