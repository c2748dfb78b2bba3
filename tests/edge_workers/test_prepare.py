from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import simplejpeg

from edge_workers.metrics import FrameMetrics
from edge_workers.prepare import Batch, Preparer, prepare
from edge_workers.task import FrameTask, Refusal
from runtime.channel import Channel
from runtime.clock import ManualClock
from runtime.metrics import Metrics
from schemas.label import State
from vit.preprocess import resize_crop

Make = Callable[..., FrameTask]


def jpeg(grey: int) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.full((300, 300, 3), grey, np.uint8), colorspace="RGB"))


class FakeReader:
    """Hands out what it holds, and notes when it was asked; over when empty."""

    def __init__(self, tasks: list[FrameTask]) -> None:
        self.tasks = tasks
        self.arrived = asyncio.Event()

    @property
    def over(self) -> bool:
        return not self.tasks

    def next_tasks(self, max_frames: int) -> list[FrameTask]:
        taken, self.tasks = self.tasks[:max_frames], self.tasks[max_frames:]
        return taken


def preparer(reader: Any, threads: ThreadPoolExecutor, prepared: Channel[Batch]) -> Preparer:
    return Preparer(
        reader,
        threads,
        2,
        batch_frames=3,
        max_frame_pixels=1 << 20,
        resize_crop=resize_crop,
        prepared=prepared,
        metrics=FrameMetrics(Metrics("test"), "frames", ManualClock()),
    )


def test_an_image_with_more_pixels_than_allowed_is_refused(read_task: Make) -> None:
    task = read_task(0, image=jpeg(1))
    prepare([(task, np.empty((224, 224, 3), np.uint8))], max_frame_pixels=1000, resize_crop=resize_crop)
    assert task.refusal is not None
    assert (task.refusal.state, task.refusal.cause) == (State.UNDECODABLE, "too_large")


async def test_crops_stand_beside_their_frames_and_a_refused_frame_spoils_no_other(read_task: Make) -> None:
    old = read_task(0, image=jpeg(0))
    old.refuse(State.DROPPED, "too_old")
    tasks = [old, read_task(1, image=jpeg(10)), read_task(2, image=b"junk"), read_task(3, image=jpeg(200))]
    prepared: Channel[Batch] = Channel(9)
    reader = FakeReader(tasks)
    with ThreadPoolExecutor(2) as threads:
        await preparer(reader, threads, prepared).run()
    first, second = [batch async for batch in prepared]
    assert first.tasks + second.tasks == tasks
    assert (first.crops.shape, second.crops.shape) == ((1, 224, 224, 3), (1, 224, 224, 3))
    assert [round(float(crop.mean())) for crop in (*first.crops, *second.crops)] == [10, 200]
    assert [round(float(task.crop.mean())) for task in (tasks[1], tasks[3])] == [10, 200]
    assert old.refusal == Refusal(State.DROPPED, "too_old")
    assert tasks[2].refusal is not None
    assert (tasks[2].refusal.state, tasks[2].refusal.cause) == (State.UNDECODABLE, "bad_image")
    assert tasks[2].refusal.error


async def test_frames_are_chosen_no_earlier_than_the_model_takes_the_batch_before(read_task: Make) -> None:
    reader = FakeReader([read_task(seq, image=jpeg(seq)) for seq in range(7)])
    prepared: Channel[Batch] = Channel(0)
    with ThreadPoolExecutor(2) as threads:
        running = asyncio.create_task(preparer(reader, threads, prepared).run())
        left = []
        async for batch in prepared:
            left.append(len(reader.tasks))
            assert len(batch.tasks) <= 3
        await running
    assert left == [4, 1, 0]
