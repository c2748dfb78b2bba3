"""The budget on a real link: `make bench-control`, or `python -m lab.benchmarks.control [--scale S] ...`.

Cameras, an edge worker, the broker and a server, with the offload path through a link whose rate steps 1600
-> 300 -> 800 -> 0 -> 800 kbit/s, and through one of 800 kbit/s whose round trip steps 300 -> 600 -> 40 ms: once
with the budget told and the link following it, once with `auto` and only the link stepping. 0 is a silent drop.
Judged by the link's own counter.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio

from devstack.child import GuardedChild
from devstack.kafka_broker import ExtraListener
from devstack.settings import load_settings
from devstack.stack import embedded_stack
from lab.benchmarks.control_figures import Course, Run, Shown, carried_more, figures_of
from lab.benchmarks.control_frontier import Measured, measure_shots
from lab.benchmarks.control_picture import plot
from lab.benchmarks.link import Link, can_shape, link_to
from lab.benchmarks.recorded import frame_record, record
from lab.benchmarks.report import publish
from lab.benchmarks.testbed import FOLDER, Testbed, paced
from runtime.kafka_admin import read_all
from runtime.redis_store import RedisStore
from schemas.errors import TransientError
from schemas.frontier import dump_frontier
from schemas.rates import RateSchedule
from schemas.topics import frames_partition

RATES = Course("rates", (1600.0, 300.0, 800.0, 0.0, 800.0), (0.0,) * 5)
DELAYS = Course("delays", (800.0,) * 3, (0.3, 0.6, 0.04))
CAMERAS = tuple(f"cam{idx:02}" for idx in range(8))
SEEDS = tuple(range(2_900_000_200, 2_900_000_224))
SHOTS_EACH = 40
HARD_SHARE = 0.15
"""Of the recorded shots only those that the edge is least sure of are shown: the server is worth asking for all."""
LINK_ROOM = 1.15
"""A told budget's link carries so much more: the budget is the limit, and the link's queue stays short."""
_START_S, _START_SHARE = 10.0, 2.0
"""From the edge's start to the first step: so long and twice what the server took; it must be ready then."""
_LEAD_S = 3.0
_TAIL_S = 4.0


async def measure(
    course: Course,
    steps: RateSchedule,
    *,
    told: bool,
    fps: float,
    shaped: bool,
    loss: float,
    measured: Measured,
    program: str = "saccade",
) -> Run:
    """Return one run over all steps and one more stretch of the same length after the last.

    `program` is the module that runs the edge worker.
    """
    folder = FOLDER / "control" / f"{course.name}-{'told' if told else 'auto'}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    room = LINK_ROOM if told else 1.0
    link_rates = RateSchedule(steps.starts_s, tuple(rate * room for rate in steps.rates_bytes_per_s))
    budget = ",".join(
        f"{rate * 8:.0f}bit@{start:g}"
        for start, rate in zip(steps.starts_s, steps.rates_bytes_per_s, strict=True)
    )
    broker_port: list[int] = []
    async with (
        link_to(broker_port, shaped=shaped, loss=loss) as link,
        embedded_stack(folder / "stack", extra_listener=ExtraListener(*link.address)) as stack,
    ):
        broker_port.append(int(stack.extra_bootstrap_servers.split(":")[1]))
        tree = {"kafka": {"bootstrap_servers": stack.bootstrap_servers}, "redis": {"url": stack.redis_url}}
        settings = load_settings(None, tree, {})
        client = redis.asyncio.from_url(stack.redis_url, decode_responses=True)
        bed = Testbed(folder, stack, settings, client)
        run = Run(budget if told else "auto", link.kind, course, steps, link_rates, fps, measured)
        try:
            server = bed.worker("serve", (0, 1), server__model="shipped", server__threads=1)
            began_s = time.monotonic()
            await server.start()
            start_s = _START_S + _START_SHARE * (time.monotonic() - began_s)
            async with edge_running(bed, link, run, start_s, program) as starts_unix_s:
                await play(bed, link, run, starts_unix_s)
            await server.stop()
            run.writes = await bed.writes(CAMERAS)
            run.topic_bytes = await topic_bytes(bed)
            (folder / "states.jsonl").write_text(
                "".join(json.dumps({"second": at_s, **state}) + "\n" for at_s, state in run.states)
            )
        finally:
            await client.aclose()
    return run


@asynccontextmanager
async def edge_running(
    bed: Testbed, link: Link, run: Run, start_s: float, program: str
) -> AsyncIterator[float]:
    """Yield when the first step is (UTC); the edge worker runs on the near side of the link."""
    host, port = link.address
    kafka_port, redis_port = bed.stack.kafka.port, bed.stack.redis.port
    await link.near((kafka_port, redis_port), bed.run_dir)
    starts_unix_s = time.time() + start_s
    frontier = bed.run_dir / "frontier.json"
    dump_frontier(run.measured.frontier, frontier)
    settings = {
        "edge.model": "shipped",
        "edge.threads": 1,
        "offload_kafka.bootstrap_servers": f"{host}:{port}",
        "budget.schedule_start_unix_s": starts_unix_s,
        "budget.frontier": str(frontier.resolve()),
        "metrics.port": "off",
        "log.format": "json",
    }
    command = [*link.prefix, sys.executable, "-m", program, "edge", "--budget", run.budget]
    command += ["--kafka", bed.stack.bootstrap_servers, "--redis", bed.stack.redis_url]
    command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    child = GuardedChild("edge", command, bed.run_dir / "edge.log", grace_s=30.0, held_fds=())
    child.start()
    try:
        yield starts_unix_s
    finally:
        await child.stop()


