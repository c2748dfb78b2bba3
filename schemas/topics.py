"""Kafka topics: names, partitions, which partition a record goes to, and the retention each needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

from schemas.limits import DEAD_LETTER_ROOM_BYTES, FRAME_ENVELOPE_BYTES, RECORD_OVERHEAD_BYTES

FRAMES: Final = "frames"
OFFLOAD: Final = "offload"
PARTITIONS: Final = 48
"""Many divisors, so that 2, 3, 4, 6, 8, 12, 16, 24 or 48 workers share evenly."""
RUN_BITS: Final = 4
"""Runs of 16 frames of a camera share an offload partition, for codecs that lean on an earlier frame."""

FRAMES_RETENTION_S: Final = 15 * 60
OFFLOAD_RETENTION_S: Final = 10 * 60
DEAD_RETENTION_S: Final = 7 * 24 * 3600
_DEAD = ".dead"
_SEGMENT_S = 60
_SEGMENT_BYTES = 64 * 1024 * 1024
_MIN_SEGMENT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be: name, number of partitions, and Kafka's own configuration keys."""

    name: str
    partitions: int
    config: Mapping[str, str]


def offload_topic(site: str, prefix: str = OFFLOAD) -> str:
    """Where the edges of a site write: its own topic, whose ACL vouches for it; `prefix` alone without a site."""
    return f"{prefix}.{site}" if site else prefix


def topic_site(topic: str, prefix: str = OFFLOAD) -> str:
    """The site that a topic of `offload_topic` is for."""
    return topic.removeprefix(prefix).removeprefix(".")


def offload_topics(prefix: str = OFFLOAD) -> str:
    """A regular expression of the offload topics of all sites, without their dead-letter topics."""
    return rf"^{re.escape(prefix)}(\.(?!.*{re.escape(_DEAD)}$)(?!{re.escape(_DEAD[1:])}$).+)?$"


def dead_topic(topic: str) -> str:
    """The dead-letter topic of `topic`."""
    return topic + _DEAD


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def frames_partition(camera: str, num_partitions: int) -> int:
    """The partition of all frames of a camera, the same in every process and release."""
    return _hash(camera) % num_partitions


def offload_partition(camera: str, seq: int, num_partitions: int) -> int:
    """A partition for an offloaded frame by its camera: runs of 16 frames stay together, cameras spread.

    An edge worker's uplink does not ask it: what leaves together goes into one partition, whosever it is.
    """
    return _hash(f"{camera}:{seq >> RUN_BITS}") % num_partitions


def max_frame_record_bytes(max_frame_bytes: int) -> int:
    """The largest Kafka batch that one frame of `max_frame_bytes` image bytes can make."""
    return max_frame_bytes + FRAME_ENVELOPE_BYTES + RECORD_OVERHEAD_BYTES


def max_offload_record_bytes(max_offload_bytes: int) -> int:
    """The largest Kafka batch that one offload record can make."""
    return max_offload_bytes + RECORD_OVERHEAD_BYTES


def _spec(
    name: str, partitions: int, *, retention_s: int, disk_bytes: int | None, max_record_bytes: int
) -> TopicSpec:
    config = {
        "cleanup.policy": "delete",
        # The broker's time, not the sender's: an age is measured by it, and retention goes by it.
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(retention_s * 1000),
        "segment.ms": str(_SEGMENT_S * 1000),
        "segment.bytes": str(_SEGMENT_BYTES),
        "max.message.bytes": str(max_record_bytes),
    }
    if disk_bytes is not None:
        per_partition = disk_bytes // partitions
        segment = min(_SEGMENT_BYTES, max(per_partition // 2, _MIN_SEGMENT_BYTES, max_record_bytes))
        config |= {"retention.bytes": str(per_partition), "segment.bytes": str(segment)}
    return TopicSpec(name, partitions, MappingProxyType(config))


def frames_specs(
    *, partitions: int, max_frame_bytes: int, disk_bytes: int | None, name: str = FRAMES
) -> tuple[TopicSpec, TopicSpec]:
    """`frames` and its dead-letter topic. `disk_bytes` bounds what all partitions keep together."""
    limit = max_frame_record_bytes(max_frame_bytes)
    spec = _spec(
        name, partitions, retention_s=FRAMES_RETENTION_S, disk_bytes=disk_bytes, max_record_bytes=limit
    )
    return spec, _dead_spec(name, limit)


def offload_specs(
    *, partitions: int, max_offload_bytes: int, name: str = OFFLOAD
) -> tuple[TopicSpec, TopicSpec]:
    """`offload` and its dead-letter topic."""
    limit = max_offload_record_bytes(max_offload_bytes)
    spec = _spec(name, partitions, retention_s=OFFLOAD_RETENTION_S, disk_bytes=None, max_record_bytes=limit)
    return spec, _dead_spec(name, limit)


def _dead_spec(source: str, max_record_bytes: int) -> TopicSpec:
    # One partition: dead letters are rare, and a list in order of arrival is what one reads.
    return _spec(
        dead_topic(source),
        1,
        retention_s=DEAD_RETENTION_S,
        disk_bytes=None,
        max_record_bytes=max_record_bytes + DEAD_LETTER_ROOM_BYTES,
    )
