"""What changes, told to every open page: each viewer gets the newest state of what it looks at, and no backlog.

One task follows the site's labels for all viewers. A viewer that reads slowly misses intermediate states,
never the latest one.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from page.labels import FollowedLabels
from runtime.clock import Clock
from runtime.log import get_logger
from runtime.uplink_states import readable_uplinks
from schemas.camera_state import CameraState
from schemas.errors import SaccadeError
from schemas.event import Event
from schemas.label import Label, LabelState
from schemas.server_report import ServerReport
from schemas.trace import Trace

FLUSH_S = 0.1
"""A viewer is told this often at most."""
SITE_S = 1.0
HISTORY_MOMENTS = 900
"""A quarter of an hour of the uplink, one moment a second."""
_RETRY_S = 1.0
_log = get_logger(__name__)


class PageStore(Protocol):
    """What the page reads of a site's Redis."""

    async def cameras(self) -> list[str]:
        """Every known camera, sorted."""
        ...

    async def latest_many(self, cameras: Sequence[str]) -> list[Label | None]:
        """The newest label of each camera."""
        ...

    async def recent(self, camera: str, count: int) -> list[Label]:
        """The last label changes of a camera, newest first."""
        ...

    async def get(self, camera: str, seq: int) -> Label | None:
        """The label of one frame."""
        ...

    async def trace(self, camera: str, seq: int) -> Trace:
        """What is kept of one frame's way."""
        ...

    async def read_cameras(self, site: str) -> list[CameraState]:
        """How each camera was when its producer last told."""
        ...

    async def read_uplinks(self, site: str) -> dict[str, str]:
        """What each edge worker tells of its uplink, as JSON texts."""
        ...

    async def read_reports(self, site: str) -> list[ServerReport]:
        """The newest report of each server."""
        ...


class SiteEvents(Protocol):
    """What the page reads of a site's events."""

    async def recent(self, site: str, count: int) -> list[Event]:
        """The last events, newest first."""
        ...

    async def newest_position(self, site: str) -> str:
        """Another text after each event."""
        ...


@dataclass(slots=True, eq=False)
class Viewer:
    """One open page: the cameras in its view, and what it has not been told yet, by kind of event."""

    cameras: frozenset[str]
    pending: dict[str, Any] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, kind: str, value: Any) -> None:
        """`value` replaces what was not sent of this kind; maps are merged."""
        known = self.pending.get(kind)
        self.pending[kind] = {**known, **value} if isinstance(known, dict) else value
        self.changed.set()

    async def messages(self) -> AsyncIterator[str]:
        """Server-sent events, at most one of a kind each `FLUSH_S`, with a comment where nothing happens for 15 s."""
        while True:
            try:
                async with asyncio.timeout(15.0):
                    await self.changed.wait()
            except TimeoutError:
                yield ": still here\n\n"
                continue
            self.changed.clear()
            pending, self.pending = self.pending, {}
            for kind, value in pending.items():
                yield f"event: {kind}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n"
            await asyncio.sleep(FLUSH_S)  # the bound of what a page is sent, not a poll


