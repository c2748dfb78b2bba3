"""What a server worker counts, in one place so that the stages read as what they do."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from runtime.intake import Delivery
from runtime.metrics import Metrics
from server_workers.incoming import Ready
from server_workers.metrics import ServerMetrics

_LATELY_S = 2.0


class ServerTally:
    """Writes the server's metrics and keeps totals by site; all from the event loop's thread."""

    def __init__(self, metrics: Metrics, offload_topic: str) -> None:
        self._consumer = metrics.consumer
        self._server = metrics.group(ServerMetrics)
        self._topic = offload_topic
        self.received: Counter[str] = Counter()
        self.finals: Counter[str] = Counter()
        self.expired: Counter[str] = Counter()
        self.num_tokens = 0
        self._arrival_age_s = 0.0
        self._arrival_s = -math.inf

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The time inside is one call of the stage."""
        began_s = time.perf_counter()
        yield
        self._consumer.stage_time.labels(name).observe(time.perf_counter() - began_s)

    def read(self, taken: Sequence[Delivery], now_s: float, utc_ns: int) -> None:
        """Records were taken from `offload` at the local monotonic time `now_s`."""
        self._consumer.records.labels(self._topic).inc(len(taken))
        oldest_ms = min(each.record.timestamp_ms for each in taken)
        self._arrival_age_s = max(0.0, utc_ns / 1e9 - oldest_ms / 1e3)
        self._arrival_s = now_s

    def arrival_age_s(self, now_s: float) -> float:
        """How long the records read last had waited in Kafka; 0 when none came lately."""
        return self._arrival_age_s if now_s - self._arrival_s < _LATELY_S else 0.0

    def dead(self, reason: str) -> None:
        """A record went to the dead-letter topic."""
        self._consumer.dead_letters.labels(self._topic, reason).inc()
        self._server.records.labels("dead_letter").inc()

    def too_late(self, site: str) -> None:
        """A record came, or waited, past its deadline."""
        self.received[site] += 1
        self.expired[site] += 1
        self._server.records.labels("expired").inc()

    def computed(self, sets: Sequence[Ready], num_tokens: int, seconds: float, began_s: float) -> None:
        """One forward pass, begun at the local monotonic time `began_s`."""
        self.num_tokens += num_tokens
        self._server.tokens.inc(num_tokens)
        self._server.batch_tokens.observe(num_tokens)
        self._consumer.batch_size.observe(len(sets))
        self._consumer.compute_time.observe(seconds)
        for ready in sets:
            self.received[ready.record.site] += 1
            self._consumer.queue_time.observe(max(0.0, began_s - ready.read_s))

    def opened(self, ready: Ready, utc_ns: int) -> None:
        """A sound record waits for the model."""
        self._server.record_age.observe(max(0.0, (utc_ns - ready.record.captured_ns) / 1e9))

    def settled(self, site: str, outcome: str) -> None:
        """A final label was written, refused or lost."""
        self._server.records.labels(outcome).inc()
        if outcome == "final":
            self.finals[site] += 1
        elif outcome == "late":
            self.expired[site] += 1

    def waiting(self, num_sets: int) -> None:
        """What the batcher holds."""
        self._consumer.queue_items.labels("batcher").set(num_sets)
