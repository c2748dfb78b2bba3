"""A page over a store, a topic and dead letters that tests fill."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from page.access import Sessions, User
from page.app import Page
from page.feed import Feed
from page.frames import FrameWindow, PictureLimits
from page.harvest import Harvest
from page.kept_frames import KeptFrames
from runtime.clock import ManualClock
from runtime.kafka_connection import Record
from schemas.camera_state import CameraState
from schemas.errors import SaccadeError
from schemas.event import Event
from schemas.label import Label
from schemas.server_report import ServerReport
from schemas.trace import Trace


@dataclass
class FakeEvents:
    """A site's events, oldest first."""

    all: list[Event] = field(default_factory=list)

    async def recent(self, site: str, count: int) -> list[Event]:
        return self.all[::-1][:count]

    async def newest_position(self, site: str) -> str:
        return f"{len(self.all)}-0"


@dataclass
class FakeSite:
    """A site's Redis, topic and dead letters in one."""

    labels: dict[tuple[str, int], Label] = field(default_factory=dict)
    letters: list[dict[str, Any]] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    replayed: list[tuple[str | None, str | None]] = field(default_factory=list)
    events: FakeEvents = field(default_factory=FakeEvents)
    states: list[CameraState] = field(default_factory=list)
    traces: dict[tuple[str, int], Trace] = field(default_factory=dict)
    uplinks: dict[str, str] = field(
        default_factory=lambda: {"edge-1": '{"state":"steady","cause":"budget","measured_bytes_per_s":900.0}'}
    )
    refusals: int = 0
    """So often reading uplinks and first labels is refused for good."""
    followed: asyncio.Queue[list[Label]] = field(default_factory=asyncio.Queue)

    def write(self, label: Label) -> None:
        self.labels[label.camera, label.seq] = label
        self.followed.put_nowait([label])

    async def cameras(self) -> list[str]:
        return sorted({camera for camera, _ in self.labels})

    async def latest_many(self, cameras: Sequence[str]) -> list[Label | None]:
        self._refuse()
        return [next(iter(await self.recent(each, 1)), None) for each in cameras]

    async def recent(self, camera: str, count: int) -> list[Label]:
        mine = [label for (name, _), label in self.labels.items() if name == camera]
        return sorted(mine, key=lambda label: -label.seq)[:count]

    async def get(self, camera: str, seq: int) -> Label | None:
        return self.labels.get((camera, seq))

    async def trace(self, camera: str, seq: int) -> Trace:
        return self.traces.get((camera, seq), Trace())

    @asynccontextmanager
    async def following(self) -> AsyncIterator[asyncio.Queue[list[Label]]]:
        yield self.followed

    async def read_cameras(self, site: str) -> list[CameraState]:
        return self.states

    async def read_uplinks(self, site: str) -> dict[str, str]:
        self._refuse()
        return self.uplinks

    def _refuse(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise SaccadeError("WRONGTYPE Operation against a key holding the wrong kind of value")

    async def read_reports(self, site: str) -> list[ServerReport]:
        return [ServerReport("server-1", site, 1, 2.0, 10, 8, 0, 0.1, 500.0)]

    async def num_partitions(self) -> int:
        return 1

    async def follow(self, partitions: Collection[int], *, last: int = 1) -> None:
        pass

    async def read(self, timeout_s: float) -> list[Record]:
        return []

    async def find(
        self, partition: int, time_ms: int, *, within_ms: int, wanted: Callable[[Record], bool]
    ) -> Record | None:
        return next(filter(wanted, self.records), None)

    async def list(self, limit: int) -> list[dict[str, Any]]:
        return self.letters[:limit]

    async def replay(self, topic: str | None, reason: str | None) -> int:
        self.replayed.append((topic, reason))
        return len(self.letters)


@pytest.fixture
def site() -> FakeSite:
    return FakeSite()


@pytest.fixture
def jpeg() -> Callable[[int], bytes]:
    """`jpeg(seed)` is a picture of coarse noise: no two seeds look alike."""

    def made(seed: int) -> bytes:
        coarse = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
        out = io.BytesIO()
        Image.fromarray(coarse).resize((64, 64), Image.Resampling.NEAREST).save(out, "JPEG")
        return out.getvalue()

    return made


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[KeptFrames]:
    """The file of frames for teaching, 1 MiB at most."""
    opened = KeptFrames.open(tmp_path / "harvest.sqlite", max_bytes=1024 * 1024)
    yield opened
    opened.close()


OpenPage = Callable[..., TestClient]


@pytest.fixture
def open_page(site: FakeSite) -> Iterator[OpenPage]:
    """`open_page(users, base_url, kept)` gives a browser without cookies."""
    clock = ManualClock()
    with ThreadPoolExecutor(1) as threads:

        def opened(
            users: dict[str, User] | None = None,
            base_url: str = "http://127.0.0.1",
            kept: KeptFrames | None = None,
        ) -> TestClient:
            feed = Feed(site, site, site.events, clock, "", max_viewers=2)
            window = FrameWindow(
                site, threads, PictureLimits(100_000, 1_000_000), max_held=4, thumbnail_pixels=32
            )
            page = Page(
                site="",
                store=site,
                events=site.events,
                feed=feed,
                window=window,
                letters=site,
                harvest=None if kept is None else Harvest(site, window, kept, max_confidence=0.6),
                sessions=Sessions(users or {}),
                clock=clock,
                is_https=False,
            )
            return TestClient(page.app(), base_url=base_url, follow_redirects=False)

        yield opened
