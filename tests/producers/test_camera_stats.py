from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from producers.camera_stats import CameraStats, Cause, ProducerSummary, is_landmark
from schemas.errors import SourceError


def test_captured_is_published_plus_everything_dropped(stats: CameraStats, counts: Any) -> None:
    for _ in range(4):
        stats.sent()
    stats.acknowledged(100)
    stats.acknowledged(50)
    stats.failed(Cause.REFUSED)
    stats.failed(Cause.UNACKNOWLEDGED)
    stats.dropped(Cause.TOO_LARGE)
    stats.thinned()
    stats.lost(SourceError("gone"))
    summary = stats.summary()
    assert (summary.published, summary.published_bytes, summary.reconnects, summary.thinned) == (2, 150, 1, 1)
    assert summary.dropped == {"refused": 1, "too_large": 1, "unacknowledged": 1}
    assert summary.captured == 5
    assert counts.events == [
        "published 100",
        "published 50",
        "dropped refused",
        "dropped unacknowledged",
        "dropped too_large",
        "troubled other",
        "reconnected",
    ]


def test_counts_from_many_threads_add_up(stats: CameraStats) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2000):
            pool.submit(stats.dropped, Cause.QUEUE_FULL)
    assert stats.summary().dropped == {"queue_full": 2000}


def test_the_summary_adds_up_cameras_and_reads_as_json_and_as_text(stats: CameraStats) -> None:
    stats.sent()
    stats.acknowledged(10)
    stats.dropped(Cause.QUEUE_FULL)
    broken = CameraStats(stats._metrics)
    broken.error = "photos: gone"
    summary = ProducerSummary({"a": stats.summary(), "s/b": broken.summary()})
    plain = json.loads(json.dumps(summary.to_json()))
    assert (plain["published"], plain["dropped"]) == (1, {"queue_full": 1})
    assert plain["cameras"]["s/b"]["error"] == "photos: gone"
    assert summary.errors == {"s/b": "photos: gone"}
    assert str(summary).splitlines() == [
        "a: 1 published of 2, dropped: 1 queue_full",
        "s/b: 0 published of 0, dropped: none (photos: gone)",
    ]


def test_landmarks_are_powers_of_ten() -> None:
    assert [count for count in range(1, 20_000) if is_landmark(count)] == [1, 10, 100, 1000, 10_000]
