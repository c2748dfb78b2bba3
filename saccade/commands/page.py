"""``saccade page``: the live page of one site, for people."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from runtime.log import configure_logging
from saccade.event_loop import run_worker
from saccade.options import ConfigOption, HarvestOption, KafkaOption, RedisOption, SetOption, program_settings


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(page)


def page(
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; others than 127.0.0.1 need --users.", show_default=False),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535, show_default=False)
    ] = None,
    users: Annotated[
        Path | None, typer.Option(help="File of users: NAME:look|change:HASH a line.", show_default=False)
    ] = None,
    harvest: HarvestOption = None,
    hash_password: Annotated[
        bool, typer.Option("--hash-password", help="Ask for a password, print its hash, and end.")
    ] = False,
    config: ConfigOption = None,
    assign: SetOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
) -> None:
    """Serve the live page: cameras, labels, why a frame was asked about, the uplink, dead letters."""
    if hash_password:
        from page.access import hash_password as hashed

        typer.echo(hashed(typer.prompt("Password", hide_input=True, confirmation_prompt=True)))
        return
    from page.run import run_page
    from page.settings import PageProgramSettings

    settings = program_settings(
        PageProgramSettings,
        config,
        assign,
        kafka=kafka,
        redis=redis,
        page__host=host,
        page__port=port,
        page__users_file=users,
        harvest__file=harvest,
    )
    configure_logging(settings.log)

    async def main(stop: asyncio.Event) -> None:
        await run_page(settings, stop, lambda address: typer.echo(f"page {address}"))

    raise typer.Exit(run_worker(main, drain_s=10.0))
