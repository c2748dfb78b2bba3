"""What feeds the live board: frames from Kafka, labels from Redis, and a sample for each model alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from devstack.demo.alone import ModelsAlone
from devstack.demo.audit import crop_of, frame_of
from devstack.demo.board import Board
from devstack.settings import Settings
from runtime.channel import Channel
from runtime.kafka_source import KafkaSource
from runtime.redis_store import RedisStore
from schemas.frame import Frame

POLL_S = 0.5
POLL_RECORDS = 200
SAMPLE_EVERY = 12
SAMPLES_WAITING = 4


async def feed_frames(settings: Settings, board: Board, samples: Channel[Frame]) -> None:
    """Show every published frame on the board until cancelled; some scored ones go to ``samples``."""
    group = f"{settings.edge.group_id}-board-{os.getpid()}"
    scored = 0
    async with KafkaSource(settings.kafka, [settings.topics.frames], group_id=group) as source:
        while True:
            for record in await source.getmany(POLL_RECORDS, POLL_S):
                frame = frame_of(record.value, settings)
                if frame is None:
                    continue
                board.on_frame(frame)
                if frame.truth is not None and frame.truth >= 0:
                    scored += 1
                    if scored % SAMPLE_EVERY == 0 and len(samples) < SAMPLES_WAITING:
                        samples.put_nowait(frame)


async def feed_labels(store: RedisStore, board: Board) -> None:
    """Show every label on the board until cancelled."""
    async for label in await store.watch(None):
        board.on_label(label)


async def feed_alone(models: ModelsAlone, board: Board, samples: Channel[Frame]) -> None:
    """Ask each model alone about each sampled whole frame and show whether it was right."""
    async for frame in samples:
        said = await models.classify(crop_of(frame))
        board.on_sample(edge_right=said.edge == frame.truth, server_right=said.server == frame.truth)


async def every(seconds: float, step: Callable[[], object]) -> None:
    """Call ``step`` each so many seconds until cancelled."""
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    while True:
        step()
        due_s += seconds
        await asyncio.sleep(max(0.0, due_s - loop.time()))
