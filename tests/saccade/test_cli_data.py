"""Commands that read and write a real Kafka and a real Redis, as a program in a pipe sees them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from devstack import EmbeddedStack
from devstack.settings import Settings, load_settings
from runtime.kafka_admin import create_pipeline_topics, read_all
from runtime.kafka_sink import Sink
from runtime.redis_store import RedisStore
from schemas.dead_letter import DeadLetter
from schemas.frame import decode_frame
from schemas.label import AnswerSource, Label, LabelState
from schemas.topics import dead_topic

pytestmark = pytest.mark.stack
LABEL_KEYS = {
    "camera",
    "seq",
    "state",
    "source",
    "label",
    "name",
    "confidence",
    "captured_ns",
    "labelled_ns",
}


class Place:
    """Addresses and topics of one test: as flags for a command and as settings for the test itself."""

    def __init__(self, stack: EmbeddedStack, unique: Callable[[str], str], folder: Path) -> None:
        self.tree: dict[str, Any] = {
            "kafka": {"bootstrap_servers": stack.bootstrap_servers},
            "redis": {"url": stack.redis_url},
            "topics": {"frames": unique("frames"), "offload": unique("offload"), "partitions": 2},
            "producer": {"state_dir": str(folder / "state"), "max_frame_bytes": 100_000},
            "metrics": {"port": "off"},
        }
        self.settings: Settings = load_settings(None, self.tree, environ={})
        config = folder / "saccade.toml"
        sections = [
            f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
            for section, values in self.tree.items()
        ]
        config.write_text("".join(sections))
        self.flags = ("--config", str(config))

    def make_topics(self) -> None:
        asyncio.run(create_pipeline_topics(self.settings))

    def put(self, *labels: Label) -> None:
        async def write() -> None:
            async with RedisStore(self.settings.redis) as store:
                await store.put(labels)

        asyncio.run(write())

    def records(self, topic: str) -> list[Any]:
        async def read() -> list[Any]:
            return [record async for record in read_all(self.settings.kafka, topic)]

        return asyncio.run(read())

    def send(self, topic: str, values: Sequence[tuple[bytes, list[tuple[str, bytes]]]]) -> None:
        async def write() -> None:
            async with Sink(
                self.settings.kafka, max_request_bytes=100_000, max_in_flight_bytes=1_000_000
            ) as sink:
                for value, headers in values:
                    await (await sink.send(topic, value, partition=0, headers=headers))

        asyncio.run(write())


@pytest.fixture
def place(stack: EmbeddedStack, unique: Callable[[str], str], tmp_path: Path) -> Place:
    """Topics' names that no other test uses; they are not made yet."""
    return Place(stack, unique, tmp_path)


def label(
    camera: str, seq: int, state: LabelState = LabelState.FINAL, source: AnswerSource = AnswerSource.SERVER
) -> Label:
    return Label("", camera, seq, state, source, 3, "no parking", 0.75, time.time_ns(), time.time_ns())


def test_label_prints_the_frames_label_as_one_object_and_as_one_line(
    cli: Any, place: Place, unique: Callable[[str], str]
) -> None:
    camera = unique("gate")
    written = label(camera, 7)
    place.put(written)
    ran = cli("label", camera, 7, "--json", *place.flags)
    (row,) = ran.rows
    assert (ran.status, ran.err) == (0, "")
    assert set(row) >= LABEL_KEYS
    assert row == written.to_json()
    plain = cli("label", camera, 7, *place.flags)
    assert "final by server" in plain.out
    assert "no parking 75%" in plain.out


def test_label_of_an_unknown_camera_or_frame_is_status_1_and_one_line(
    cli: Any, place: Place, unique: Callable[[str], str]
) -> None:
    camera = unique("gate")
    place.put(label(camera, 7))
    for name, seq in ((camera, 8), (unique("nowhere"), 7)):
        ran = cli("label", name, seq, "--json", *place.flags)
        assert (ran.status, ran.out) == (1, "")
        assert name in ran.reason
        assert f"frame {seq}" in ran.reason


@contextmanager
def writing(place: Place, cameras: Sequence[str]) -> Iterator[None]:
    """Inside, each camera gets a provisional and a final label again and again."""
    over = threading.Event()

    def write() -> None:
        seq = 0
        while not over.wait(0.02):
            for camera in cameras:
                place.put(
                    label(camera, seq, LabelState.PROVISIONAL, AnswerSource.EDGE),
                    label(camera, seq),
                )
            seq += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


def test_watch_prints_labels_as_they_are_written_one_object_a_line(
    cli: Any, place: Place, unique: Callable[[str], str]
) -> None:
    gate, yard = unique("gate"), unique("yard")
    with writing(place, [gate, yard]):
        ran = cli("watch", "--camera", gate, "--json", "--limit", 6, *place.flags)
        everywhere = cli("watch", "--json", "--limit", 12, *place.flags)
        plain = cli("watch", "--camera", yard, "--limit", 2, *place.flags)
    assert (ran.status, ran.err, everywhere.status, plain.status) == (0, "", 0, 0)
    assert len(ran.rows) == 6
    for row in ran.rows:
        assert set(row) >= LABEL_KEYS
        assert (row["camera"], row["label"], row["name"]) == (gate, 3, "no parking")
    stories = [(row["seq"], row["state"], row["source"]) for row in ran.rows]
    assert stories == sorted(stories, key=lambda story: (story[0], story[1] != "provisional"))
    assert {state for _, state, _ in stories} == {"provisional", "final"}
    assert {row["camera"] for row in everywhere.rows} >= {gate, yard}
    assert all(yard in line for line in plain.out.splitlines())


