"""All decisions of one edge worker's uplink: what to send now, what to give up, which point to use.

The uplink (asyncio, real time) and the simulation call the same methods: `observe` and `offer` for frames and
records, `measured`, `heard` and `leased` for what came from outside, `step` for what to do now, `delivered`
and `failed` for what became of it. Pure: no await, no clock, no I/O; time is an argument and never goes back.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Generic, TypeVar

from schemas.frontier import Frontier
from schemas.operating_point import OperatingPoint
from schemas.rates import Auto, Schedule
from schemas.server_report import ServerReport
from uplink.allowance import Allowance
from uplink.controller import Controller, Sample
from uplink.curve import Curve
from uplink.explain import Explanation
from uplink.leases import Claim, Grant
from uplink.meter import SILENT_S, HandOver, UplinkMeter
from uplink.mix import FrameMix
from uplink.pending import PendingQueue, Waiting
from uplink.servers import RecordPacer, ServerWatch

T = TypeVar("T")

SAMPLE_S: Final = 0.1
DECIDE_S: Final = 0.25
PROBE_EVERY_S: Final = 1.0
PROBE_SERVERS_S: Final = 2.0
"""Without any server heard one record goes out so often, as a new server reports from its first record on."""
_RATE_WINDOW_S: Final = 2.0
_HUNGRY_SHARE: Final = 0.2
_WANTING_S: Final = 0.3
_USED_SHARE: Final = 0.85
_LINK_MEMORY_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class GovernorConfig:
    """How a governor behaves.

    `budget`: a schedule in seconds since the start, `Auto`, or None for no limit and a fixed point.
    `is_shared`: spend only under leases. `watch_servers`: leave everything to the edge when no server is
    heard. A record that found no tokens for `max_wait_s` gives way to newer ones. `min_share` of the budget
    is divided evenly among the cameras. `request_timeout_s` is the producer's. `fixed_point`: the point
    never moves.
    """

    budget: Schedule | Auto | None
    is_shared: bool = False
    watch_servers: bool = True
    max_wait_s: float = 0.4
    max_items: int = 1024
    min_share: float = 0.25
    camera_weights: Mapping[str, float] = field(default_factory=dict)
    request_timeout_s: float = 3.0
    fixed_point: bool = False
    origin_s: float | None = None


@dataclass(frozen=True, slots=True)
class Send(Generic[T]):
    """Hand this record to the producer now; report `delivered` or `failed` with `hand_over`."""

    ticket: T
    hand_over: HandOver
    family: int


@dataclass(frozen=True, slots=True)
class Drop(Generic[T]):
    """This record will not be sent, for a cause such as `expired`, `no_tokens` or `over_burst`."""

    ticket: T
    cause: str


class Governor(Generic[T]):
    """One worker's allowance, queue, meter, server watch and controller, kept in agreement.

    The state lives in those parts; here are the point in use, its lower threshold for when the bucket runs
    full and nothing waits (`_is_hungry`), the times of periodic work, the probe flag and counters.
    """

    def __init__(
        self, config: GovernorConfig, frontier: Frontier, point: OperatingPoint, start_s: float
    ) -> None:
        self._config = config
        self._point = point
        self.curve = Curve(frontier)
        self.controller = Controller(self.curve, point, start_s)
        self.meter = UplinkMeter(start_s)
        self.servers = ServerWatch(start_s)
        self.allowance = Allowance(
            config.budget, is_shared=config.is_shared, start_s=start_s, origin_s=config.origin_s
        )
        self._hungry_point: OperatingPoint | None = None
        self._is_hungry = False
        self._family = self.curve.family_of(point)
        self._mix = FrameMix(frontier.h_min_quantiles, start_s)
        self._queue: PendingQueue[T] = PendingQueue(
            max_items=config.max_items,
            max_wait_s=config.max_wait_s,
            min_share=config.min_share,
            weights=config.camera_weights,
        )
        self._pacer = RecordPacer(start_s)
        self._sampled_s = start_s
        self._decided_s = -math.inf
        self._wanting_s = -math.inf
        self._link_delays: deque[tuple[float, float]] = deque()
        self._head: Waiting[T] | None = None
        self._full_since_s: float | None = None
        self._probe_only = False
        self._failed_s = -math.inf
        self._sent_s = -math.inf
        self._offers: deque[tuple[float, float]] = deque()
        self._offered_bytes = 0.0
        self._gains: deque[tuple[float, float]] = deque()
        self._edge_accuracy = 0.0
        self._held_back: dict[str, int] = {}
        self._bytes_by_camera: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Governor {self.controller!r} {self.allowance.bucket!r} {self._queue!r}>"

    @property
    def point(self) -> OperatingPoint:
        """The operating point that gate, selection and encoder use now."""
        if not self._is_hungry or self._config.fixed_point:
            return self._point
        if self._hungry_point is None:
            self._hungry_point = replace(self._point, tau=self.controller.choice.hungry_tau)
        return self._hungry_point

    @property
    def family(self) -> int:
        """The index of the point's family in the curve."""
        return self._family

    @property
    def max_record_bytes(self) -> float:
        """The largest value that can pass under the present budget; infinite without one."""
        return max(self.allowance.bucket.depth_bytes - self.meter.overhead_bytes, 0.0)

    @property
    def held_back(self) -> Mapping[str, int]:
        """Records that were not sent, by cause, since the start."""
        return self._held_back

    def observe(self, min_entropy: float, now_s: float) -> None:
        """A frame was classified, offloaded or not."""
        self._mix.observe(min_entropy, now_s)

    def offer(
        self, ticket: T, num_bytes: int, camera: str, min_entropy: float, deadline_s: float, now_s: float
    ) -> list[Drop[T]]:
        """The record waits for its turn; returns what had to leave for it, itself perhaps."""
        self.allowance.advance(now_s)
        estimate = self.meter.estimate_bytes(num_bytes)
        self.controller.record_encoded(num_bytes, self._family)
        if estimate > self.allowance.bucket.depth_bytes > 0:
            return [self._drop(ticket, "over_burst")]
        self._offers.append((now_s, estimate))
        self._offered_bytes += estimate
        left = self._queue.push(ticket, num_bytes, camera, min_entropy, deadline_s, now_s)
        return [self._drop(item.ticket, "queue_full") for item in left]

    def measured(self, wire_bytes: float | None, now_s: float, *, round_trip_s: float = 0.0) -> None:
        """The sockets were read: their running total (None: the system has none) and the path's round trip.

        Call it each 100 ms.
        """
        self.allowance.advance(now_s)
        meter, bucket = self.meter, self.allowance.bucket
        meter.round_trip_s = round_trip_s
        total = meter.measure(wire_bytes, now_s)
        bucket.correct(total, meter.in_flight_bytes, now_s)
        is_wanted = (
            now_s - self._wanting_s < _WANTING_S
            or meter.wire_rate(1.0, now_s) > _USED_SHARE * bucket.budget_bytes_per_s
        )
        full_s = now_s - self._full_since_s if self._full_since_s is not None else 0.0
        self.allowance.estimate(meter, full_s=full_s, is_used=is_wanted, now_s=now_s)
        self._link_delays.append((now_s, meter.delay_s(now_s)))
        while self._link_delays[0][0] < now_s - _LINK_MEMORY_S:
            self._link_delays.popleft()
        self._sampled_s = now_s

    def heard(self, reports: Iterable[ServerReport], now_s: float) -> None:
        """The servers' newest reports were read."""
        if not self._config.watch_servers:
            return
        fraction = self.allowance.fraction(now_s)
        self.servers.update(
            reports,
            own_share=max(fraction, 0.01),
            link_delay_s=max((delay_s for _, delay_s in self._link_delays), default=0.0),
            own_records_per_s=len(self._recent(self._gains, now_s)) / _RATE_WINDOW_S,
            now_s=now_s,
        )
        self._pacer.set_limit(self.servers.max_records_per_s, now_s)

    def leased(self, grant: Grant | None, asked_s: float, now_s: float) -> None:
        """A renewal sent at `asked_s` was granted, or failed (None)."""
        self.allowance.leased(grant, asked_s, now_s)

    def claim(self, worker: str, now_s: float) -> Claim:
        """What to ask the other workers for: this one's demand as a part of the budget."""
        told = self.allowance.told_bytes_per_s
        wanted = self.controller.wanted_bytes_per_s
        demand = wanted / told if 0 < told < math.inf else 1.0
        return Claim(worker, min(demand, 1e6), self.allowance.fraction(now_s))

    def step(self, now_s: float) -> tuple[list[Send[T]], list[Drop[T]]]:
        """What to hand over and what to give up now."""
        self.allowance.advance(now_s)
        if now_s - self._decided_s >= DECIDE_S:
            self._decide(now_s)
        blocked = self._blocked(now_s)
        drops = [
            self._drop(
                item.ticket, blocked if blocked and item.late_cause == "no_tokens" else item.late_cause
            )
            for item in self._queue.expire(now_s)
        ]
        sends: list[Send[T]] = []
        self._head = None
        num_allowed = self._num_allowed(blocked, now_s)
        while len(sends) < num_allowed:
            item = self._queue.peek(self.allowance.rate_bytes_per_s, now_s)
            if item is None:
                break
            estimate = self.meter.estimate_bytes(item.num_bytes)
            if estimate > self.allowance.bucket.depth_bytes:
                self._queue.take(item, 0.0)
                drops.append(self._drop(item.ticket, "over_burst"))
            elif self._may_send(estimate, now_s):
                self._queue.take(item, estimate)
                sends.append(self._send(item, now_s))
            else:
                self._head = item
                break
        if len(self._queue):
            self._wanting_s = now_s
        if not self._is_full(now_s):
            self._full_since_s = None
        elif self._full_since_s is None:
            self._full_since_s = now_s
        bucket = self.allowance.bucket
        self._is_hungry = not len(self._queue) and bucket.tokens(now_s) > _HUNGRY_SHARE * bucket.depth_bytes
        return sends, drops

    def delivered(self, sent: Send[T], camera: str, min_entropy: float, now_s: float) -> None:
        """The broker acknowledged the record."""
        self.meter.acknowledged(sent.hand_over, now_s)
        self._probe_only = False
        self._gains.append((now_s, self.curve.gain_at(min_entropy, sent.family)))
        spent = self._bytes_by_camera.get(camera, 0.0)
        self._bytes_by_camera[camera] = spent + sent.hand_over.estimate_bytes

    def failed(self, sent: Send[T], now_s: float) -> None:
        """The producer gave the record up: until one gets through, only one at a time is tried."""
        self.meter.failed(sent.hand_over)
        self._probe_only = True
        self._failed_s = now_s

    def stop(self) -> list[Drop[T]]:
        """Nothing waits any more; everything that did is given up."""
        return [self._drop(item.ticket, "stopped") for item in self._queue.clear()]

    def wake_s(self, now_s: float) -> float:
        """When to call `step` again if nothing happens before; ask right after a step."""
        wake_s = min(self._sampled_s + SAMPLE_S, self._queue.next_end_s())
        if self._head is None:
            return wake_s
        estimate = self.meter.estimate_bytes(self._head.num_bytes)
        if not self._has_room(estimate, now_s):
            return wake_s
        wait_s = max(self.allowance.bucket.wait_s(estimate, now_s), self._pacer.wait_s(now_s))
        return min(wake_s, now_s + wait_s)

    def explain(self, now_s: float) -> Explanation:
        """Everything that a person needs to see why the uplink does what it does."""
        choice, meter, allowance = self.controller.choice, self.meter, self.allowance
        fraction = allowance.fraction(now_s)
        frames_per_s = self._mix.frames_per_s(now_s)
        gained = sum(gain for _, gain in self._recent(self._gains, now_s)) / _RATE_WINDOW_S
        return Explanation(
            state=str(self.controller.state),
            cause=self.controller.cause,
            for_s=now_s - self.controller.since_s,
            budget_bytes_per_s=allowance.told_bytes_per_s * fraction if fraction else 0.0,
            usable_bytes_per_s=allowance.rate_bytes_per_s,
            wanted_bytes_per_s=self.controller.wanted_bytes_per_s,
            expected_bytes_per_s=choice.bytes_per_s,
            measured_bytes_per_s=meter.wire_rate(1.0, now_s),
            wire_bytes=meter.wire_bytes,
            burst_bytes=allowance.burst_bytes,
            point=self._point,
            offload_share=choice.share,
            frames_per_s=frames_per_s,
            expected_accuracy=choice.accuracy,
            observed_accuracy=self._edge_accuracy + (gained / frames_per_s if frames_per_s else 0.0),
            waiting_records=len(self._queue),
            waiting_bytes=self._queue.waiting_bytes,
            in_flight_bytes=meter.in_flight_bytes,
            delay_s=meter.delay_s(now_s),
            delay_trend=meter.delay_trend(now_s),
            max_records_per_s=self.servers.max_records_per_s,
            expired_share=self.servers.expired_share,
            share=fraction,
            num_workers=allowance.share.num_workers,
            held_back=dict(self._held_back),
            bytes_by_camera=dict(self._bytes_by_camera),
        )

    def _decide(self, now_s: float) -> None:
        self._decided_s = now_s
        while self._offers and self._offers[0][0] < now_s - _RATE_WINDOW_S:
            self._offered_bytes -= self._offers.popleft()[1]
        weighed = self.curve.weigh(self._mix.snapshot(now_s))
        self._edge_accuracy = weighed.edge_accuracy
        max_records = self.servers.max_records_per_s
        blocked = self._blocked(now_s)
        is_probing = self._probe_only or blocked == "no_server"
        sample = Sample(
            weighed=weighed,
            num_frames=len(self._mix),
            affordable_bytes_per_s=self.allowance.rate_bytes_per_s,
            cause=self.allowance.cause,
            max_records_per_s=min(max_records, 1.0 / PROBE_EVERY_S) if is_probing else max_records,
            offered_bytes_per_s=self._offered_bytes / _RATE_WINDOW_S,
            overhead_bytes=self.meter.overhead_bytes,
            record_bytes=self.meter.record_bytes,
            depth_bytes=self.allowance.bucket.depth_bytes,
            max_record_bytes=self.max_record_bytes,
            blocked=blocked,
            is_overrun=self.servers.are_overrun(),
            probes_servers=blocked == "no_server",
            is_hungry=self._is_hungry,
            is_probing=self._probe_only or self.allowance.estimator.is_ramping,
        )
        choice = self.controller.update(sample, now_s)
        if not self._config.fixed_point:
            self._point, self._family = choice.point, choice.family
            self._hungry_point = None

    def _blocked(self, now_s: float) -> str:
        """Why nothing at all can be sent, or empty."""
        if self.allowance.rate_bytes_per_s <= 0:
            return "no_lease" if self.allowance.fraction(now_s) <= 0 else "no_budget"
        if self.meter.silence_s(now_s) >= SILENT_S:
            return "uplink_down"
        if self._config.watch_servers and self.servers.are_gone(now_s):
            return "no_server"
        return ""

    def _num_allowed(self, blocked: str, now_s: float) -> float:
        """How many records may go now: any number, none, or one to see whether a server is there."""
        if blocked == "no_server" and now_s - self._sent_s >= PROBE_SERVERS_S:
            return 1
        return 0 if blocked else math.inf

    def _may_send(self, estimate: float, now_s: float) -> bool:
        if not self._has_room(estimate, now_s) or self._pacer.wait_s(now_s) > 0:
            return False
        if not self.allowance.bucket.try_debit(estimate, now_s):
            return False
        self._pacer.take(now_s)
        return True

    def _has_room(self, estimate: float, now_s: float) -> bool:
        """The producer may hold this record too; one is always allowed."""
        if self.meter.num_in_flight == 0:
            return not self._probe_only or now_s - self._failed_s >= PROBE_EVERY_S
        bound = self.allowance.hand_over_bytes(self._config.request_timeout_s)
        return not self._probe_only and self.meter.in_flight_bytes + estimate <= bound

    def _is_full(self, now_s: float) -> bool:
        """The rate allows a record that what is in flight is in the way of: the path is what limits.

        It may be one that waits, or the next one that will.
        """
        if self._pacer.wait_s(now_s) > 0:
            return False
        head, meter = self._head, self.meter
        estimate = meter.record_bytes if head is None else meter.estimate_bytes(head.num_bytes)
        is_in_the_way = head is not None or not self._has_room(estimate, now_s)
        return is_in_the_way and self.allowance.bucket.has_earned(estimate, now_s)

    def _send(self, item: Waiting[T], now_s: float) -> Send[T]:
        self._sent_s = now_s
        return Send(item.ticket, self.meter.handed_over(item.num_bytes, now_s), self.controller.choice.family)

    def _drop(self, ticket: T, cause: str) -> Drop[T]:
        self._held_back[cause] = self._held_back.get(cause, 0) + 1
        return Drop(ticket, cause)

    def _recent(self, samples: deque[tuple[float, float]], now_s: float) -> deque[tuple[float, float]]:
        while samples and samples[0][0] < now_s - _RATE_WINDOW_S:
            samples.popleft()
        return samples
