"""The shortest thing that works: read a frame, classify it whole, write its label, one after the other.

    python -m lab.benchmarks.rivals.plain_consumer BOOTSTRAP_SERVERS REDIS_URL MODEL MAX_THREADS FRAMES

Runs in its own environment, with as many threads as are fastest on the machine as it is; prints {"threads"}
when it has joined and {"labels": [[camera, seq, index]]} after every FRAMES frames, until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import numpy as np
import redis.asyncio
import torch
from aiokafka import AIOKafkaConsumer

from lab.benchmarks.rivals.timm_classifier import MAX_PIXELS, Classifier, crop_of
from schemas.frame import decode_frame


def say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def fastest(model: str, max_threads: int) -> tuple[int, Classifier]:
    """Return the number of threads with which one black image is classified soonest, and the classifier."""
    classify = Classifier(model, 1)
    black = [np.zeros((224, 224, 3), np.uint8)]
    seconds = {}
    for threads in range(1, max_threads + 1):
        torch.set_num_threads(threads)
        classify(black)
        began_s = time.perf_counter()
        for _ in range(10):
            classify(black)
        seconds[threads] = time.perf_counter() - began_s
    best = min(seconds, key=lambda threads: seconds[threads])
    torch.set_num_threads(best)
    return best, classify


async def main() -> None:
    servers, redis_url, model, max_threads, frames = sys.argv[1:6]
    (threads, classify), num_frames = fastest(model, int(max_threads)), int(frames)
    client = redis.asyncio.from_url(redis_url)
    consumer = AIOKafkaConsumer(
        "frames", bootstrap_servers=servers, group_id="plain", auto_offset_reset="earliest"
    )
    await consumer.start()
    labels: list[tuple[str, int, int]] = []
    say({"threads": threads})
    async for record in consumer:
        frame = decode_frame(record.value, max_frame_bytes=8 << 20, max_frame_pixels=MAX_PIXELS)
        (label,) = classify([crop_of(frame.image)])
        await client.set(f"plain:{frame.camera}:{frame.seq}", label)
        labels.append((frame.camera, frame.seq, label))
        if len(labels) == num_frames:
            say({"labels": labels})
            labels = []


if __name__ == "__main__":
    asyncio.run(main())
