"""One simulated edge worker: recorded frames through gate, real scheduler, link and servers. Pure.

Where the cameras have beliefs, what a frame comes to depends on the answers so far (`Remembering`). Without, it is as
recorded.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lab.simulation.link import SimulatedLink
from lab.simulation.recording import Recording
from lab.simulation.remembering import Gain, Remembering, SeenFrame
from lab.simulation.servers import SimulatedServers
from uplink.scheduler import SAMPLE_S, UplinkScheduler
from uplink.task import OffloadTask

RECORD_OVERHEAD_BYTES: Final = 70.0
REQUEST_OVERHEAD_BYTES: Final = 250.0
SEGMENT_SHARE: Final = 52.0 / 1448.0
HARDEST_SHARE: Final = 0.2
_NEVER: Final = float("inf")


@dataclass(slots=True, eq=False, kw_only=True)
class SimulatedTask(OffloadTask):
    """A recorded frame on its way out: its place in the recording, when it was shown, its family there.

    `seen` is the frame in its camera's belief, where it has one.
    """

    idx: int
    shown_s: float
    family: int
    seen: SeenFrame | None = None


@dataclass(slots=True)
class Counts:
    """What one worker's frames came to; lists hold (second, value) in order of time."""

    frames: int = 0
    scored: int = 0
    edge_right: int = 0
    sent: int = 0
    finals: int = 0
    expired: list[float] = field(default_factory=list)
    departures: list[tuple[float, float]] = field(default_factory=list)
    bursts: list[tuple[float, float]] = field(default_factory=list)
    queue_ages: list[tuple[float, float]] = field(default_factory=list)
    ack_ages: list[tuple[float, float]] = field(default_factory=list)
    final_times: list[float] = field(default_factory=list)
    right_by_second: Counter[int] = field(default_factory=Counter)
    frames_by_second: Counter[int] = field(default_factory=Counter)
    finals_by_camera: Counter[int] = field(default_factory=Counter)

    @property
    def right(self) -> int:
        """Frames whose last word was right."""
        return sum(self.right_by_second.values())


@dataclass(frozen=True, slots=True)
class Cameras:
    """The frames of one worker's cameras: `times_s` ascending, each with camera and recorded frame."""

    times_s: NDArray[np.float64]
    camera: NDArray[np.int64]
    idx: NDArray[np.int64]


def schedule_cameras(
    recording: Recording,
    *,
    cameras: Sequence[int],
    frames_per_s: float,
    duration_s: float,
    hard: Sequence[tuple[float, float]],
    rng: np.random.Generator,
) -> Cameras:
    """Each camera plays the recording from a place of its own, at its own phase.

    In the intervals `hard` it shows only frames of the recording's most uncertain fifth.
    """
    per_camera = int(duration_s * frames_per_s)
    steps = np.arange(per_camera)
    order = np.argsort(recording.min_entropy, kind="stable")
    hardest = order[int(len(order) * (1.0 - HARDEST_SHARE)) :]
    times, names, places = [], [], []
    for camera in cameras:
        at_s = (steps + rng.random()) / frames_per_s
        place = (int(rng.integers(len(recording))) + steps) % len(recording)
        for from_s, to_s in hard:
            inside = (at_s >= from_s) & (at_s < to_s)
            place[inside] = hardest[place[inside] % len(hardest)]
        times.append(at_s)
        names.append(np.full(per_camera, camera))
        places.append(place)
    all_times = np.concatenate(times)
    sort = np.argsort(all_times, kind="stable")
    return Cameras(all_times[sort], np.concatenate(names)[sort], np.concatenate(places)[sort])


@dataclass(slots=True)
class SimulatedProducer:
    """As aiokafka has it: one request under way, everything handed over meanwhile goes into the next."""

    handed: list[SimulatedTask] = field(default_factory=list)
    request: list[SimulatedTask] = field(default_factory=list)
    acknowledged_s: float = _NEVER
    wire_bytes: float = 0.0


