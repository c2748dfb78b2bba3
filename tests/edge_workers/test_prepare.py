from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import chain, repeat
from typing import Any

import numpy as np
import pytest
import simplejpeg

from edge_workers.metrics import FrameMetrics
from edge_workers.prepare import FrameBatch, Prepare, Preparer, prepare
from edge_workers.task import FrameTask, Outputs, Refusal
from gating.cameras import Cameras
from gating.stillness import CameraStillness
from runtime.channel import Channel
from runtime.clock import ManualClock
from runtime.codec_threads import CodecThreads
from runtime.metrics import Metrics
from schemas.errors import DecodeError
from schemas.label import LabelState
from vit.preprocess import Pixels, resize_crop

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


PREPARE = partial(prepare, max_frame_pixels=1 << 20, resize_crop=resize_crop)


def preparer(
    reader: Any,
    threads: CodecThreads,
    prepared: Channel[FrameBatch],
    stillness: Any = None,
    decode: Prepare = PREPARE,
) -> Preparer:
    return Preparer(
        reader,
        threads,
        batch_frames=3,
        max_frame_pixels=1 << 20,
        prepare=decode,
        prepared=prepared,
        metrics=FrameMetrics(Metrics("test"), "frames", ManualClock()),
        clock=ManualClock(),
        stillness=stillness if callable(stillness) else lambda: stillness,
    )


def test_an_image_with_more_pixels_than_allowed_is_refused(read_task: Make) -> None:
    task = read_task(0, image=jpeg(1))
    with pytest.raises(DecodeError) as refused:
        prepare((task, np.empty((224, 224, 3), np.uint8)), max_frame_pixels=1000, resize_crop=resize_crop)
    assert refused.value.reason == "too_large"


async def test_crops_stand_beside_their_frames_and_a_refused_frame_spoils_no_other(read_task: Make) -> None:
    old = read_task(0, image=jpeg(0))
    old.refuse(LabelState.DROPPED, "too_old")
    tasks = [old, read_task(1, image=jpeg(10)), read_task(2, image=b"junk"), read_task(3, image=jpeg(200))]
    prepared: Channel[FrameBatch] = Channel(9)
    reader = FakeReader(tasks)
    with CodecThreads(2) as threads:
        await preparer(reader, threads, prepared).run()
    (batch,) = [batch async for batch in prepared]
    assert batch.tasks == tasks
    assert batch.crops.shape == (2, 224, 224, 3)
    assert [round(float(crop.mean())) for crop in batch.crops] == [10, 200]
    assert [round(float(task.crop.mean())) for task in (tasks[1], tasks[3])] == [10, 200]
    assert old.refusal == Refusal(LabelState.DROPPED, "too_old")
    assert tasks[2].refusal is not None
    assert (tasks[2].refusal.state, tasks[2].refusal.cause) == (LabelState.UNDECODABLE, "bad_image")
    assert tasks[2].refusal.error


async def test_frames_are_chosen_no_earlier_than_the_model_takes_the_batch_before(read_task: Make) -> None:
    reader = FakeReader([read_task(seq, image=jpeg(seq)) for seq in range(7)])
    prepared: Channel[FrameBatch] = Channel(0)
    with CodecThreads(2) as threads:
        running = asyncio.create_task(preparer(reader, threads, prepared).run())
        left = []
        async for batch in prepared:
            left.append(len(reader.tasks))
            assert len(batch.tasks) <= 3
        await running
    assert left == [4, 1, 0]


def standing(read_task: Make, levels: list[int], camera: str = "c") -> list[FrameTask]:
    """Frames of one camera at five a second, each of one grey level."""
    return [
        read_task(seq, image=jpeg(level), camera=camera, captured_ns=seq * 200_000_000)
        for seq, level in enumerate(levels)
    ]


async def batches_of(tasks: list[FrameTask], stillness: Any, decode: Prepare = PREPARE) -> list[FrameBatch]:
    prepared: Channel[FrameBatch] = Channel(99)
    with CodecThreads(2) as threads:
        await preparer(FakeReader(tasks), threads, prepared, stillness, decode).run()
    return [batch async for batch in prepared]


