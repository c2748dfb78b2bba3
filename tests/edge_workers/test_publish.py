from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from edge_workers.metrics import FrameMetrics
from edge_workers.publish import LabelPublisher
from edge_workers.task import FrameTask
from runtime.channel import Channel
from runtime.clock import ManualClock
from runtime.intake import Delivery
from runtime.metrics import Metrics
from schemas.label import Label, LabelState
from schemas.operating_point import OperatingPoint
from schemas.win_rule import PutResult

POINT = OperatingPoint(tau=0.5, delta=0.9)
Make = Callable[..., FrameTask]


class Rig:
    """Writes labels to nowhere, which answers as it is told; gives every task the label that it has already."""

    def __init__(self, result: PutResult) -> None:
        self.result = result
        self.written: list[Label] = []
        self.letters: list[tuple[int, str, str]] = []
        self.ended: list[Label] = []

    def decide(self, tasks: Sequence[FrameTask]) -> list[Label]:
        return self.ended

    async def write(self, labels: Sequence[Label]) -> list[PutResult]:
        self.written += labels
        return [self.result] * len(labels)

    async def put(self, delivery: Delivery, reason: str, error: str) -> None:
        self.letters.append((delivery.record.offset, reason, error))

    async def publish(self, *batches: list[FrameTask]) -> list[FrameTask]:
        """What the server is to be asked."""
        inferred: Channel[list[FrameTask]] = Channel(9)
        asking: Channel[list[FrameTask]] = Channel(9)
        for batch in batches:
            await inferred.put(batch)
        inferred.close()
        stand_ins: Any = (self, self, self)
        frame_metrics = FrameMetrics(Metrics("test"), "frames", ManualClock())
        await LabelPublisher(
            *stand_ins,
            inferred=inferred,
            asking=asking,
            unasked=lambda _: None,
            tracer=None,
            metrics=frame_metrics,
        ).run()
        return [task async for tasks in asking for task in tasks]


@pytest.mark.parametrize(
    ("result", "asks", "repeated"),
    [
        (PutResult.WRITTEN, True, False),
        (PutResult.UNCHANGED, True, True),
        (PutResult.STALE, True, True),
        (PutResult.ALREADY_FINAL, False, False),
    ],
)
async def test_what_redis_says_decides_whether_the_server_is_asked(
    asking_task: Make, ends: Any, result: PutResult, asks: bool, repeated: bool
) -> None:
    task = asking_task(7, POINT)
    rig = Rig(result)
    assert await rig.publish([task]) == ([task] if asks else [])
    assert rig.written == [task.label]
    assert (ends.acked, task.repeated) == ([] if asks else [7], repeated)


async def test_final_labels_of_frames_that_waited_are_written_after_the_frames_own(
    asking_task: Make, ends: Any
) -> None:
    task = asking_task(7, POINT)
    rig = Rig(PutResult.WRITTEN)
    rig.ended = [replace(task.label, seq=5, state=LabelState.FINAL)]
    assert await rig.publish([task]) == [task]
    assert [label.seq for label in rig.written] == [7, 5]
    assert ends.acked == []


async def test_dropped_frames_are_done_with_their_label_and_undecodable_ones_are_dead_letters(
    asking_task: Make, ends: Any
) -> None:
    dropped, broken = (asking_task(seq, POINT) for seq in (1, 2))
    for task, state in ((dropped, LabelState.DROPPED), (broken, LabelState.UNDECODABLE)):
        task.refuse(state, "cause", "error")
        task.label = replace(task.label, state=state)
    rig = Rig(PutResult.WRITTEN)
    assert await rig.publish([dropped], [broken, asking_task(3, POINT)]) != []
    assert (ends.acked, rig.letters) == ([1], [(2, "cause", "error")])
    assert [label.seq for label in rig.written] == [1, 2, 3]
