"""What a worker tells the outside each second: lag, progress, readiness, and how the site's clock stands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import stamina

from runtime.clock import Clock
from runtime.health import GROUP_JOINED, Health
from runtime.intake import Intake, RecordSource
from runtime.log import get_logger
from runtime.metrics import ConsumerMetrics
from runtime.site_clock import SiteClock
from runtime.stores import LabelStore
from runtime.waiting import set_within
from schemas.errors import SaccadeError, TransientError

BEAT_S = 1.0
_LARGE_OFFSET_S = 1.0
_log = get_logger(__name__)


class Member(RecordSource, Protocol):
    """What one member of a group tells of itself."""

    @property
    def joined(self) -> bool:
        """True while it holds an assignment, even an empty one."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why no records come, one line; None while it is in its group, or joins it."""
        ...

    @property
    def num_missed(self) -> int:
        """Records that the broker had deleted before this member came to read them."""
        ...

    def generation(self) -> int:
        """How many assignments it has had."""
        ...

    async def lag(self) -> int:
        """Records in the held partitions that `getmany` has not returned; `TransientError` if unknown."""
        ...


class Heartbeat:
    """Reports one consumer's progress to `health` and the metrics."""

    def __init__(
        self, intake: Intake, source: Member, topic: str, *, health: Health, metrics: ConsumerMetrics
    ) -> None:
        self._intake = intake
        self._source = source
        self._topic = topic
        self._health = health
        self._metrics = metrics
        self._finished = 0
        self._generation = 0
        self._missed = 0

    async def run(self, until: asyncio.Event) -> None:
        """Beats each second until `until` is set."""
        while not await set_within(until, BEAT_S):
            await self.beat()

    async def beat(self) -> None:
        """Health and metrics hold what is true now; without the broker's answer the last lag stands."""
        moved, self._finished = self._intake.num_finished - self._finished, self._intake.num_finished
        self._health.meets(GROUP_JOINED, self._source.joined, self._source.trouble or "joining")
        self._metrics.assigned.labels(self._topic).set(len(self._source.assignment()))
        generation = self._source.generation()
        self._metrics.rebalances.inc(generation - self._generation)
        self._generation = generation
        missed = self._source.num_missed
        self._metrics.missed.labels(self._topic).inc(missed - self._missed)
        self._missed = missed
        if moved:
            self._metrics.progressed(self._topic)
        lag = 0
        try:
            lag = await self._source.lag()
        except TransientError as error:
            _log.warning("the lag is not known", error=str(error))
        else:
            self._metrics.lag.labels(self._topic).set(lag)
        self._health.progress(lag + self._intake.num_open, moved)


class ClockKeeper:
    """Asks one site's Redis for its time each second, and tells whether it answers.

    `answers` is called with each outcome. The first answer is followed by a warning for each setting of that
    Redis under which labels may be lost.
    """

    def __init__(
        self,
        store: LabelStore,
        site_clock: SiteClock,
        clock: Clock,
        site: str,
        *,
        metrics: ConsumerMetrics,
        answers: Callable[[bool], None],
    ) -> None:
        self._store = store
        self._site_clock = site_clock
        self._clock = clock
        self._site = site
        self._offset = metrics.clock_offset.labels(site)
        self._up = metrics.redis_up.labels(site)
        self._answers = answers
        self._warned = False
        self._is_checked = False

    async def run(self, until: asyncio.Event) -> None:
        """Asks each second until `until` is set."""
        while not await set_within(until, BEAT_S):
            await self.ask()

    async def ask(self) -> bool:
        """True when Redis answered: the site's clock is right to half a round trip."""
        try:
            await self._ask()
        except SaccadeError as error:  # a refusal too: it is this site's own, and may be lifted
            _log.warning("the site's Redis does not answer", site=self._site, error=str(error))
            return False
        return True

    async def known(self, timeout_s: float) -> None:
        """Redis has answered once.

        Raises:
            TransientError: it did not for `timeout_s`.
        """
        async for attempt in stamina.retry_context(
            on=TransientError, attempts=None, timeout=timeout_s, wait_initial=0.1, wait_max=BEAT_S
        ):
            with attempt:
                await self._ask()

    async def _ask(self) -> None:
        asked_s = self._clock.monotonic_s()
        try:
            redis_ns = await self._store.time_ns()
        except SaccadeError:
            self._up.set(0)
            self._answers(False)
            raise
        answered_s = self._clock.monotonic_s()
        self._site_clock.learn(redis_ns, asked_s, answered_s)
        self._up.set(1)
        self._answers(True)
        if not self._is_checked:
            for problem in await self._store.check_durability():
                _log.warning("labels may be lost", site=self._site, problem=problem)
            self._is_checked = True
        self._report_offset(answered_s)

    def _report_offset(self, now_s: float) -> None:
        offset_s = (self._clock.time_ns() - self._site_clock.time_ns(now_s)) / 1e9
        self._offset.set(offset_s)
        if abs(offset_s) > _LARGE_OFFSET_S and not self._warned:
            _log.warning("this machine's clock is off the site Redis's", site=self._site, offset_s=offset_s)
        self._warned = abs(offset_s) > _LARGE_OFFSET_S
