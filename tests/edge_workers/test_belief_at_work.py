"""A camera's frames bear on each other: one ask for what looks alike, and its answer ends what waited for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_workers.answers import Answers
from edge_workers.gate import Gating
from edge_workers.metrics import FrameMetrics
from edge_workers.task import FrameTask
from gating.gate import Gate
from runtime.clock import ManualClock
from runtime.connections import RedisSettings
from runtime.label_writer import LabelWriter
from runtime.memory_store import MemoryStore
from runtime.metrics import Metrics
from runtime.site_clock import SiteClock
from schemas.answer import ServerAnswer
from schemas.belief_rule import STILLS, BeliefRule
from schemas.errors import SaccadeError
from schemas.label import NO_LABEL, AnswerSource, Label, LabelState
from schemas.operating_point import OperatingPoint
from vit.backends import Identity

S = 1_000_000_000
NOW_NS = 1_700_000_000 * S
CLASSES = ("stop", "yield", "none")
RULE = BeliefRule(floor=0.5, gamma=1.0, memory_s=60.0, alpha=1.0, beta=1.0)
SAME = np.array([1.0, 0.0], np.float32)
OTHER = np.array([0.0, 1.0], np.float32)

MODEL = Identity("one", CLASSES, "0" * 16, "1" * 32)

Make = Callable[..., FrameTask]


class FakeUplink:
    def __init__(self, tau: float, belief: BeliefRule | None = RULE) -> None:
        self.belief = belief
        self.point = OperatingPoint(tau=tau, delta=0.9)
        self.agreed: list[bool] = []
        self.num_still = 0

    def observe(self, score: float, *, is_still: bool = False) -> None:
        assert score >= 0
        self.num_still += is_still

    def answered(self, score: float, *, agrees: bool) -> None:
        assert score >= 0.5
        self.agreed.append(agrees)


def gating(rule: BeliefRule | None = RULE, tau: float = 0.5, uplink: FakeUplink | None = None) -> Gating:
    clock, site_clock = ManualClock(), SiteClock()
    site_clock.learn(NOW_NS, 0.0, 0.0)
    return Gating(
        Gate(),
        uplink or FakeUplink(tau, rule),  # type: ignore[arg-type]
        max_latency_ms=2_000,
        clock=clock,
        site_clock=site_clock,
        metrics=FrameMetrics(Metrics("test"), "frames", clock),
    )


@pytest.fixture
def seen(read_task: Make) -> Make:
    """Makes a frame that the model has seen."""

    def make(
        seq: int, logits: tuple[float, ...] = (0.3, 0.0, 0.0), embedding: Any = SAME, **fields: Any
    ) -> FrameTask:
        task = read_task(seq, live=False, captured_ns=seq * S // 5, **fields)
        task.outputs.logits, task.outputs.embedding = np.array(logits, np.float32), embedding
        task.outputs.model = MODEL
        return task

    return make


def shown(label: Label) -> tuple[LabelState, AnswerSource, str, int]:
    return label.state, label.source, label.name, label.rests_on


def answer(seq: int, name: str = "yield", confidence: float = 0.98, camera: str = "c") -> ServerAnswer:
    return ServerAnswer(camera, seq, (CLASSES.index(name),), (confidence,))


def test_frames_that_look_alike_ask_once(seen: Make) -> None:
    tasks = [seen(seq) for seq in range(3)]
    gating().decide(tasks)
    assert [task.asks for task in tasks] == [True, False, False]
    assert {task.label.state for task in tasks} == {LabelState.PROVISIONAL}


def test_a_frame_that_looks_different_asks_for_itself(seen: Make) -> None:
    tasks = [seen(0), seen(1, embedding=OTHER)]
    gating().decide(tasks)
    assert [task.asks for task in tasks] == [True, True]


def test_an_answer_ends_what_waited_for_it_and_stays_in_the_belief(seen: Make) -> None:
    gate = gating()
    gate.decide([seen(seq) for seq in range(3)])
    finals = gate.answered(answer(0))
    assert [label.seq for label in finals] == [1, 2]
    assert {shown(label) for label in finals} == {(LabelState.FINAL, AnswerSource.BELIEF, "yield", 0)}
    after = seen(3)
    gate.decide([after])
    assert shown(after.label) == (LabelState.FINAL, AnswerSource.BELIEF, "yield", 0)
    assert gate.answered(answer(0)) == []


def test_a_doubt_that_passes_asks_nothing_and_what_waited_ends_with_the_frame_that_ended_it(
    seen: Make,
) -> None:
    gate = gating(replace(RULE, patience_s=0.5))
    doubtful = [seen(seq) for seq in range(3)]
    assert gate.decide(doubtful) == []
    assert {task.label.state for task in doubtful} == {LabelState.PROVISIONAL}
    sure = seen(3, (0.0, 9.0, 0.0))
    labels = gate.decide([sure])
    assert not any(task.asks for task in (*doubtful, sure))
    assert [(label.seq, *shown(label)) for label in labels] == [
        (seq, LabelState.FINAL, AnswerSource.BELIEF, "yield", NO_LABEL) for seq in range(3)
    ]


def test_a_doubt_that_lasts_asks_about_its_latest_frame(seen: Make) -> None:
    gate = gating(replace(RULE, patience_s=0.5))
    tasks = [seen(seq) for seq in range(5)]
    gate.decide(tasks)
    assert [task.asks for task in tasks] == [False, False, False, True, False]
    assert [(label.seq, label.name, label.rests_on) for label in gate.answered(answer(3))] == [
        (seq, "yield", 3) for seq in (0, 1, 2, 4)
    ]


@pytest.mark.parametrize(("name", "agrees"), [("stop", True), ("yield", False)])
def test_each_answer_is_held_once_against_what_the_edge_said_when_it_asked(
    seen: Make, name: str, agrees: bool
) -> None:
    uplink = FakeUplink(0.5)
    gate = gating(uplink=uplink)
    gate.decide([seen(0, (0.3, 0.0, 0.0)), seen(1, (0.0, 5.0, 0.0))])
    for _ in range(2):
        gate.answered(answer(0, name))
    gate.answered(answer(7, name))
    assert uplink.agreed == [agrees]


def test_what_nobody_will_answer_ends_as_it_is(seen: Make) -> None:
    gate = gating()
    tasks = [seen(seq) for seq in range(2)]
    gate.decide(tasks)
    labels = gate.unasked(tasks[0])
    assert [(label.seq, *shown(label)) for label in labels] == [
        (seq, LabelState.FINAL, AnswerSource.BELIEF, "stop", NO_LABEL) for seq in (0, 1)
    ]
    again = seen(2)
    gate.decide([again])
    assert again.asks


def test_a_replay_asks_nothing_twice(seen: Make) -> None:
    gate = gating()
    gate.decide([seen(0), seen(1)])
    replayed = [seen(0), seen(1)]
    gate.decide(replayed)
    assert not replayed[1].asks


@pytest.mark.parametrize("changed", [{"camera": "unknown"}, {"seq": 99}])
def test_an_answer_that_nobody_waits_for_changes_nothing(seen: Make, changed: dict[str, Any]) -> None:
    gate = gating()
    gate.decide([seen(0), seen(1)])
    assert gate.answered(answer(**({"seq": 0} | changed))) == []


def test_a_swapped_model_begins_afresh_and_what_the_old_one_asked_is_still_answered(seen: Make) -> None:
    gate = gating()
    other = Identity("two", ("alpha", "beta", "gamma", "delta"), "2" * 16, "3" * 32)
    fresh = seen(2, logits=(0.3, 0.0, 0.0, 0.0))
    fresh.outputs.model = other
    gate.decide([seen(0), seen(1), fresh])
    assert (fresh.label.name, fresh.asks) == ("alpha", True)
    (old,) = gate.answered(answer(0))
    assert (old.seq, old.name) == (1, "yield")
    waiting = seen(3, logits=(0.3, 0.0, 0.0, 0.0))
    waiting.outputs.model = other
    gate.decide([waiting])
    assert not waiting.asks
    (new,) = gate.answered(ServerAnswer("c", 2, (3,), (0.98,)))
    assert (new.seq, new.name) == (3, "delta")


def test_a_prior_of_a_shorter_class_list_is_left_out(seen: Make) -> None:
    gate = gating(BeliefRule(prior=(0.8, 0.1, 0.1)))
    longer = seen(0, logits=(0.0, 0.0, 0.0, 0.1))
    longer.outputs.model = Identity("longer", (*CLASSES, "new"), "2" * 16, "3" * 32)
    gate.decide([longer])
    assert longer.label.name == "new"


def test_an_answer_of_other_classes_changes_nothing(seen: Make) -> None:
    gate = gating()
    gate.decide([seen(0), seen(1)])
    assert gate.answered(ServerAnswer("c", 0, (7,), (0.9,))) == []


@pytest.mark.parametrize("rule", [None, STILLS])
def test_without_a_calibration_on_streams_each_frame_stands_by_itself(
    seen: Make, rule: BeliefRule | None
) -> None:
    """The paper's rule, to the bit, whatever stood before."""
    rng = np.random.default_rng(1)
    frames = [tuple(rng.normal(size=3).tolist()) for _ in range(40)]
    believing, plain = [seen(seq, each) for seq, each in enumerate(frames)], []
    gating(rule).decide(believing)
    for seq, each in enumerate(frames):
        task = seen(seq, each)
        gating(None).decide([task])
        plain.append(task)
    assert [task.gate for task in believing] == [task.gate for task in plain]
    assert [task.asks for task in believing] == [task.asks for task in plain]


