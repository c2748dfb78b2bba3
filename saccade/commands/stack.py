"""``saccade stack``: the embedded Kafka and Redis alone, in the foreground."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from saccade.event_loop import run_worker
from saccade.options import JsonOption

DEFAULT_KAFKA_PORT = 9092
DEFAULT_REDIS_PORT = 6379


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(stack)


def stack(
    data: Annotated[
        Path | None,
        typer.Option(help="Keep topics and labels in this folder; without it they go with the process."),
    ] = None,
    kafka_port: Annotated[int, typer.Option(help="Port of Kafka.", min=1, max=65535)] = DEFAULT_KAFKA_PORT,
    redis_port: Annotated[int, typer.Option(help="Port of Redis.", min=1, max=65535)] = DEFAULT_REDIS_PORT,
    run_dir: Annotated[Path, typer.Option(help="Folder of configuration and logs; one stack each.")] = Path(
        "runs/stack"
    ),
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="Take any two free ports instead.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run Kafka and Redis on loopback with the topics made, until interrupted; print their addresses."""
    from devstack.stack import embedded_stack

    async def main(stop: asyncio.Event) -> None:
        async with embedded_stack(
            run_dir,
            data=data,
            kafka_port=0 if free_ports else kafka_port,
            redis_port=0 if free_ports else redis_port,
        ) as running:
            addresses = {"kafka": running.bootstrap_servers, "redis": running.redis_url}
            if as_json:
                typer.echo(json.dumps(addresses))
            else:
                typer.echo(f"kafka {addresses['kafka']}\nredis {addresses['redis']}")
                typer.echo("ready; Ctrl-C stops both", err=True)
            await stop.wait()

    raise typer.Exit(run_worker(main, drain_s=15.0))