async def test_frames_of_a_standing_camera_rest_on_the_last_classified_one(read_task: Make) -> None:
    tasks = standing(read_task, [50] * 7 + [120] * 3)
    batches = await batches_of(list(tasks), Cameras(CameraStillness[Outputs]))
    assert [task for batch in batches for task in batch.tasks] == tasks
    assert [task.outputs.seq for task in tasks] == [0, 0, 0, 0, 0, 5, 5, 7, 7, 7]
    assert sum(len(batch.crops) for batch in batches) == 3
    assert [task.is_still for task in tasks if "prepare" in task.spans] == [False] * 3


async def test_cameras_are_held_apart_and_the_model_gets_full_batches(read_task: Make) -> None:
    levels = [[0] * 4, [40] * 4, [80, 160, 80, 160]]
    cameras = [standing(read_task, each, f"c{number}") for number, each in enumerate(levels)]
    turns = [task for turn in zip(*cameras, strict=True) for task in turn]
    batches = await batches_of(list(turns), Cameras(CameraStillness[Outputs]))
    assert [task for batch in batches for task in batch.tasks] == turns
    assert [[round(float(crop.mean())) for crop in batch.crops] for batch in batches] == [
        [0, 40, 80],
        [160, 80, 160],
    ]
    assert [task.outputs.seq for task in turns if task.camera != "c2"] == [0] * 8


async def test_what_one_frames_decoder_does_costs_none_that_looks_like_it(read_task: Make) -> None:
    def decode(pair: tuple[FrameTask, Pixels]) -> None:
        if pair[0].frame.seq == 0:
            raise DecodeError("too_slow", "it took too long")
        PREPARE(pair)

    tasks = standing(read_task, [50] * 14)
    batches = await batches_of(list(tasks), Cameras(CameraStillness[Outputs]), decode)
    assert [task.frame.seq for task in tasks if task.refusal is not None] == [0]
    classified = [task for task in tasks if not task.is_still and task.refusal is None]
    assert sum(len(batch.crops) for batch in batches) == len(classified)
    assert tasks[-1].is_still
    assert tasks[-1].outputs.refusal is None


async def test_another_calibration_may_begin_to_hold_still_frames_at_any_batch(read_task: Make) -> None:
    cameras: Cameras[CameraStillness[Outputs]] = Cameras(CameraStillness[Outputs])
    tasks = standing(read_task, [50] * 6)
    calibrations = chain([None], repeat(cameras))
    await batches_of(list(tasks), lambda: next(calibrations))
    assert [task.frame.seq for task in tasks if not task.is_still] == [0, 1, 2, 3]


async def test_while_the_belief_is_in_doubt_every_frame_is_looked_at(read_task: Make) -> None:
    def decode(pair: tuple[FrameTask, Pixels]) -> None:
        PREPARE(pair)
        pair[0].outputs.in_doubt = pair[0].frame.seq == 10

    tasks = standing(read_task, [50] * 16)
    await batches_of(list(tasks), Cameras(CameraStillness[Outputs]), decode)
    assert [task.frame.seq for task in tasks if not task.is_still] == [0, 5, 10, 11, 12, 13, 14, 15]


async def test_nothing_rests_on_what_came_before_a_frame_that_could_not_be_glanced_at(
    read_task: Make,
) -> None:
    tasks = standing(read_task, [50] * 4)
    tasks[1] = read_task(1, image=b"junk", camera="c", captured_ns=200_000_000)
    await batches_of(list(tasks), Cameras(CameraStillness[Outputs]))
    assert [task.outputs.seq for task in tasks] == [0, 1, 2, 2]


async def test_stills_and_what_cannot_be_glanced_at_are_classified(read_task: Make) -> None:
    stills = [read_task(seq, image=jpeg(9), still=True) for seq in range(3)]
    broken = [read_task(seq, image=b"junk", camera="d") for seq in range(2)]
    await batches_of([*stills, *broken], Cameras(CameraStillness[Outputs]))
    assert not any(task.is_still for task in (*stills, *broken))
    assert all(task.refusal is not None for task in broken)
