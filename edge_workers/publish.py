"""The edge's answers on their way to Redis: provisional or final, dropped or undecodable, many in one write.

The order is the delivery promise: a frame's label is in Redis first; then its record is offered to the
uplink; its offset is finished when the outcome of that is known, at once where nothing is offloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_workers.decode import Answered
from edge_workers.encode import Unsure
from edge_workers.incoming import Incoming, Refused
from edge_workers.tally import EdgeTally
from gating.gate import Gate, GateResult
from runtime.channel import Channel, ChannelClosed
from runtime.clock import Clock
from runtime.dead_letters import DeadLetters
from runtime.label_writer import LabelWriter
from runtime.redis_store import PutResult
from runtime.site_clock import SiteClock
from schemas.label import NO_LABEL, Label, Source, State
from schemas.operating_point import OperatingPoint
from uplink.shell import Uplink

_MERGED_BATCHES = 4
"""Batches that one write to Redis may cover when it is slower than the model."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes to Redis for one frame, and what goes to the uplink unless its label is final already."""

    incoming: Incoming
    label: Label
    unsure: Unsure | None = None
    error: str = ""


class EdgeAnswers:
    """Turns scores and refusals into labels; pure, but for the times it is given."""

    def __init__(self, classes: Sequence[str], max_latency_ms: int) -> None:
        self._classes = classes
        self._max_latency_ns = max_latency_ms * 1_000_000

    def of_batch(
        self,
        answered: Answered,
        results: Sequence[GateResult],
        point: OperatingPoint,
        now_ns: int,
        utc_ns: int,
    ) -> list[Answer]:
        """One answer a frame: `now_ns` is the site Redis's time, `utc_ns` this machine's.

        The deadline is `now_ns` and what the frame's age has left of the allowed latency. An unsure frame
        whose deadline has passed gets the edge's label as the final one: no server could answer it in time.
        """
        answers = []
        for row, (incoming, result) in enumerate(zip(answered.batch.frames, results, strict=True)):
            index, confidence = result.answer.label, result.answer.confidence
            deadline_ns = now_ns + self._max_latency_ns - incoming.age_ns(utc_ns)
            unsure = None
            if result.asks and deadline_ns > now_ns:
                unsure = Unsure(
                    incoming=incoming,
                    crop=answered.batch.crops[row],
                    attention=answered.attention[row],
                    label=index,
                    confidence=confidence,
                    min_entropy=result.score,
                    deadline_ns=deadline_ns,
                    point=point,
                )
            label = Label(
                site=incoming.frame.site,
                camera=incoming.camera,
                seq=incoming.frame.seq,
                state=State.FINAL if unsure is None else State.PROVISIONAL,
                source=Source.EDGE,
                label=index,
                name=self._classes[index],
                confidence=confidence,
                captured_ns=incoming.captured_ns,
                labelled_ns=now_ns,
                deadline_ns=0 if unsure is None else deadline_ns,
            )
            answers.append(Answer(incoming, label, unsure))
        return answers

    def of_refused(self, refused: Refused, now_ns: int) -> Answer:
        """The answer of a frame that gets no class."""
        frame = refused.incoming.frame
        label = Label(
            site=frame.site,
            camera=frame.camera,
            seq=frame.seq,
            state=refused.state,
            source=Source.EDGE,
            label=NO_LABEL,
            name="",
            confidence=0.0,
            captured_ns=frame.captured_ns,
            labelled_ns=now_ns,
            cause=refused.cause,
        )
        return Answer(refused.incoming, label, error=refused.error)


class EdgePublisher:
    """Writes labels in the order they come and passes on what the server is to be asked."""

    def __init__(
        self,
        answers: EdgeAnswers,
        writer: LabelWriter,
        uplink: Uplink,
        letters: DeadLetters,
        *,
        clock: Clock,
        site_clock: SiteClock,
        tally: EdgeTally,
        incoming: Channel[Answered | list[Refused]],
        unsure: Channel[list[Unsure]],
    ) -> None:
        self._answers = answers
        self._gate = Gate()
        self._writer = writer
        self._uplink = uplink
        self._letters = letters
        self._clock = clock
        self._site_clock = site_clock
        self._tally = tally
        self._incoming = incoming
        self._unsure = unsure

    async def run(self) -> None:
        """Publishes until the end of the stream; then closes its own channel."""
        try:
            while True:
                try:
                    work = await self._incoming.get_batch(_MERGED_BATCHES)
                except ChannelClosed:
                    return
                answers = [answer for each in work for answer in self._decide(each)]
                results = await self._writer.write([answer.label for answer in answers])
                await self._settle(answers, results)
        finally:
            self._unsure.close()

    def _decide(self, work: Answered | list[Refused]) -> list[Answer]:
        now_ns = self._site_clock.time_ns(self._clock.monotonic_s())
        if isinstance(work, list):
            return [self._answers.of_refused(refused, now_ns) for refused in work]
        point = self._uplink.point
        results = self._gate.decide(work.logits, point.tau)
        for incoming, result in zip(work.batch.frames, results, strict=True):
            self._uplink.observe(incoming.camera, result.score)
        self._tally.gated(results)
        return self._answers.of_batch(work, results, point, now_ns, self._clock.time_ns())

    async def _settle(self, answers: list[Answer], results: Sequence[PutResult]) -> None:
        asked: list[Unsure] = []
        for answer, result in zip(answers, results, strict=True):
            self._tally.labelled(answer.label, result)
            if answer.label.state is State.UNDECODABLE:
                await self._letters.put(answer.incoming.delivery, answer.label.cause, answer.error)
                self._tally.dead(answer.label.cause)
            elif answer.unsure is not None and result is not PutResult.ALREADY_FINAL:
                asked.append(replace(answer.unsure, repeated=result is not PutResult.WRITTEN))
            else:
                answer.incoming.delivery.ack()
        if asked:
            await self._unsure.put(asked)
