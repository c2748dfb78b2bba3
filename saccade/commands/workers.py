"""``saccade produce|edge|serve``: one process of each role, until a signal or the end of its source."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.log import configure_logging
from saccade.event_loop import run_worker
from saccade.flags import add_role
from saccade.options import JsonOption, Program
from schemas.errors import SourceError

if TYPE_CHECKING:
    from edge_workers.settings import EdgeProgramSettings
    from producers.settings import ProducerProgramSettings
    from server_workers.settings import ServerProgramSettings


def register(app: typer.Typer) -> None:
    """Add the three roles to ``app``."""
    add_role(
        app,
        "producers",
        produce,
        fps="producer.fps",
        drop="producer.drop",
        site="site",
        metrics_port="metrics.port",
    )
    add_role(
        app,
        "edge_workers",
        edge,
        model="edge.model",
        tau="edge.tau",
        delta="edge.delta",
        codec="edge.codec",
        quality="edge.quality",
        backend="edge.backend",
        budget="budget.rate",
        threads="edge.threads",
        metrics_port="metrics.port",
    )
    add_role(
        app,
        "server_workers",
        serve,
        model="server.model",
        threads="server.threads",
        metrics_port="metrics.port",
    )


def produce(
    settings: ProducerProgramSettings,
    camera: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SOURCE",
            help="Image folder, video file, rtsp://…, http://…, webcam:0, -, or scenes:SEED. May be repeated.",
        ),
    ] = None,
    cameras: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Cameras from a TOML file, which may be edited while they run."),
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Start files again at their end.")] = False,
    limit: Annotated[int | None, typer.Option(help="Frames of each camera, then stop.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Publish cameras to the frames topic; print what was published and dropped at the end."""
    from producers.camera import CameraSpec, check_names
    from producers.camera_file import load_cameras
    from producers.run import run_producers

    configure_logging(settings.log)
    named = [CameraSpec.parse(text, loop=loop, limit=limit) for text in camera or []]
    # What is wrong in the file ends the command before it starts.
    listed = [] if cameras is None else load_cameras(cameras)
    check_names([*named, *listed], site=settings.site, at_least=0 if cameras is not None else 1)

    async def main(stop: asyncio.Event) -> None:
        summary = await run_producers(settings, named, stop=stop, camera_file=cameras)
        typer.echo(json.dumps(summary.to_json()) if as_json else str(summary))
        if summary.errors:
            raise SourceError(f"ended early: {', '.join(summary.errors)}; the reasons are above")

    raise typer.Exit(run_worker(main, drain_s=settings.producer.drain_s))


def edge(settings: EdgeProgramSettings) -> None:
    """Classify every frame and offload the uncertain ones; more of these processes share the work."""
    from edge_workers.worker import run_edge

    work(settings, run_edge, drain_s=settings.edge.drain_s)


def serve(settings: ServerProgramSettings) -> None:
    """Label offloaded frames with the large model; more of these processes share the work."""
    from server_workers.worker import run_server

    work(settings, run_server, drain_s=settings.server.drain_s)


def work(
    settings: Program, run: Callable[[Program, asyncio.Event], Awaitable[None]], *, drain_s: float
) -> None:
    """Run one worker until a signal; exit with its status."""
    from vit.process import prepare

    prepare()
    configure_logging(settings.log)
    raise typer.Exit(run_worker(partial(run, settings), drain_s=drain_s))
