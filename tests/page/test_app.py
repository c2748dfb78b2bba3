"""The page's addresses: what they answer, and that nobody gets an answer without the right to it."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from page.access import LOGIN_TRIES, User, UserRole, hash_password
from runtime.kafka_connection import Record
from schemas.bitmap import bitmap_of
from schemas.event import Event, Kind
from schemas.frame import Frame, encode_frame
from schemas.label import AnswerSource, Label, LabelState
from schemas.trace import DELIVERED, EdgeTrace, OffloadTrace, ServerTrace, Stage, Trace

USERS = {
    "ada": User("ada", UserRole.CHANGE, hash_password("lovelace")),
    "bob": User("bob", UserRole.LOOK, hash_password("builder")),
}
READS = [
    *("/api/cameras", "/api/live", "/api/labels?camera=gate", "/api/thumbnails?camera=gate"),
    *("/api/frame?camera=gate", "/api/why?camera=gate&seq=3", "/api/uplink", "/api/letters", "/api/events"),
    *("/api/kept", "/api/kept/thumbnail?id=1", "/api/kept/image?id=1"),
]
CHANGES = ["/api/letters/replay", "/api/kept/label", "/api/kept/mark", "/api/logout"]


def label(seq: int = 3, camera: str = "gate") -> Label:
    return Label(
        "",
        camera,
        seq,
        LabelState.FINAL,
        AnswerSource.SERVER,
        2,
        "stop",
        0.9,
        seq * 10**9,
        seq * 10**9 + 10**8,
    )


def frame_record(seq: int = 3) -> Record:
    out = io.BytesIO()
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(out, "JPEG")
    value = encode_frame(Frame("", "gate", seq, seq * 10**9, 64, 48, "jpeg", out.getvalue()))
    return Record(
        topic="frames", partition=0, offset=seq, key=b"gate", value=value, headers=(), timestamp_ms=seq * 1000
    )


def signed_in(client: TestClient, user: str, password: str) -> dict[str, str]:
    """The header for changes of a browser that has signed in."""
    assert client.post("/api/login", json={"user": user, "password": password}).status_code == 200
    session = client.get("/api/session").json()
    assert session["signed_in"]
    return {"x-csrf-token": session["csrf"]}


@pytest.mark.parametrize("path", READS)
def test_nothing_is_answered_without_signing_in(open_page: Any, path: str) -> None:
    client = open_page(USERS, "https://page.example")
    assert client.get(path).status_code == 401
    assert client.get("/").headers["location"] == "/login"
    assert client.get("/api/session").json() == {"signed_in": False, "site": ""}


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        ("x/static/", "/api/letters", 401),
        ("x/login?", "/api/letters", 401),
        ("x/static/..", "/", 303),
        ("page.example", "/st%09atic/app.js", 303),
    ],
)
def test_the_guard_judges_the_path_that_is_answered(
    open_page: Any, host: str, path: str, status: int
) -> None:
    client = open_page(USERS, "http://page.example")
    assert client.get(path, headers={"host": host}).status_code == status


@pytest.mark.parametrize("path", CHANGES)
def test_changes_need_a_session_and_its_token(open_page: Any, path: str) -> None:
    client = open_page(USERS, "http://page.example")
    assert client.post(path, json={}).status_code == 401
    header = signed_in(client, "ada", "lovelace")
    assert client.post(path, json={}).status_code == 403
    assert client.post(path, json={}, headers={"x-csrf-token": "guess"}).status_code == 403
    assert client.post(path, json={}, headers=header).status_code not in (401, 403)


def test_who_may_only_look_changes_nothing(open_page: Any, site: Any) -> None:
    client = open_page(USERS, "http://page.example")
    header = signed_in(client, "bob", "builder")
    assert client.get("/api/letters").status_code == 200
    assert client.post("/api/letters/replay", json={}, headers=header).status_code == 403
    assert site.replayed == []


def test_five_wrong_passwords_make_one_wait(open_page: Any) -> None:
    client = open_page(USERS, "http://page.example")
    for _ in range(LOGIN_TRIES):
        assert client.post("/api/login", json={"user": "ada", "password": "x"}).status_code == 401
    answer = client.post("/api/login", json={"user": "ada", "password": "lovelace"})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


async def test_wrong_passwords_at_the_same_time_count_one_by_one(open_page: Any) -> None:
    transport = httpx.ASGITransport(open_page(USERS, "http://page.example").app)
    async with httpx.AsyncClient(transport=transport, base_url="http://page.example") as client:
        body = {"user": "ada", "password": "x"}
        tries = [client.post("/api/login", json=body) for _ in range(2 * LOGIN_TRIES)]
        statuses = sorted(answer.status_code for answer in await asyncio.gather(*tries))
    assert statuses == [401] * LOGIN_TRIES + [429] * LOGIN_TRIES


def test_the_cookie_is_for_this_page_only(open_page: Any) -> None:
    client = open_page(USERS, "http://page.example")
    answer = client.post("/api/login", json={"user": "ada", "password": "lovelace"})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_another_sites_name_for_this_machine_reads_nothing(open_page: Any) -> None:
    assert open_page(base_url="http://evil.example").get("/api/cameras").status_code == 403
    assert open_page(base_url="http://localhost:8800").get("/api/cameras").status_code == 200


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/api/cameras", "/api/why?camera=x&seq=1"])
def test_every_answer_forbids_foreign_scripts_and_frames(open_page: Any, path: str) -> None:
    policy = open_page().get(path).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_cameras_come_with_their_newest_label(open_page: Any, site: Any) -> None:
    site.write(label(3))
    site.write(label(4))
    (found,) = open_page().get("/api/cameras").json()["cameras"]
    assert (found["camera"], found["label"]["seq"], found["label"]["name"]) == ("gate", 4, "stop")


def test_a_frame_that_is_still_held_is_shown(open_page: Any, site: Any) -> None:
    site.write(label(3))
    site.records = [frame_record(2), frame_record(3)]
    answer = open_page().get("/api/frame?camera=gate&seq=3")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-seq"] == "3"
    assert open_page().get("/api/frame?camera=gate&seq=9").status_code == 404
    assert open_page().get("/api/thumbnails?camera=gate").json() == {}


def test_why_tells_the_label_and_the_frame(open_page: Any, site: Any) -> None:
    site.write(label(3))
    site.records = [frame_record(3)]
    found = open_page().get("/api/why?camera=gate&seq=3").json()
    assert found["label"]["source"] == "server"
    assert found["frame"] == {"width": 64, "height": 48}
    assert found["trace"] is None
    assert open_page().get("/api/why?camera=gate&seq=4").status_code == 404


def test_why_tells_the_way_of_an_offloaded_frame(open_page: Any, site: Any) -> None:
    site.write(label(3))
    began_ns = 3 * 10**9 + 2 * 10**6
    stages = (Stage("infer", began_ns, began_ns + 5 * 10**6),)
    site.traces["gate", 3] = Trace(
        edge=EdgeTrace("edge-1", stages, (("yield", 0.4), ("stop", 0.3)), b"", 1.3, 0.8, True, "WRITTEN"),
        offload=OffloadTrace((), "avif", 45, 0.97, bitmap_of(np.array([0, 195])), 640, DELIVERED),
        server=ServerTrace("server-1", (), (("stop", 0.9),), 4, 512, False, "WRITTEN"),
    )
    found = open_page().get("/api/why?camera=gate&seq=3").json()["trace"]
    assert found["stages"] == [["infer", 2.0, 7.0]]
    assert (found["score"], found["tau"], found["asks"]) == (1.3, 0.8, True)
    assert (found["edge"][0], found["server"]) == (["yield", 0.4], [["stop", 0.9]])
    assert (found["patches"], found["codec"], found["num_bytes"]) == ([0, 195], "avif", 640)
    assert found["why"] == "the server answered in place of the edge"


@pytest.mark.parametrize(
    "path",
    [
        *("/api/labels", "/api/labels?camera=gate&count=0", "/api/why?camera=gate&seq=x"),
        "/api/letters?count=" + "9" * 5_000,
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(open_page: Any, path: str) -> None:
    answer = open_page().get(path)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_events_come_newest_first_and_by_camera(open_page: Any, site: Any) -> None:
    for number, camera in enumerate(["gate", "yard", "gate"], 1):
        event_id = f"{camera}:{number}:begun"
        site.events.all.append(
            Event(event_id, "", camera, Kind.BEGUN, "stop", "", number, number, number, number, 0.9)
        )
    client = open_page()
    assert [each["first_seq"] for each in client.get("/api/events").json()] == [3, 2, 1]
    (newest, _) = client.get("/api/events?camera=gate").json()
    assert (newest["id"], newest["kind"]) == ("gate:3:begun", "begun")


def test_letters_are_listed_and_sent_again(open_page: Any, site: Any) -> None:
    site.letters = [{"topic": "frames", "reason": "version"}]
    client = open_page()
    header = {"x-csrf-token": client.get("/api/session").json()["csrf"]}
    assert client.get("/api/letters").json() == site.letters
    answer = client.post("/api/letters/replay", json={"reason": "version"}, headers=header)
    assert answer.json() == {"replayed": 1}
    assert site.replayed == [(None, "version")]


def test_a_frame_is_marked_labelled_and_its_label_taken_back(open_page: Any, site: Any, kept: Any) -> None:
    site.write(label(3))
    site.records = [frame_record(3)]
    client = open_page(kept=kept)
    header = {"x-csrf-token": client.get("/api/session").json()["csrf"]}
    marked = client.post("/api/kept/mark", json={"camera": "gate", "seq": 3}, headers=header)
    assert marked.json() == {"kept": True}
    (frame,) = client.get("/api/kept").json()["frames"]
    assert (frame["camera"], frame["seq"], frame["reason"], frame["server"]) == ("gate", 3, "marked", "stop")
    picture = client.get(f"/api/kept/image?id={frame['id']}")
    assert (picture.headers["content-type"], picture.content[:2]) == ("image/jpeg", b"\xff\xd8")
    assert client.get(f"/api/kept/thumbnail?id={frame['id']}").status_code == 200
    named = {"labels": {str(frame["id"]): " no entry "}}
    before = client.post("/api/kept/label", json=named, headers=header).json()
    assert before == {"labels": {str(frame["id"]): None}}
    found = client.get("/api/kept?show=labelled").json()
    assert [each["label"] for each in found["frames"]] == ["no entry"]
    assert found["classes"] == ["no entry", "stop"]
    assert client.post("/api/kept/label", json=before, headers=header).json() == {
        "labels": {str(frame["id"]): "no entry"}
    }
    assert client.get("/api/kept").json()["cameras"][0]["open"] == 1


def test_who_may_only_look_labels_nothing(open_page: Any, kept: Any) -> None:
    client = open_page(USERS, "http://page.example", kept)
    header = signed_in(client, "bob", "builder")
    assert client.get("/api/kept").json()["frames"] == []
    assert client.post("/api/kept/label", json={"labels": {"1": "stop"}}, headers=header).status_code == 403
    assert client.post("/api/kept/mark", json={"camera": "gate", "seq": 3}, headers=header).status_code == 403


@pytest.mark.parametrize(
    "labels", [None, [], {"x": "stop"}, {"1": 2}, {"1": "a\nb"}, {"1": "x" * 257}, dict.fromkeys(range(1001))]
)
def test_a_label_that_is_none_is_refused(open_page: Any, kept: Any, labels: Any) -> None:
    client = open_page(kept=kept)
    header = {"x-csrf-token": client.get("/api/session").json()["csrf"]}
    answer = client.post("/api/kept/label", json={"labels": labels}, headers=header)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(("labels", "id"))


def test_a_frame_that_is_gone_and_a_page_that_keeps_none_say_so(open_page: Any, kept: Any) -> None:
    client = open_page(kept=kept)
    header = {"x-csrf-token": client.get("/api/session").json()["csrf"]}
    assert client.get("/api/kept/image?id=7").status_code == 404
    assert client.get("/api/kept?show=none").status_code == 400
    gone = client.post("/api/kept/mark", json={"camera": "gate", "seq": 3}, headers=header)
    assert (gone.status_code, client.get("/api/session").json()["keeps"]) == (404, True)
    without = open_page()
    assert "--harvest FILE" in without.get("/api/kept").json()["error"]
    assert without.get("/api/session").json()["keeps"] is False


def test_a_body_that_is_no_small_json_object_is_refused(open_page: Any) -> None:
    client = open_page()
    header = {"x-csrf-token": client.get("/api/session").json()["csrf"]}
    assert client.post("/api/letters/replay", content=b"[1]", headers=header).status_code == 400
    assert client.post("/api/letters/replay", content=b"{", headers=header).status_code == 400
    assert client.post("/api/letters/replay", content=b"x" * 70_000, headers=header).status_code == 413


@pytest.mark.parametrize(
    "content", [b"[" * 50_000, b'{"a":' * 10_000, b'{"user": "ada", "password": "\\ud800"}']
)
def test_a_body_that_python_cannot_take_is_refused(open_page: Any, content: bytes) -> None:
    client = open_page(USERS, "http://page.example")
    assert client.post("/api/login", content=content).status_code == 400


def test_a_token_in_other_letters_is_a_wrong_one(open_page: Any) -> None:
    client = open_page(USERS, "http://page.example")
    signed_in(client, "ada", "lovelace")
    answer = client.post("/api/letters/replay", json={}, headers={"x-csrf-token": "ü".encode()})
    assert answer.status_code == 403
