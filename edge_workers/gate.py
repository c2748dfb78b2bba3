"""The stage `gate`: which label each frame gets, and whether the server is asked. On the event loop, no await.

The frames of a camera come in the order in which they were read; where a live camera is in backlog its newest come
first, and the older ones, which are then out of order, later.

Where the frontier was calibrated on streams a frame is judged by its camera's belief. An unsure frame is provisional;
it waits for what later frames or a server's answer make of it, and only a doubt that lasts asks. Without such a
calibration, and for stills, each frame is judged by its own probabilities, and each unsure one asks.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter

import numpy as np

from edge_workers.metrics import FrameMetrics
from edge_workers.task import FrameTask
from gating.belief import Beliefs, Step, spread
from gating.entropy import FloatArray
from gating.gate import Gate, GateResult
from runtime.clock import Clock
from runtime.log import get_logger
from runtime.site_clock import SiteClock
from schemas.answer import ServerAnswer
from schemas.label import NO_LABEL, AnswerSource, Label, LabelState
from uplink.shell import Uplink
from vit.backends import Identity

_MAX_OPEN = 16_384
"""Provisional labels that may still become final by an answer; beyond, the oldest stay as they are."""
_MODELS = 2
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the cameras by one model: neither its embeddings nor its classes mean anything to another.

    `beliefs` are None where frames stand by themselves; `held` are the provisional labels of frames that wait.
    """

    model: Identity
    beliefs: Beliefs | None
    held: OrderedDict[tuple[str, int], Label] = field(default_factory=OrderedDict)


class Gating:
    """Gives every frame its label; the place of whatever is known of a camera beyond one frame.

    State: what is known by the model in use, and by the one before it, whose asks may still be answered.
    """

    def __init__(
        self,
        gate: Gate,
        uplink: Uplink,
        *,
        max_latency_ms: int,
        clock: Clock,
        site_clock: SiteClock,
        metrics: FrameMetrics,
    ) -> None:
        self._gate = gate
        self._uplink = uplink
        self._max_latency_ns = max_latency_ms * 1_000_000
        self._clock = clock
        self._site_clock = site_clock
        self._metrics = metrics
        self._known: deque[_Known] = deque(maxlen=_MODELS)

    def decide(self, tasks: Sequence[FrameTask]) -> list[Label]:
        """Every task has its label, and those that are not refused the gate's result.

        Returns final labels of frames, earlier ones mostly, whose waiting ends with these.
        """
        ended: list[Label] = []
        with self._metrics.stage("gate", tasks):
            now_s = self._clock.monotonic_s()
            now_ns = self._site_clock.time_ns(now_s)
            utc_ns = self._clock.time_ns()
            judged = [task for task in tasks if task.refusal is None]
            for model, of_model in groupby(judged, attrgetter("model")):
                beliefs = self._known_by(model).beliefs
                alone = [task for task in of_model if beliefs is None or task.frame.still]
                if alone:
                    self._judge(alone, np.stack([task.outputs.logits for task in alone]))
            for task in tasks:
                known = None if task.refusal is not None else self._known_by(task.model)
                if known is not None and known.beliefs is not None and not task.frame.still:
                    self._believe(task, known.beliefs, now_s)
                task.label = label_of(task, self._max_latency_ns, now_ns, utc_ns)
                task.asks = task.label.state is LabelState.PROVISIONAL
                if known is not None and task.step is not None and task.asks == task.gate.asks:
                    ended += self._wait(task, task.step, known, now_s)
            self._metrics.gated([task.gate for task in judged])
        return ended

    def unasked(self, task: FrameTask) -> list[Label]:
        """The server will not answer this frame: final labels of it and of those that waited with it, as they are."""
        known = self._known_by(task.model)
        belief = None if known.beliefs is None or task.step is None else known.beliefs.known(task.camera)
        return [] if belief is None else self._finals(known, task.camera, belief.give_up(task.frame.seq))

    def answered(self, answer: ServerAnswer) -> list[Label]:
        """The camera's belief has the answer in it: final labels of the frames that waited, but for the asked one.

        The server has written that one's.
        """
        for known in self._known:
            belief = None if known.beliefs is None else known.beliefs.known(answer.camera)
            asked = None if belief is None else belief.asked(answer.seq)
            if belief is None or asked is None:
                continue
            try:
                server = spread(answer.classes, answer.probabilities, len(known.model.classes))
            except ValueError as error:
                _log.warning(
                    "a server's answer does not fit the classes", camera=answer.camera, error=str(error)
                )
                return []
            if known is self._known[-1]:  # what steers was calibrated for the model in use
                (result,) = self._gate.decide(asked.logits[None], 0.0)
                self._uplink.answered(result.score, agrees=result.answer.label == answer.classes[0])
            known.held.pop((answer.camera, answer.seq), None)
            return self._finals(known, answer.camera, belief.answer(answer.seq, server))
        return []

    def _known_by(self, model: Identity) -> _Known:
        for known in self._known:
            if known.model is model:
                return known
        rule = self._uplink.belief
        if rule is not None and len(rule.prior) not in (0, len(model.classes)):
            rule = replace(rule, prior=())  # calibrated for a shorter class list
        beliefs = None if rule is None else Beliefs(rule, self._max_latency_ns / 1e9)
        self._known.append(_Known(model, beliefs))
        return self._known[-1]

    def _judge(self, tasks: Sequence[FrameTask], outputs: FloatArray) -> None:
        point = self._uplink.point
        for task, result in zip(tasks, self._gate.decide(outputs, point.tau), strict=True):
            task.gate, task.point = result, point
            self._uplink.observe(result.score, is_still=task.is_still)

    def _believe(self, task: FrameTask, beliefs: Beliefs, now_s: float) -> None:
        """One after the other: whether a frame asks depends on what the frame before it asked."""
        frame = task.frame
        belief = beliefs.of(task.camera, now_s)
        outputs = task.outputs
        task.step = belief.see(
            frame.seq, frame.captured_ns, outputs.logits, outputs.embedding, still=task.is_still
        )
        self._judge([task], task.step.logits[None])
        if not task.is_still:
            outputs.in_doubt = task.gate.asks

    def _wait(self, task: FrameTask, step: Step, known: _Known, now_s: float) -> list[Label]:
        """An unsure frame waits, and perhaps asks; return final labels of frames whose waiting ends."""
        assert known.beliefs is not None
        belief = known.beliefs.known(task.camera)
        assert belief is not None
        task.asks, ended = belief.judged(step, unsure=task.asks, now_s=now_s)
        if belief.waits(step.seq):
            known.held[task.camera, step.seq] = task.label
            while len(known.held) > _MAX_OPEN:
                known.held.popitem(last=False)
        return self._finals(known, task.camera, ended)

    def _finals(self, known: _Known, camera: str, steps: Sequence[Step]) -> list[Label]:
        labels = []
        now_ns = self._site_clock.time_ns(self._clock.monotonic_s())
        for step in steps:
            held = known.held.pop((camera, step.seq), None)
            if held is not None:
                (result,) = self._gate.decide(step.logits[None], 0.0)
                name = known.model.classes[result.answer.label]
                labels.append(self._believed(held, result, name, now_ns, step.rests_on))
        return labels

    def _believed(
        self, held: Label, result: GateResult, name: str, now_ns: int, rests_on: int | None
    ) -> Label:
        return replace(
            held,
            state=LabelState.FINAL,
            source=AnswerSource.BELIEF,
            label=result.answer.label,
            name=name,
            confidence=result.answer.confidence,
            labelled_ns=now_ns,
            rests_on=NO_LABEL if rests_on is None else rests_on,
        )


