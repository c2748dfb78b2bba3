"""Final labels on their way to each site's Redis: a queue and a task for each, so that none stalls another.

Order: the label first, the record's offset second. A label that its Redis does not take in time is lost and
counted, and the edge's label stands.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runtime.channel import Channel, ChannelClosed, ChannelFull
from runtime.clock import Clock
from runtime.intake import Delivery
from runtime.label_writer import LabelWriter
from runtime.log import get_logger
from schemas.errors import TransientError
from schemas.label import Label
from schemas.trace import ServerTrace
from schemas.win_rule import PutResult
from server_workers.sites import Sites
from server_workers.tally import ServerTally
from server_workers.trace import ServerTraces

_MAX_QUEUED = 8_192
_MAX_WRITE = 512
_WAIT_MIN_S = 0.05
_WAIT_MAX_S = 1.0
_OUTCOMES = {
    PutResult.WRITTEN: "final",
    PutResult.UNCHANGED: "final",
    PutResult.ALREADY_FINAL: "repeated",
    PutResult.STALE: "repeated",
    PutResult.LATE: "late",
}
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Final:
    """A label to write, until `deadline_s` (local monotonic, `inf` for none), and the record it answers."""

    label: Label
    deadline_s: float
    delivery: Delivery
    trace: ServerTrace | None = None


class FinalQueue:
    """The labels of one Redis.

    Args:
        grace_s: how long after its deadline Redis still takes a label.
        give_up_s: a Redis silent this long loses what waits for it; None = the worker waits, for as long as
            the deadlines allow. Give a limit where the worker has other sites to serve.
    """

    def __init__(
        self,
        writer: LabelWriter,
        tally: ServerTally,
        clock: Clock,
        *,
        grace_s: float,
        give_up_s: float | None,
        traces: ServerTraces | None = None,
    ) -> None:
        self._writer = writer
        self._tally = tally
        self._clock = clock
        self._grace_s = grace_s
        self._give_up_s = give_up_s
        self._traces = traces
        self._queue: Channel[Final] = Channel(_MAX_QUEUED)

    def close(self) -> None:
        """No more labels come."""
        self._queue.close()

    async def put(self, finals: Iterable[Final]) -> None:
        """The labels wait to be written. Where nothing may wait for this Redis, a full queue loses them."""
        for final in finals:
            if self._give_up_s is None:
                await self._queue.put(final)
                continue
            try:
                self._queue.put_nowait(final)
            except ChannelFull:
                self._settle(final, "lost")

    async def run(self) -> None:
        """Writes until `close`, many labels a round trip."""
        while True:
            try:
                finals = await self._queue.get_batch(_MAX_WRITE)
            except ChannelClosed:
                return
            await self._write(finals)

    async def _write(self, finals: Sequence[Final]) -> None:
        began_s, attempt = self._clock.monotonic_s(), 0
        while finals:
            try:
                results = await self._writer.write_once([final.label for final in finals])
            except TransientError as error:
                _log.warning("final labels not written yet", num_labels=len(finals), error=str(error))
            else:
                for final, result in zip(finals, results, strict=True):
                    if self._traces is not None and final.trace is not None:
                        now_s = self._clock.monotonic_s()
                        self._traces.published(final.trace, final.label, result, began_s, now_s)
                    self._settle(final, _OUTCOMES[result])
                return
            finals = self._still_worth(finals, began_s)
            attempt += 1
            await asyncio.sleep(random.uniform(0.5, 1.0) * min(_WAIT_MAX_S, _WAIT_MIN_S * 2**attempt))

    def _still_worth(self, finals: Sequence[Final], began_s: float) -> list[Final]:
        now_s = self._clock.monotonic_s()
        silent = self._give_up_s is not None and now_s - began_s > self._give_up_s
        kept = []
        for final in finals:
            if silent or now_s > final.deadline_s + self._grace_s:
                self._settle(final, "lost")
            else:
                kept.append(final)
        return kept

    def _settle(self, final: Final, outcome: str) -> None:
        self._tally.settled(final.label.site, outcome)
        final.delivery.ack()


class FinalLabels:
    """The queues of all Redis servers, by the name of each."""

    def __init__(self, sites: Sites, queues: Mapping[str, FinalQueue]) -> None:
        self._sites = sites
        self._queues = queues

    def close(self) -> None:
        """No more labels come."""
        for queue in self._queues.values():
            queue.close()

    async def put(self, finals: Sequence[Final]) -> None:
        """Every label waits at its site's Redis."""
        by_redis: dict[str, list[Final]] = {}
        for final in finals:
            by_redis.setdefault(self._sites.of(final.label.site).name, []).append(final)
        for name, some in by_redis.items():
            await self._queues[name].put(some)
