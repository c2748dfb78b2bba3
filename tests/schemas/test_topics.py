"""Topics: the same partition in every process and release, and limits that let every record through."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from schemas.errors import DecodeError
from schemas.identity import check_site
from schemas.limits import DEAD_LETTER_ROOM_BYTES, MAX_FRAME_BYTES, MAX_OFFLOAD_BYTES
from schemas.topics import (
    PARTITIONS,
    dead_topic,
    frames_partition,
    frames_specs,
    max_frame_record_bytes,
    offload_partition,
    offload_specs,
    offload_topic,
    offload_topics,
    topic_site,
)


def test_partitions_never_change_between_releases() -> None:
    assert [frames_partition(f"cam{idx}", 48) for idx in range(4)] == [42, 4, 25, 1]
    assert [offload_partition("cam0", seq, 48) for seq in (0, 15, 16, 128)] == [42, 42, 23, 39]


def test_runs_of_16_offloads_stay_together_and_five_cameras_spread() -> None:
    cameras = [f"cam{idx}" for idx in range(5)]
    runs = {offload_partition("cam1", seq, PARTITIONS) for seq in range(128, 144)}
    assert len(runs) == 1
    load = Counter(offload_partition(camera, seq, PARTITIONS) for camera in cameras for seq in range(64 * 64))
    halves = sum(count for partition, count in load.items() if partition % 2)
    assert 0.4 < halves / load.total() < 0.6


def test_dead_letters_have_room_for_the_source_limit_and_headers() -> None:
    for topic, dead in (
        frames_specs(partitions=48, max_frame_bytes=MAX_FRAME_BYTES, disk_bytes=None),
        offload_specs(partitions=48, max_offload_bytes=MAX_OFFLOAD_BYTES),
    ):
        limit = int(topic.config["max.message.bytes"])
        assert dead.name == dead_topic(topic.name)
        assert int(dead.config["max.message.bytes"]) == limit + DEAD_LETTER_ROOM_BYTES


def test_retention_follows_the_disk_and_segments_stay_below_it() -> None:
    spec, _ = frames_specs(partitions=48, max_frame_bytes=MAX_FRAME_BYTES, disk_bytes=48 * 20_000_000)
    assert spec.config["retention.bytes"] == "20000000"
    assert spec.config["retention.ms"] == "900000"
    assert max_frame_record_bytes(MAX_FRAME_BYTES) <= int(spec.config["segment.bytes"]) <= 20_000_000
    offload, _ = offload_specs(partitions=12, max_offload_bytes=MAX_OFFLOAD_BYTES)
    assert (offload.config["retention.ms"], offload.partitions) == ("600000", 12)


@pytest.mark.parametrize("site", ["", "north", "north.1", "a.b.c"])
def test_each_site_has_its_own_offload_topic_and_the_topic_tells_the_site(site: str) -> None:
    topic = offload_topic(site, "patches")
    assert topic_site(topic, "patches") == site
    assert re.match(offload_topics("patches"), topic)
    assert not re.match(offload_topics("patches"), dead_topic(topic))
    assert not re.match(offload_topics("patch"), topic)


@pytest.mark.parametrize("site", ["dead", "north.dead"])
def test_no_site_is_called_as_a_topic_of_dead_letters(site: str) -> None:
    with pytest.raises(DecodeError, match="dead letters"):
        check_site(site)


def test_records_carry_the_brokers_time() -> None:
    for spec in frames_specs(partitions=4, max_frame_bytes=1000, disk_bytes=None):
        assert spec.config["message.timestamp.type"] == "LogAppendTime"