async def play(bed: Testbed, link: Link, run: Run, starts_unix_s: float) -> None:
    """Cameras show their shots from a little before the first step until one stretch after the last."""
    loop = asyncio.get_running_loop()
    async with RedisStore(bed.settings.redis) as store:
        async with asyncio.timeout(starts_unix_s - time.time()):
            while not await store.read_uplinks(""):  # noqa: ASYNC110 - Redis tells nobody
                await asyncio.sleep(0.2)
        publishing_s = starts_unix_s - _LEAD_S - time.time()
        await asyncio.sleep(max(publishing_s, 0.0))
        begin_s = loop.time() + starts_unix_s - time.time()
        run.begin_unix_s = starts_unix_s
        end_s = run.steps.starts_s[-1] + run.steps.starts_s[1]
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch(store, run, begin_s))
            group.create_task(stepping(link, run, begin_s))
            await cameras(bed, run, end_s + begin_s - loop.time())
            await asyncio.sleep(_TAIL_S)
            watching.cancel()
        run.counter = [(at_s - begin_s, total) for at_s, total in link.samples]
        run.link_bytes = run.counter[-1][1]


async def stepping(link: Link, run: Run, begin_s: float) -> None:
    await asyncio.sleep(begin_s - asyncio.get_running_loop().time())
    await link.follow(run.link, run.course.round_trips_s)


async def watch(store: RedisStore, run: Run, begin_s: float) -> None:
    """Note what the edge says of its uplink, twice a second."""
    while True:
        try:
            for text in (await store.read_uplinks("")).values():
                run.states.append((asyncio.get_running_loop().time() - begin_s, json.loads(text)))
        except TransientError:
            pass
        await asyncio.sleep(0.5)


async def cameras(bed: Testbed, run: Run, seconds: float) -> None:
    """All cameras together show `fps` frames a second, the shots in order."""
    partitions, shots = bed.settings.topics.partitions, run.measured.shots
    async with bed.sink() as sink:

        async def send(index: int, due_ns: int) -> None:
            camera, seq = CAMERAS[index % len(CAMERAS)], index // len(CAMERAS)
            place = (seq + 37 * (index % len(CAMERAS))) % len(shots)
            run.shown[camera, seq] = Shown(due_ns / 1e9 - run.begin_unix_s, place)
            value = frame_record(shots[place], camera, seq, due_ns, live=True)
            await sink.send("frames", value, partition=frames_partition(camera, partitions))

        await paced(run.fps, int(run.fps * seconds), send)


async def topic_bytes(bed: Testbed) -> float:
    """Return the sum of the values in the topic `offload`."""
    return float(sum([len(each.value or b"") async for each in read_all(bed.settings.kafka, "offload")]))


def hard_shots() -> Measured:
    """What the cameras show, measured."""
    return measure_shots([shot for stream in record(SEEDS, SHOTS_EACH) for shot in stream], HARD_SHARE)


def rates_of(course: Course, seconds: float, scale: float = 1.0) -> RateSchedule:
    """The course's rates, so many seconds each."""
    starts = tuple(idx * seconds for idx in range(len(course.kbits)))
    return RateSchedule(starts, tuple(scale * kbit * 125.0 for kbit in course.kbits))


async def measure_all(
    courses: list[Course], tells: list[bool], args: argparse.Namespace, *, shaped: bool
) -> list[Run]:
    measured = hard_shots()
    runs = []
    for course in courses:
        steps = rates_of(course, args.seconds, args.scale)
        for told in tells:
            run = measure(
                course, steps, told=told, fps=args.fps, shaped=shaped, loss=args.loss, measured=measured
            )
            runs.append(await run)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of all rates, for machines too slow for 1600 kbit/s"
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of each step")
    parser.add_argument("--fps", type=float, default=40.0, help="frames a second, all cameras together")
    parser.add_argument(
        "--relay", action="store_true", help="a TCP relay, also where namespaces could be made"
    )
    parser.add_argument("--only", choices=["told", "auto"], help="one of the two ways to run")
    parser.add_argument("--course", choices=["rates", "delays"], help="one of the two courses of steps")
    parser.add_argument("--loss", type=float, default=0.0, help="the share of packets that are lost")
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    shaped = not args.relay and can_shape()
    if not shaped and (args.loss or args.course == "delays"):
        sys.exit("delay and loss need root, ip and /dev/net/tun: the relay has neither")
    courses = [each for each in (RATES, DELAYS) if args.course in (None, each.name)]
    courses = courses if shaped else [RATES]
    tells = [told for told in (True, False) if args.only in (None, "told" if told else "auto")]
    runs: list[Run] = asyncio.run(measure_all(courses, tells, args, shaped=shaped))
    figures = [figure for run in runs for figure in figures_of(run)]
    for run in runs:
        plot(run, FOLDER / "control" / f"{run.course.name}-{'told' if run.is_told else 'auto'}.png")
    publish(figures, args.json)
    if any(carried_more(run) for run in runs):
        sys.exit("the link carried more than the topic's records and their overhead")


if __name__ == "__main__":
    main()
