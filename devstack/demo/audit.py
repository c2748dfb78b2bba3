"""The audit at the end of a demo: every frame read again from Kafka, every label read again from Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import simplejpeg

from devstack.demo.alone import ModelsAlone
from devstack.demo.summary import AuditedFrame, AuditedOffload
from devstack.settings import Settings
from imaging.decode import decode_image
from runtime.kafka_admin import read_all
from runtime.redis_store import RedisStore
from schemas.errors import DecodeError
from schemas.frame import Frame, decode_frame
from schemas.label import AnswerSource, Label, LabelState
from schemas.offload import decode_offload, positions_of
from schemas.topics import FRAMES, OFFLOAD, dead_topic
from vit.preprocess import Pixels, resize_crop

WHOLE_JPEG_QUALITY = 75
BATCH_FRAMES = 256
SAMPLE_EVERY = 5
"""Of the scored frames, which the server alone is asked about."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything found; for a sample of frames, whether the edge alone and the server alone are right."""

    frames: list[AuditedFrame]
    offloads: list[AuditedOffload]
    dead_lettered: int
    edge_right: list[bool]
    server_right: list[bool]


async def audit(settings: Settings, store: RedisStore, models: ModelsAlone) -> Audit:
    """Read the topics from their beginning to their present end and match each frame with its labels."""
    offloads = await audit_offloads(settings)
    first_labels = await edge_events(store)
    dead = 0
    for topic in (FRAMES, OFFLOAD):
        async for _ in read_all(settings.kafka, dead_topic(topic)):
            dead += 1
    frames: list[AuditedFrame] = []
    edge_right: list[bool] = []
    server_right: list[bool] = []
    async for batch in frame_batches(settings):
        frames += await audit_batch(batch, store, first_labels)
        scored = [frame for frame in batch if frame.truth is not None and frame.truth >= 0]
        for frame in scored[::SAMPLE_EVERY]:
            said = await models.classify(crop_of(frame))
            edge_right.append(said.edge == frame.truth)
            server_right.append(said.server == frame.truth)
    return Audit(frames, offloads, dead, edge_right, server_right)


async def frame_batches(settings: Settings) -> AsyncIterator[list[Frame]]:
    """Yield every decodable frame of the topic, some hundred at a time."""
    batch: list[Frame] = []
    async for record in read_all(settings.kafka, FRAMES):
        frame = frame_of(record.value, settings)
        if frame is not None:
            batch.append(frame)
        if len(batch) == BATCH_FRAMES:
            yield batch
            batch = []
    if batch:
        yield batch


def frame_of(value: bytes, settings: Settings) -> Frame | None:
    """Return the frame, None for a record that is none: the workers dead-letter it."""
    try:
        return decode_frame(
            value,
            max_frame_bytes=settings.producer.max_frame_bytes,
            max_frame_pixels=settings.producer.max_frame_pixels,
        )
    except DecodeError:
        return None


async def audit_offloads(settings: Settings) -> list[AuditedOffload]:
    """Return every decodable record of the offload topic, repeats included."""
    found = []
    async for record in read_all(settings.kafka, OFFLOAD):
        try:
            offload = decode_offload(record.value, max_offload_bytes=settings.edge.max_offload_bytes)
        except DecodeError:
            continue
        found.append(
            AuditedOffload(
                camera=offload.camera,
                seq=offload.seq,
                record_bytes=len(record.value),
                patches=len(positions_of(offload.bitmap)),
            )
        )
    return found


async def edge_events(store: RedisStore) -> dict[tuple[str, int], Label]:
    """Return the edge's own label of each frame from the label streams, where they still hold it."""
    events: dict[tuple[str, int], Label] = {}
    for camera in await store.cameras():
        async for label in store.history(camera):
            if label.source is AnswerSource.EDGE:
                events.setdefault((label.camera, label.seq), label)
    return events


async def audit_batch(
    batch: Sequence[Frame],
    store: RedisStore,
    first_labels: dict[tuple[str, int], Label],
) -> list[AuditedFrame]:
    """Return the audited frames of one batch: labels in one pipelined read, JPEG sizes in a thread."""
    labels = await store.get_many([(frame.camera, frame.seq) for frame in batch])
    sizes = await asyncio.to_thread(lambda: [whole_jpeg_bytes(frame) for frame in batch])
    return [
        audited(
            frame,
            label,
            size,
            first_labels.get((frame.camera, frame.seq)),
        )
        for frame, label, size in zip(batch, labels, sizes, strict=True)
    ]


def audited(frame: Frame, label: Label | None, size: int, first: Label | None) -> AuditedFrame:
    """Return one frame with all that is known of it."""
    server = label if label is not None and label.source is AnswerSource.SERVER else None
    edge = first or (label if label is not None and label.source is AnswerSource.EDGE else None)
    answered = label is not None and label.state in (LabelState.FINAL, LabelState.PROVISIONAL)
    return AuditedFrame(
        camera=frame.camera,
        seq=frame.seq,
        truth=frame.truth,
        whole_jpeg_bytes=size,
        state=label.state if label is not None else None,
        source=label.source if label is not None else None,
        label=label.label if label is not None and answered else None,
        cause=label.cause if label is not None else "",
        still=any(each is not None and each.same_as >= 0 for each in (first, label)),
        edge_latency_ms=latency_ms(edge),
        server_latency_ms=latency_ms(server),
    )


def latency_ms(label: Label | None) -> float | None:
    """Return the time from capture to label in milliseconds."""
    return None if label is None else (label.labelled_ns - label.captured_ns) / 1e6


def whole_jpeg_bytes(frame: Frame) -> int:
    """Return what the frame's 224×224 crop costs as a whole JPEG of quality 75: the plain rival."""
    crop = crop_of(frame)
    return len(
        simplejpeg.encode_jpeg(crop, quality=WHOLE_JPEG_QUALITY, colorspace="RGB", colorsubsampling="420")
    )


def crop_of(frame: Frame) -> Pixels:
    """Return the frame's (224, 224, 3) crop as every model sees it."""
    return resize_crop(decode_image(frame.image, frame.encoding, frame.width * frame.height))
