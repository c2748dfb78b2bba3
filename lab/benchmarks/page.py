"""What the live page costs with 20 cameras at 5 frames/s in view of a browser, and how soon a label is seen.

A site of its own: Kafka, Redis, a producer that loops over rendered pictures, an edge worker, a server worker and the
page. A headless Chromium keeps the wall open.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import httpx
import simplejpeg

from devstack import embedded_stack
from devstack.demo.processes import Worker, workers_running
from lab.benchmarks.machine import cpu_seconds, rss_bytes
from lab.benchmarks.report import Figure, options, publish
from lab.scenes.stream import SceneStream

CAMERAS = 20
FPS = 5
PICTURES = 50
SEED = 2_900_000_500
WARM_S = 8.0


class NoBrowserError(Exception):
    """There is no Chromium here."""


@contextmanager
def browser_on(address: str, folder: Path) -> Iterator[None]:
    """A headless browser has the address open, in a window that holds all cameras."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise NoBrowserError("no chromium on PATH")
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1600,1400",
        f"--user-data-dir={folder}",
    ]
    # A debugging port keeps the browser open; nobody speaks to it.
    command = [chromium, *flags, "--remote-debugging-port=0", address]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            yield
        finally:
            child.terminate()


def write_pictures(folder: Path) -> None:
    """Some seconds of a rendered camera as JPEGs, which travel as they are."""
    folder.mkdir(parents=True)
    for number, (image, _) in enumerate(islice(SceneStream(SEED, fps=FPS), PICTURES)):
        (folder / f"{number:03}.jpg").write_bytes(simplejpeg.encode_jpeg(image, quality=75))


async def ages_ms(page: Worker, seconds: float) -> list[float]:
    """Return how long after its writing each label of one camera reaches a viewer."""
    found: list[float] = []
    async with httpx.AsyncClient(timeout=None) as client:
        address = f"http://127.0.0.1:{page.port}/api/live?camera=camera-0"
        async with client.stream("GET", address) as answer:
            until_s, kind = time.monotonic() + seconds, ""
            async for line in answer.aiter_lines():
                if time.monotonic() > until_s:
                    break
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: ") and kind == "labels":
                    labels = json.loads(line.removeprefix("data: "))
                    found += [time.time() * 1e3 - each["labelled_ns"] / 1e6 for each in labels.values()]
    return found[1:]  # the first is what stood there before


async def measure(rounds: int, seconds: float) -> list[Figure]:
    """Return the page's processor time and memory, and the age of labels when a viewer has them."""
    with tempfile.TemporaryDirectory(prefix="saccade-page-") as name:
        out = Path(name)
        write_pictures(out / "pictures")
        async with embedded_stack(out / "stack") as stack:
            site = ["--kafka", stack.bootstrap_servers, "--redis", stack.redis_url]
            works = [*site, "--model", "shipped", "--threads", "1"]
            edge = Worker("edge", out, ["edge", *works, "--budget", "400kbit", "--set", "edge.stillness=off"])
            page = Worker("page", out, ["page", *site], port_flag="--port", ready_path="/api/session")
            produces = [
                "produce",
                *site,
                "--loop",
                "--fps",
                str(FPS),
                "--set",
                f"producer.state_dir={out / 'state'}",
            ]
            for number in range(CAMERAS):
                produces += ["--camera", f"camera-{number}={out / 'pictures'}"]
            workers = [edge, Worker("server", out, ["serve", *works]), page]
            async with workers_running(workers), workers_running([Worker("producer", out, produces)]):
                return await watched(page, out, rounds, seconds)


async def watched(page: Worker, out: Path, rounds: int, seconds: float) -> list[Figure]:
    """Return the figures of a site at work."""
    shares: list[float] = []
    ages: list[float] = []
    await asyncio.sleep(WARM_S)
    for number in range(rounds):
        with browser_on(f"http://127.0.0.1:{page.port}/", out / f"browser-{number}"):
            await asyncio.sleep(WARM_S)
            before_s, began_s = cpu_seconds(page.child.pid), time.monotonic()
            ages += await ages_ms(page, seconds)
            shares.append((cpu_seconds(page.child.pid) - before_s) / (time.monotonic() - began_s))
    note = f"{CAMERAS} cameras at {FPS} frames/s in view of a browser; {rounds} rounds of {seconds:.0f} s"
    high = statistics.quantiles(ages, n=100)[98]
    return [
        Figure(
            "processor time", 100 * statistics.median(shares), "% of a core", 15, at_least=False, note=note
        ),
        Figure("memory", rss_bytes(page.child.pid) / 1e6, "MB", 200, at_least=False),
        Figure("label until a viewer has it, p50", statistics.median(ages), "ms"),
        Figure(
            "label until a viewer has it, p99", high, "ms", 1_000, at_least=False, note=f"{len(ages)} labels"
        ),
    ]


def main() -> None:
    """Measure, print and write."""
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=12.0)
    arguments = parser.parse_args()
    publish(asyncio.run(measure(arguments.rounds, arguments.seconds)), arguments.json)


if __name__ == "__main__":
    main()
