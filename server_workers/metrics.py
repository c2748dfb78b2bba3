"""What a server worker counts: its metrics, and totals by site, so that the stages read as what they do."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from runtime.metrics import SECONDS, MetricGroup, Metrics
from server_workers.task import AnswerTask

_TOKENS = (197, 394, 788, 1_576, 3_152, 6_304, 12_608, 25_216, 50_432)
_LATELY_S = 2.0
_FORGOTTEN_AFTER_S = 3600.0


class ServerMetrics(MetricGroup):
    """Offload records through the server model."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        super().__init__(registry, per_camera=per_camera)
        self.records = self.counter(
            "server_records_total",
            "Offload records by outcome: final, expired, dead_letter, ...",
            ("outcome",),
        )
        self.record_age = self.histogram(
            "offload_age_seconds", "Age of offload records on arrival, since capture", SECONDS
        )
        self.batch_tokens = self.histogram("batch_tokens", "Tokens of one forward pass", _TOKENS)
        self.tokens = self.counter("server_tokens_total", "Tokens computed")


@dataclass(slots=True)
class SiteLoad:
    """What one site's records came to since the last report, and when the last of them came.

    `arrival_age_s` is how long the record that arrived last had waited in Kafka: the broker stamps each when
    it takes it in, so that no camera's and no edge's clock counts.
    """

    received: int = 0
    finals: int = 0
    expired: int = 0
    arrival_age_s: float = 0.0
    arrived_s: float = -math.inf


class ServerTally:
    """Writes the server's metrics and keeps totals by site; all from the event loop's thread."""

    def __init__(self, metrics: Metrics, offload_topic: str) -> None:
        self._consumer = metrics.consumer
        self._server = metrics.group(ServerMetrics)
        self._topic = offload_topic
        self._loads: dict[str, SiteLoad] = {}
        self.num_tokens = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The time inside is one call of the stage."""
        began_s = time.perf_counter()
        yield
        self._consumer.stage_time.labels(name).observe(time.perf_counter() - began_s)

    def read(self, num_records: int) -> None:
        """Records were taken from `offload`."""
        self._consumer.records.labels(self._topic).inc(num_records)

    def arrived(self, task: AnswerTask, now_s: float, utc_ns: int) -> None:
        """A sound record is there at the local monotonic time `now_s`."""
        self._server.record_age.observe(max(0.0, (utc_ns - task.record.captured_ns) / 1e9))
        load = self._load(task.site)
        load.arrival_age_s = max(0.0, utc_ns / 1e9 - task.delivery.record.timestamp_ms / 1e3)
        load.arrived_s = now_s

    def sites(self, now_s: float) -> list[str]:
        """The sites of which records came within the last hour; the others are forgotten."""
        self._loads = {
            site: load for site, load in self._loads.items() if now_s - load.arrived_s < _FORGOTTEN_AFTER_S
        }
        return sorted(self._loads)

    def take_load(self, site: str, now_s: float) -> SiteLoad:
        """What the site's records came to since the last call; without an age when none came lately."""
        load = self._loads.get(site, SiteLoad())
        if site in self._loads:
            self._loads[site] = SiteLoad(arrival_age_s=load.arrival_age_s, arrived_s=load.arrived_s)
        if now_s - load.arrived_s >= _LATELY_S:
            load.arrival_age_s = 0.0
        return load

    def dead(self, reason: str) -> None:
        """A record went to the dead-letter topic."""
        self._consumer.dead_letters.labels(self._topic, reason).inc()
        self._server.records.labels("dead_letter").inc()

    def too_late(self, site: str) -> None:
        """A record came, or waited, past its deadline."""
        load = self._load(site)
        load.received += 1
        load.expired += 1
        self._server.records.labels("expired").inc()

    def computed(self, sets: Sequence[AnswerTask], num_tokens: int, seconds: float, began_s: float) -> None:
        """One forward pass, begun at the local monotonic time `began_s`."""
        self.num_tokens += num_tokens
        self._server.tokens.inc(num_tokens)
        self._server.batch_tokens.observe(num_tokens)
        self._consumer.batch_size.observe(len(sets))
        self._consumer.compute_time.observe(seconds)
        for task in sets:
            self._load(task.site).received += 1
            self._consumer.queue_time.observe(max(0.0, began_s - task.read_s))

    def settled(self, site: str, outcome: str) -> None:
        """A final label was written, refused or lost."""
        self._server.records.labels(outcome).inc()
        if outcome == "final":
            self._load(site).finals += 1
        elif outcome == "late":
            self._load(site).expired += 1

    def waiting(self, num_sets: int) -> None:
        """What the batcher holds."""
        self._consumer.queue_items.labels("batcher").set(num_sets)

    def _load(self, site: str) -> SiteLoad:
        return self._loads.setdefault(site, SiteLoad())
