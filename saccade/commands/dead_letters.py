"""``saccade dlq list|replay``: what could not be processed, why, and sending it round again."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from saccade.event_loop import run
from saccade.options import ConfigOption, JsonOption, KafkaOption, SetOption, settings_from

app = typer.Typer(help="List the dead letters, or send them to their topic again.", no_args_is_help=True)


@app.command("list")
def list_(
    config: ConfigOption = None,
    assign: SetOption = None,
    kafka: KafkaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print every dead letter: where it came from and why it was refused."""
    from runtime.dead_letter_store import list_dead_letters

    settings = settings_from(config, assign, kafka=kafka)

    async def show() -> None:
        async for letter in list_dead_letters(settings):
            typer.echo(json.dumps(letter.to_json()) if as_json else str(letter))

    run(show())


@app.command()
def replay(
    topic: Annotated[str | None, typer.Option(help="Only letters of this source topic.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only letters with this reason.")] = None,
    config: ConfigOption = None,
    assign: SetOption = None,
    kafka: KafkaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send dead letters to the topic they came from, unchanged; doing so twice does no harm."""
    from runtime.dead_letter_store import replay_dead_letters

    settings = settings_from(config, assign, kafka=kafka)
    sent = run(replay_dead_letters(settings, topic=topic, reason=reason))
    typer.echo(json.dumps({"replayed": sent}) if as_json else f"{sent} replayed")
