from __future__ import annotations

import asyncio
from typing import Any

import pytest

from producers.camera_stats import CameraStats
from producers.publish import FramePublisher
from runtime.kafka_connection import RecordRefused
from schemas.errors import TransientError
from schemas.frame import Frame
from schemas.topics import frames_partition


def frame(seq: int) -> Frame:
    return Frame("site", "site/cam", seq, 1, 8, 8, "jpeg", b"x" * 10, live=False, truth=3)


async def turn() -> None:
    """Let the callbacks of finished futures run."""
    await asyncio.sleep(0)


async def test_a_frame_goes_to_its_cameras_partition_under_its_cameras_key(
    sink: Any, stats: CameraStats
) -> None:
    await FramePublisher(sink, topic="frames").publish(frame(7), stats)
    await turn()
    assert sink.frames == [frame(7)]
    assert sink.keys == [("frames", b"site/cam", frames_partition("site/cam", 48))]
    assert stats.summary().published == 1
    assert stats.summary().published_bytes > 10


async def test_publishing_does_not_wait_for_the_acknowledgement(sink: Any, stats: CameraStats) -> None:
    sink.hold = True
    publisher = FramePublisher(sink, topic="frames")
    for seq in range(3):
        await publisher.publish(frame(seq), stats)
    assert (stats.pending, stats.summary().published) == (3, 0)
    for delivery in sink.held:
        delivery.set_result(None)
    await turn()
    assert (stats.pending, stats.summary().published) == (0, 3)


@pytest.mark.parametrize(
    ("error", "cause"),
    [(TransientError("closed"), "unacknowledged"), (RecordRefused("too large"), "refused")],
)
async def test_a_lost_frame_is_counted_by_cause(
    sink: Any, stats: CameraStats, error: Exception, cause: str
) -> None:
    sink.fail = error
    await FramePublisher(sink, topic="frames").publish(frame(0), stats)
    await turn()
    assert stats.summary().dropped == {cause: 1}
    assert stats.pending == 0


async def test_cancelled_while_waiting_for_room_nothing_is_sent_or_counted(
    sink: Any, stats: CameraStats
) -> None:
    sink.room.clear()
    sending = asyncio.create_task(FramePublisher(sink, topic="frames").publish(frame(0), stats))
    await turn()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert sink.frames == []
    assert stats.pending == 0