def test_stills_stand_by_themselves(seen: Make) -> None:
    tasks = [seen(seq, still=True) for seq in range(3)]
    gating().decide(tasks)
    assert [task.asks for task in tasks] == [True, True, True]
    assert {task.step for task in tasks} == {None}


def test_a_still_frame_brings_no_evidence_and_says_whose_answer_it_takes(seen: Make) -> None:
    rule = replace(RULE, redundancy=0.0)
    tasks = [seen(seq, (1.0, 0.0, 0.0)) for seq in range(4)]
    for task in tasks[1:]:
        task.outputs = tasks[0].outputs
    gating(rule, tau=9.0).decide(tasks)
    assert len({task.label.confidence for task in tasks}) == 1
    assert [task.label.same_as for task in tasks] == [NO_LABEL, 0, 0, 0]
    classified = [seen(seq, (1.0, 0.0, 0.0)) for seq in range(4)]
    gating(rule, tau=9.0).decide(classified)
    assert classified[3].label.confidence > tasks[3].label.confidence


@pytest.mark.parametrize(("logits", "in_doubt"), [((0.3, 0.0, 0.0), True), ((9.0, 0.0, 0.0), False)])
def test_outputs_tell_whether_the_belief_was_in_doubt_when_they_were_new(
    seen: Make, logits: tuple[float, ...], in_doubt: bool
) -> None:
    tasks = [seen(0, logits), seen(1, logits)]
    tasks[1].outputs = tasks[0].outputs
    gating().decide(tasks)
    assert tasks[0].outputs.in_doubt == in_doubt


