"""``saccade config show|check``: the settings in force, secrets hidden, and whether they hold."""

from __future__ import annotations

import json

import typer

from saccade.options import ConfigOption, JsonOption, KafkaOption, RedisOption, SetOption, settings_from

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
) -> None:
    """Check the settings without connecting anywhere; exit status 2 names the first that does not hold."""
    settings_from(config, assign, kafka=kafka, redis=redis)
    typer.echo("settings are valid", err=True)
