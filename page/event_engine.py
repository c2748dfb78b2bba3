"""Labels become events: follows a site's labels, asks the rule, writes what it says.

One process of a site does this at a time, by a lease. After a restart the labels of the last minutes are read
again; an event that was written before is known by its id.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Iterable
from typing import Protocol

from page.events import EventRule, EventTracker
from page.labels import FollowedLabels
from runtime.clock import Clock
from runtime.log import get_logger
from runtime.waiting import set_within
from schemas.errors import SaccadeError, TransientError, leaves
from schemas.event import Event
from schemas.label import Label, LabelState

MAX_CAMERAS = 2_000
_LEASE_RENEW_S = 3.0
_TICK_S = 0.5
_RETRY_S = 1.0
_log = get_logger(__name__)


class LabelSource(Protocol):
    """What the engine reads beside the labels that come."""

    async def cameras(self) -> list[str]:
        """Every known camera."""
        ...

    async def recent(self, camera: str, count: int) -> list[Label]:
        """The last label changes of a camera, newest first."""
        ...

    async def time_ns(self) -> int:
        """The site's time."""
        ...


class EventSink(Protocol):
    """Where the engine writes."""

    async def add(self, event: Event) -> bool:
        """Written once."""
        ...

    async def hold_engine(self, site: str, owner: str) -> bool:
        """True while this process is the one that finds events."""
        ...


class LastWords:
    """Labels pass here once they can change no more: final ones at once, provisional ones at their deadline.

    State: the provisional labels that wait, by deadline on the site's clock.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int], Label] = {}
        self._by_deadline: list[tuple[int, int, tuple[str, int]]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, label: Label) -> list[Label]:
        """The label if it is a last word, else nothing for now."""
        key = (label.camera, label.seq)
        if label.state is not LabelState.PROVISIONAL:
            self._waiting.pop(key, None)
            return [label]
        self._waiting[key] = label
        heapq.heappush(self._by_deadline, (label.deadline_ns, next(self._order), key))
        return []

    def due(self, now_ns: int) -> list[Label]:
        """The provisional labels whose deadline has passed, oldest first."""
        passed = []
        while self._by_deadline and self._by_deadline[0][0] <= now_ns:
            label = self._waiting.pop(heapq.heappop(self._by_deadline)[2], None)
            if label is not None:
                passed.append(label)
        return passed


class EventEngine:
    """Finds the events of one site.

    State: one tracker a camera with the time when its newest frame's label came, and the labels that may still
    change. All of it is touched from one task.
    """

    def __init__(
        self,
        store: LabelSource,
        labels: FollowedLabels,
        events: EventSink,
        clock: Clock,
        rule: EventRule,
        *,
        site: str,
        owner: str,
    ) -> None:
        self._store = store
        self._labels = labels
        self._events = events
        self._clock = clock
        self._rule = rule
        self._site = site
        self._owner = owner
        self._trackers: dict[str, EventTracker] = {}
        self._heard_s: dict[str, float] = {}
        self._last_words = LastWords()

    async def run(self, stop: asyncio.Event) -> None:
        """Finds events until `stop`, whenever this process holds the lease; rides out outages."""
        while not stop.is_set():
            try:
                if not await self._events.hold_engine(self._site, self._owner):
                    await set_within(stop, _LEASE_RENEW_S)
                    continue
                await self._find(stop)
            except* SaccadeError as group:  # also what Redis refuses, such as a key that holds something else
                _log.warning("no events for now", error=str(leaves(group)[0]))
                await set_within(stop, _RETRY_S)

    async def _find(self, stop: asyncio.Event) -> None:
        """Until `stop`, or until another process holds the lease."""
        self._trackers.clear()
        self._heard_s.clear()
        self._last_words = LastWords()
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            holding = group.create_task(self._hold(stop, over), name="lease")
            try:
                # A label is in a history or follows, or both, which does no harm.
                async with self._labels.following() as followed:
                    now_ns = await self._store.time_ns()
                    await self._read_histories(now_ns, over)
                    await self._work(followed, over, now_ns - self._clock.time_ns())
            finally:
                holding.cancel()

    async def _hold(self, stop: asyncio.Event, over: asyncio.Event) -> None:
        """The lease is held until `over` is set: at `stop`, or because another process has it."""
        while not await set_within(stop, _LEASE_RENEW_S):
            if not await self._events.hold_engine(self._site, self._owner):
                break
        over.set()

    async def _read_histories(self, now_ns: int, over: asyncio.Event) -> None:
        for camera in (await self._store.cameras())[:MAX_CAMERAS]:
            if over.is_set():
                return
            for label in reversed(await self._past_of(camera)):
                await self._take(self._last_words.offer(label))
        await self._take(self._last_words.due(now_ns))

    async def _past_of(self, camera: str) -> list[Label]:
        try:
            return await self._store.recent(camera, 200)
        except TransientError:
            raise
        except SaccadeError as error:  # one camera's key that holds something else silences no other
            _log.warning("the labels of a camera cannot be read", camera=camera, error=str(error))
            return []

    async def _work(self, followed: asyncio.Queue[list[Label]], over: asyncio.Event, offset_ns: int) -> None:
        while not over.is_set():
            for label in await _next_batch(followed):
                await self._take(self._last_words.offer(label))
            now_ns = self._clock.time_ns() + offset_ns
            await self._take(self._last_words.due(now_ns))
            await self._quiet()

    async def _take(self, labels: Iterable[Label]) -> None:
        for label in labels:
            tracker = self._trackers.get(label.camera)
            if tracker is None:
                if len(self._trackers) >= MAX_CAMERAS:
                    continue
                tracker = self._trackers[label.camera] = EventTracker(self._site, label.camera, self._rule)
            before_ns = tracker.newest_ns
            await self._write(tracker.see(label))
            if tracker.newest_ns != before_ns:
                self._heard_s[label.camera] = self._clock.monotonic_s()

    async def _quiet(self) -> None:
        """Quiet is what does not arrive: labels may come long after the capture, and cameras have their own clocks."""
        now_s = self._clock.monotonic_s()
        for camera, tracker in self._trackers.items():
            silent_s = now_s - self._heard_s.get(camera, now_s)
            await self._write(tracker.quiet(tracker.newest_ns + round(silent_s * 1e9)))

    async def _write(self, events: Iterable[Event]) -> None:
        for event in events:
            if await self._events.add(event):
                _log.info("event", camera=event.camera, kind=event.kind.value, label=event.label)


async def _next_batch(followed: asyncio.Queue[list[Label]]) -> list[Label]:
    """The next labels; none after a while, as time alone ends events too."""
    try:
        async with asyncio.timeout(_TICK_S):
            return await followed.get()
    except TimeoutError:
        return []
