"""The demo from start to summary, in the order in which a person would do it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from rich.console import Console
from rich.live import Live

from devstack.demo import feed
from devstack.demo.alone import ModelsAlone
from devstack.demo.audit import audit
from devstack.demo.backend import Backend, backend_of
from devstack.demo.board import Board
from devstack.demo.clip import make_clip
from devstack.demo.picture import draw
from devstack.demo.plan import DemoPlan
from devstack.demo.probe import counters
from devstack.demo.processes import Worker, workers_running
from devstack.demo.report import print_summary
from devstack.demo.summary import Summary, summarise
from devstack.demo.uplink import UplinkWatch
from runtime.channel import Channel
from runtime.kafka_lag import GroupLag, group_lag
from runtime.redis_store import RedisStore
from schemas.errors import StackError
from schemas.frame import Frame

PRODUCER_START_S = 3.0
"""About what a producer takes to publish; the budget's second 0 is when it does."""
DRAIN_TIMEOUT_S = 60.0
REFRESH_S = 0.5
PROGRESS_S = 5.0
SERVER_FINALS = "saccade_labels_total"


async def run_demo(plan: DemoPlan, stop: asyncio.Event) -> list[str]:
    """Run the pipeline for ``plan.seconds`` or until ``stop``, drain, audit, sum up.

    Writes ``summary.json`` and ``picture.png`` to ``plan.out``.

    Returns:
        One line for each promise that the run broke; empty when it held them all.
    """
    console = Console(stderr=True)
    plan.out.mkdir(parents=True, exist_ok=True)
    cameras = [*plan.cameras, *([f"clip={make_clip(plan.out)}"] if plan.with_clip else [])]
    console.print("==> Kafka and Redis")
    async with AsyncExitStack() as resources:
        backend = await resources.enter_async_context(backend_of(plan))
        console.print(f"==> for commands in other terminals: {' '.join(backend.addresses())}", soft_wrap=True)
        store = await resources.enter_async_context(RedisStore(backend.settings.redis))
        servers = server_workers_of(plan, backend)
        console.print(
            f"==> {plan.edge_workers} edge and {plan.server_workers} server workers (logs in {plan.out})"
        )
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        page = page_of(plan, backend)
        await resources.enter_async_context(workers_running([*servers, page]))
        console.print(f"==> page http://127.0.0.1:{page.port}/", soft_wrap=True)
        start_s = loop.time() - asked_s + PRODUCER_START_S  # what the edge, which loads as much, will need
        models_alone = await resources.enter_async_context(
            ModelsAlone.loaded(plan.edge_model, plan.server_model)
        )
        begin_s = loop.time() + start_s
        edges = edge_workers_of(plan, backend, time.time() + start_s)
        await resources.enter_async_context(workers_running(edges))
        producer = producer_of(plan, backend, cameras)
        uplink = UplinkWatch(store, backend, plan, begin_s=begin_s)
        board = Board()
        async with feeds_running(plan, backend, store, board, uplink, models_alone, console):
            await asyncio.sleep(max(0.0, begin_s - PRODUCER_START_S - loop.time()))
            await producer.start()
            seconds = await publish(plan, producer, stop)
            console.print("==> draining")
            await drain(backend, [*edges, *servers])
            finals = {server.name: await finals_of(server) for server in servers}
        console.print("==> audit: every frame from Kafka, every label from Redis")
        found = await audit(backend.settings, store, models_alone)
        summary = summarise(
            found.frames,
            found.offloads,
            seconds=seconds,
            dead_lettered=found.dead_lettered,
            producer_drops=producer_drops(producer),
            edge_sample=found.edge_right,
            server_sample=found.server_right,
            server_worker_finals=finals,
            **uplink.verdict(),
        )
        finish(plan, board, summary, console)
        if is_watched() and not stop.is_set():
            console.print(f"page http://127.0.0.1:{page.port}/ stays until you press Enter", soft_wrap=True)
            await enter_or(stop)
    return summary.failures()


def server_workers_of(plan: DemoPlan, backend: Backend) -> list[Worker]:
    """Return the server workers, not started yet."""
    serve = ["serve", *backend.flags(), "--model", plan.server_model, "--threads", "1"]
    return [Worker(f"server{i}", plan.out, serve) for i in range(1, plan.server_workers + 1)]


def page_of(plan: DemoPlan, backend: Backend) -> Worker:
    """Return the page, not started yet; it keeps frames to label beside the run's logs, also for the next run."""
    arguments = ["page", *backend.flags(), "--harvest", str(plan.out / "harvest.sqlite")]
    return Worker("page", plan.out, arguments, port_flag="--port", ready_path="/api/session")


