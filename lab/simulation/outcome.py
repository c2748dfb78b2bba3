"""What a simulation came to: cap, utilisation, accuracy, ages, and the controller second by second. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np

from devstack.link.judge import counted, judge, utilisation
from lab.simulation.worker import SimulatedWorker
from schemas.operating_point import OperatingPoint
from schemas.rates import Auto, RateSchedule
from uplink.allowance import burst_bytes


@dataclass(frozen=True, slots=True)
class Moment:
    """One worker at one second: what it may send, what it sent lately, and how."""

    second: float
    worker: str
    state: str
    cause: str
    share: float
    budget_bytes_per_s: float
    usable_bytes_per_s: float
    wanted_bytes_per_s: float
    measured_bytes_per_s: float
    waiting_records: int
    point: OperatingPoint

    @classmethod
    def of(cls, worker: SimulatedWorker, now_s: float) -> Self:
        """The worker as it explains itself now."""
        told = worker.scheduler.explain(now_s)
        return cls(
            second=now_s,
            worker=worker.name,
            state=told.state,
            cause=told.cause,
            share=told.share,
            budget_bytes_per_s=told.budget_bytes_per_s,
            usable_bytes_per_s=told.usable_bytes_per_s,
            wanted_bytes_per_s=told.wanted_bytes_per_s,
            measured_bytes_per_s=told.measured_bytes_per_s,
            waiting_records=told.waiting_records,
            point=told.point,
        )


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """The figures of one run; accuracies and utilisations in [0, 1], times in seconds, sizes in bytes.

    `windows_over_cap` counts departures that end a window with more than ∫ budget + burst in it (0 without
    a told budget); `utilisation_10s` is what left over what was allowed (told) or carried (link) in each
    ten seconds. `queue_age_p99_s` is over the records sent, from offer to hand-over; `ack_ages`, from the
    frame to the acknowledgement, is (second, age). `accuracy_best_fixed`
    is that of the best point of the frontier without control, nan when it was not asked for.
    """

    duration_s: float
    cpu_s: float
    windows_over_cap: int
    worst_excess_bytes: float
    burst_bytes: float
    utilisation_10s: list[float]
    accuracy: float
    accuracy_edge: float
    queue_age_p99_s: float
    frames: int
    sent: int
    finals: int
    expired_share: float
    sent_bytes: float
    held_back: dict[str, int]
    departures: list[tuple[float, float]] = field(repr=False)
    queue_ages: list[tuple[float, float]] = field(repr=False)
    ack_ages: list[tuple[float, float]] = field(repr=False)
    final_times: list[float] = field(repr=False)
    expired_times: list[float] = field(repr=False)
    accuracy_by_second: list[float] = field(repr=False)
    finals_by_camera: dict[int, int] = field(repr=False)
    bytes_by_worker: dict[str, float] = field(repr=False)
    moments: list[Moment] = field(repr=False)
    accuracy_best_fixed: float = float("nan")
    best_fixed_point: OperatingPoint | None = None

    @property
    def times_faster(self) -> float:
        """Simulated seconds per second of the processor."""
        return self.duration_s / max(self.cpu_s, 1e-9)

    def bytes_between(self, from_s: float, to_s: float) -> float:
        """Bytes that left in [from_s, to_s)."""
        return sum(num_bytes for second, num_bytes in self.departures if from_s <= second < to_s)

    def to_json(self) -> dict[str, Any]:
        """The figures as one JSON object, without the series."""
        hidden = {
            "departures", "queue_ages", "ack_ages", "final_times", "expired_times", "accuracy_by_second", "moments",
            "finals_by_camera", "bytes_by_worker",
        }  # fmt: skip
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in hidden}
        plain["best_fixed_point"] = None if self.best_fixed_point is None else self.best_fixed_point.to_json()
        plain["times_faster"] = self.times_faster
        return {
            name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in plain.items()
        }


def summarise(
    workers: Sequence[SimulatedWorker],
    moments: list[Moment],
    *,
    budget: RateSchedule | Auto,
    capacity: RateSchedule | None,
    duration_s: float,
    cpu_s: float,
) -> SimulationResult:
    """The figures over all workers."""
    counts = [worker.counts for worker in workers]
    departures = sorted(item for each in counts for item in each.departures)
    ages = sorted(item for each in counts for item in each.queue_ages)
    told = budget if isinstance(budget, RateSchedule) else None
    steps = told.rates_bytes_per_s if told is not None else ()
    bursts = [
        (start, burst_bytes(rate))
        for start, rate in zip(told.starts_s if told is not None else (), steps, strict=True)
    ]
    verdict = judge(counted(departures), told, bursts) if told is not None else None
    limit = told or capacity
    frames, scored = sum(each.frames for each in counts), sum(each.scored for each in counts)
    sent = sum(each.sent for each in counts)
    finals = sum(each.finals for each in counts)
    held: dict[str, int] = {}
    for worker in workers:
        for cause, count in worker.scheduler.admission.held_back.items():
            held[cause] = held.get(cause, 0) + count
    return SimulationResult(
        duration_s=duration_s,
        cpu_s=cpu_s,
        windows_over_cap=0 if verdict is None else verdict.windows_over_cap,
        worst_excess_bytes=float("nan") if verdict is None else verdict.worst_excess_bytes,
        burst_bytes=max((size for _, size in bursts), default=float("nan")),
        utilisation_10s=utilisation(departures, limit, duration_s) if limit is not None else [],
        accuracy=sum(each.right for each in counts) / max(scored, 1),
        accuracy_edge=sum(each.edge_right for each in counts) / max(scored, 1),
        queue_age_p99_s=float(np.quantile([age for _, age in ages], 0.99)) if ages else 0.0,
        frames=frames,
        sent=sent,
        finals=finals,
        expired_share=1.0 - finals / sent if sent else 0.0,
        sent_bytes=sum(num_bytes for _, num_bytes in departures),
        held_back=held,
        departures=departures,
        queue_ages=ages,
        ack_ages=sorted(item for each in counts for item in each.ack_ages),
        final_times=sorted(time for each in counts for time in each.final_times),
        expired_times=sorted(time for each in counts for time in each.expired),
        accuracy_by_second=_by_second(workers, int(duration_s)),
        finals_by_camera={c: n for each in counts for c, n in each.finals_by_camera.items()},
        bytes_by_worker={worker.name: worker.wire_bytes for worker in workers},
        moments=moments,
    )


def _by_second(workers: Sequence[SimulatedWorker], seconds: int) -> list[float]:
    right, frames = np.zeros(seconds), np.zeros(seconds)
    for worker in workers:
        for second in range(seconds):
            right[second] += worker.counts.right_by_second[second]
            frames[second] += worker.counts.frames_by_second[second]
    return [float(r / f) if f else 0.0 for r, f in zip(right, frames, strict=True)]
