"""Mutated messages through a running edge and a running server worker, on topics and a store in memory.

    PYTHONPATH=. python tests/fuzz/workers.py --messages 10000 --seed 1

The messages are those of `fuzz.py`, in the topics `frames` and `offload`, with sound ones among them. At the end every
one of them is a label, a dead letter or an expired record, and its offset is committed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devstack.in_memory import MemorySite
from devstack.settings import Settings, load_settings
from runtime.log import configure_logging
from schemas.bitmap import bitmap_of
from schemas.frame import Frame, encode_frame
from schemas.offload import Offload, encode_offload
from schemas.topics import dead_topic
from tests.fuzz.fuzz import SIDE, changed_frame, changed_offload, picture
from vit.codecs import CODECS, encode_patches

SITE = "site"
SOUND_EVERY = 10
TIMEOUT_S = 550.0


@dataclass(frozen=True)
class Found:
    """What the workers did; for how long, in processor time, their event loop did one thing at most; and by how much
    the process grew since the first tenth of the messages, without what the broker in memory holds."""

    labels: int
    dead_letters: int
    committed: int
    longest_stop_s: float
    grown_mb: float
    took_s: float


def sound_frames() -> list[bytes]:
    """A frame of each encoding; they have the numbers from 0 on."""
    images = [
        (encoding, picture(encoding, mode=mode))
        for encoding in ("jpeg", "png", "webp")
        for mode in ("RGB", "L")
    ]
    return [
        encode_frame(Frame(SITE, f"{SITE}/gate", seq, time.time_ns(), SIDE, 48, encoding, image, live=False))
        for seq, (encoding, image) in enumerate(images)
    ]


def sound_offloads(classes_hash: str) -> list[bytes]:
    """A record of each codec and some numbers of patches."""
    crop = np.random.default_rng(1).integers(0, 256, (224, 224, 3), np.uint8)
    records = []
    for name, codec in CODECS.items():
        for count in (1, 12, 49):
            quality = codec.qualities[len(codec.qualities) // 2]
            data = encode_patches(name, quality, crop, np.arange(count))
            bitmap, leading = bitmap_of(np.arange(count)), ((3, 0.5), (1, 0.25))
            record = Offload(f"{SITE}/gate", 100, 1, 0, bitmap, name, quality, data, leading, classes_hash)
            records.append(encode_offload(record))
    return records


def settings_of(model: Path) -> Settings:
    """Both workers on the tiny model; nothing is offloaded by the edge, nothing is too old."""
    section = {"model": str(model), "threads": 1, "dtype": "float32"}
    edge = {**section, "tau": 9.0, "max_frame_age_s": 3600}
    tree = {"site": SITE, "edge": edge, "server": section, "log": {"level": "error"}}
    return load_settings(None, tree, {})


async def run(settings: Settings, classes_hash: str, seed: int, num_messages: int) -> Found:
    """Every message is worked on by both workers, and they have drained."""
    site = MemorySite(settings)
    frames, offloads = sound_frames(), sound_offloads(classes_hash)
    loop, stops = asyncio.get_running_loop(), [0.0]
    began_s, early_mb = loop.time(), 0.0
    async with site.running(), asyncio.TaskGroup() as group:
        watching = group.create_task(watch_loop(stops))
        for number in range(num_messages):
            rng = random.Random(f"{seed} {number}")
            if number % 2:
                topic, seeds, change = settings.offload_topic, offloads, changed_offload
            else:
                topic, seeds, change = settings.topics.frames, frames, changed_frame
            is_sound = number % SOUND_EVERY < 2
            value = seeds[number % len(seeds)] if is_sound else change(rng, seeds)
            site.broker.append(topic, rng.randrange(site.broker.num_partitions), value)
            if number % 16 == 0:
                await asyncio.sleep(0)
            if number == num_messages // 10:
                await worked_off(site, number)
                early_mb = rss_mb() - held_mb(site)
        await worked_off(site, num_messages)
        grown_mb = rss_mb() - held_mb(site) - early_mb
        watching.cancel()
    labels = sum(
        [len([None async for _ in site.store.history(camera)]) for camera in await site.store.cameras()]
    )
    dead = site.refusals().total()
    return Found(labels, dead, num_committed(site), max(stops), grown_mb, loop.time() - began_s)


async def worked_off(site: MemorySite, num_messages: int) -> None:
    """So many messages are committed."""
    async with asyncio.timeout(TIMEOUT_S):
        while num_committed(site) < num_messages:  # noqa: ASYNC110 - a broker tells nobody of a commit
            await asyncio.sleep(0.1)


def held_mb(site: MemorySite) -> float:
    """What the broker in memory holds."""
    topics = (site.settings.topics.frames, site.settings.offload_topic)
    records = [
        each for topic in topics for name in (topic, dead_topic(topic)) for each in site.broker.records(name)
    ]
    return sum(len(each.value) for each in records) / 2**20


def num_committed(site: MemorySite) -> int:
    """Records whose offsets both groups have committed."""
    return sum(sum(offsets.values()) for offsets in site.broker.committed.values())


async def watch_loop(stops: list[float]) -> None:
    """Note what the loop's thread computed between two looks."""
    while True:
        before_s = time.thread_time()
        await asyncio.sleep(0.02)
        stops.append(time.thread_time() - before_s)


def rss_mb() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def main(arguments: Sequence[str]) -> int:
    """0 when nothing was found."""
    from vit.architecture import Architecture
    from vit.model import random_model
    from vit.weights import save_model

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    model = random_model(Architecture(embed_dim=48, depth=2, num_heads=3, mlp_ratio=2.0, num_classes=5))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.safetensors"
        save_model(path, model.vit, name="tiny", mean=model.mean, std=model.std, classes=model.classes)
        settings = settings_of(path)
        configure_logging(settings.log)
        found = asyncio.run(run(settings, model.classes_hash, asked.seed, asked.messages))
    sys.stdout.write(f"{asked.messages} messages through both workers: {found}\n")
    return int(found.longest_stop_s > 1.0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