def label_of(task: FrameTask, max_latency_ns: int, now_ns: int, utc_ns: int) -> Label:
    """The edge's label: `now_ns` is the site Redis's time, `utc_ns` this machine's.

    It is provisional where the server is asked, or another frame's answer is awaited, until the deadline: `now_ns`
    and what the frame's age has left of the allowed latency. Where that has passed it is final: no server could
    answer in time. A final label of a belief that has a server's answer in it says so.
    """
    frame, refusal = task.frame, task.refusal
    if refusal is not None:
        return Label(
            site=frame.site,
            camera=frame.camera,
            seq=frame.seq,
            state=refusal.state,
            source=AnswerSource.EDGE,
            label=NO_LABEL,
            name="",
            confidence=0.0,
            captured_ns=frame.captured_ns,
            labelled_ns=now_ns,
            cause=refusal.cause,
        )
    answer = task.gate.answer
    deadline_ns = now_ns + max_latency_ns - task.age_ns(utc_ns)
    waits = task.gate.asks and deadline_ns > now_ns
    rests_on = None if waits or task.step is None else task.step.rests_on
    return Label(
        site=frame.site,
        camera=frame.camera,
        seq=frame.seq,
        state=LabelState.PROVISIONAL if waits else LabelState.FINAL,
        source=AnswerSource.EDGE if rests_on is None else AnswerSource.BELIEF,
        label=answer.label,
        name=task.model.classes[answer.label],
        confidence=answer.confidence,
        captured_ns=frame.captured_ns,
        labelled_ns=now_ns,
        deadline_ns=deadline_ns if waits else 0,
        rests_on=NO_LABEL if rests_on is None else rests_on,
        same_as=task.outputs.seq if task.is_still else NO_LABEL,
    )
