"""Frames as the stages know them: as read, and as the gate passes them on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_workers.task import FrameTask
from gating.gate import GateResult
from gating.task import Answer
from runtime.intake import Delivery
from runtime.kafka_connection import Record
from schemas.frame import Frame
from schemas.label import AnswerSource, Label, LabelState
from schemas.operating_point import OperatingPoint
from vit.backends import Identity

MODEL = Identity("fake", tuple(f"class {index}" for index in range(9)), "abcdef0123456789", "0" * 32)
DEADLINE_NS = 1_000_000_000_000


class Ends:
    """Notes what becomes of each offset."""

    def __init__(self) -> None:
        self.acked: list[int] = []
        self.released: list[int] = []

    def settle(self, record: Record, is_done: bool) -> None:
        (self.acked if is_done else self.released).append(record.offset)


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
def read_task(ends: Ends) -> Callable[..., FrameTask]:
    """Makes a frame that was just read at offset `seq`; its fields may be named."""

    def make(seq: int, **fields: Any) -> FrameTask:
        values = {
            "site": "",
            "camera": "c",
            "captured_ns": 0,
            "width": 300,
            "height": 300,
            "encoding": "jpeg",
        }
        frame = Frame(**({"seq": seq, "image": b"", **values} | fields))  # type: ignore[arg-type]
        return FrameTask(Delivery(Record("frames", 0, seq, 0, None, b""), ends.settle), frame, 0.0)

    return make


@pytest.fixture
def asking_task(read_task: Callable[..., FrameTask]) -> Callable[..., FrameTask]:
    """Makes a frame that the server is to be asked for: class 4 of probability .4, 1.3 bits."""

    def make(seq: int, point: OperatingPoint, **fields: Any) -> FrameTask:
        task = read_task(seq, **fields)
        rng = np.random.default_rng(3)
        task.outputs.model = MODEL
        attention = rng.random(196).astype(np.float32) ** 4
        task.crop = rng.integers(0, 256, (224, 224, 3), np.uint8)
        task.outputs.attention = attention / attention.sum()
        task.gate, task.point = GateResult(Answer((4,), (0.4,)), 1.3, point.tau, True), point
        task.label = Label(
            site=task.frame.site,
            camera=task.camera,
            seq=seq,
            state=LabelState.PROVISIONAL,
            source=AnswerSource.EDGE,
            label=4,
            name="class 4",
            confidence=0.4,
            captured_ns=task.captured_ns,
            labelled_ns=DEADLINE_NS - 2_000_000_000,
            deadline_ns=DEADLINE_NS,
        )
        task.asks = True
        return task

    return make
