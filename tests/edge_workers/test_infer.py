from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from edge_workers.infer import EdgeInference
from edge_workers.metrics import FrameMetrics
from edge_workers.prepare import FrameBatch
from edge_workers.task import FrameTask
from runtime.channel import Channel
from runtime.clock import ManualClock
from runtime.device_thread import DeviceThread
from runtime.metrics import Metrics
from schemas.label import LabelState
from vit.backends import Identity

Make = Callable[..., FrameTask]


class FakeEngine:
    """Gives each crop its own rows; the outputs of a white crop are no numbers."""

    def __init__(self, name: str = "fake") -> None:
        self.sizes: list[int] = []
        self.identity = Identity(name, ("a", "b", "c", "d"), "0" * 16, "0" * 32)

    def classify(self, crops: np.ndarray) -> Any:
        self.sizes.append(len(crops))
        marks = crops[:, 0, 0, 0].astype(np.float32)
        logits = np.where(marks == 255, np.nan, marks)[:, None] * np.ones((1, 4), np.float32)
        return SimpleNamespace(
            logits=logits,
            attention=np.repeat(marks[:, None], 196, axis=1),
            embedding=np.repeat(marks[:, None], 8, axis=1),
        )


async def infer(*batches: FrameBatch) -> tuple[list[list[FrameTask]], FakeEngine, Metrics]:
    engine, metrics = FakeEngine(), Metrics("test")
    prepared: Channel[FrameBatch] = Channel(9)
    inferred: Channel[list[FrameTask]] = Channel(9)
    for batch in batches:
        await prepared.put(batch)
    prepared.close()
    models: Any = SimpleNamespace(engine=engine)
    async with DeviceThread("model") as device:
        frame_metrics = FrameMetrics(metrics, "frames", ManualClock())
        await EdgeInference(models, device, prepared=prepared, inferred=inferred, metrics=frame_metrics).run()
    return [tasks async for tasks in inferred], engine, metrics


def batch_of(tasks: list[FrameTask], *marks: int) -> FrameBatch:
    return FrameBatch(tasks, np.stack([np.full((224, 224, 3), mark, np.uint8) for mark in marks]))


async def test_each_frame_has_its_own_rows_and_refused_ones_pass_by(read_task: Make) -> None:
    tasks = [read_task(seq) for seq in range(3)]
    tasks[1].refuse(LabelState.DROPPED, "too_old")
    (passed,), _, metrics = await infer(batch_of(tasks, 10, 20))
    assert passed == tasks
    assert [float(task.outputs.logits[0]) for task in (tasks[0], tasks[2])] == [10, 20]
    assert [float(task.outputs.attention[7]) for task in (tasks[0], tasks[2])] == [10, 20]
    assert {task.model.name for task in (tasks[0], tasks[2])} == {"fake"}
    assert ("infer" in tasks[0].spans, "infer" in tasks[1].spans) == (True, False)
    assert metrics.registry.get_sample_value("saccade_batch_size_sum") == 2


async def test_outputs_that_are_no_numbers_refuse_their_own_frame_only(read_task: Make) -> None:
    tasks = [read_task(seq) for seq in range(3)]
    await infer(batch_of(tasks, 1, 255, 2))
    assert [task.refusal and (task.refusal.state, task.refusal.cause) for task in tasks] == [
        None,
        (LabelState.UNDECODABLE, "not_finite"),
        None,
    ]


async def test_still_frames_share_the_outputs_of_the_frame_they_look_like_and_its_refusal(
    read_task: Make,
) -> None:
    tasks = [read_task(seq) for seq in range(4)]
    tasks[1].outputs, tasks[3].outputs = tasks[0].outputs, tasks[2].outputs
    (passed,), engine, _ = await infer(batch_of(tasks, 7, 255))
    assert (passed, engine.sizes) == (tasks, [2])
    assert float(tasks[1].outputs.logits[0]) == 7
    assert "infer" not in tasks[1].spans
    assert tasks[1].refusal is None
    assert tasks[3].refusal is not None
    assert tasks[3].refusal == tasks[2].refusal


async def test_a_batch_without_a_sound_frame_does_not_reach_the_model(read_task: Make) -> None:
    task = read_task(0)
    task.refuse(LabelState.DROPPED, "overload")
    passed, engine, _ = await infer(FrameBatch([task], np.empty((0, 224, 224, 3), np.uint8)))
    assert (passed, engine.sizes) == ([[task]], [])
