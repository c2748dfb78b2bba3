"""What the live page costs with 20 cameras at 5 frames/s in view of a browser, and how soon labels are seen.

A site of its own: Kafka, Redis, a producer that loops over rendered pictures, an edge worker, a server worker and the
page. A headless Chromium keeps the wall open. At the end cameras are added to the producer's file.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import httpx
import simplejpeg

from devstack import embedded_stack
from devstack.demo.processes import Worker, workers_running
from lab.benchmarks.machine import cpu_seconds, rss_bytes
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.wall_browser import WallBrowser, wall_browser
from lab.scenes.stream import SceneStream

CAMERAS = 20
FPS = 5
PICTURES = 50
SEED = 2_900_000_500
WARM_S = 8.0


def write_pictures(folder: Path) -> None:
    """Some seconds of a rendered camera as JPEGs, which travel as they are."""
    folder.mkdir(parents=True)
    for number, (image, _) in enumerate(islice(SceneStream(SEED, fps=FPS), PICTURES)):
        (folder / f"{number:03}.jpg").write_bytes(simplejpeg.encode_jpeg(image, quality=75))


def write_cameras(path: Path, count: int) -> None:
    """The file lists so many cameras, each of which loops over the pictures in the folder beside it."""
    unfinished = path.with_suffix(".unfinished")
    each = f'source = "{path.parent / "pictures"}"\nloop = true\nfps = {FPS}\n'
    unfinished.write_text("".join(f"[camera-{number}]\n{each}" for number in range(count)))
    unfinished.replace(path)


async def label_of(page: Worker, camera: str) -> None:
    """A viewer has seen a label of the camera."""
    address = f"http://127.0.0.1:{page.port}/api/live?camera={camera}"
    async with httpx.AsyncClient(timeout=60.0) as client, client.stream("GET", address) as answer:
        kind = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif kind == "labels" and line.startswith("data: ") and camera in json.loads(line[6:]):
                return


async def measure(rounds: int, seconds: float, added: int) -> list[Figure]:
    """Return the page's processor time and memory, the age of labels once painted, how soon a new camera shows."""
    with tempfile.TemporaryDirectory(prefix="saccade-page-") as name:
        out = Path(name)
        write_pictures(out / "pictures")
        cameras = out / "cameras.toml"
        write_cameras(cameras, CAMERAS)
        async with embedded_stack(out / "stack") as stack:
            site = ["--kafka", stack.bootstrap_servers, "--redis", stack.redis_url]
            works = [*site, "--model", "shipped", "--threads", "1"]
            edge = Worker("edge", out, ["edge", *works, "--budget", "400kbit", "--set", "edge.stillness=off"])
            page = Worker("page", out, ["page", *site], port_flag="--port", ready_path="/api/session")
            state = f"producer.state_dir={out / 'state'}"
            producer = Worker("producer", out, ["produce", *site, "--cameras", str(cameras), "--set", state])
            workers = [edge, Worker("server", out, ["serve", *works]), page]
            async with workers_running(workers), workers_running([producer]):
                with wall_browser() as browser:
                    figures = await watched(page, browser, rounds, seconds)
                return [*figures, await joined(page, cameras, added)]


async def newest_seqs(page: Worker) -> dict[str, int]:
    """The number of each camera's newest labelled frame."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{page.port}/api/cameras")
    return {each["camera"]: each["label"]["seq"] for each in answer.json()["cameras"] if each["label"]}


async def watched(page: Worker, browser: WallBrowser, rounds: int, seconds: float) -> list[Figure]:
    """Return the figures of a site at work."""
    shares, rates, ages, labelled = [], [], [], []
    await asyncio.sleep(WARM_S)
    for _ in range(rounds):
        await asyncio.to_thread(browser.open, f"http://127.0.0.1:{page.port}/")
        await asyncio.sleep(WARM_S)
        browser.ages_ms()
        seqs = await newest_seqs(page)
        before_s, began_s = cpu_seconds(page.child.pid), time.monotonic()
        await asyncio.sleep(seconds)
        took_s = time.monotonic() - began_s
        shares.append((cpu_seconds(page.child.pid) - before_s) / took_s)
        labelled.append((sum((await newest_seqs(page)).values()) - sum(seqs.values())) / took_s)
        painted = browser.ages_ms()
        rates.append(len(painted) / took_s)
        ages += painted
    note = f"{CAMERAS} cameras at {FPS} frames/s in view of a browser; {rounds} rounds of {seconds:.0f} s"
    share = 100 * statistics.median(shares)
    return [
        Figure("processor time", share, "% of a core", 15, at_least=False, note=note),
        Figure("memory", rss_bytes(page.child.pid) / 1e6, "MB", 200, at_least=False),
        Figure("frames labelled", statistics.median(labelled), "a second", 0.95 * CAMERAS * FPS),
        Figure(
            "labels painted",
            statistics.median(rates),
            "a second",
            note="the newest of each camera, five times a second at most",
        ),
        Figure("label until it is painted, p50", statistics.median(ages), "ms"),
        Figure(
            *("label until it is painted, p99", statistics.quantiles(ages, n=100)[98], "ms", 1_000),
            at_least=False,
            note=f"{len(ages)} labels",
        ),
    ]


async def joined(page: Worker, cameras: Path, added: int) -> Figure:
    """Return how long after the edit of the producer's file a viewer sees a label of the camera that it adds."""
    took_s = []
    for number in range(CAMERAS, CAMERAS + added):
        began_s = time.monotonic()
        write_cameras(cameras, number + 1)
        await label_of(page, f"camera-{number}")
        took_s.append(time.monotonic() - began_s)
    note = f"the slowest of {added}, one after the other; median {statistics.median(took_s):.2f} s"
    return Figure(
        "camera added by file until its label is seen", max(took_s), "s", 5, at_least=False, note=note
    )


def main() -> None:
    """Measure, print and write."""
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--added", type=int, default=5)
    arguments = parser.parse_args()
    publish(asyncio.run(measure(arguments.rounds, arguments.seconds, arguments.added)), arguments.json)


if __name__ == "__main__":
    main()
