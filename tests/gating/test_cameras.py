"""What a worker knows of its cameras is bounded in number and in age."""

from __future__ import annotations

from gating.cameras import IDLE_S, MAX_CAMERAS, Cameras


def test_the_camera_seen_longest_ago_makes_room() -> None:
    cameras = Cameras(object)
    gate = cameras.of("gate", 0.0)
    assert cameras.of("gate", 1.0) is gate
    cameras.of("door", 2.0)
    assert cameras.of("gate", 3.0) is gate
    for number in range(MAX_CAMERAS - 1):
        cameras.of(f"yard {number}", 4.0)
    assert cameras.known("door") is None
    assert cameras.known("gate") is gate
    assert len(cameras) == MAX_CAMERAS


def test_a_camera_not_seen_for_long_is_forgotten() -> None:
    cameras = Cameras(object)
    cameras.of("gate", 0.0)
    cameras.of("yard", IDLE_S)
    assert cameras.known("gate") is not None
    cameras.of("yard", IDLE_S + 0.1)
    assert cameras.known("gate") is None
    assert cameras.of("yard", 3 * IDLE_S) is cameras.known("yard")
    assert len(cameras) == 1
