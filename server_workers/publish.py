"""The stage `publish`: final labels to each site's Redis, a queue and a task for each, so that none stalls another.

Order: the label first, the record's offset second. A label that its Redis does not take in time is lost and
counted, and the edge's label stands.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence

from runtime.channel import Channel, ChannelClosed, ChannelFull
from runtime.clock import Clock
from runtime.label_writer import LabelWriter
from runtime.log import get_logger
from runtime.stores import AnswerBoard
from schemas.answer import ServerAnswer
from schemas.errors import SaccadeError
from schemas.win_rule import PutResult
from server_workers.metrics import ServerTally
from server_workers.sites import Sites
from server_workers.task import AnswerTask
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


class LabelQueue:
    """The labels of one Redis.

    Args:
        grace_s: how long after its deadline Redis still takes a label.
        board: takes the answers for the edge workers of the sites; None = nobody wants them.
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
        board: AnswerBoard | None = None,
        traces: ServerTraces | None = None,
    ) -> None:
        self._writer = writer
        self._board = board
        self._tally = tally
        self._clock = clock
        self._grace_s = grace_s
        self._give_up_s = give_up_s
        self._traces = traces
        self._queue: Channel[AnswerTask] = Channel(_MAX_QUEUED)

    def close(self) -> None:
        """No more labels come."""
        self._queue.close()

    async def put(self, tasks: Iterable[AnswerTask]) -> None:
        """The labels wait to be written. Where nothing may wait for this Redis, a full queue loses them."""
        for task in tasks:
            if self._give_up_s is None:
                await self._queue.put(task)
                continue
            try:
                self._queue.put_nowait(task)
            except ChannelFull:
                self._settle(task, "lost")

    async def run(self) -> None:
        """Writes until `close`, many labels a round trip."""
        while True:
            try:
                tasks = await self._queue.get_batch(_MAX_WRITE)
            except ChannelClosed:
                return
            await self._write(tasks)

    async def _write(self, tasks: Sequence[AnswerTask]) -> None:
        began_s, attempt = self._clock.monotonic_s(), 0
        while tasks:
            try:
                results = await self._writer.write_once([task.label for task in tasks])
            except SaccadeError as error:  # whatever it is, it is this site's own
                _log.warning("final labels not written yet", num_labels=len(tasks), error=str(error))
            else:
                for task, result in zip(tasks, results, strict=True):
                    if self._traces is not None and task.trace is not None:
                        now_s = self._clock.monotonic_s()
                        self._traces.published(task.trace, task.label, result, began_s, now_s)
                await self._tell(tasks)
                for task, result in zip(tasks, results, strict=True):
                    self._settle(task, _OUTCOMES[result])
                return
            tasks = self._still_worth(tasks, began_s)
            attempt += 1
            await asyncio.sleep(random.uniform(0.5, 1.0) * min(_WAIT_MAX_S, _WAIT_MIN_S * 2**attempt))

    async def _tell(self, tasks: Sequence[AnswerTask]) -> None:
        """The edge workers of each site may fetch the answers; what is lost here costs a belief one answer."""
        if self._board is None:
            return
        by_site: dict[str, list[ServerAnswer]] = {}
        for task in tasks:
            by_site.setdefault(task.site, []).append(task.answer)
        for site, answers in by_site.items():
            try:
                await self._board.put_answers(site, answers)
            except SaccadeError as error:
                _log.warning("answers not told to the edge", site=site, error=str(error))

    def _still_worth(self, tasks: Sequence[AnswerTask], began_s: float) -> list[AnswerTask]:
        now_s = self._clock.monotonic_s()
        silent = self._give_up_s is not None and now_s - began_s > self._give_up_s
        kept = []
        for task in tasks:
            if silent or now_s > task.deadline_s + self._grace_s:
                self._settle(task, "lost")
            else:
                kept.append(task)
        return kept

    def _settle(self, task: AnswerTask, outcome: str) -> None:
        self._tally.settled(task.label.site, outcome)
        task.delivery.ack()


class AnswerPublisher:
    """The queues of all Redis servers, by the name of each."""

    def __init__(self, sites: Sites, queues: Mapping[str, LabelQueue]) -> None:
        self._sites = sites
        self._queues = queues

    def close(self) -> None:
        """No more labels come."""
        for queue in self._queues.values():
            queue.close()

    async def put(self, tasks: Sequence[AnswerTask]) -> None:
        """Every label waits at its site's Redis."""
        by_redis: dict[str, list[AnswerTask]] = {}
        for task in tasks:
            by_redis.setdefault(self._sites.of(task.label.site).name, []).append(task)
        for name, some in by_redis.items():
            await self._queues[name].put(some)
