from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_workers.gate import Gating, label_of
from edge_workers.metrics import FrameMetrics
from edge_workers.task import FrameTask
from gating.entropy import FloatArray
from gating.gate import Gate
from gating.task import Answer, Classification
from runtime.clock import ManualClock
from runtime.metrics import Metrics
from runtime.site_clock import SiteClock
from schemas.label import AnswerSource, Label, LabelState
from schemas.operating_point import OperatingPoint
from vit.backends import Identity

S = 1_000_000_000
SITE_NOW_NS = 5_000 * S
UTC_NS = 9_000 * S
POINT = OperatingPoint(tau=0.5, delta=0.9)
MODEL = Identity("pets", ("cat", "dog"), "0" * 16, "0" * 32)

Make = Callable[..., FrameTask]


class FakeUplink:
    point = POINT
    belief = None

    def __init__(self) -> None:
        self.observed: list[float] = []

    def observe(self, score: float, *, is_still: bool = False) -> None:
        assert not is_still
        self.observed.append(score)


@pytest.fixture
def answered(read_task: Make) -> Make:
    def make(*, sure: bool, age_s: float = 0.5, live: bool = True, seq: int = 1) -> FrameTask:
        task = read_task(seq, captured_ns=UTC_NS - round(age_s * S), live=live)
        task.outputs.logits = np.array([0.0, 50.0 if sure else 0.1], np.float32)
        task.outputs.model = MODEL
        (task.gate,) = Gate().decide(task.outputs.logits[None], POINT.tau)
        return task

    return make


def label(task: FrameTask) -> Label:
    return label_of(task, 2 * S, SITE_NOW_NS, UTC_NS)


def test_a_sure_frame_gets_a_final_label_without_deadline(answered: Make) -> None:
    found = label(answered(sure=True))
    assert (found.state, found.source, found.name, found.deadline_ns) == (
        LabelState.FINAL,
        AnswerSource.EDGE,
        "dog",
        0,
    )
    assert found.labelled_ns == SITE_NOW_NS


@pytest.mark.parametrize(
    ("age_s", "live", "left_s"), [(0.0, True, 2.0), (1.5, True, 0.5), (-3.0, True, 2.0), (500.0, False, 2.0)]
)
def test_the_deadline_is_the_sites_time_and_what_the_age_has_left(
    answered: Make, age_s: float, live: bool, left_s: float
) -> None:
    found = label(answered(sure=False, age_s=age_s, live=live))
    assert found.state is LabelState.PROVISIONAL
    assert found.deadline_ns == SITE_NOW_NS + round(left_s * S)


def test_an_unsure_frame_that_no_server_can_answer_in_time_keeps_the_edges_label_for_good(
    answered: Make,
) -> None:
    found = label(answered(sure=False, age_s=2.5))
    assert (found.state, found.deadline_ns) == (LabelState.FINAL, 0)


def test_a_refused_frame_has_a_state_and_a_cause_and_no_class(read_task: Make) -> None:
    task = read_task(1, captured_ns=UTC_NS - 40 * S)
    task.refuse(LabelState.DROPPED, "too_old")
    found = label(task)
    assert (found.state, found.cause, found.label, found.name) == (LabelState.DROPPED, "too_old", -1, "")


def gating(uplink: Any, gate: Gate) -> Gating:
    site_clock = SiteClock()
    site_clock.learn(SITE_NOW_NS, 0.0, 0.0)
    frame_metrics = FrameMetrics(Metrics("test"), "frames", ManualClock())
    clock = ManualClock()
    return Gating(
        gate, uplink, max_latency_ms=2_000, clock=clock, site_clock=site_clock, metrics=frame_metrics
    )


def test_frames_are_gated_in_their_order_at_the_point_of_now_and_refused_ones_are_not(answered: Make) -> None:
    uplink = FakeUplink()
    tasks = [answered(sure=sure, live=False, seq=seq) for seq, sure in enumerate((False, True, False))]
    tasks[0].refuse(LabelState.UNDECODABLE, "not_finite")
    gating(uplink, Gate()).decide(tasks)
    assert [task.label.state for task in tasks] == [
        LabelState.UNDECODABLE,
        LabelState.FINAL,
        LabelState.PROVISIONAL,
    ]
    assert uplink.observed == [task.gate.score for task in tasks[1:]]
    assert uplink.observed[1] > uplink.observed[0]
    assert tasks[2].point is POINT


def test_a_task_of_ones_own_decides_what_the_outputs_mean(answered: Make) -> None:
    class Lowest(Classification):
        """The least output leads."""

        def decode(self, outputs: FloatArray) -> list[Answer]:
            return super().decode(-outputs)

    task = answered(sure=True, live=False)
    gating(FakeUplink(), Gate(Lowest())).decide([task])
    assert task.label.name == "cat"
