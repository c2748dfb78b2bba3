"""``saccade produce|edge|serve``: one process of each role, until a signal or the end of its source."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated

import typer

from runtime.log import configure_logging
from saccade.event_loop import run_worker
from saccade.options import (
    ConfigOption,
    JsonOption,
    KafkaOption,
    Program,
    RedisOption,
    SetOption,
    program_settings,
)
from schemas.errors import SourceError

MetricsPort = Annotated[
    int | None,
    typer.Option(help="Port of /metrics, /healthz and /readyz; 0 takes a free one.", show_default=False),
]
ModelOption = Annotated[
    str | None,
    typer.Option(help="A timm name, a folder or file of safetensors, or shipped.", show_default=False),
]
ThreadsOption = Annotated[int | None, typer.Option(help="Threads of the model.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the three roles to ``app``."""
    app.command()(produce)
    app.command()(edge)
    app.command()(serve)


def produce(
    camera: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=SOURCE",
            help="Image folder, video file, rtsp://…, webcam:0, or scenes:SEED. May be repeated.",
        ),
    ],
    fps: Annotated[
        float | None, typer.Option(help="Frames per second of each camera; 0 is as fast as possible.")
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Start files again at their end.")] = False,
    limit: Annotated[int | None, typer.Option(help="Frames of each camera, then stop.")] = None,
    drop: Annotated[
        str | None, typer.Option(help="What a full queue drops: newest, oldest or never.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="Camera ids become SITE/NAME.")] = None,
    metrics_port: MetricsPort = None,
    config: ConfigOption = None,
    assign: SetOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish cameras to the frames topic; print what was published and dropped at the end."""
    from producers.camera import CameraSpec, check_names
    from producers.run import run_producers
    from producers.settings import ProducerProgramSettings

    settings = program_settings(
        ProducerProgramSettings,
        config,
        assign,
        kafka=kafka,
        redis=redis,
        site=site,
        metrics__port=metrics_port,
        producer__drop=drop,
    )
    configure_logging(settings.log)
    cameras = [CameraSpec.parse(text, fps=fps, loop=loop, limit=limit) for text in camera]
    check_names(cameras)

    async def main(stop: asyncio.Event) -> None:
        summary = await run_producers(settings, cameras, stop=stop)
        typer.echo(json.dumps(summary.to_json()) if as_json else str(summary))
        if summary.errors:
            raise SourceError(f"ended early: {', '.join(summary.errors)}; the reasons are above")

    raise typer.Exit(run_worker(main, drain_s=settings.producer.drain_s))


def edge(
    model: ModelOption = None,
    tau: Annotated[
        float | None, typer.Option(help="Bits of min-entropy at which a frame is offloaded.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="Share of attention that the sent patches cover.")
    ] = None,
    codec: Annotated[str | None, typer.Option(help="Patch codec, such as webp, avif or raw.")] = None,
    quality: Annotated[int | None, typer.Option(help="Quality of the codec, 0 to 100.")] = None,
    backend: Annotated[
        str | None, typer.Option(help="What computes the model: torch, openvino or onnxruntime.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Uplink budget: 400kbit, 5GB/month or auto.")] = None,
    threads: ThreadsOption = None,
    metrics_port: MetricsPort = None,
    config: ConfigOption = None,
    assign: SetOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
) -> None:
    """Classify every frame and offload the uncertain ones; more of these processes share the work."""
    from edge_workers.settings import EdgeProgramSettings
    from edge_workers.worker import run_edge

    settings = program_settings(
        EdgeProgramSettings,
        config,
        assign,
        kafka=kafka,
        redis=redis,
        metrics__port=metrics_port,
        edge__model=model,
        edge__tau=tau,
        edge__delta=delta,
        edge__codec=codec,
        edge__quality=quality,
        edge__backend=backend,
        edge__threads=threads,
        budget__rate=budget,
    )
    work(settings, run_edge, drain_s=settings.edge.drain_s)


def serve(
    model: ModelOption = None,
    threads: ThreadsOption = None,
    metrics_port: MetricsPort = None,
    config: ConfigOption = None,
    assign: SetOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
) -> None:
    """Label offloaded frames with the large model; more of these processes share the work."""
    from server_workers.settings import ServerProgramSettings
    from server_workers.worker import run_server

    settings = program_settings(
        ServerProgramSettings,
        config,
        assign,
        kafka=kafka,
        redis=redis,
        metrics__port=metrics_port,
        server__model=model,
        server__threads=threads,
    )
    work(settings, run_server, drain_s=settings.server.drain_s)


def work(
    settings: Program, run: Callable[[Program, asyncio.Event], Awaitable[None]], *, drain_s: float
) -> None:
    """Run one worker until a signal; exit with its status."""
    configure_logging(settings.log)
    raise typer.Exit(run_worker(partial(run, settings), drain_s=drain_s))
