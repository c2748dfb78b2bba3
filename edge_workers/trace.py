"""What a frame went through at the edge, told beside its label for those who want to see one frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from edge_workers.task import FrameTask, Span
from runtime.clock import Clock
from runtime.site_clock import SiteClock
from runtime.traces import TracePart, TraceWriter
from schemas.trace import DELIVERED, EDGE, OFFLOAD, EdgeTrace, OffloadTrace, Stage, encode_part
from schemas.win_rule import PutResult
from uplink.task import Delivered, DeliveryResult, OffloadTask

_NS_PER_S = 1_000_000_000


class EdgeTracer:
    """Tells each frame's way: up to its label in Redis, and what became of its record."""

    def __init__(
        self, traces: Sequence[TraceWriter], clock: Clock, site_clock: SiteClock, worker: str
    ) -> None:
        self._traces = traces
        self._clock = clock
        self._site_clock = site_clock
        self._worker = worker

    def published(self, task: FrameTask, result: PutResult) -> None:
        """Redis did `result` with the frame's label."""
        is_answered = task.refusal is None
        spans = {"read": Span(task.read_s, task.read_s), **task.spans}
        part = EdgeTrace(
            worker=self._worker,
            stages=self._stages(task, spans),
            leading=self._leading(task) if is_answered else (),
            attention=_bytes_of(task.outputs.attention) if is_answered else b"",
            score=task.gate.score if is_answered else None,
            tau=task.gate.tau if is_answered and math.isfinite(task.gate.tau) else None,
            asks=task.asks,
            written=result.value,
        )
        self._put(task, EDGE, encode_part(part))

    def offloaded(self, task: FrameTask, offload: OffloadTask | None, result: DeliveryResult) -> None:
        """The uplink is done with the frame's record now; `offload` is None where it never came there."""
        record, spans = task.record, {"offer": task.spans["offer"]}
        if offload is not None:
            spans |= _in_uplink(offload, self._clock.monotonic_s())
        part = OffloadTrace(
            stages=self._stages(task, spans),
            codec=record.codec,
            quality=record.quality,
            delta=task.point.delta,
            bitmap=record.bitmap,
            num_bytes=len(task.data or b""),
            result=DELIVERED if isinstance(result, Delivered) else result.cause,
        )
        self._put(task, OFFLOAD, encode_part(part))

    def _leading(self, task: FrameTask) -> tuple[tuple[str, float], ...]:
        answer = task.gate.answer
        names = (task.model.classes[label] for label in answer.classes)
        return tuple(zip(names, answer.probabilities, strict=True))

    def _stages(self, task: FrameTask, spans: Mapping[str, Span]) -> tuple[Stage, ...]:
        # What is known of the site's clock changes with each answer of Redis. One frame's stages stand on one
        # anchor, so that they stay in order.
        if task.read_ns is None:
            task.read_ns = self._site_clock.time_ns(task.read_s)
        read_ns, read_s = task.read_ns, task.read_s
        return tuple(
            Stage(name, *(read_ns + round((each_s - read_s) * _NS_PER_S) for each_s in span))
            for name, span in spans.items()
        )

    def _put(self, task: FrameTask, part: str, text: str) -> None:
        told = TracePart(task.camera, task.frame.seq, part, text)
        for writer in self._traces:
            writer.put(told)


def _in_uplink(offload: OffloadTask, ended_s: float) -> dict[str, Span]:
    """The wait for tokens, and the way to the broker of a record that was handed over."""
    if not offload.handed_over_s:
        return {"queue": Span(offload.queued_s or ended_s, ended_s)}
    return {
        "queue": Span(offload.queued_s, offload.handed_over_s),
        "send": Span(offload.handed_over_s, ended_s),
    }


def _bytes_of(attention: np.ndarray) -> bytes:
    """One byte a patch; the most attended is 255."""
    return np.rint(attention * (255 / max(float(attention.max()), 1e-9))).astype(np.uint8).tobytes()