def test_top_without_an_edge_worker_is_status_1_and_with_one_prints_its_uplink(
    cli: Any, place: Place, unique: Callable[[str], str]
) -> None:
    name = unique("site")
    site = ("--set", f"site={name}")
    ran = cli("top", "--json", *place.flags, *site)
    assert (ran.status, ran.out) == (1, "")
    assert "is one running" in ran.reason

    async def report() -> None:
        async with RedisStore(place.settings.redis) as store:
            await store.publish_uplink(
                site[1].removeprefix("site="), "edge-1", json.dumps({"state": "Steady"})
            )

    asyncio.run(report())
    ran = cli("top", "--json", *place.flags, *site)
    assert (ran.status, ran.rows) == (0, [{"worker": "edge-1", "state": "Steady"}])


def test_topics_are_checked_made_and_then_as_the_settings_want_them(cli: Any, place: Place) -> None:
    missing = cli("topics", "check", "--json", *place.flags)
    assert missing.status == 1
    assert len(missing.rows) == 4
    assert all("does not exist" in row["problem"] for row in missing.rows)
    assert "topics create" in missing.reason
    made = cli("topics", "create", *place.flags)
    assert (made.status, made.err) == (0, "")
    assert [line.rpartition(": ")[2] for line in made.out.splitlines()] == [
        f"made with {partitions} partitions" for partitions in (2, 1, 2, 1)
    ]
    good = cli("topics", "check", "--json", *place.flags)
    assert (good.status, good.out, good.err) == (0, "", "")
    again = cli("topics", "create", "--json", *place.flags)
    assert [row["made"] for row in again.rows] == [False] * 4
    assert place.settings.topics.offload in {row["topic"] for row in again.rows}
    other = cli("topics", "check", "--json", *place.flags, "--set", "topics.partitions=3")
    assert other.status == 1
    assert [row["problem"] for row in other.rows if "partitions" in row["problem"]] == [
        f"topic {name}: 2 partitions, should be 3"
        for name in (place.settings.topics.frames, place.settings.topics.offload)
    ]


def test_dead_letters_are_listed_with_their_reasons_and_replayed_to_their_topic(
    cli: Any, place: Place
) -> None:
    place.make_topics()
    frames, offload = place.settings.topics.frames, place.settings.topics.offload
    for topic, reason in ((frames, "bad_image"), (offload, "bad_zstd"), (offload, "too_large")):
        letter = DeadLetter(reason, f"what {reason} means", topic, 1, 40)
        place.send(dead_topic(topic), [(reason.encode(), letter.headers())])
    ran = cli("dlq", "list", "--json", *place.flags)
    assert (ran.status, ran.err) == (0, "")
    assert [(row["topic"], row["partition"], row["offset"], row["reason"]) for row in ran.rows] == [
        (frames, 1, 40, "bad_image"),
        (offload, 1, 40, "bad_zstd"),
        (offload, 1, 40, "too_large"),
    ]
    assert len(cli("dlq", "list", *place.flags).out.splitlines()) == 3
    one = cli("dlq", "replay", "--reason", "bad_zstd", *place.flags)
    assert (one.status, one.out.strip(), one.err) == (0, "1 replayed", "")
    assert [(record.partition, record.value) for record in place.records(offload)] == [(1, b"bad_zstd")]
    assert cli("dlq", "replay", "--topic", frames, "--json", *place.flags).rows == [{"replayed": 1}]
    assert [record.value for record in place.records(frames)] == [b"bad_image"]


def test_produce_publishes_so_many_frames_of_each_camera_and_sums_up(
    cli: Any, place: Place, tmp_path: Path, unique: Callable[[str], str]
) -> None:
    place.make_topics()
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        Image.new("RGB", (64, 48), (number * 20, 0, 0)).save(photos / f"{number}.jpg")
    gate, yard = unique("gate"), unique("yard")
    cameras = ("--camera", f"{gate}=scenes:2900000007?width=320&height=240", "--camera", f"{yard}={photos}")
    ran = cli("produce", *cameras, "--limit", 5, "--fps", 0, "--loop", "--json", *place.flags)
    (summary,) = ran.rows
    assert ran.status == 0
    assert (summary["published"], summary["dropped"]) == (10, {})
    assert set(summary["cameras"]) == {gate, yard}
    found = [
        decode_frame(record.value, max_frame_bytes=10**6, max_frame_pixels=10**7)
        for record in place.records(place.settings.topics.frames)
    ]
    assert sorted((frame.camera, frame.seq) for frame in found) == sorted(
        (camera, seq) for camera in (gate, yard) for seq in range(5)
    )


def test_produce_without_its_topic_is_status_1_and_names_the_way_out(
    cli: Any, place: Place, unique: Callable[[str], str]
) -> None:
    ran = cli("produce", "--camera", f"{unique('gate')}=scenes:2900000007", "--limit", 1, *place.flags)
    assert (ran.status, ran.out) == (1, "")
    assert "saccade topics create" in ran.err.splitlines()[-1]


@pytest.mark.parametrize("command", ["edge", "serve"])
def test_a_worker_with_a_model_that_is_not_there_is_status_1_and_one_clear_line(
    cli: Any, place: Place, command: str
) -> None:
    place.make_topics()
    ran = cli(command, "--model", "/nowhere/model.safetensors", *place.flags)
    assert (ran.status, ran.out) == (1, "")
    assert "/nowhere/model.safetensors" in ran.err.splitlines()[-1]
