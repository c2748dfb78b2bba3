"""``saccade watch|label|top|cameras``: read labels, the uplink's and the cameras' state from Redis."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from runtime.redis_store import RedisStore
from saccade.event_loop import run, run_interruptible, run_worker
from saccade.options import ConfigOption, JsonOption, RedisOption, SetOption, settings_from
from schemas.camera_state import CameraState
from schemas.errors import SaccadeError
from schemas.label import Label


def register(app: typer.Typer) -> None:
    """Add the readers to ``app``."""
    app.command()(watch)
    app.command()(label)
    app.command()(top)
    app.command()(cameras)


def watch(
    camera: Annotated[str | None, typer.Option(help="Only this camera.")] = None,
    limit: Annotated[int | None, typer.Option(help="End after so many labels.", min=1)] = None,
    config: ConfigOption = None,
    assign: SetOption = None,
    redis: RedisOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print each label as it is written, until interrupted."""
    settings = settings_from(config, assign, redis=redis)

    async def print_labels() -> None:
        printed = 0
        async with RedisStore(settings.redis) as store:
            async for found in await store.watch(camera):
                typer.echo(json.dumps(found.to_json()) if as_json else line(found))
                printed += 1
                if printed == limit:
                    return

    raise typer.Exit(run_interruptible(print_labels))


def label(
    camera: Annotated[str, typer.Argument(help="Camera id.")],
    seq: Annotated[int, typer.Argument(help="Sequence number of the frame.", min=0)],
    config: ConfigOption = None,
    assign: SetOption = None,
    redis: RedisOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the label of one frame; exit status 1 if there is none."""
    settings = settings_from(config, assign, redis=redis)

    async def get() -> Label | None:
        async with RedisStore(settings.redis) as store:
            return await store.get(camera, seq)

    found = run(get())
    if found is None:
        raise no_label(camera, seq)
    typer.echo(json.dumps(found.to_json()) if as_json else line(found))


def top(
    watch_it: Annotated[bool, typer.Option("--watch", help="Refresh each second until interrupted.")] = False,
    config: ConfigOption = None,
    assign: SetOption = None,
    redis: RedisOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show each edge worker's uplink: state, budget, measured rate, operating point, bytes by camera."""
    from saccade.uplink_view import print_uplinks

    settings = settings_from(config, assign, redis=redis)

    async def main(stop: asyncio.Event) -> None:
        async with RedisStore(settings.redis) as store:
            await print_uplinks(store, settings.site, stop=stop, refresh=watch_it, as_json=as_json)

    raise typer.Exit(run_worker(main, drain_s=1.0))


def cameras(
    config: ConfigOption = None,
    assign: SetOption = None,
    redis: RedisOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show each camera of the site: online or not, rate, last frame, drops, restarts, last error."""
    from saccade.camera_view import camera_rows

    settings = settings_from(config, assign, redis=redis)

    async def get() -> tuple[list[CameraState], int]:
        async with RedisStore(settings.redis) as store:
            return await store.read_cameras(settings.site), await store.time_ns()

    states, now_ns = run(get())
    for row in camera_rows(states, now_ns, as_json=as_json):
        typer.echo(row)


def no_label(camera: str, seq: int) -> SaccadeError:
    """The error of a frame that has no label."""
    return SaccadeError(
        f"camera {camera!r} has no label for frame {seq}: not published, not yet labelled, or expired"
    )


def line(found: Label) -> str:
    """Return a label as one line for a person."""
    at = datetime.fromtimestamp(found.captured_ns / 1e9, tz=UTC).strftime("%H:%M:%S.%f")[:-3]
    latency_ms = (found.labelled_ns - found.captured_ns) / 1e6
    answer = f"{found.name} {found.confidence:.0%}" if not found.cause else found.cause
    return (
        f"{at}  {found.camera} {found.seq}  {found.state} by {found.source}  {answer}  ({latency_ms:.0f} ms)"
    )
