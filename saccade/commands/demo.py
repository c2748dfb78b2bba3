"""``saccade demo``: the main job on the embedded stack, watched live and audited at its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from saccade.event_loop import run_worker
from saccade.options import KafkaOption, RedisOption, finite


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(demo)


def demo(
    seconds: Annotated[
        float, typer.Option(help="How long cameras publish.", min=1, max=604_800, callback=finite)
    ] = 60,
    camera: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SOURCE", help="Own cameras instead of the rendered ones.", show_default=False
        ),
    ] = None,
    fps: Annotated[
        float,
        typer.Option(help="Frames per second of each camera.", min=0.1, max=1_000, callback=finite),
    ] = 5,
    budget: Annotated[
        str | None,
        typer.Option(
            help="400kbit, auto, none, or steps RATE@SECOND,RATE@SECOND…", show_default="steps down and up"
        ),
    ] = None,
    edge_workers: Annotated[int, typer.Option(help="Edge worker processes.", min=1, max=16)] = 1,
    server_workers: Annotated[int, typer.Option(help="Server worker processes.", min=1, max=16)] = 2,
    edge_model: Annotated[str, typer.Option(help="Model of the edge workers.")] = "shipped",
    server_model: Annotated[str, typer.Option(help="Model of the server workers.")] = "shipped",
    out: Annotated[Path, typer.Option(help="Folder of logs, summary and picture.")] = Path("runs/demo"),
    kafka: KafkaOption = None,
    redis: RedisOption = None,
) -> None:
    """Run cameras, one edge worker and two server workers; show labels live; audit every frame; sum up."""
    from devstack.demo.plan import DemoPlan
    from devstack.demo.run import run_demo

    plan = DemoPlan.make(
        seconds=seconds,
        cameras=camera or [],
        fps=fps,
        budget=budget,
        edge_workers=edge_workers,
        server_workers=server_workers,
        edge_model=edge_model,
        server_model=server_model,
        out=out,
        kafka=kafka,
        redis=redis,
    )
    failures: list[str] = []

    async def main(stop: asyncio.Event) -> None:
        failures.extend(await run_demo(plan, stop))

    status = run_worker(main, drain_s=240.0)
    for failure in failures:
        typer.echo(f"saccade demo: {failure}", err=True)
    raise typer.Exit(status or int(bool(failures)))
