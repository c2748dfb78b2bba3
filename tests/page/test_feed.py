"""Each viewer is told the newest state of what it looks at, never a backlog."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from page.feed import Feed, Viewer
from runtime.clock import ManualClock
from schemas.camera_state import CameraState
from schemas.event import Event, Kind
from schemas.label import AnswerSource, Label, LabelState


def label(camera: str, seq: int) -> Label:
    return Label("", camera, seq, LabelState.FINAL, AnswerSource.EDGE, 2, "stop", 0.9, seq, seq)


@asynccontextmanager
async def following(site: Any, max_viewers: int = 5) -> AsyncIterator[Feed]:
    feed = Feed(site, site, site.events, ManualClock(), "", max_viewers=max_viewers)
    task = asyncio.create_task(feed.run())
    try:
        async with asyncio.timeout(10):
            yield feed
    finally:
        task.cancel()


async def told(viewer: Viewer, kind: str) -> Any:
    """The next message of this kind."""
    async for message in viewer.messages():
        event, _, data = message.partition("\n")
        if event == f"event: {kind}":
            return json.loads(data.removeprefix("data: "))
    raise AssertionError


async def test_a_viewer_is_told_what_it_looks_at(site: Any) -> None:
    site.write(label("gate", 1))
    site.write(label("yard", 1))
    async with following(site) as feed:
        viewer = feed.join(["gate"])
        assert list(await told(viewer, "labels")) == ["gate"]
        site.write(label("yard", 2))
        site.write(label("gate", 2))
        assert (await told(viewer, "labels"))["gate"]["seq"] == 2


async def test_one_who_comes_later_is_told_at_once_and_no_answer_goes_back(site: Any) -> None:
    asked = replace(label("gate", 2), state=LabelState.PROVISIONAL)
    async with following(site) as feed:
        early = feed.join(["gate"])
        for each in (asked, label("gate", 2), asked, label("gate", 1)):
            site.write(each)
        site.write(label("yard", 1))
        while (await told(early, "labels"))["gate"]["state"] != "final":
            pass
        late = feed.join(["gate", "yard"])
        found = await told(late, "labels")
        assert (found["gate"]["seq"], found["gate"]["state"]) == (2, "final")


async def test_the_site_is_told_too(site: Any) -> None:
    async with following(site) as feed:
        viewer = feed.join([])
        state = await told(viewer, "site")
        while not state["servers"]:
            state = await told(viewer, "site")
        assert state["servers"][0]["finals_per_s"] == 4.0
        assert state["uplinks"]["edge-1"]["cause"] == "budget"
        assert feed.history[-1]["measured"] == 900.0
        assert feed.history[-1]["budget"] is None


ODD_STATES = [
    *("", "{", "[]", "3", '"steady"', "null", "[" * 100_000, '{"measured_bytes_per_s": NaN}'),
    *('{"measured_bytes_per_s": 1e999}', '{"measured_bytes_per_s": "many"}', '{"measured_bytes_per_s": [1]}'),
    *(
        '{"point": 3}',
        '{"point": {"tau": {}}}',
        '{"state": {}}',
        '{"other": [Infinity]}',
        '{"cause": "\\ud800"}',
    ),
    *('{"held_back": [1]}', '{"disagreement": 1}'),
]


@pytest.mark.parametrize("text", ODD_STATES)
async def test_an_uplink_that_cannot_be_read_is_left_out(site: Any, text: str) -> None:
    site.uplinks = {"a-bad-one": text, **site.uplinks}
    async with following(site) as feed:
        viewer = feed.join([])
        while not (state := await told(viewer, "site"))["redis"]:
            pass
        assert state["uplinks"].keys() == {"edge-1"}
        assert feed.history[-1]["measured"] == 900.0


async def test_a_worker_without_a_point_is_shown(site: Any) -> None:
    site.uplinks = {"edge-1": '{"point": null}'}
    async with following(site) as feed:
        viewer = feed.join([])
        while not (await told(viewer, "site"))["redis"]:
            pass
        assert feed.history[-1]["tau"] is None


async def test_what_redis_refuses_for_good_ends_nothing(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("page.feed.SITE_S", 0.05)
    monkeypatch.setattr("page.feed._RETRY_S", 0.05)
    site.labels["gate", 1] = label("gate", 1)
    site.refusals = 4
    async with following(site) as feed:
        viewer = feed.join(["gate"])
        assert list(await told(viewer, "labels")) == ["gate"]
        while not (await told(viewer, "site"))["redis"]:
            pass


async def test_a_camera_is_shown_as_its_producer_tells_also_without_a_label(site: Any) -> None:
    now_ns = ManualClock().time_ns()
    site.states = [CameraState("gate", "waiting", "rtsp://gate", now_ns, 0.0, 0, 0, 3, error="refused")]
    async with following(site) as feed:
        viewer = feed.join(["gate", "yard"])
        (state,) = (await told(viewer, "cameras")).values()
        assert (state["error"], state["restarts"], state["online"], state["fresh"]) == (
            "refused",
            3,
            False,
            True,
        )
        assert feed.site_state["num_cameras"] == 1


async def test_new_events_show_in_the_state_of_the_site(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("page.feed.SITE_S", 0.05)
    async with following(site) as feed:
        viewer = feed.join([])
        while (state := await told(viewer, "site")).get("newest_event") != "0-0":
            pass
        site.events.all.append(Event("gate:1:begun", "", "gate", Kind.BEGUN, "stop", "", 1, 1, 1, 1, 0.9))
        while (state := await told(viewer, "site"))["newest_event"] == "0-0":
            pass
        assert state["newest_event"] == "1-0"


def test_a_slow_viewer_gets_the_newest_state_only() -> None:
    viewer = Viewer(frozenset({"gate", "yard"}))
    viewer.tell("labels", {"gate": 1, "yard": 1})
    viewer.tell("labels", {"gate": 2})
    viewer.tell("site", {"redis": True})
    assert viewer.pending == {"labels": {"gate": 2, "yard": 1}, "site": {"redis": True}}


async def test_viewers_are_bounded(site: Any) -> None:
    async with following(site, max_viewers=1) as feed:
        viewer = feed.join([])
        assert feed.is_full
        feed.leave(viewer)
        assert not feed.is_full
