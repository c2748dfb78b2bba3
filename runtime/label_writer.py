"""Labels into one site's Redis, written until it answers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import stamina

from runtime.metrics import ConsumerMetrics
from runtime.stores import LabelStore
from schemas.errors import SaccadeError, TransientError
from schemas.label import Label
from schemas.win_rule import PutResult

_WAIT_MIN_S = 0.05
_WAIT_MAX_S = 1.0


class LabelWriter:
    """One pipelined write for many labels; while Redis is away the caller waits, and all upstream of it."""

    def __init__(self, store: LabelStore, metrics: ConsumerMetrics, site: str) -> None:
        self._store = store
        self._metrics = metrics
        self._up = metrics.redis_up.labels(site)

    async def write(self, labels: Sequence[Label]) -> list[PutResult]:
        """What Redis did with each label. Tried until it answers; writing a label twice changes nothing."""
        if not labels:
            return []
        async for attempt in stamina.retry_context(
            on=TransientError, attempts=None, timeout=None, wait_initial=_WAIT_MIN_S, wait_max=_WAIT_MAX_S
        ):
            with attempt:
                return await self.write_once(labels)
        raise AssertionError("an endless retry has ended")

    async def write_once(self, labels: Sequence[Label]) -> list[PutResult]:
        """What Redis did with each label.

        Raises:
            TransientError: Redis does not answer; some labels may have been written.
        """
        began_s = time.perf_counter()
        try:
            results = await self._store.put(labels)
        except SaccadeError:
            self._up.set(0)
            raise
        self._up.set(1)
        self._metrics.redis_write.observe(time.perf_counter() - began_s)
        outcomes = Counter((label.state, result) for label, result in zip(labels, results, strict=True))
        for (state, result), count in outcomes.items():
            self._metrics.labels.labels(state.value, result.name.lower()).inc(count)
        latency = {
            source: self._metrics.result_latency.labels(source.value)
            for source in {label.source for label in labels}
        }
        for label, result in zip(labels, results, strict=True):
            if result is PutResult.WRITTEN and label.label >= 0:
                latency[label.source].observe(max(0.0, (label.labelled_ns - label.captured_ns) / 1e9))
        return results