def test_still_frames_wait_for_the_answer_about_the_frame_they_look_like(seen: Make) -> None:
    uplink = FakeUplink(0.5)
    gate, tasks = gating(uplink=uplink), [seen(seq) for seq in range(3)]
    tasks[1].outputs = tasks[2].outputs = tasks[0].outputs
    gate.decide(tasks)
    assert uplink.num_still == 2
    assert [task.asks for task in tasks] == [True, False, False]
    finals = gate.answered(answer(0))
    assert [(label.seq, label.name, label.same_as, label.rests_on) for label in finals] == [
        (1, "yield", 0, 0),
        (2, "yield", 0, 0),
    ]


@asynccontextmanager
async def way_back(gate: Gating, store: MemoryStore) -> Any:
    answers = Answers(store, "", gate, LabelWriter(store, Metrics("test").consumer, ""))
    settled = asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(answers.run(settled))
        yield answers
        settled.set()


async def written(store: MemoryStore, camera: str, seq: int) -> Label:
    async for label in await store.watch(camera):
        if label.seq == seq and label.state is LabelState.FINAL:
            return label
    raise AssertionError


async def test_answers_are_read_on_after_a_refusal_that_does_not_pass_by_itself(seen: Make) -> None:
    class Refusing(MemoryStore):
        """Somebody wrote a key of another type, and took it away after the first read."""

        refusals = 1

        async def answers_after(self, site: str, place: str, wait_s: float) -> tuple[str, list[ServerAnswer]]:
            if self.refusals:
                self.refusals -= 1
                raise SaccadeError("WRONGTYPE Operation against a key holding the wrong kind of value")
            return await super().answers_after(site, place, wait_s)

    gate, store = gating(), Refusing(RedisSettings(), lambda: NOW_NS)
    tasks = [seen(seq) for seq in range(2)]
    gate.decide(tasks)
    await store.put([task.label for task in tasks])
    async with way_back(gate, store):
        watching = asyncio.create_task(written(store, "c", 1))
        while not watching.done():
            await store.put_answers("", [answer(0)])
            await asyncio.wait([watching], timeout=0.2)
    assert shown(watching.result()) == (LabelState.FINAL, AnswerSource.BELIEF, "yield", 0)


async def test_answers_become_final_labels_of_what_waited(seen: Make) -> None:
    gate, store = gating(), MemoryStore(RedisSettings(), lambda: NOW_NS)
    tasks = [seen(seq) for seq in range(2)]
    gate.decide(tasks)
    await store.put([task.label for task in tasks])
    async with way_back(gate, store):
        watching = asyncio.create_task(written(store, "c", 1))
        await asyncio.sleep(0)
        store.away = True
        await asyncio.sleep(0)
        store.away = False
        while not watching.done():
            await store.put_answers("", [answer(0)])
            await asyncio.wait([watching], timeout=0.2)
    assert shown(watching.result()) == (LabelState.FINAL, AnswerSource.BELIEF, "yield", 0)


async def test_what_was_held_when_the_uplink_stopped_is_written_before_the_end(seen: Make) -> None:
    gate, store = gating(), MemoryStore(RedisSettings(), lambda: NOW_NS)
    tasks = [seen(seq) for seq in range(2)]
    gate.decide(tasks)
    await store.put([task.label for task in tasks])
    async with way_back(gate, store) as answers:
        answers.unasked(tasks[0])
    found = await store.get("c", 1)
    assert found is not None
    assert shown(found)[:2] == (LabelState.FINAL, AnswerSource.BELIEF)
