"""A model alone in a loop, in its own process, or a frame's way to it: what the whole workers are held against.

The process reads orders, one JSON object a line, and answers each with one. numpy in, numpy out, as the
workers call the same engines; batches are cut from the given inputs in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WARM_S = 0.3
MAX_PIXELS = 1 << 24


@dataclass(frozen=True, slots=True)
class Burst:
    """What a loop did: images, wall and processor seconds."""

    images: int
    wall_s: float
    cpu_s: float

    @property
    def rate(self) -> float:
        return self.images / self.wall_s


class ModelOnly:
    """A running loop process, seen from its parent."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def run(self, seconds: float, batch: int) -> Burst:
        """Return what batches of `batch` inputs brought in `seconds`."""
        return Burst(**await self._ask({"seconds": seconds, "batch": batch}))

    async def one_by_one(self, rounds: int) -> list[float]:
        """Return the median seconds of each input computed alone."""
        answer = await self._ask({"rounds": rounds})
        seconds: list[float] = answer["seconds"]
        return seconds

    async def _ask(self, order: dict[str, float]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the bare loop has ended with status {await self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def model_only(role: str, model: str, inputs: Path, core: int) -> AsyncIterator[ModelOnly]:
    """Yield a warm loop of one thread on `core`.

    Args:
        role: `edge` for inputs of `save_crops`, `frames` of `save_images`, `server` of `save_sets`.
        model: its file.
        inputs: what it computes.
        core: where.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab.benchmarks.pinned", str(core)),
        *("-m", "lab.benchmarks.model_only", role, model, str(inputs)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 22,
    )
    try:
        yield ModelOnly(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def save_crops(path: Path, crops: Sequence[np.ndarray]) -> Path:
    """Write (224, 224, 3) crops for an edge loop."""
    np.savez(path, crops=np.stack(crops))
    return path


def save_images(path: Path, images: Sequence[bytes]) -> Path:
    """Write JPEGs for a loop that decodes and resizes them first."""
    np.savez(path, *(np.frombuffer(image, np.uint8) for image in images))
    return path


def save_sets(path: Path, crops: Sequence[np.ndarray], positions: Sequence[np.ndarray]) -> Path:
    """Write crops and their kept positions for a server loop."""
    kept = np.zeros((len(positions), 196), bool)
    for row, places in zip(kept, positions, strict=True):
        row[places] = True
    np.savez(path, crops=np.stack(crops), kept=kept)
    return path


def _edge(model: str, inputs: Path) -> tuple[Callable[[slice], object], int]:
    from vit.edge_forward import EdgeForward
    from vit.weights import load_model

    forward, crops = EdgeForward(load_model(model), threads=1), np.load(inputs)["crops"]
    return (lambda part: forward(crops[part])), len(crops)


def _frames(model: str, inputs: Path) -> tuple[Callable[[slice], object], int]:
    from imaging.decode import decode_image
    from vit.edge_forward import EdgeForward
    from vit.resize import one_thread, resize_crop_fast
    from vit.weights import load_model

    one_thread()
    forward, stored = EdgeForward(load_model(model), threads=1), np.load(inputs)
    images = [stored[name].tobytes() for name in stored.files]

    def call(part: slice) -> object:
        return forward(
            np.stack([resize_crop_fast(decode_image(each, "jpeg", MAX_PIXELS)) for each in images[part]])
        )

    return call, len(images)


def _server(model: str, inputs: Path) -> tuple[Callable[[slice], object], int]:
    from vit.packed_forward import PackedForward
    from vit.preprocess import to_patches
    from vit.weights import load_model

    forward, stored = PackedForward(load_model(model), threads=1), np.load(inputs)
    positions = [np.flatnonzero(row) for row in stored["kept"]]
    patches = [to_patches(crop)[kept] for crop, kept in zip(stored["crops"], positions, strict=True)]
    return (lambda part: forward(patches[part], positions[part])), len(patches)


_ROLES = {"edge": _edge, "frames": _frames, "server": _server}


def _loop(call: Callable[[slice], object], count: int, seconds: float, batch: int) -> dict[str, float]:
    images, start, began_s, began_cpu_s = 0, 0, 0.0, 0.0
    warm_until_s = time.perf_counter() + WARM_S
    while True:
        now_s = time.perf_counter()
        if not began_s and now_s >= warm_until_s:
            began_s, began_cpu_s, images = now_s, time.process_time(), 0
        if began_s and now_s - began_s >= seconds:
            return {
                "images": images,
                "wall_s": now_s - began_s,
                "cpu_s": time.process_time() - began_cpu_s,
            }
        part = slice(start, min(start + batch, count))
        call(part)
        images += part.stop - part.start
        start = part.stop % count


def _one_by_one(call: Callable[[slice], object], count: int, rounds: int) -> dict[str, list[float]]:
    seconds = np.empty((rounds + 1, count))
    for row in seconds:
        for index in range(count):
            began_s = time.perf_counter()
            call(slice(index, index + 1))
            row[index] = time.perf_counter() - began_s
    return {"seconds": np.median(seconds[1:], axis=0).tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=_ROLES)
    parser.add_argument("model")
    parser.add_argument("inputs", type=Path)
    arguments = parser.parse_args()
    call, count = _ROLES[arguments.role](arguments.model, arguments.inputs)
    for line in sys.stdin:
        order = json.loads(line)
        answer: dict[str, Any]
        if "rounds" in order:
            answer = _one_by_one(call, count, int(order["rounds"]))
        else:
            answer = _loop(call, count, order["seconds"], int(order["batch"]))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
