"""Labels become events once they can change no more; a restart tells nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from page.event_engine import EventEngine, LastWords
from page.events import EventRule, Patience
from runtime.clock import ManualClock
from schemas.errors import SaccadeError, TransientError
from schemas.event import Event, Kind
from schemas.label import AnswerSource, Label, LabelState

pytestmark = pytest.mark.usefixtures("quick")

S = 1_000_000_000
NOW_NS = 1_700_000_000 * S


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine looks around, and tries again, many times a second."""
    monkeypatch.setattr("page.event_engine._TICK_S", 0.02)
    monkeypatch.setattr("page.event_engine._RETRY_S", 0.02)


def label(
    step: int, name: str = "stop", state: LabelState = LabelState.FINAL, deadline_s: float = 0.0
) -> Label:
    captured_ns = NOW_NS + step * S // 5
    deadline_ns = captured_ns + round(deadline_s * S) if deadline_s else 0
    return Label(
        "", "gate", step, state, AnswerSource.EDGE, 1, name, 0.9, captured_ns, captured_ns, deadline_ns
    )


class FakeSite:
    """Labels in, events out; they are not taken for the first `away` times."""

    def __init__(
        self, past: list[Label] | None = None, away: int = 0, error: SaccadeError | None = None
    ) -> None:
        self.past = past or []
        self.away = away
        self.error = error or TransientError("away")
        self.labels: asyncio.Queue[list[Label]] = asyncio.Queue()
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.known: set[str] = set()
        self.may_hold = True
        self.is_followed = False
        self.held: asyncio.Queue[None] = asyncio.Queue()

    async def time_ns(self) -> int:
        return NOW_NS

    async def cameras(self) -> list[str]:
        return sorted({each.camera for each in self.past})

    async def recent(self, camera: str, count: int) -> list[Label]:
        return self.past[::-1][:count]

    @asynccontextmanager
    async def following(self) -> AsyncIterator[asyncio.Queue[list[Label]]]:
        self.is_followed = True
        yield self.labels

    async def add(self, event: Event) -> bool:
        if self.away:
            self.away -= 1
            raise self.error
        if event.id in self.known:
            return False
        self.known.add(event.id)
        self.events.put_nowait(event)
        return True

    async def hold_engine(self, site: str, owner: str) -> bool:
        self.held.put_nowait(None)
        return self.may_hold


@asynccontextmanager
async def running(site: FakeSite) -> AsyncIterator[ManualClock]:
    rule = EventRule(Patience(stand_s=1.0, gone_s=2.0))
    clock = ManualClock(time_ns=NOW_NS)
    engine = EventEngine(site, site, site, clock, rule, site="", owner="me")
    stop = asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(engine.run(stop))
        yield clock
        stop.set()


async def test_labels_become_an_event() -> None:
    site = FakeSite()
    async with running(site):
        for step in range(7):
            site.labels.put_nowait([label(step)])
        event = await site.events.get()
    assert (event.kind, event.label, event.first_seq) == (Kind.BEGUN, "stop", 0)


async def test_labels_that_come_long_after_the_capture_end_nothing_by_themselves() -> None:
    site = FakeSite()
    minute_ns = 60 * S

    def late(step: int, name: str) -> Label:
        return replace(label(step, name), captured_ns=label(step).captured_ns - minute_ns)

    async with running(site) as clock:
        for step in range(7):
            site.labels.put_nowait([late(step, "stop")])
        assert (await site.events.get()).kind is Kind.BEGUN
        for step in range(7, 13):
            site.labels.put_nowait([late(step, "yield")])
        assert (await site.events.get()).kind is Kind.CHANGED
        clock.advance(1.9)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(site.events.get(), 0.1)
        clock.advance(0.2)
        ended = await site.events.get()
    assert (ended.kind, ended.label, ended.at_ns) == (Kind.ENDED, "yield", late(12, "").captured_ns)


async def test_a_restart_goes_on_and_tells_nothing_twice() -> None:
    site = FakeSite(past=[label(step) for step in range(7)])
    for _ in range(2):
        async with running(site):
            site.labels.put_nowait([label(7)])
            if not site.known:
                assert (await site.events.get()).id == "gate:0:begun"
    assert site.known == {"gate:0:begun"}


class BusySite(FakeSite):
    """Labels are written while the past is read, which takes as long as three renewals of the lease."""

    async def recent(self, camera: str, count: int) -> list[Label]:
        past = await super().recent(camera, count)
        for _ in range(3):
            await self.held.get()
        for step in range(1, 7):
            if self.is_followed:  # who follows later does not hear of it
                self.labels.put_nowait([label(step)])
        return past


async def test_the_lease_is_held_and_no_label_is_missed_while_the_past_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("page.event_engine._LEASE_RENEW_S", 0.001)
    site = BusySite(past=[label(0)])
    async with running(site):
        assert (await site.events.get()).id == "gate:0:begun"


async def test_another_process_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("page.event_engine._LEASE_RENEW_S", 0.001)
    site = FakeSite()
    async with running(site):
        for _ in range(2):
            await site.held.get()
        site.may_hold, site.is_followed = False, False
        for _ in range(5):
            await site.held.get()
        for step in range(7):
            site.labels.put_nowait([label(step)])
        assert site.events.empty()
        site.may_hold = True
        assert (await site.events.get()).id == "gate:0:begun"


async def test_an_outage_is_ridden_out() -> None:
    site = FakeSite(past=[label(step) for step in range(7)], away=2)
    async with running(site):
        assert (await site.events.get()).kind is Kind.BEGUN


async def test_what_redis_refuses_for_good_ends_nothing() -> None:
    site = FakeSite(past=[label(step) for step in range(7)], away=2, error=SaccadeError("WRONGTYPE of a key"))
    async with running(site):
        assert (await site.events.get()).kind is Kind.BEGUN


class OddKeySite(FakeSite):
    """The past of one camera cannot be read."""

    async def cameras(self) -> list[str]:
        return ["a-first", "gate"]

    async def recent(self, camera: str, count: int) -> list[Label]:
        if camera != "gate":
            raise SaccadeError("WRONGTYPE of a key")
        return await super().recent(camera, count)


async def test_one_camera_that_cannot_be_read_silences_no_other() -> None:
    site = OddKeySite(past=[label(step) for step in range(7)])
    async with running(site):
        assert (await site.events.get()).id == "gate:0:begun"


def test_a_provisional_label_waits_for_its_final_one_or_its_deadline() -> None:
    words = LastWords()
    asked = label(1, state=LabelState.PROVISIONAL, deadline_s=2.0)
    assert words.offer(asked) == []
    assert words.due(asked.deadline_ns - 1) == []
    final = replace(asked, state=LabelState.FINAL, name="yield")
    assert words.offer(final) == [final]
    assert words.due(asked.deadline_ns) == []
    other = label(2, state=LabelState.PROVISIONAL, deadline_s=2.0)
    words.offer(other)
    assert words.due(other.deadline_ns) == [other]
    assert len(words) == 0
