"""The shortest thing that works: read a frame, classify it whole, write its label, one after the other.

    python -m benchmarks.rivals.plain_consumer BOOTSTRAP_SERVERS REDIS_URL MODEL THREADS FRAMES

Runs in its own environment; prints {"ready": true} when it has joined, {"labels": {"camera:seq": index}} at
the end.
"""

from __future__ import annotations

import asyncio
import json
import sys

import redis.asyncio
from aiokafka import AIOKafkaConsumer

from benchmarks.rivals.timm_classifier import MAX_PIXELS, Classifier, crop_of
from schemas.frame import decode_frame


def say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def main() -> None:
    servers, redis_url, model, threads, frames = sys.argv[1:6]
    classify = Classifier(model, int(threads))
    client = redis.asyncio.from_url(redis_url)
    consumer = AIOKafkaConsumer(
        "frames", bootstrap_servers=servers, group_id="plain", auto_offset_reset="earliest"
    )
    await consumer.start()
    labels: dict[str, int] = {}
    say({"ready": True})
    async for record in consumer:
        frame = decode_frame(record.value, max_frame_bytes=8 << 20, max_frame_pixels=MAX_PIXELS)
        (label,) = classify([crop_of(frame.image)])
        await client.set(f"plain:{frame.camera}:{frame.seq}", label)
        labels[f"{frame.camera}:{frame.seq}"] = label
        if len(labels) == int(frames):
            break
    say({"labels": labels})
    await consumer.stop()
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main())
