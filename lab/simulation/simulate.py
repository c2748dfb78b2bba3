"""The real controller against a simulated link, servers and recorded frames, on a seeded clock.

`simulate` is what tests, `saccade simulate` and the benchmark call. Pure but for the time it takes.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from lab.simulation.link import Delay, SimulatedLink
from lab.simulation.outcome import Moment, SimulationResult, summarise
from lab.simulation.recording import Recording, synthetic
from lab.simulation.remembering import Remembering
from lab.simulation.servers import REPORT_S, SimulatedServers
from lab.simulation.site import Faults, LeaseTable
from lab.simulation.worker import SimulatedWorker, schedule_cameras
from schemas.frontier import Frontier
from schemas.operating_point import OperatingPoint
from schemas.rates import Auto, RateSchedule
from uplink.admission import AdmissionConfig
from uplink.default_curve import default_frontier
from uplink.leases import RENEW_S
from uplink.scheduler import UplinkScheduler

RECORDED_FRAMES: Final = 20_000
_REDIS_DELAY_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated.

    `budget`: told rates, or `Auto`. `capacity`: of the link all workers share; None = never the limit. `delay_s`: one
    way. `loss`: of each segment. `producers`: the requests that each worker may have under way.
    `server_records_per_s`: what all servers together finish; None = everything at once. `hard`: intervals
    in which every camera shows only its hardest frames. `fixed_point`: no control, this point.
    """

    budget: RateSchedule | Auto
    duration_s: float
    capacity: RateSchedule | None = None
    server_records_per_s: RateSchedule | None = None
    cameras: int = 4
    workers: int = 1
    frames_per_s: float = 5.0
    max_latency_s: float = 2.0
    delay_s: Delay = 0.02
    loss: float = 0.0
    producers: int = 8
    hard: Sequence[tuple[float, float]] = ()
    faults: Faults = field(default_factory=Faults)
    fixed_point: OperatingPoint | None = None
    seed: int = 0


def simulate(
    scenario: Scenario, *, frontier: Frontier | None = None, recording: Recording | None = None
) -> SimulationResult:
    """What became of every frame, and whether the budget held.

    Args:
        scenario: the budget or link, the cameras and the faults.
        frontier: the curve of the controller; the built-in one without. Where it has a belief and the recording is of
            streams, each camera has one.
        recording: the frames; drawn from the frontier without.
    """
    started = time.process_time()
    known = frontier or default_frontier()
    played = recording or synthetic(
        known, frames=RECORDED_FRAMES, frames_per_s=scenario.frames_per_s, seed=scenario.seed
    )
    if played.stream is None:
        known = replace(known, belief=None)
    link = SimulatedLink(scenario.capacity, delay_s=scenario.delay_s, loss=scenario.loss, seed=scenario.seed)
    servers = SimulatedServers(scenario.server_records_per_s)
    workers = _workers(scenario, known, played, link, servers)
    moments = _play(scenario, workers, servers)
    return summarise(
        workers,
        moments,
        budget=scenario.budget,
        capacity=scenario.capacity,
        duration_s=scenario.duration_s,
        cpu_s=time.process_time() - started,
    )


def _workers(
    scenario: Scenario,
    frontier: Frontier,
    recording: Recording,
    link: SimulatedLink,
    servers: SimulatedServers,
) -> list[SimulatedWorker]:
    rng = np.random.default_rng(scenario.seed + 1)
    start = scenario.fixed_point or OperatingPoint(tau=0.8, delta=1.0)
    config = AdmissionConfig(
        budget=scenario.budget,
        is_shared=scenario.workers > 1 and isinstance(scenario.budget, RateSchedule),
        num_producers=scenario.producers,
    )
    rule = frontier.belief
    workers = []
    for idx in range(scenario.workers):
        cameras = schedule_cameras(
            recording,
            cameras=range(idx, scenario.cameras, scenario.workers),
            frames_per_s=scenario.frames_per_s,
            duration_s=scenario.duration_s,
            hard=scenario.hard,
            rng=rng,
        )
        name = f"edge-{idx}"
        workers.append(
            SimulatedWorker(
                name,
                recording,
                cameras,
                UplinkScheduler(config, frontier, start, 0.0, is_fixed=scenario.fixed_point is not None),
                link,
                servers,
                max_latency_s=scenario.max_latency_s,
                num_producers=scenario.producers,
                stopped=scenario.faults.stopped.get(name, ()),
                memory=None if rule is None else Remembering(rule, recording, scenario.max_latency_s),
            )
        )
    return workers


def _play(scenario: Scenario, workers: list[SimulatedWorker], servers: SimulatedServers) -> list[Moment]:
    """Events in order of time: workers, lease renewals, and each second the servers' report and a moment."""
    table = LeaseTable(scenario.faults)
    agenda = [(worker.next_s(), idx) for idx, worker in enumerate(workers)]
    heapq.heapify(agenda)
    is_shared = len(workers) > 1 and isinstance(scenario.budget, RateSchedule)
    renewals = [(idx * RENEW_S / len(workers), idx) for idx in range(len(workers))] if is_shared else []
    heapq.heapify(renewals)
    next_report_s = REPORT_S
    moments: list[Moment] = []
    while True:
        next_s = min(agenda[0][0], next_report_s, renewals[0][0] if renewals else scenario.duration_s)
        if next_s >= scenario.duration_s:
            return moments
        if renewals and renewals[0][0] <= next_s:
            _renew(workers, table, renewals, next_s)
        elif next_report_s <= next_s:
            report = servers.report(next_s)
            for worker in workers:
                if worker.resumes_s(next_s) is None:
                    worker.scheduler.heard([report], next_s)
                moments.append(Moment.of(worker, next_s))
            next_report_s += REPORT_S
        else:
            _, idx = heapq.heappop(agenda)
            heapq.heappush(agenda, (workers[idx].run(next_s), idx))


def _renew(
    workers: list[SimulatedWorker], table: LeaseTable, renewals: list[tuple[float, int]], now_s: float
) -> None:
    _, idx = heapq.heappop(renewals)
    worker = workers[idx]
    resumes_s = worker.resumes_s(now_s)
    if resumes_s is not None:
        heapq.heappush(renewals, (resumes_s, idx))
        return
    claim = worker.scheduler.claim(worker.name, now_s)
    grant = table.renew(claim, now_s + _REDIS_DELAY_S / 2)
    worker.scheduler.leased(grant, now_s, now_s + _REDIS_DELAY_S)
    heapq.heappush(renewals, (now_s + RENEW_S, idx))