class SimulatedWorker:
    """Plays its cameras; `run_until` handles everything that is due and returns when something is next.

    State: the scheduler, the next frame, the producers, the answers that will come, the beliefs and the counts.
    """

    def __init__(
        self,
        name: str,
        recording: Recording,
        cameras: Cameras,
        scheduler: UplinkScheduler,
        link: SimulatedLink,
        servers: SimulatedServers,
        *,
        max_latency_s: float,
        num_producers: int = 1,
        stopped: Sequence[tuple[float, float]] = (),
        memory: Remembering | None = None,
    ) -> None:
        self.name = name
        self.scheduler = scheduler
        self.counts = Counts()
        self._recording = recording
        self._times: list[float] = cameras.times_s.tolist()
        self._cameras: list[int] = cameras.camera.tolist()
        self._places: list[int] = cameras.idx.tolist()
        self._entropy: list[float] = recording.min_entropy.tolist()
        self._scored: list[bool] = recording.scored.tolist()
        self._families = [
            recording.families.index(family.point) for family in scheduler.tuning.curve.families
        ]
        self._link = link
        self._servers = servers
        self._max_latency_s = max_latency_s
        self._stopped = list(stopped)
        self._memory = memory
        self._answers: list[tuple[float, int, SimulatedTask]] = []
        self._next_frame = 0
        self._next_sample_s = 0.0
        self._next_step_s = 0.0
        self._producers = [SimulatedProducer() for _ in range(num_producers)]
        for number in range(num_producers):
            scheduler.admission.meter.flight.ready(number)

    @property
    def wire_bytes(self) -> float:
        """Everything that left this worker so far, overhead included."""
        return sum(self._counters())

    def next_s(self) -> float:
        """When something is due; frames that stay at the edge are looked at with the next thing that is."""
        acknowledged_s = min(producer.acknowledged_s for producer in self._producers)
        due_s = min(acknowledged_s, self._next_sample_s, self._next_step_s)
        if self._memory is not None:
            # Whether a frame asks is known only when its turn comes.
            frame_s = self._times[self._next_frame] if self._next_frame < len(self._times) else _NEVER
            return min(due_s, frame_s, self._answers[0][0] if self._answers else _NEVER)
        tau = self.scheduler.tuning.point.tau
        for idx in range(self._next_frame, len(self._times)):
            at_s = self._times[idx]
            if at_s >= due_s:
                break
            if self._entropy[self._places[idx]] >= tau:
                return at_s
        return due_s

    def resumes_s(self, now_s: float) -> float | None:
        """When a worker that is stopped now goes on; None if it runs."""
        if not self._stopped:
            return None
        return next((to_s for from_s, to_s in self._stopped if from_s <= now_s < to_s), None)

    def run(self, now_s: float) -> float:
        """Everything due by `now_s` has happened; returns when something is due next."""
        resumes_s = self.resumes_s(now_s)
        if resumes_s is not None:
            return resumes_s
        self._take_acks(now_s)
        self._take_answers(now_s)
        self._take_frames(now_s)
        if now_s >= self._next_sample_s:
            self.scheduler.measured(self._counters(), now_s)
            self._next_sample_s = now_s + SAMPLE_S
            self._note_burst(now_s)
        self.step(now_s)
        return self.next_s()

    def step(self, now_s: float) -> None:
        """The scheduler decides, the link carries."""
        sent, dropped = self.scheduler.step(now_s)
        self._give_up(dropped)
        for task in sent:
            assert isinstance(task, SimulatedTask)
            self._hand_over(task, now_s)
        for producer in self._producers:
            if producer.handed and not producer.request:
                self._request_next(producer, now_s)
        self._next_step_s = max(self.scheduler.wake_s(now_s), now_s + 1e-4)

    def _counters(self) -> list[float]:
        return [producer.wire_bytes for producer in self._producers]

    def _take_acks(self, now_s: float) -> None:
        for producer in self._producers:
            if producer.acknowledged_s > now_s:
                continue
            self.scheduler.counted(self._counters(), now_s)
            for task in producer.request:
                self.scheduler.delivered(task, now_s)
                self.counts.ack_ages.append((now_s, now_s - task.shown_s))
            producer.request = []
            producer.acknowledged_s = _NEVER
            self._request_next(producer, now_s)

    def _take_answers(self, now_s: float) -> None:
        while self._answers and self._answers[0][0] <= now_s:
            task = heapq.heappop(self._answers)[-1]
            assert self._memory is not None
            assert task.seen is not None
            self._take_gains(self._memory.answered(task.seen, task.family))

    def _give_up(self, dropped: Iterable[OffloadTask]) -> None:
        for task in dropped:
            if self._memory is not None and isinstance(task, SimulatedTask) and task.seen is not None:
                self._take_gains(self._memory.unasked(task.seen))

    def _take_gains(self, gains: Iterable[Gain]) -> None:
        for gain in gains:
            self.counts.right_by_second[int(gain.shown_s)] += gain.more_right

    def _take_frames(self, now_s: float) -> None:
        counts, scheduler, recording = self.counts, self.scheduler, self._recording
        while self._next_frame < len(self._times) and self._times[self._next_frame] <= now_s:
            at_s = self._times[self._next_frame]
            idx, camera = self._places[self._next_frame], self._cameras[self._next_frame]
            self._next_frame += 1
            seen = None if self._memory is None else self._memory.see(str(camera), idx, at_s)
            edge_right: bool = recording.edge_right.item(idx)
            second = int(at_s)
            counts.frames += 1
            if self._scored[idx]:
                counts.scored += 1
                counts.edge_right += edge_right
                counts.frames_by_second[second] += 1
                counts.right_by_second[second] += edge_right if seen is None else seen.right
            entropy = self._entropy[idx] if seen is None else seen.doubt
            scheduler.observe(entropy, at_s)
            tuning = scheduler.tuning
            if self.resumes_s(at_s) is not None:
                continue
            asks = entropy >= tuning.point.tau
            if self._memory is not None and seen is not None:
                asks, gains = self._memory.judged(seen, unsure=asks)
                self._take_gains(gains)
            if not asks:
                continue
            family = self._families[tuning.in_use.family]
            task = SimulatedTask(
                camera=str(camera),
                score=entropy,
                deadline_s=at_s + self._max_latency_s,
                num_bytes=recording.num_bytes.item(idx, family),
                idx=idx,
                shown_s=at_s,
                family=family,
                seen=seen,
            )
            self._give_up(scheduler.enqueue(task, now_s))

    def _hand_over(self, task: SimulatedTask, now_s: float) -> None:
        self.counts.sent += 1
        self.counts.queue_ages.append((now_s, now_s - task.shown_s))
        self._producers[task.producer].handed.append(task)

    def _request_next(self, producer: SimulatedProducer, now_s: float) -> None:
        """Everything handed over leaves in one request."""
        if not producer.handed:
            return
        request = producer.request = producer.handed
        producer.handed = []
        values = sum(task.num_bytes for task in request)
        wire = REQUEST_OVERHEAD_BYTES + RECORD_OVERHEAD_BYTES * len(request) + (1 + SEGMENT_SHARE) * values
        passage = self._link.carry(wire, now_s)
        producer.wire_bytes += passage.sent_bytes
        producer.acknowledged_s = passage.acknowledged_s
        self.counts.departures.append((now_s, passage.sent_bytes))
        for task in request:
            self._serve(task, passage.arrives_s, now_s)

    def _serve(self, task: SimulatedTask, arrives_s: float, sent_s: float) -> None:
        final_s = None if arrives_s == _NEVER else self._servers.take(arrives_s, task.deadline_s)
        if final_s is None:
            self.counts.expired.append(sent_s)
            return
        self.counts.finals += 1
        self.counts.final_times.append(final_s)
        self.counts.finals_by_camera[int(task.camera)] += 1
        if task.seen is not None:
            heapq.heappush(self._answers, (final_s, self.counts.finals, task))
            return
        edge_right: bool = self._recording.edge_right.item(task.idx)
        server_right: bool = self._recording.server_right.item(task.idx, task.family)
        self.counts.right_by_second[int(task.shown_s)] += server_right - edge_right

    def _note_burst(self, now_s: float) -> None:
        burst = self.scheduler.admission.allowance.burst_bytes
        if not self.counts.bursts or self.counts.bursts[-1][1] != burst:
            self.counts.bursts.append((now_s, burst))
