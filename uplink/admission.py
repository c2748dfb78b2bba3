"""What may leave now and what is given up: bucket, queue, deadlines, hand-over and pacing kept in agreement.

Called by the scheduler. Pure: time is an argument and never goes back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from schemas.rates import Auto, RateSchedule
from schemas.server_report import ServerReport
from uplink.allowance import Allowance
from uplink.link import SILENT_S, UplinkMeter
from uplink.queue import DeadlineRule, Discipline, OffloadQueue, most_uncertain, short_wait
from uplink.servers import RecordPacer, ServerWatch
from uplink.task import Dropped, OffloadTask

PROBE_EVERY_S: Final = 1.0
PROBE_SERVERS_S: Final = 2.0
"""Without any server heard one record goes out so often, as a new server reports from its first record on."""
_DRY_SHARE: Final = 0.2
_WANTED_S: Final = 0.3
_USED_SHARE: Final = 0.85


@dataclass(frozen=True, slots=True)
class AdmissionConfig:
    """How records are let out.

    `budget`: a schedule in seconds since `origin_s` (the start without), `Auto`, or None for no limit.
    `is_shared`: spend only under leases. `watch_servers`: leave everything to the edge when no server is heard.
    `min_share` of the budget is divided evenly among the cameras, by `camera_weights`. `request_timeout_s` is the
    producers', of which there are `num_producers`.
    """

    budget: RateSchedule | Auto | None
    origin_s: float | None = None
    is_shared: bool = False
    watch_servers: bool = True
    max_items: int = 1024
    min_share: float = 0.25
    camera_weights: Mapping[str, float] = field(default_factory=dict)
    discipline: Discipline = most_uncertain
    deadline_rule: DeadlineRule = short_wait
    request_timeout_s: float = 3.0
    num_producers: int = 1


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """What admission allows now: rates in bytes/s and records/s, sizes in bytes.

    `cause` is the limit that set `bytes_per_s` (`budget`, `link`); `records_per_s` is what the servers finish;
    `record_bytes` is a record's mean on the wire, `overhead_bytes` what of it is not value, `max_record_bytes` the
    largest value that can pass, `depth_bytes` what the bucket holds. `blocked` says why nothing can be sent at all
    (`uplink_down`, `no_server`, `no_lease`, `no_budget`), or is empty. `is_overrun`: too many records expire at the
    servers. `is_probing`: it is being tried whether more can be sent.
    """

    bytes_per_s: float
    cause: str
    records_per_s: float
    record_bytes: float
    overhead_bytes: float
    max_record_bytes: float
    depth_bytes: float
    blocked: str
    is_overrun: bool
    is_probing: bool


class Admission:
    """One worker's allowance, queue, meter and server watch.

    State beside those parts: the task that would be next if there were tokens or room; since when the flight is in
    its way; when a record last waited, left, and failed (None once one got through: until then only one at a time
    is tried); what was held back, by cause; how many producers should be connected.
    """

    def __init__(self, config: AdmissionConfig, start_s: float) -> None:
        self.allowance = Allowance(
            config.budget, is_shared=config.is_shared, start_s=start_s, origin_s=config.origin_s
        )
        self.meter = UplinkMeter(start_s, config.num_producers)
        self.servers = ServerWatch(start_s, is_watching=config.watch_servers)
        self.queue = OffloadQueue(
            max_items=config.max_items,
            min_share=config.min_share,
            weights=config.camera_weights,
            discipline=config.discipline,
            deadline_rule=config.deadline_rule,
        )
        self.held_back: dict[str, int] = {}
        self.num_wanted_producers = 1
        self._pacer = RecordPacer(start_s)
        self._config = config
        self._head: OffloadTask | None = None
        self._full_since_s: float | None = None
        self._wanted_s = -math.inf
        self._sent_s = -math.inf
        self._failed_s: float | None = None

    def __repr__(self) -> str:
        return f"<Admission {self.allowance.bucket!r} {self.queue!r}>"

    @property
    def max_record_bytes(self) -> float:
        """The largest value that can pass under the present budget; infinite without one."""
        return max(self.allowance.bucket.depth_bytes - self.meter.overhead_bytes, 0.0)

    def is_dry(self, now_s: float) -> bool:
        """Nothing waits and the bucket runs full."""
        bucket = self.allowance.bucket
        return not len(self.queue) and bucket.tokens(now_s) > _DRY_SHARE * bucket.depth_bytes

    def limits(self, now_s: float) -> AdmissionLimits:
        """What may be sent now and what sets it."""
        blocked = self.blocked(now_s)
        max_records = self.servers.max_records_per_s
        is_trying = self._failed_s is not None
        return AdmissionLimits(
            bytes_per_s=self.allowance.rate_bytes_per_s,
            cause=self.allowance.cause,
            records_per_s=min(max_records, 1.0 / PROBE_EVERY_S)
            if is_trying or blocked == "no_server"
            else max_records,
            record_bytes=self.meter.record_bytes,
            overhead_bytes=self.meter.overhead_bytes,
            max_record_bytes=self.max_record_bytes,
            depth_bytes=self.allowance.bucket.depth_bytes,
            blocked=blocked,
            is_overrun=self.servers.are_overrun(),
            is_probing=is_trying or self.allowance.estimator.is_ramping,
        )

    def blocked(self, now_s: float) -> str:
        """Why nothing at all can be sent, or empty."""
        if self.allowance.rate_bytes_per_s <= 0:
            return "no_lease" if self.allowance.fraction(now_s) <= 0 else "no_budget"
        if self.meter.silence_s(now_s) >= SILENT_S + self._round_trip_s:
            return "uplink_down"
        return "no_server" if self.servers.are_gone(now_s) else ""

    def enqueue(self, task: OffloadTask, now_s: float) -> list[OffloadTask]:
        """The task waits for its turn; returns those that had to leave for it, itself perhaps."""
        self.allowance.advance(now_s)
        if self.meter.estimate_bytes(task.num_bytes) > self.allowance.bucket.depth_bytes > 0:
            return [self._drop(task, "over_burst")]
        left = self.queue.push(task, now_s)
        return [] if left is None else [self._drop(left, "queue_full")]

    def counted(self, totals: Sequence[float] | None, now_s: float) -> None:
        """The producers' counters of what left were read (None: the system has none)."""
        meter = self.meter
        if totals is None:
            self.allowance.bucket.correct(meter.count(None), meter.flight.estimate_bytes, now_s)
        else:
            meter.flight.count(totals)
            self.allowance.bucket.correct(meter.count(sum(totals)), meter.flight.unseen_bytes, now_s)

    def measured(self, totals: Sequence[float] | None, now_s: float) -> None:
        """A sample was taken: the producers' counters (None: the system has none)."""
        self.allowance.advance(now_s)
        self.counted(totals, now_s)
        meter, bucket = self.meter, self.allowance.bucket
        meter.sample(now_s)
        is_wanted = (
            now_s - self._wanted_s < _WANTED_S
            or meter.wire_rate(1.0, now_s) > _USED_SHARE * bucket.budget_bytes_per_s
        )
        full_s = now_s - self._full_since_s if self._full_since_s is not None else 0.0
        self.allowance.estimate(meter, full_s=full_s, is_used=is_wanted, now_s=now_s)

    def heard(self, reports: Iterable[ServerReport], own_records_per_s: float, now_s: float) -> None:
        """The servers' newest reports were read."""
        self.servers.update(
            reports,
            own_share=max(self.allowance.fraction(now_s), 0.01),
            link_delay_s=self.meter.longest_delay_s(),
            own_records_per_s=own_records_per_s,
            now_s=now_s,
        )
        self._pacer.set_limit(self.servers.max_records_per_s, now_s)

    def admit(self, now_s: float) -> tuple[list[OffloadTask], list[OffloadTask]]:
        """What is handed over now, and what is given up."""
        self.allowance.advance(now_s)
        blocked = self.blocked(now_s)
        dropped = [
            self._drop(task, blocked if blocked and cause == "no_tokens" else cause)
            for task, cause in self.queue.expire(now_s)
        ]
        sent = self._let_out(self._num_allowed(blocked, now_s), dropped, now_s)
        if len(self.queue):
            self._wanted_s = now_s
        if self._lacks_producer(now_s):
            num_wanted = min(2 * self.meter.flight.num_ready, self._config.num_producers)
            self.num_wanted_producers = max(self.num_wanted_producers, num_wanted)
        if not self._is_full(now_s):
            self._full_since_s = None
        elif self._full_since_s is None:
            self._full_since_s = now_s
        return sent, dropped

    def _let_out(self, num_allowed: float, dropped: list[OffloadTask], now_s: float) -> list[OffloadTask]:
        """The tasks that are handed over now, all to one producer; one that can never pass joins `dropped`."""
        sent: list[OffloadTask] = []
        self._head = None
        task = self.queue.peek(self.allowance.rate_bytes_per_s, now_s) if num_allowed else None
        if task is None:
            return sent
        producer = self.meter.flight.idle_producer if now_s >= self._next_request_s else None
        request_bytes, part_bytes = 0.0, self._part_bytes
        while task is not None:
            estimate = self.meter.estimate_bytes(task.num_bytes)
            if estimate > self.allowance.bucket.depth_bytes:
                self.queue.leave(task)
                dropped.append(self._drop(task, "over_burst"))
            elif (
                producer is not None
                and (not sent or request_bytes + estimate <= part_bytes)
                and self._may_send(estimate, now_s)
            ):
                request_bytes += estimate
                self.queue.take(task, estimate)
                task.producer = producer
                self._sent_s = now_s
                self.meter.handed_over(task, now_s)
                sent.append(task)
            else:
                self._head = task
                break
            task = (
                self.queue.peek(self.allowance.rate_bytes_per_s, now_s) if len(sent) < num_allowed else None
            )
        return sent

    def delivered(self, task: OffloadTask, now_s: float) -> None:
        """The broker acknowledged the task's record."""
        self.meter.acknowledged(task, now_s)
        self._failed_s = None

    def failed(self, task: OffloadTask, now_s: float) -> None:
        """The producer gave the record up: until one gets through, only one at a time is tried."""
        self.meter.failed(task)
        self._failed_s = now_s

    def next_s(self, now_s: float) -> float:
        """When the next record may leave or expires; infinite if none waits. Ask right after `admit`."""
        next_s = self.queue.next_end_s()
        if self._head is None:
            return next_s
        estimate = self.meter.estimate_bytes(self._head.num_bytes)
        if self.meter.flight.idle_producer is None or not self._has_room(estimate, now_s):
            return next_s
        wait_s = max(self.allowance.bucket.wait_s(estimate, now_s), self._pacer.wait_s(now_s))
        return min(next_s, max(now_s + wait_s, self._next_request_s))

    @property
    def _next_request_s(self) -> float:
        """Requests begin evenly over a round trip: records gather for each, and none waits for all of them."""
        return self._sent_s + self._round_trip_s / self._config.num_producers

    @property
    def _round_trip_s(self) -> float:
        return self.meter.round_trip.seconds(self.allowance.rate_bytes_per_s)

    def clear(self) -> list[OffloadTask]:
        """Nothing waits any more; everything that did is given up."""
        return [self._drop(task, "stopped") for task in self.queue.clear()]

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
        """The producers may hold this record too; one is always allowed."""
        flight = self.meter.flight
        if not len(flight):
            return self._failed_s is None or now_s - self._failed_s >= PROBE_EVERY_S
        return self._failed_s is None and flight.estimate_bytes + estimate <= self._bound_bytes

    @property
    def _bound_bytes(self) -> float:
        """How much may be in flight."""
        timeout_s, drains = self._config.request_timeout_s, self.meter.round_trip.is_probing
        return self.allowance.hand_over_bytes(timeout_s, drains=drains)

    @property
    def _part_bytes(self) -> float:
        """How much one request may take beside its first record.

        The path is idle for a round trip after a request that takes all, and its time tells nothing of the path:
        it is that of its own bytes at the rate that is measured then. So there are two at least, but not as many as
        producers, whose requests would be smaller than their parts by what no whole record fills.
        """
        return self._bound_bytes / min(max(self.meter.flight.num_ready // 2, 2), self._config.num_producers)

    def _is_full(self, now_s: float) -> bool:
        """The rate allows a record that the bytes in flight are in the way of: the path is what limits.

        It may be one that waits, or the next one that will. A producer that is awaited says nothing of the path.
        """
        if self._pacer.wait_s(now_s) > 0:
            return False
        head, meter = self._head, self.meter
        estimate = meter.record_bytes if head is None else meter.estimate_bytes(head.num_bytes)
        return not self._has_room(estimate, now_s) and self.allowance.bucket.has_earned(estimate, now_s)

    def _lacks_producer(self, now_s: float) -> bool:
        """A record may leave, and every producer that is connected has a request under way."""
        if self._head is None or self.meter.flight.idle_producer is not None:
            return False
        estimate = self.meter.estimate_bytes(self._head.num_bytes)
        return self._has_room(estimate, now_s) and self.allowance.bucket.tokens(now_s) >= estimate

    def _drop(self, task: OffloadTask, cause: str) -> OffloadTask:
        self.held_back[cause] = self.held_back.get(cause, 0) + 1
        task.end(Dropped(cause))
        return task
