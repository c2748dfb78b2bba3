from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edge_workers.offer import encode
from edge_workers.task import FrameTask, Span
from edge_workers.trace import EdgeTracer
from runtime.clock import ManualClock
from runtime.site_clock import SiteClock
from runtime.traces import TracePart
from schemas.label import LabelState
from schemas.operating_point import OperatingPoint
from schemas.trace import DELIVERED, Stage, Trace, decode_trace
from schemas.win_rule import PutResult
from uplink.task import Delivered, Dropped, OffloadTask

S = 1_000_000_000
POINT = OperatingPoint(tau=0.5, delta=0.9)
Make = Callable[..., FrameTask]


class Traces:
    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def put(self, part: TracePart) -> None:
        assert (part.camera, part.seq) == ("c", 7)
        self.texts[part.part] = part.text

    @property
    def found(self) -> Trace:
        return decode_trace(self.texts)


def tracer(traces: Any) -> EdgeTracer:
    clock = SiteClock()
    clock.learn(100 * S, 0.0, 0.0)
    now = ManualClock(monotonic_s=5.0)
    return EdgeTracer([traces], now, clock, "host:1")


def test_a_gated_frame_tells_its_stages_on_the_sites_clock_its_answer_and_its_attention(
    asking_task: Make,
) -> None:
    task, traces = asking_task(7, POINT), Traces()
    task.read_s = 1.0
    task.spans["infer"] = Span(2.0, 2.5)
    tracer(traces).published(task, PutResult.WRITTEN)
    edge = traces.found.edge
    assert edge is not None
    assert edge.stages == (Stage("read", 101 * S, 101 * S), Stage("infer", 102 * S, 102 * S + S // 2))
    assert (edge.leading, edge.score, edge.tau, edge.asks) == ((("class 4", 0.4),), 1.3, 0.5, True)
    assert int(np.argmax(task.outputs.attention)) == edge.attention.index(255)


def test_a_refused_frame_and_a_gate_that_never_asks_have_less_to_tell(asking_task: Make) -> None:
    refused, traces = asking_task(7, POINT), Traces()
    refused.refuse(LabelState.DROPPED, "too_old")
    tracer(traces).published(refused, PutResult.WRITTEN)
    edge = traces.found.edge
    assert edge is not None
    assert (edge.leading, edge.attention, edge.score, edge.tau) == ((), b"", None, None)
    tracer(traces).published(asking_task(7, OperatingPoint(tau=math.inf, delta=0.9)), PutResult.WRITTEN)
    edge = traces.found.edge
    assert edge is not None
    assert (edge.score, edge.tau) == (1.3, None)


def test_an_offloaded_frame_tells_what_was_sent_and_what_became_of_it(asking_task: Make) -> None:
    task, traces = asking_task(7, OperatingPoint(tau=0.5, delta=0.8, codec="avif", quality=45)), Traces()
    encode(task, max_record_bytes=1 << 20)
    assert task.data is not None
    task.spans["offer"] = Span(3.0, 3.25)
    offload = OffloadTask(
        camera="c", score=1.3, deadline_s=9.0, num_bytes=321, queued_s=3.5, handed_over_s=4.0
    )
    tracer(traces).offloaded(task, offload, Delivered(321))
    found = traces.found.offload
    assert found is not None
    assert found.stages == (
        Stage("offer", 103 * S, 103 * S + S // 4),
        Stage("queue", 103 * S + S // 2, 104 * S),
        Stage("send", 104 * S, 105 * S),
    )
    assert (found.codec, found.quality, found.delta, found.num_bytes) == ("avif", 45, 0.8, len(task.data))
    assert (found.bitmap, found.result) == (task.record.bitmap, DELIVERED)
    tracer(traces).offloaded(task, None, Dropped("over_burst"))
    found = traces.found.offload
    assert found is not None
    assert ([stage.name for stage in found.stages], found.result) == (["offer"], "over_burst")