def edge_workers_of(plan: DemoPlan, backend: Backend, starts_unix_s: float) -> list[Worker]:
    """Return the edge workers, not started yet; second 0 of a stepping budget is at ``starts_unix_s``."""
    edge = ["edge", *backend.flags(), *backend.offload_flags(), "--model", plan.edge_model, "--threads", "1"]
    if plan.budget is not None:
        edge += ["--budget", plan.budget, "--set", f"budget.schedule_start_unix_s={starts_unix_s:.3f}"]
    return [Worker(f"edge{i}", plan.out, edge) for i in range(1, plan.edge_workers + 1)]


def producer_of(plan: DemoPlan, backend: Backend, cameras: Sequence[str]) -> Worker:
    """Return the producer of all cameras, not started yet."""
    produce = ["produce", *backend.flags(), "--json", "--loop", "--fps", str(plan.fps)]
    produce += ["--set", f"producer.state_dir={plan.out / 'producer-state'}"]
    for camera in cameras:
        produce += ["--camera", camera]
    return Worker("producer", plan.out, produce)


@asynccontextmanager
async def feeds_running(
    plan: DemoPlan,
    backend: Backend,
    store: RedisStore,
    board: Board,
    uplink: UplinkWatch,
    models: ModelsAlone,
    console: Console,
) -> AsyncIterator[None]:
    """Keep the board fed and shown inside the block: a table on a terminal, a line now and then elsewhere."""
    samples: Channel[Frame] = Channel(feed.SAMPLES_WAITING)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    with Live(console=console, auto_refresh=False, transient=False) as live:

        def show() -> None:
            if console.is_terminal:
                live.update(board.render(loop.time() - began_s, plan.seconds), refresh=True)

        def progress() -> None:
            if not console.is_terminal:
                console.print(board.line(loop.time() - began_s), soft_wrap=True)

        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(feed.feed_frames(backend.settings, board, samples)),
                group.create_task(feed.feed_labels(store, board)),
                group.create_task(feed.feed_alone(models, board, samples)),
                group.create_task(uplink.follow(board)),
                group.create_task(feed.every(REFRESH_S, show)),
                group.create_task(feed.every(PROGRESS_S, progress)),
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()


async def publish(plan: DemoPlan, producer: Worker, stop: asyncio.Event) -> float:
    """Let the cameras publish for the planned time or until ``stop``; return the seconds that it took."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    try:
        async with asyncio.timeout(plan.seconds):
            await stop.wait()
    except TimeoutError:
        pass
    finally:
        await asyncio.shield(producer.stop())
    return loop.time() - began_s


async def drain(backend: Backend, workers: Sequence[Worker]) -> None:
    """Return once both consumer groups have finished everything that was published.

    Raises:
        StackError: a worker ended, or it took too long; says how much was left.
    """
    settings = backend.settings
    left = -1
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S), group_lag(settings.kafka) as lag:
            while left := await left_over(lag, backend):
                ended = [worker.name for worker in workers if not worker.child.running]
                if ended:
                    raise StackError(f"{', '.join(ended)} ended before everything was drained; see the logs")
                await asyncio.sleep(REFRESH_S)
    except TimeoutError:
        raise StackError(f"{left} records were not finished within {DRAIN_TIMEOUT_S:.0f} s") from None


async def left_over(lag: GroupLag, backend: Backend) -> int:
    """Return how many records of both topics are not committed; offload is asked once frames are done."""
    settings = backend.settings
    frames = await lag.of(settings.edge.group_id, settings.topics.frames)
    return frames or await lag.of(settings.server.group_id, settings.offload_topic)


async def finals_of(server: Worker) -> int:
    """Return how many final labels a server worker has written, by its own metrics."""
    return int(sum((await counters(server.port, SERVER_FINALS)).values()))


def producer_drops(producer: Worker) -> dict[str, int]:
    """Return the producer's drops by cause, from the summary that it printed last."""
    for line in reversed(producer.child.log_text().splitlines()):
        if line.startswith('{"published"'):
            dropped: dict[str, int] = json.loads(line)["dropped"]
            return dropped
    raise StackError("the producer ended without its summary; see its log")


def is_watched() -> bool:
    """Return whether a person sits at this terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty() and not os.environ.get("CI")


async def enter_or(stop: asyncio.Event) -> None:
    """Return once Enter was pressed, standard input is at its end, or ``stop`` is set."""
    entered = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, entered.set)
    waiting = [asyncio.create_task(each.wait()) for each in (entered, stop)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(sys.stdin)
        for each in waiting:
            each.cancel()
    if entered.is_set():
        sys.stdin.readline()  # the line that was typed is not the shell's


def finish(plan: DemoPlan, board: Board, summary: Summary, console: Console) -> None:
    """Write summary and picture and print what the run came to."""
    path = plan.out / "summary.json"
    path.write_text(json.dumps(summary.to_json(), indent=2) + "\n")
    picture = plan.out / "picture.png"
    draw(picture, board.samples, summary)
    print_summary(summary, console)
    console.print(f"summary {path}\npicture {picture}")
    sys.stderr.flush()