class Feed:
    """Follows a site: its labels, uplinks, servers, cameras and events.

    State: the viewers, the newest label of each camera, the cameras in view of which none is known yet, the uplink's
    history, how each camera is.
    """

    def __init__(
        self,
        store: PageStore,
        labels: FollowedLabels,
        events: SiteEvents,
        clock: Clock,
        site: str,
        *,
        max_viewers: int,
    ) -> None:
        self._store = store
        self._labels = labels
        self._events = events
        self._clock = clock
        self._site = site
        self._max_viewers = max_viewers
        self._viewers: set[Viewer] = set()
        self._newest: dict[str, Label] = {}
        self._unread: set[str] = set()
        self._asked = asyncio.Event()
        self.history: deque[dict[str, Any]] = deque(maxlen=HISTORY_MOMENTS)
        self.states: dict[str, dict[str, Any]] = {}
        self.site_state: dict[str, Any] = {"uplinks": {}, "servers": [], "redis": False}

    @property
    def is_full(self) -> bool:
        """True where one more viewer is refused."""
        return len(self._viewers) >= self._max_viewers

    def join(self, cameras: Collection[str]) -> Viewer:
        """A viewer that is told of these cameras, and of the site."""
        viewer = Viewer(frozenset(cameras))
        self._viewers.add(viewer)
        viewer.tell("site", self.site_state)
        if known := viewer.cameras & self._newest.keys():
            viewer.tell("labels", {camera: self._newest[camera].to_json() for camera in known})
        self._unread |= viewer.cameras - known
        self._asked.set()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """The viewer has gone."""
        self._viewers.discard(viewer)

    async def run(self) -> None:
        """Follows until cancelled; rides out outages of Redis."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(), name="labels")
            group.create_task(self._read_unknown(), name="first labels")
            group.create_task(self._tell_site(), name="site")

    async def _follow(self) -> None:
        async with self._labels.following() as followed:
            while True:
                self._spread(await followed.get())

    async def _read_unknown(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            wanted, self._unread = sorted(self._unread), set()
            try:
                self._spread(await self._read(wanted))
            except SaccadeError as error:
                _log.warning("first labels cannot be read for now", error=str(error))
                self._unread.update(wanted)
                await asyncio.sleep(_RETRY_S)
                self._asked.set()

    async def newest(self, cameras: Collection[str]) -> dict[str, Label]:
        """The newest label of each camera that has one; what is not known here is read. Raises `TransientError`."""
        self._spread(await self._read([each for each in cameras if each not in self._newest]))
        return {each: self._newest[each] for each in cameras if each in self._newest}

    async def _read(self, cameras: Sequence[str]) -> list[Label]:
        return [label for label in await self._store.latest_many(cameras) if label is not None]

    def _spread(self, labels: Iterable[Label]) -> None:
        fresh = set()
        for label in labels:
            known = self._newest.get(label.camera)
            if known is None or label.seq > known.seq or _may_replace(label, known):
                self._newest[label.camera] = label
                fresh.add(label.camera)
        for viewer in self._viewers:
            mine = {camera: self._newest[camera].to_json() for camera in viewer.cameras & fresh}
            if mine:
                viewer.tell("labels", mine)

    async def _tell_site(self) -> None:
        while True:
            try:
                uplinks = readable_uplinks(await self._store.read_uplinks(self._site))
                reports = await self._store.read_reports(self._site)
                cameras = {*await self._store.cameras(), *await self._read_states()}
                for gone in self._newest.keys() - cameras:
                    del self._newest[gone]
                newest_event = await self._events.newest_position(self._site)
            except SaccadeError as error:
                _log.warning("the site's state cannot be read for now", error=str(error))
                self.site_state = {**self.site_state, "redis": False}
            else:
                servers = [
                    {
                        "server": each.server,
                        "finals_per_s": each.finals_in_time / max(each.interval_s, 1e-3),
                        "expired_per_s": each.expired / max(each.interval_s, 1e-3),
                        "queue_age_s": each.queue_age_s,
                        "tokens_per_s": each.tokens_per_s,
                    }
                    for each in reports
                ]
                self.site_state = {
                    "uplinks": uplinks,
                    "servers": servers,
                    "redis": True,
                    "num_cameras": len(cameras),
                    "newest_event": newest_event,
                }
                self._remember(uplinks)
            for viewer in self._viewers:
                viewer.tell("site", self.site_state)
                mine = {camera: self.states[camera] for camera in viewer.cameras & self.states.keys()}
                if mine:
                    viewer.tell("cameras", mine)
            await asyncio.sleep(SITE_S)

    async def _read_states(self) -> Collection[str]:
        """The cameras whose producers tell; `states` holds what, as JSON objects."""
        now_ns = self._clock.time_ns()
        self.states = {
            each.camera: asdict(each) | {"online": each.online(now_ns), "fresh": each.fresh(now_ns)}
            for each in await self._store.read_cameras(self._site)
        }
        return self.states.keys()

    def _remember(self, uplinks: dict[str, dict[str, Any]]) -> None:
        """One moment of all edge workers together."""
        if not uplinks:
            return
        states = list(uplinks.values())
        point = states[0].get("point") or {}
        self.history.append(
            {
                "at_s": self._clock.time_ns() / 1e9,
                "budget": _sum(states, "budget_bytes_per_s"),
                "measured": _sum(states, "measured_bytes_per_s"),
                "usable": _sum(states, "usable_bytes_per_s"),
                "tau": point.get("tau"),
                "delta": point.get("delta"),
                "state": states[0].get("state"),
                "cause": states[0].get("cause"),
            }
        )


def _may_replace(label: Label, known: Label) -> bool:
    """Of the same frame: a provisional answer is followed by the last word, never the other way round."""
    return label.seq == known.seq and known.state is LabelState.PROVISIONAL


def _sum(states: Sequence[dict[str, Any]], name: str) -> float | None:
    """Of all workers; None where one has no limit."""
    values = [state.get(name) for state in states]
    return None if any(value is None for value in values) else sum(float(value or 0.0) for value in values)
