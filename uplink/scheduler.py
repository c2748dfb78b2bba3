"""All decisions of one edge worker's uplink: what to send now, what to give up, which point to use.

The shell (asyncio, real time) and the simulation call the same methods: `observe` and `enqueue` for frames and
records, `measured`, `heard` and `leased` for what came from outside, `step` for what to do now, `delivered` and
`failed` for what became of it. Pure: no await, no clock, no I/O; time is an argument and never goes back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from schemas.frontier import Frontier
from schemas.operating_point import OperatingPoint
from schemas.server_report import ServerReport
from uplink.admission import Admission, AdmissionConfig
from uplink.allowance import DEPTH_SHARE, burst_bytes
from uplink.leases import Claim, Grant
from uplink.self_check import Disagreement
from uplink.task import Delivered, Dropped, OffloadTask
from uplink.tuning import Tuning

LARGE_RECORD: Final = 1.25
"""A share holds records if its burst holds one so much above the mean of the cheapest family."""
SAMPLE_S: Final = 0.1
DECIDE_S: Final = 0.25
MAX_CAMERAS_TOLD: Final = 1_000
"""Of more cameras those are told whose records were sent last."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One moment of one edge worker's uplink: the record behind `saccade top`, the metrics and the demo's picture.

    Rates in bytes/s over the last second, sizes in bytes, times in seconds, shares and accuracies in [0,
    1]. `budget_bytes_per_s` is what this worker was told (its share of it), `usable_bytes_per_s` what the
    link is believed to carry of it; `expected_bytes_per_s` is what the point in use is expected to ask for,
    `expected_accuracy` the curve's promise for the present frames, `observed_accuracy` the curve's value of
    what really was sent and answered; `still_per_s` counts frames that were not classified again; `disagreement` is
    None while too few answers came back; `held_back` counts records by cause.
    """

    state: str
    cause: str
    budget_bytes_per_s: float
    usable_bytes_per_s: float
    wanted_bytes_per_s: float
    expected_bytes_per_s: float
    measured_bytes_per_s: float
    wire_bytes: float
    burst_bytes: float
    point: OperatingPoint
    offload_share: float
    frames_per_s: float
    expected_accuracy: float
    observed_accuracy: float
    still_per_s: float
    disagreement: Disagreement | None
    waiting_records: int
    waiting_bytes: int
    in_flight_bytes: float
    delay_s: float
    max_records_per_s: float
    expired_share: float
    share: float
    num_workers: int
    held_back: dict[str, int]
    bytes_by_camera: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object; what is unlimited is null, an infinite tau the text "inf"."""
        plain = {name: _finite(value) for name, value in asdict(self).items()}
        plain["point"] = self.point.to_json()
        return plain


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class UplinkScheduler:
    """Admission and tuning, kept in agreement.

    State beside those: when the last decision and the last sample were, and the bytes sent by camera.
    """

    def __init__(
        self,
        config: AdmissionConfig,
        frontier: Frontier,
        point: OperatingPoint,
        start_s: float,
        *,
        is_fixed: bool = False,
    ) -> None:
        self.admission = Admission(config, start_s)
        self._is_fixed = is_fixed
        self.tuning = Tuning(frontier, point, start_s, is_fixed=is_fixed)
        self._sampled_s = start_s
        self._decided_s = -math.inf
        self._bytes_by_camera: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<UplinkScheduler {self.tuning!r} {self.admission!r}>"

    def steer_by(self, frontier: Frontier, now_s: float) -> None:
        """Points come from another curve; what was learnt of the frames by the old one starts afresh."""
        self.tuning = Tuning(frontier, self.tuning.in_use.point, now_s, is_fixed=self._is_fixed)

    def observe(self, score: float, now_s: float, *, is_still: bool = False) -> None:
        """A frame has an answer, offloaded or not; a still one has that of the frame that it looks like."""
        self.tuning.mix.observe(score, now_s)
        if is_still:
            self.tuning.still.add(1.0, now_s)

    def answered(self, score: float, *, agrees: bool) -> None:
        """A server's answer came back about a frame of this score."""
        self.tuning.check.answered(score, agrees=agrees)

    def enqueue(self, task: OffloadTask, now_s: float) -> list[OffloadTask]:
        """The task waits for its turn; returns those that had to leave for it, itself perhaps."""
        self.tuning.encoded(task)
        dropped = self.admission.enqueue(task, now_s)
        if task.result != Dropped("over_burst"):
            self.tuning.offered(self.admission.meter.estimate_bytes(task.num_bytes), now_s)
        return dropped

    def counted(self, totals: Sequence[float] | None, now_s: float) -> None:
        """The producers' counters of what left were read (None: the system has none).

        Call it before `delivered` and `failed`.
        """
        self.admission.counted(totals, now_s)

    def measured(self, totals: Sequence[float] | None, now_s: float) -> None:
        """A sample was taken: the producers' counters. Call it each 100 ms."""
        self.admission.measured(totals, now_s)
        self._sampled_s = now_s

    def heard(self, reports: Iterable[ServerReport], now_s: float) -> None:
        """The servers' newest reports were read."""
        self.admission.heard(reports, self.tuning.gained.count_per_s(now_s), now_s)

    def leased(self, grant: Grant | None, asked_s: float, now_s: float) -> None:
        """A renewal sent at `asked_s` was granted, or failed (None)."""
        self.admission.allowance.leased(grant, asked_s, now_s)

    def claim(self, worker: str, now_s: float) -> Claim:
        """What to ask the other workers for: this one's demand, and what a record needs, as parts of the budget."""
        allowance = self.admission.allowance
        told, held = allowance.told_bytes_per_s, allowance.fraction(now_s)
        if not 0 < told < math.inf:
            return Claim(worker, 1.0, held)
        demand = min(self.tuning.choice.wanted_bytes_per_s / told, 1e6)
        record_bytes = self.admission.meter.estimate_bytes(LARGE_RECORD * self.tuning.smallest_record_bytes)
        need = record_bytes / (DEPTH_SHARE * burst_bytes(told))
        return Claim(worker, demand, held, min(need, 1.0))

    def step(self, now_s: float) -> tuple[list[OffloadTask], list[OffloadTask]]:
        """What to hand over now, and what was given up; both in order."""
        admission = self.admission
        admission.allowance.advance(now_s)
        if now_s - self._decided_s >= DECIDE_S:
            self._decided_s = now_s
            self.tuning.update(admission.limits(now_s), now_s)
        moved = admission.admit(now_s)
        self.tuning.is_dry = admission.is_dry(now_s)
        return moved

    def delivered(self, task: OffloadTask, now_s: float) -> None:
        """The broker acknowledged the record."""
        self.admission.delivered(task, now_s)
        self.tuning.delivered(task, now_s)
        spent = self._bytes_by_camera.pop(task.camera, 0.0)
        self._bytes_by_camera[task.camera] = spent + task.estimate_bytes
        if len(self._bytes_by_camera) > MAX_CAMERAS_TOLD:
            del self._bytes_by_camera[next(iter(self._bytes_by_camera))]
        task.end(Delivered(task.num_bytes))

    def failed(self, task: OffloadTask, now_s: float) -> None:
        """The producer gave the record up."""
        self.admission.failed(task, now_s)
        task.end(Dropped("delivery_failed"))

    def take_overdue(self, now_s: float) -> list[OffloadTask]:
        """What is with the producer past its deadline, each once: nobody waits for it any more."""
        overdue = self.admission.meter.flight.take_overdue(now_s)
        for task in overdue:
            task.end(Dropped("expired"))
        return overdue

    def stop(self) -> list[OffloadTask]:
        """Nobody waits any more for what waits or flies."""
        flying = list(self.admission.meter.flight)
        for task in flying:
            task.end(Dropped("stopped"))
        return self.admission.clear() + flying

    def wake_s(self, now_s: float) -> float:
        """When to call `step` again if nothing happens before; ask right after a step."""
        return min(self._sampled_s + SAMPLE_S, self.admission.next_s(now_s))

    def explain(self, now_s: float) -> Explanation:
        """Everything that a person needs to see why the uplink does what it does."""
        tuning, admission = self.tuning, self.admission
        choice, controller = tuning.choice, tuning.controller
        meter, allowance, servers = admission.meter, admission.allowance, admission.servers
        fraction = allowance.fraction(now_s)
        frames_per_s = tuning.mix.frames_per_s(now_s)
        gained_per_s = tuning.gained.per_s(now_s)
        return Explanation(
            state=str(controller.state),
            cause=controller.cause,
            budget_bytes_per_s=allowance.told_bytes_per_s * fraction if fraction else 0.0,
            usable_bytes_per_s=allowance.rate_bytes_per_s,
            wanted_bytes_per_s=choice.wanted_bytes_per_s,
            expected_bytes_per_s=choice.bytes_per_s,
            measured_bytes_per_s=meter.wire_rate(1.0, now_s),
            wire_bytes=meter.wire_bytes,
            burst_bytes=allowance.burst_bytes,
            point=tuning.in_use.point,
            offload_share=choice.share,
            frames_per_s=frames_per_s,
            expected_accuracy=choice.accuracy,
            observed_accuracy=choice.edge_accuracy + (gained_per_s / frames_per_s if frames_per_s else 0.0),
            still_per_s=tuning.still.per_s(now_s),
            disagreement=tuning.check.disagreement,
            waiting_records=len(admission.queue),
            waiting_bytes=admission.queue.waiting_bytes,
            in_flight_bytes=meter.flight.estimate_bytes,
            delay_s=meter.delay_s(now_s),
            max_records_per_s=servers.max_records_per_s,
            expired_share=servers.expired_share,
            share=fraction,
            num_workers=allowance.share.num_workers,
            held_back=dict(admission.held_back),
            bytes_by_camera=dict(self._bytes_by_camera),
        )
