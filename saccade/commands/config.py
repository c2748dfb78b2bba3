"""``saccade config show|check``: the settings in force, secrets hidden, and whether they hold."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated

import typer

from runtime.connections import RedisSettings
from saccade.event_loop import run
from saccade.options import ConfigOption, JsonOption, KafkaOption, RedisOption, SetOption, settings_from
from schemas.errors import StackError

app = typer.Typer(help="Show the settings in force, or check them.", no_args_is_help=True)


@app.command()
def show(
    config: ConfigOption = None,
    assign: SetOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print every setting: file < environment < flags, secrets hidden."""
    tree = settings_from(config, assign, kafka=kafka, redis=redis).redacted()
    if as_json:
        typer.echo(json.dumps(tree))
        return
    for section, values in tree.items():
        if isinstance(values, dict):
            for key, value in values.items():
                typer.echo(f"{section}.{key} = {json.dumps(value)}")
        else:
            typer.echo(f"{section} = {json.dumps(values)}")


@app.command()
def check(
    config: ConfigOption = None,
    assign: SetOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    online: Annotated[
        bool, typer.Option("--online", help="Also ask each Redis whether it may lose labels.")
    ] = False,
) -> None:
    """Check the settings; exit status 2 names the first that does not hold, 1 a Redis that may lose labels."""
    settings = settings_from(config, assign, kafka=kafka, redis=redis)
    typer.echo("settings are valid", err=True)
    if not online:
        return
    urls = getattr(getattr(settings, "server", None), "redis_by_site", {})
    problems = run(_durability([settings.redis, *(settings.redis.at(url) for url in urls.values())]))
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise StackError(f"{len(problems)} settings of Redis under which labels may be lost")


async def _durability(servers: Iterable[RedisSettings]) -> list[str]:
    from runtime.redis_store import RedisStore

    problems = []
    for server in servers:
        async with RedisStore(server) as store:
            problems += await store.check_durability()
    return problems
