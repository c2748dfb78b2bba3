"""Frames in memory through both workers with the shipped pair of models: whether this installation works.

    python -m devstack.selftest

It opens no port and needs no Kafka, no Redis and no network.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from itertools import islice
from typing import Any

import simplejpeg

from devstack.in_memory import MemorySite
from devstack.settings import Settings, load_settings
from lab.scenes.stream import SceneStream
from runtime.clock import SystemClock
from runtime.log import configure_logging
from schemas.errors import SaccadeError
from schemas.frame import Frame

_SEED = 2_900_300_000
_SIDE = 320, 240
_NUM_CAMERAS = 3
_FRAMES_A_CAMERA = 20
_TIMEOUT_S = 120.0
_TAU = 0.4
"""The shipped pair asks for about half of the rendered frames."""


def selftest_settings(**sections: dict[str, Any]) -> Settings:
    """The shipped pair on two threads, with deadlines that a slow machine keeps."""
    model = {"model": "shipped"}
    tree = {
        "edge": {**model, "tau": _TAU, "max_latency_ms": 60_000, "max_frame_age_s": 60}
        | sections.get("edge", {}),
        "server": model | sections.get("server", {}),
        "metrics": {"port": "off"},
        "log": {"level": "error"},
    }
    return load_settings(None, tree, {})


def rendered_frames(num_cameras: int, frames_a_camera: int) -> list[Frame]:
    """Frames of rendered cameras, as a producer would read them from files; one of each camera in turn."""
    clock = SystemClock()
    width, height = _SIDE
    streams = [
        islice(SceneStream(_SEED + index, width=width, height=height, fps=1.0), frames_a_camera)
        for index in range(num_cameras)
    ]
    return [
        Frame(
            site="",
            camera=f"cam{camera}",
            seq=seq,
            captured_ns=clock.time_ns(),
            width=width,
            height=height,
            encoding="jpeg",
            image=simplejpeg.encode_jpeg(image, quality=90),
            live=False,
        )
        for seq, images in enumerate(zip(*streams, strict=True))
        for camera, (image, _) in enumerate(images)
    ]


async def selftest(
    settings: Settings, *, num_cameras: int = _NUM_CAMERAS, frames_a_camera: int = _FRAMES_A_CAMERA
) -> dict[str, int]:
    """What became of the frames, by `frames`, `labels`, `offloads`, `edge`, `server` and `dead_letters`.

    Raises:
        SaccadeError: some frame has no final label in time, or none was offloaded.
    """
    site = MemorySite(settings)
    async with site.running():
        site.put(rendered_frames(num_cameras, frames_a_camera))
        try:
            labels = await site.settled(_TIMEOUT_S)
        except TimeoutError:
            found = await site.labels()
            raise SaccadeError(f"{len(found)} of {len(site.frames)} frames have a label") from None
    sources = Counter(label.source.value for label in labels.values())
    counts = {
        "frames": len(site.frames),
        "labels": len(labels),
        "offloads": site.num_offloads(),
        "edge": sources["edge"],
        "server": sources["server"],
        "dead_letters": site.refusals().total(),
    }
    if counts["server"] != counts["offloads"] or not counts["offloads"] or counts["dead_letters"]:
        raise SaccadeError(f"the counts do not agree: {json.dumps(counts)}")
    return counts


def main() -> None:
    """Prints the counts as one line of JSON; the status is 0 when they agree."""
    settings = selftest_settings()
    configure_logging(settings.log)
    try:
        counts = asyncio.run(selftest(settings))
    except SaccadeError as error:
        sys.exit(f"saccade: {error}")
    sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main()
