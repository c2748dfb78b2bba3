"""The stage `gate`: which label each frame gets, and whether the server is asked. On the event loop, no await.

The frames of a camera come in the order in which they were read; where a live camera is in backlog its newest come
first, and the older ones, which are then out of order, later.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_workers.metrics import FrameMetrics
from edge_workers.task import FrameTask
from gating.gate import Gate
from runtime.clock import Clock
from runtime.site_clock import SiteClock
from schemas.label import NO_LABEL, Label, Source, State
from uplink.shell import Uplink


class Gating:
    """Gives every frame its label; the place of whatever is known of a camera beyond one frame."""

    def __init__(
        self,
        gate: Gate,
        uplink: Uplink,
        classes: Sequence[str],
        *,
        max_latency_ms: int,
        clock: Clock,
        site_clock: SiteClock,
        metrics: FrameMetrics,
    ) -> None:
        self._gate = gate
        self._uplink = uplink
        self._classes = classes
        self._max_latency_ns = max_latency_ms * 1_000_000
        self._clock = clock
        self._site_clock = site_clock
        self._metrics = metrics

    def decide(self, tasks: Sequence[FrameTask]) -> None:
        """Every task has its label, and those that are not refused the gate's result."""
        with self._metrics.stage("gate", tasks):
            now_ns = self._site_clock.time_ns(self._clock.monotonic_s())
            utc_ns = self._clock.time_ns()
            answered = [task for task in tasks if task.refusal is None]
            if answered:
                self._ask_gate(answered)
            for task in tasks:
                task.label = label_of(task, self._classes, self._max_latency_ns, now_ns, utc_ns)

    def _ask_gate(self, tasks: Sequence[FrameTask]) -> None:
        point = self._uplink.point
        results = self._gate.decide(np.stack([task.logits for task in tasks]), point.tau)
        for task, result in zip(tasks, results, strict=True):
            task.gate, task.point = result, point
            self._uplink.observe(result.score)
        self._metrics.gated(results)


def label_of(task: FrameTask, classes: Sequence[str], max_latency_ns: int, now_ns: int, utc_ns: int) -> Label:
    """The edge's label: `now_ns` is the site Redis's time, `utc_ns` this machine's.

    It is provisional where the server is asked, until the deadline: `now_ns` and what the frame's age has left
    of the allowed latency. Where that has passed it is final: no server could answer in time.
    """
    frame, refusal = task.frame, task.refusal
    if refusal is not None:
        return Label(
            site=frame.site,
            camera=frame.camera,
            seq=frame.seq,
            state=refusal.state,
            source=Source.EDGE,
            label=NO_LABEL,
            name="",
            confidence=0.0,
            captured_ns=frame.captured_ns,
            labelled_ns=now_ns,
            cause=refusal.cause,
        )
    answer = task.gate.answer
    deadline_ns = now_ns + max_latency_ns - task.age_ns(utc_ns)
    asks = task.gate.asks and deadline_ns > now_ns
    return Label(
        site=frame.site,
        camera=frame.camera,
        seq=frame.seq,
        state=State.PROVISIONAL if asks else State.FINAL,
        source=Source.EDGE,
        label=answer.label,
        name=classes[answer.label],
        confidence=answer.confidence,
        captured_ns=frame.captured_ns,
        labelled_ns=now_ns,
        deadline_ns=deadline_ns if asks else 0,
    )
