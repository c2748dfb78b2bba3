"""Redis keys: as documented, all different, and lives that fit the retention of the topics."""

from __future__ import annotations

from schemas import redis_keys
from schemas.topics import FRAMES_RETENTION_S


def test_keys_are_as_documented() -> None:
    assert redis_keys.label("north/gate", 7) == "label:north/gate:7"
    assert redis_keys.labels("gate") == "labels:gate"
    assert redis_keys.camera("gate") == "camera:gate"


def test_a_replay_of_frames_meets_the_labels_it_wrote() -> None:
    assert redis_keys.LABEL_TTL_S >= redis_keys.MIN_LABEL_TTL_S >= FRAMES_RETENTION_S + 600


def test_keys_of_one_camera_or_site_never_meet() -> None:
    keys = [
        redis_keys.label("x", 1),
        redis_keys.labels("x"),
        redis_keys.camera("x"),
        redis_keys.camera_lease("x"),
        redis_keys.uplink_workers("x"),
        redis_keys.uplink_spent("x"),
        redis_keys.server_index("x"),
        redis_keys.server_report("x", "y"),
        redis_keys.CAMERAS,
        redis_keys.WAKE,
    ]
    assert len(set(keys)) == len(keys)
