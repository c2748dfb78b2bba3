from __future__ import annotations

import json

import pytest

from schemas.camera_state import MAX_TEXT_CHARS, CameraState, decode_camera_state, encode_camera_state
from schemas.errors import DecodeError

STATE = CameraState(
    "s/cam", "waiting", "rtsp://h/s", 10**18, 4.9, 5, 6, 7, {"late": 8}, "no_answer", "no answer", 9
)


def test_a_state_comes_back_as_it_was() -> None:
    assert decode_camera_state(encode_camera_state(STATE)) == STATE


def test_a_camera_is_online_while_its_producer_tells_so() -> None:
    online = CameraState("c", "online", "x", 100, 1.0, 1, 1, 0)
    assert online.online(100)
    assert not online.online(100 + 11 * 10**9)
    assert not STATE.online(10**18)


def test_long_words_are_cut_and_not_refused() -> None:
    long = CameraState("c", "failed", "x" * 1000, 1, 0.0, 0, 0, 0, {}, "other", "y" * 1000, 1)
    assert len(decode_camera_state(encode_camera_state(long)).message) == MAX_TEXT_CHARS


@pytest.mark.parametrize("change", [{"fps": "x"}, {"dropped": [1]}, {"dropped": {"late": -1}}, {"camera": 5}])
def test_another_shape_is_a_decode_error(change: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        decode_camera_state(json.dumps(json.loads(encode_camera_state(STATE)) | change))
